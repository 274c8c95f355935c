"""METHOD 8's switches, each of which has the same two values."""

# As the released program has it; as it was meant.
OFFICIAL, CORRECTED = VALUES = 'official', 'corrected'


def is_official(value):
  """Whether a switch has the value 'official' rather than 'corrected'.

  Raises:
    ValueError: It has neither.
  """
  if value not in VALUES:
    raise ValueError(f'A switch is {value!r}; it must be one of {VALUES}.')
  return value == OFFICIAL
