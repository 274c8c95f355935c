"""Points as scribbles: a dot for each (METHOD 9)."""

import contextlib
import math
import reprlib

import numpy as np

from scribble_jax.files import listings
from scribble_jax.labels import IGNORE_LABEL

REACH = 1  # A dot is 3x3 pixels.


def draw(items, size, class_names):
  """Draws an image's points as dots of 3x3 pixels, in the file's order.

  Args:
    items: List of {'x': ..., 'y': ..., 'cls': ...}: the distance in pixels
      from the centre of the upper left pixel, and a class index or name.
    size: (height, width) of the image in pixels.
    class_names: Class names, background first.

  Returns:
    [H, W] uint8 classes, 255 where unlabelled.

  Raises:
    ValueError: A point is incomplete or outside the image, or its class is
      unknown.
  """
  mask = np.full(size, IGNORE_LABEL, np.uint8)
  for number, item in enumerate(items, 1):
    place = f'point {number}'
    label = class_index(item, place, class_names)
    x, y = (coordinate(item, key, place) for key in 'xy')
    if not (0 <= x < size[1] and 0 <= y < size[0]):
      raise ValueError(f'{place} at ({x:g}, {y:g}) is outside the image of '
                       f'{size[1]}x{size[0]} pixels')
    # The half pixel beyond the last centre belongs to the last pixel.
    row, column = min(int(y + 0.5), size[0] - 1), min(int(x + 0.5), size[1] - 1)
    mask[max(0, row - REACH):row + REACH + 1,
         max(0, column - REACH):column + REACH + 1] = label
  return mask


def class_index(item, place, class_names):
  """Returns the class index of a point or box in a JSON file.

  Args:
    item: Dict with 'cls'.
    place: Name of the item in messages.
    class_names: Class names, background first.

  Raises:
    ValueError: The item is not a dict, or its class is unknown.
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
  """Returns a coordinate of a point or box in a JSON file.

  Args:
    item: Dict.
    key: Key of the coordinate.
    place: Name of the item in messages.

  Raises:
    ValueError: It is missing, or not a finite number.
  """
  value = item.get(key)
  if isinstance(value, int | float) and not isinstance(value, bool):
    with contextlib.suppress(OverflowError):  # The integer exceeds any float.
      if math.isfinite(value):
        return value
  raise ValueError(f'{place}: {key} is {reprlib.repr(value)} instead of a '
                   'finite number')
