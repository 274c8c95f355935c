"""Draws the Shapes of a picture as a mask of class indices."""

from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL import ImageDraw

from scribble_jax.convert import shapes
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.weak_labels import boxes
from scribble_jax.weak_labels import polylines
from scribble_jax.weak_labels import seeding
from scribble_jax.weak_labels import simulation

MASK, STROKE, BOX = 'mask', 'stroke', 'box'
_BLOCK = 2**22  # Crossings of edges and rows that `fill` handles at a time.
_MAX_CROSSINGS = 2**27  # Of a polygon; these take half a minute.
MAX_WIDTH = 1_000  # Pixels.


class Drawing(NamedTuple):
  """How shapes are drawn.

  Attributes:
    polygons: MASK fills them, STROKE simulates a stroke inside of each, BOX
      draws a stroke across the bounding box of each.
    boxes: MASK fills them, STROKE draws a stroke across each.
    width: Width in pixels of strokes and dots whose width is unknown.
    rest: Value of pixels outside of all shapes: a class index or IGNORE_LABEL.
    seed: Seed of the simulated strokes.
  """
  polygons: str = MASK
  boxes: str = STROKE
  width: int = polylines.STROKE_WIDTH
  rest: int = IGNORE_LABEL
  seed: int = 0


def draw(key, found, labels, size, drawing):
  """Draws Shapes, later ones over earlier ones, all over strokes across boxes.

  If all shapes are drawn as strokes across boxes, strokes of background are
  added outside of the boxes.

  Args:
    key: Id of the picture; seeds its random strokes, with `drawing.seed`.
    found: List of Shapes.
    labels: List of the class index of each Shape.
    size: (height, width) of the photograph in pixels.
    drawing: Drawing.

  Returns:
    [H, W] uint8 mask, and a list of bool: which shapes have a pixel in it.
  """
  mask = np.full(size, drawing.rest, np.uint8)
  across, is_seen = [], [False] * len(labels)
  kinds = ({shapes.BOX} if drawing.boxes == STROKE else set()) | (
      {shapes.POLYGON} if drawing.polygons == BOX else set())
  crossed = [shape.kind in kinds for shape in found]
  for number, (shape, label) in enumerate(zip(found, labels, strict=True)):
    box = _box(shape, size, label) if crossed[number] else None
    if box:
      across.append(box)
      is_seen[number] = True
  if across:
    strokes = boxes.draw(across, size, (drawing.seed, key))
    if all(crossed):
      mask[strokes == 0] = 0
    drawn = (strokes > 0) & (strokes != IGNORE_LABEL)
    mask[drawn] = strokes[drawn] - 1
  for number, (shape, label) in enumerate(zip(found, labels, strict=True)):
    if crossed[number]:
      continue
    window, region = region_of(shape, size, drawing.width)
    is_seen[number] = bool(region.any())
    if (is_seen[number] and shape.kind == shapes.POLYGON
        and drawing.polygons == STROKE):
      rng = seeding.generator(drawing.seed, f'{key} {number}',
                              purpose='polygons')
      region = simulation.draw_stroke(rng, region, drawing.width)
    mask[window][region] = label
  return mask, is_seen


def _box(shape, size, label):
  """Returns the Box around a shape; None if it has no pixel in the picture.

  Its label is one higher, as 0 stands for the background in boxes.draw.
  """
  points = np.concatenate(shape.points)[:, ::-1]
  first = np.maximum(np.ceil(points.min(0) - 0.5), 0)
  last = np.minimum(np.ceil(points.max(0) - 0.5), size) - 1
  if (last < first).any():
    return None
  return boxes.Box(*first[::-1].tolist(), *last[::-1].tolist(), label + 1)


