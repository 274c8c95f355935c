"""The meaning of the values in label images: a class, or unlabelled."""

import numpy as np

from scribble_jax.errors import UserError

IGNORE_LABEL = 255  # Marks unlabelled pixels.
# The kinds of label images, as `config.data` names them.
KINDS = ('scribbles', 'pseudo_labels', 'ground_truth')
OWN = dict.fromkeys(KINDS)  # `meanings` of files that this program writes.
_UNLISTED = -1


def meanings(unlabelled_index, label_map, num_classes=IGNORE_LABEL,
             prefix='--config.data.'):
  """Returns the meaning of each value in a user's label images.

  Both settings apply to all of KINDS. After 'KIND=', the rest of a setting, up
  to the next 'KIND=', applies only to that kind.

  Args:
    unlabelled_index: The value that means unlabelled: an integer, or text such
      as 'scribbles=0' or '0,ground_truth=255'.
    label_map: '' if every value is the index of its class. Otherwise pairs
      VALUE:CLASS separated by commas, such as '0:255,1-20:0-19'. Ranges include
      their ends, and 255 means unlabelled. All other values are then errors,
      except `unlabelled_index`.
    num_classes: Upper limit of the classes, exclusive.
    prefix: Prefix of both settings' names in the messages.

  Returns:
    {kind: [256] int16 of classes, IGNORE_LABEL, or -1 for an error; None if
    every value means itself}.

  Raises:
    UserError: A setting can't be parsed, or the two contradict each other.
  """
  indices = _parse(
      'unlabelled_index', unlabelled_index, str(IGNORE_LABEL), _index,
      'an index from 0 to 255, such as 0, or scribbles=0 for one of '
      + ', '.join(KINDS), prefix)
  maps = _parse(
      'label_map', label_map, '', _pairs, 'VALUE:CLASS with commas between, '
      'each value once, from 0 to 255, such as 0:255,1-20:0-19; behind '
      'scribbles= for one of ' + ', '.join(KINDS), prefix)
  return {kind: _meaning(kind, indices[kind], maps[kind], num_classes, prefix)
          for kind in KINDS}


def _meaning(kind, index, pairs, num_classes, prefix):
  """Returns the meaning of each value in one kind, as of `meanings`."""
  if not pairs and index == IGNORE_LABEL:
    return None
  meaning = (np.full(256, _UNLISTED, np.int16) if pairs
             else np.arange(256, dtype=np.int16))
  meaning[index] = IGNORE_LABEL
  for value, label in pairs.items():
    if num_classes <= label < IGNORE_LABEL:
      raise UserError(
          f'{prefix}label_map maps {value} of {kind} to {label}, which is not '
          f'in the class list. Map it to 0 to {num_classes - 1}, or to '
          f'{IGNORE_LABEL} for unlabelled.')
    if value == index != IGNORE_LABEL != label:
      raise UserError(
          f'{prefix}label_map maps {value} of {kind} to class {label}, but '
          f'{prefix}unlabelled_index says that it means unlabelled. Change one '
          'of them.')
    meaning[value] = label
  return meaning


def of_generated(unlabelled_index, label_map):
  """Returns both settings without those for pseudo-labels.

  Pseudo-labels of this program hold indices of classes and IGNORE_LABEL.
  """
  return (_without('pseudo_labels', unlabelled_index, str(IGNORE_LABEL)),
          _without('pseudo_labels', label_map, ''))


def _without(kind, setting, default):
  """Returns a setting in which one kind has the default."""
  parts = _split(str(setting), default)
  if parts[kind] == default:
    return setting
  return ','.join(f'{name}={part}' for name, part in (
      parts | {kind: default}).items())


def _parse(name, setting, default, parse_part, rule, prefix):
  """Returns {kind: its part of a setting, parsed by `parse_part`}."""
  try:
    return {kind: parse_part(part)
            for kind, part in _split(str(setting), default).items()}
  except ValueError:
    raise UserError(f'{prefix}{name} is {setting!r}; it must be {rule}.'
                    ) from None


def _split(text, default):
  """Returns {kind: the part of the text that applies to it}.

  Raises:
    ValueError: A kind is unknown or occurs twice.
  """
  parts, kind = {'': []}, ''
  for item in filter(None, text.split(',')):
    name, equals, rest = item.rpartition('=')
    if equals:
      kind = name.strip()
      if kind not in KINDS or kind in parts:
        raise ValueError(kind)
      parts[kind] = []
    parts[kind] += [rest.strip()] if rest.strip() else []
  for_all = ','.join(parts['']) or default
  return {kind: ','.join(parts[kind]) if kind in parts else for_all
          for kind in KINDS}


def _index(text):
  """Parses a value of a label image, or raises ValueError."""
  if not (text.isascii() and text.isdigit() and int(text) <= 255):
    raise ValueError(text)
  return int(text)


def _pairs(text):
  """Parses 'VALUE:CLASS,...' to {value: class}, or raises ValueError."""
  found = {}
  for item in filter(None, text.split(',')):
    values, labels = map(_range, item.split(':'))
    if len(labels) == 1:
      labels *= len(values)
    for value, label in zip(values, labels, strict=True):
      if value in found:
        raise ValueError(value)
      found[value] = label
  return found


def _range(text):
  """Parses 'INDEX' or 'FIRST-LAST' to a list, or raises ValueError."""
  first, dash, last = text.partition('-')
  first = _index(first.strip())
  last = _index(last.strip()) if dash else first
  if last < first:
    raise ValueError(text)
  return [*range(first, last + 1)]


def translate(values, meaning):
  """Returns the classes of a label image.

  Args:
    values: [H, W] uint8, the values in its file.
    meaning: One of `meanings`.

  Returns:
    [H, W] uint8 classes, IGNORE_LABEL where unlabelled.

  Raises:
    ValueError: A value has no meaning.
  """
  if meaning is None:
    return values
  labels = meaning[values]
  if np.any(labels == _UNLISTED):
    value = values[labels == _UNLISTED][0]
    raise ValueError(f'holds the value {value}, which the label map lacks; add '
                     f'{value}:CLASS to it, or {value}:{IGNORE_LABEL} for '
                     'unlabelled')
  return labels.astype(np.uint8)
