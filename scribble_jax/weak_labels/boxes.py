"""Boxes as scribbles: a stroke across each, and strokes outside of all."""

import math
from typing import NamedTuple

import numpy as np

from scribble_jax.files import listings
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.weak_labels import points
from scribble_jax.weak_labels import seeding
from scribble_jax.weak_labels import simulation

# Length of a stroke as a share of the box's longer side. The object rarely
# fills the ends of its box.
STROKE_SHARE = 0.5
# Pixels by which a box may exceed its image: some programs count from 1.
TOLERANCE = 1
_SIDES = ('xmin', 'ymin', 'xmax', 'ymax')


class Box(NamedTuple):
  """A box: first and last pixels, counted from 0, and a class index."""
  xmin: float
  ymin: float
  xmax: float
  ymax: float
  label: int


def in_json(items, class_names):
  """Returns the Boxes of an image's entry in a JSON file.

  Args:
    items: List of {'xmin': ..., 'ymin': ..., 'xmax': ..., 'ymax': ...,
      'cls': index or name}, in pixels from 0.
    class_names: Class names, background first.

  Raises:
    ValueError: A box is incomplete or its class is unknown.
  """
  return [Box(label=points.class_index(item, f'box {number}', class_names), **{
      side: points.coordinate(item, side, f'box {number}') for side in _SIDES})
          for number, item in enumerate(items, 1)]


def in_xml(root, class_names):
  """Returns the Boxes of one of VOC's files, which count pixels from 1.

  Args:
    root: Element with `object`s, each with `name` and `bndbox`.
    class_names: Class names, background first.

  Raises:
    ValueError: A box is incomplete or its class is unknown.
  """
  found = []
  for number, item in enumerate(root.findall('object'), 1):
    name = listings.nfc(item.findtext('name', '')).strip()
    if name not in class_names:
      raise ValueError(f'box {number}: unknown class name {name!r}')
    try:
      sides = [float(item.findtext(f'bndbox/{side}', '')) - 1
               for side in _SIDES]
    except ValueError:
      raise ValueError(f'box {number}: bndbox needs a number each as '
                       f'{", ".join(_SIDES)}') from None
    found.append(Box(*sides, class_names.index(name)))
  return found


def draw(boxes, size, key):
  """Draws a stroke across the middle of each box and some outside of all.

  A stroke runs along the box's longer side. The strokes of smaller boxes are
  drawn over those of larger ones. An image without boxes stays unlabelled,
  because it may not have been annotated.

  Args:
    boxes: List of Box.
    size: (height, width) of the image in pixels.
    key: (seed, image id) of the background strokes.

  Returns:
    [H, W] uint8 classes, 255 where unlabelled.

  Raises:
    ValueError: A box ends before it begins, or is outside the image.
  """
  for number, box in enumerate(boxes, 1):
    _check(box, f'box {number}', size)
  mask = np.full(size, IGNORE_LABEL, np.uint8)
  outside = np.ones(size, bool)
  area = lambda box: (box.xmax - box.xmin + 1) * (box.ymax - box.ymin + 1)
  for box in sorted(boxes, key=area, reverse=True):
    left, right = _pixels(box.xmin, box.xmax, size[1])
    top, bottom = _pixels(box.ymin, box.ymax, size[0])
    outside[top:bottom + 1, left:right + 1] = False
    if right - left >= bottom - top:
      mask[_thin(top, bottom), _shortened(left, right)] = box.label
    else:
      mask[_shortened(top, bottom), _thin(left, right)] = box.label
  if boxes and outside.any():
    rng = seeding.generator(*key, purpose='boxes')
    count = rng.integers(1, simulation.MAX_BACKGROUND_STROKES + 1)
    for stroke in simulation.background_strokes(
        rng, outside, simulation.WIDTH, count):
      mask[stroke] = 0
  return mask


def _check(box, place, size):
  corners = f'({box.xmin:g}, {box.ymin:g}) to ({box.xmax:g}, {box.ymax:g})'
  if not all(map(math.isfinite, box)):  # XML may name any float.
    raise ValueError(f'{place}, {corners}, needs finite numbers')
  if box.xmax < box.xmin or box.ymax < box.ymin:
    raise ValueError(f'{place}, {corners}, has no area')
  if (min(box.xmin, box.ymin) < -TOLERANCE
      or box.xmax > size[1] - 1 + TOLERANCE
      or box.ymax > size[0] - 1 + TOLERANCE):
    raise ValueError(f'{place}, {corners} counted from 0, is outside the image '
                     f'of {size[1]}x{size[0]} pixels')


def _pixels(first, last, side):
  """Returns the first and last pixel of a box along one side of the image."""
  return tuple(int(np.clip(np.floor(value + 0.5), 0, side - 1))
               for value in (first, last))


def _shortened(first, last):
  """Returns the slice of the middle STROKE_SHARE of the pixels."""
  reach = int(STROKE_SHARE * (last - first + 1)) // 2
  middle = (first + last) // 2
  return slice(middle - reach, middle + reach + 1)


def _thin(first, last):
  """Returns the slice of a stroke's width, which is less in a thin box."""
  middle, reach = (first + last) // 2, simulation.WIDTH // 2
  return slice(max(first, middle - reach), min(last, middle + reach) + 1)
