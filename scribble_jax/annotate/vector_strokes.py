"""Strokes as vectors: validation, drawing and scaling. Pure functions.

A stroke is a line through points with round ends and joints. Points are in
pixels of the upright picture: (0, 0) is the picture's upper left corner, and
(0.5, 0.5) the centre of its first pixel. A pixel belongs to a stroke if its
centre is at most half the stroke's width away from the line. Later strokes
cover earlier ones. The eraser is a stroke of the class IGNORE_LABEL.
"""

import dataclasses
import itertools
import math

import numpy as np

from scribble_jax.labels import IGNORE_LABEL

MAX_STROKES, MAX_POINTS = 5_000, 200_000  # Of a picture.
MAX_WIDTH = 2_000.0  # Pixels.
_MARGIN = 2_000.0  # Pixels that a point may lie outside the picture.
_LARGEST = 2**53  # JavaScript has no larger exact integers.
_PIECE = 48.0  # Pixels; longer segments are split, so that boxes are small.
_KEYS = {'class', 'width', 'points'}


@dataclasses.dataclass(frozen=True)
class Stroke:
  """A line of one class.

  Attributes:
    label: Identifier of the class in `palette.Palette`, or IGNORE_LABEL.
    width: Width in pixels.
    points: ((x, y), ...) in pixels.
  """
  label: int
  width: float
  points: tuple[tuple[float, float], ...]

  def to_json(self):
    """Returns the content for a file."""
    return {'class': self.label, 'width': self.width,
            'points': [list(point) for point in self.points]}

  def scaled(self, factor, min_width):
    """Returns the stroke on a resized picture.

    Args:
      factor: New side divided by the old side.
      min_width: Minimum width in pixels.
    """
    return Stroke(self.label, max(min_width, self.width * factor), tuple(
        (x * factor, y * factor) for x, y in self.points))


@dataclasses.dataclass(frozen=True)
class Document:
  """All annotations of one picture.

  Attributes:
    version: Number of changes, 0 for a picture that was never drawn on.
    strokes: In the order in which they were drawn.
    nothing: Whether the whole picture is marked as background.
    imported: Whether the bitmap of imported strokes lies below the strokes.
  """
  version: int = 0
  strokes: tuple[Stroke, ...] = ()
  nothing: bool = False
  imported: bool = False

  @property
  def is_blank(self):
    """Whether there are no annotations."""
    return not (self.strokes or self.nothing or self.imported)

  def to_json(self):
    """Returns the content for a file."""
    return {'version': self.version, 'nothing': self.nothing,
            'imported': self.imported,
            'strokes': [stroke.to_json() for stroke in self.strokes]}


def parse(content, size):
  """Returns the Document of untrusted JSON.

  Args:
    content: Parsed JSON.
    size: (height, width) of the picture in pixels.

  Raises:
    ValueError: The JSON is not a document; the text is a predicate such as 'has
      no list of strokes'.
  """
  if not isinstance(content, dict):
    raise ValueError('is not a JSON object')
  strokes, version = content.get('strokes'), content.get('version')
  if not _is_number(version, whole=True) or version < 0:
    raise ValueError(f'has {version!r:.40} as its version')
  if not isinstance(strokes, list) or len(strokes) > MAX_STROKES:
    raise ValueError(f'has no list of at most {MAX_STROKES} strokes')
  parsed = tuple(_parse_stroke(stroke, size) for stroke in strokes)
  if sum(len(stroke.points) for stroke in parsed) > MAX_POINTS:
    raise ValueError(f'has more than {MAX_POINTS} points')
  flags = [content.get(key, False) for key in ('nothing', 'imported')]
  if not all(isinstance(flag, bool) for flag in flags):
    raise ValueError("has another value than true or false as 'nothing' or "
                     "'imported'")
  return Document(version, parsed, *flags)