def region_of(shape, size, width):
  """Returns the pixels of a shape.

  Args:
    shape: Shape.
    size: (height, width) of the picture in pixels.
    width: Width of strokes in pixels, for a shape without one.

  Returns:
    Two slices, of the picture's rows and columns, and an [h, w] bool mask of
    that part of the picture.
  """
  if shape.kind == shapes.BITMAP:
    top, left = shape.origin
    stop = top + shape.mask.shape[0], left + shape.mask.shape[1]
    window = _window((top, left), stop, size)
    return window, shape.mask[
        window[0].start - top:, window[1].start - left:][
            :window[0].stop - window[0].start,
            :window[1].stop - window[1].start]
  width = round(min(MAX_WIDTH, max(1, shape.width or width)))
  points = np.concatenate(shape.points)[:, ::-1]
  window = _window(np.floor(points.min(0)) - width - 1,
                   np.ceil(points.max(0)) + width + 1, size)
  origin = window[1].start, window[0].start
  region = np.zeros([side.stop - side.start for side in window], bool)
  if not region.size:
    return window, region
  if shape.kind in (shapes.POLYGON, shapes.BOX):
    rings = [points - origin for points in shape.points]
    if shape.kind == shapes.BOX:
      (left, top), (right, bottom) = rings[0]
      rings = [np.array([(left, top), (right, top), (right, bottom),
                         (left, bottom)])]
    region |= fill(rings, region.shape)
  if shape.kind in (shapes.LINE, shapes.POINTS) or shape.width:
    region |= _strokes(shape, origin, region.shape, width)
  return window, region


def _window(start, stop, size):
  """Returns slices of the rows and columns of a rectangle within a picture."""
  start = np.clip(np.asarray(start, int), 0, size)
  stop = np.clip(np.asarray(stop, int), start, size)
  return tuple(slice(int(one), int(other))
               for one, other in zip(start, stop, strict=True))


def _strokes(shape, origin, size, width):
  """Returns an [h, w] bool mask of lines, dots, or a polygon's outline."""
  image = Image.new('1', (size[1], size[0]))
  canvas = ImageDraw.Draw(image)
  for points in shape.points:  # In Pillow, a pixel's centre is at (0, 0).
    points = [*map(tuple, (points - origin - 0.5).tolist())]
    if shape.kind == shapes.POLYGON:
      points.append(points[0])
    for part in ([[point] for point in points]
                 if shape.kind == shapes.POINTS else [points]):
      polylines.draw_stroke(canvas, part, 1, width)
  return np.asarray(image)


def fill(rings, size):
  """Returns the pixels whose centres an odd number of rings encloses.

  Args:
    rings: List of [N, 2] float64 (x, y) in pixels, from the upper left corner.
    size: (h, w).

  Returns:
    [h, w] bool.

  Raises:
    ValueError: The edges cross more than _MAX_CROSSINGS rows.
  """
  starts = np.concatenate(rings)
  ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
  rows = np.clip(np.ceil(np.stack([starts[:, 1], ends[:, 1]]) - 0.5),
                 0, size[0]).astype(int)
  first, counts = rows.min(0), np.ptp(rows, axis=0)
  if counts.sum() > _MAX_CROSSINGS:
    raise ValueError(f'has a polygon of {len(starts)} points across the whole '
                     'picture')
  crossing = np.flatnonzero(counts)
  blocks = np.cumsum(counts[crossing]) // _BLOCK
  flips = np.zeros([size[0], size[1] + 1], np.uint8)
  for edges in np.split(crossing, np.flatnonzero(np.diff(blocks)) + 1):
    edge = np.repeat(edges, counts[edges])
    offset = np.arange(len(edge)) - np.repeat(
        np.cumsum(counts[edges]) - counts[edges], counts[edges])
    row = first[edge] + offset
    (x, y), (dx, dy) = starts[edge].T, (ends - starts)[edge].T
    column = np.ceil(x + (row + 0.5 - y) * dx / dy - 0.5)
    np.bitwise_xor.at(
        flips, (row, np.clip(column, 0, size[1]).astype(int)), 1)
  return np.bitwise_xor.accumulate(flips, axis=1)[:, :-1] > 0
