"""Points as scribbles: a dot on each (METHOD 9)."""

import math
import reprlib

import numpy as np

from scribble_jax.files import listings
from scribble_jax.labels import IGNORE_LABEL

REACH = 1  # A dot is 3x3 pixels.


def draw(items, size, class_names):
  """Draws an image's points as dots of 3x3 pixels, in the file's order.

  Args:
    items: List of {'x': ..., 'y': ..., 'cls': ...}: pixels from the upper left
      one's middle, and a class by index or by name.
    size: (height, width) of the image in pixels.
    class_names: Background first.

  Returns:
    [H, W] uint8 classes, 255 where unlabelled.

  Raises:
    ValueError: A point lacks something, is outside or of an unknown class.
  """
  mask = np.full(size, IGNORE_LABEL, np.uint8)
  for number, item in enumerate(items, 1):
    place = f'point {number}'
    label = class_index(item, place, class_names)
    x, y = (coordinate(item, key, place) for key in 'xy')
    if not (0 <= x < size[1] and 0 <= y < size[0]):
      raise ValueError(f'{place} at ({x:g}, {y:g}) is outside the image of '
                       f'{size[1]}x{size[0]} pixels')
    # The half pixel behind the last one's middle belongs to it.
    row, column = min(int(y + 0.5), size[0] - 1), min(int(x + 0.5), size[1] - 1)
    mask[max(0, row - REACH):row + REACH + 1,
         max(0, column - REACH):column + REACH + 1] = label
  return mask


def class_index(item, place, class_names):
  """Returns the index of the class of a point or box of a JSON file.

  Args:
    item: Dict with 'cls'.
    place: What to call it in messages.
    class_names: Background first.

  Raises:
    ValueError: There is no such class.
  """
  if not isinstance(item, dict):
    raise ValueError(f'{place} is {reprlib.repr(item)} instead of an '
                     'object')
  label = item.get('cls')
  if isinstance(label, str) and listings.nfc(label) in class_names:
    return class_names.index(listings.nfc(label))
  if (isinstance(label, int) and not isinstance(label, bool)
      and 0 <= label < len(class_names)):
    return label
  raise ValueError(f'{place}: unknown class {reprlib.repr(label)}; "cls" is a '
                   'name of the class list or an index from 0 to '
                   f'{len(class_names) - 1}')


def coordinate(item, key, place):
  """Returns a finite number of a point or box of a JSON file.

  Args:
    item: Dict.
    key: Name of the number.
    place: What to call it in messages.

  Raises:
    ValueError: It is missing, no number or too large.
  """
  value = item.get(key)
  if isinstance(value, int | float) and not isinstance(value, bool):
    try:
      if math.isfinite(value):
        return value
    except OverflowError:  # An integer that no float can hold.
      pass
  raise ValueError(f'{place}: {key} is {reprlib.repr(value)} instead of a '
                   'finite number')
