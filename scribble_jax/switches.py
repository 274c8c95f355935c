"""The two values that each of METHOD 8's switches has."""

# As in the released program; as it was meant.
OFFICIAL, CORRECTED = VALUES = 'official', 'corrected'


def is_official(value):
  """Whether a switch has the value 'official' rather than 'corrected'.

  Raises:
    ValueError: It has another value.
  """
  if value not in VALUES:
    raise ValueError(f'A switch is {value!r}; it must be one of {VALUES}.')
  return value == OFFICIAL