def _parse_stroke(stroke, size):
  """Returns the Stroke of untrusted JSON; see `parse`."""
  if not isinstance(stroke, dict) or set(stroke) != _KEYS:
    raise ValueError(f'has a stroke without exactly {sorted(_KEYS)}')
  label, width, points = stroke['class'], stroke['width'], stroke['points']
  if not _is_number(label, whole=True) or not 0 <= label <= IGNORE_LABEL:
    raise ValueError(f'has a stroke of class {label!r:.40}')
  if not _is_number(width) or not 0 < width <= MAX_WIDTH:
    raise ValueError(f'has a stroke of width {width!r:.40}')
  if not isinstance(points, list) or not 1 <= len(points) <= MAX_POINTS:
    raise ValueError('has a stroke without points, or with too many')
  height, width_of_picture = size
  for point in points:
    if (not isinstance(point, list) or len(point) != 2
        or not all(map(_is_number, point))
        or not -_MARGIN <= point[0] <= width_of_picture + _MARGIN
        or not -_MARGIN <= point[1] <= height + _MARGIN):
      raise ValueError(f'has the point {point!r:.60}, which is not an [x, y] '
                       'on the picture')
  return Stroke(label, width, tuple((x, y) for x, y in points))


def _is_number(value, whole=False):
  kinds = int if whole else (int, float)
  return (isinstance(value, kinds) and not isinstance(value, bool)
          and abs(value) < _LARGEST)  # False for NaN too.


def draw(strokes, canvas):
  """Draws strokes, each over those before it.

  Args:
    strokes: Sequence of Stroke.
    canvas: [H, W] uint8 identifiers; changed in place.
  """
  for stroke in strokes:
    for start, end in _pieces(stroke.points):
      _draw_capsule(canvas, start, end, stroke.width / 2, stroke.label)


def _pieces(points):
  """Yields the (start, end) of segments of at most _PIECE pixels."""
  if len(points) == 1:
    yield points[0], points[0]
  for (x, y), (next_x, next_y) in itertools.pairwise(points):
    count = max(1, math.ceil(math.hypot(next_x - x, next_y - y) / _PIECE))
    corners = [(x + (next_x - x) * i / count, y + (next_y - y) * i / count)
               for i in range(count + 1)]
    yield from itertools.pairwise(corners)


def _draw_capsule(canvas, start, end, radius, label):
  """Sets the pixels whose centre is at most `radius` from a segment."""
  (x0, y0), (x1, y1) = start, end
  left = max(0, math.ceil(min(x0, x1) - radius - 0.5))
  top = max(0, math.ceil(min(y0, y1) - radius - 0.5))
  right = min(canvas.shape[1], math.floor(max(x0, x1) + radius - 0.5) + 1)
  bottom = min(canvas.shape[0], math.floor(max(y0, y1) + radius - 0.5) + 1)
  if left >= right or top >= bottom:
    return
  x = np.arange(left, right) + (0.5 - x0)
  y = (np.arange(top, bottom) + (0.5 - y0))[:, None]
  along_x, along_y = x1 - x0, y1 - y0
  length = along_x**2 + along_y**2
  if length:
    share = np.clip((x * along_x + y * along_y) / length, 0, 1)
    x, y = x - share * along_x, y - share * along_y
  box = canvas[top:bottom, left:right]
  box[x * x + y * y <= radius**2 + 1e-9] = label


def as_indices(canvas, indices):
  """Converts class identifiers to indices, [H, W] uint8.

  Args:
    canvas: [H, W] uint8 identifiers.
    indices: {identifier: index}; other identifiers become IGNORE_LABEL.
  """
  table = np.full(256, IGNORE_LABEL, np.uint8)
  for label, index in indices.items():
    table[label] = index
  return table[canvas]


def shrink_labels(labels, size):
  """Scales a bitmap of strokes down; thin strokes remain.

  Args:
    labels: [H, W] uint8, IGNORE_LABEL where nothing is drawn.
    size: (height, width) of the result in pixels.
  """
  result = np.full(size, IGNORE_LABEL, np.uint8)
  rows, columns = np.nonzero(labels != IGNORE_LABEL)
  result[rows * size[0] // labels.shape[0],
         columns * size[1] // labels.shape[1]] = labels[rows, columns]
  return result
