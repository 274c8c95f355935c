"""One representation of what all annotation tools draw."""

from collections.abc import Iterable
import dataclasses

import numpy as np

from scribble_jax.weak_labels import polylines

LINE, POLYGON, BOX, POINTS, BITMAP = 'line', 'polygon', 'box', 'points', 'mask'


@dataclasses.dataclass(frozen=True)
class Shape:
  """One annotated shape.

  Attributes:
    class_name: Name of the class, as the tool spells it.
    kind: LINE, POLYGON, BOX, POINTS or BITMAP.
    points: [N, 2] float64 arrays of (x, y) in pixels; (0, 0) is the upper left
      corner of the picture and (0.5, 0.5) the centre of its first pixel. A
      POLYGON has one array per ring and covers what an odd number of rings
      encloses; other kinds have one array. A BOX has two opposite corners. ()
      for a BITMAP.
    width: In pixels, of a LINE, of the dots of POINTS, or of the outline of a
      POLYGON that includes its outline; None if the tool stores no width.
    mask: [h, w] bool of a BITMAP, else None.
    origin: (row, column) of the mask's first pixel in the picture.
  """
  class_name: str
  kind: str
  points: tuple[np.ndarray, ...] = ()
  width: float | None = None
  mask: np.ndarray | None = None
  origin: tuple[int, int] = (0, 0)


@dataclasses.dataclass(frozen=True)
class NotRead:
  """An annotation that this program cannot use.

  Attributes:
    class_name: Name of its class, '' if unknown.
    reason: Completes the sentence 'It ...', for the report.
  """
  class_name: str
  reason: str


@dataclasses.dataclass(frozen=True)
class Picture:
  """All annotations of one photograph.

  Attributes:
    id: Path of the photograph below its folder in the data set to make; may
      have a suffix.
    photographs: Possible names of the photograph, the likeliest first. They
      are paths whose end counts, with or without suffix.
    place: File, and position in it, for messages.
    size: (height, width) in pixels as the file states it, or None.
    shapes: Shape or NotRead of each annotation, in drawing order; None if the
      picture has not been annotated yet.
  """
  id: str
  photographs: tuple[str, ...]
  place: str
  size: tuple[int, int] | None
  shapes: Iterable[Shape | NotRead] | None


@dataclasses.dataclass(frozen=True)
class Export:
  """The annotations that a tool has exported.

  Attributes:
    names: Classes that the export lists, in its order; shapes may have others.
    pictures: Iterable of Picture, which reads each one when it is needed.
    own: Paths of image files that hold annotations, not photographs.
  """
  names: tuple[str, ...]
  pictures: Iterable[Picture]
  own: frozenset = frozenset()


def coordinates(values):
  """Returns a list of (x, y) as an [N, 2] float64 array.

  Raises:
    ValueError: The list is empty, or holds anything but numbers within
      polylines.FARTHEST pixels.
  """
  try:
    found = np.asarray(values, np.float64)
  except (TypeError, ValueError, OverflowError):
    found = np.empty(0)
  if found.ndim != 2 or found.shape[1] != 2 or not len(found):
    raise ValueError('has points that are not pairs of numbers')
  if not (np.abs(found) <= polylines.FARTHEST).all():  # Excludes NaN as well.
    raise ValueError('has a point far outside of any picture')
  return found


def box(class_name, left, top, right, bottom, turn=0.0, pivot=None):
  """Returns the Shape of a box; a POLYGON if the box is rotated.

  Args:
    class_name: As in Shape.
    left: Edge in pixels, in the coordinates of Shape; so are the next three.
    top: See left.
    right: See left.
    bottom: See left.
    turn: Clockwise rotation in degrees.
    pivot: (x, y) of the centre of rotation.
  """
  corners = coordinates([(left, top), (right, bottom)])
  if not turn:
    return Shape(class_name, BOX, (corners,))
  angle = np.deg2rad(turn)
  if not np.isfinite(angle):
    raise ValueError('has a box whose rotation is not a number of degrees')
  ring = coordinates([(left, top), (right, top), (right, bottom),
                      (left, bottom)])
  rotation = np.array([[np.cos(angle), np.sin(angle)],
                       [-np.sin(angle), np.cos(angle)]])
  return Shape(class_name, POLYGON, (pivot + (ring - pivot) @ rotation,))


def bitmap(class_name, mask, origin=(0, 0)):
  """Returns the Shape of an [h, w] bool mask, cropped to its set pixels."""
  rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
  if not len(rows):
    return Shape(class_name, BITMAP, mask=np.zeros([0, 0], bool), origin=origin)
  top, left = int(rows[0]), int(columns[0])
  part = mask[top:rows[-1] + 1, left:columns[-1] + 1].copy()
  return Shape(class_name, BITMAP, mask=part,
               origin=(origin[0] + top, origin[1] + left))


def values(image, names, origin=(0, 0)):
  """Returns a BITMAP for each named value of an [h, w] integer label image.

  Args:
    image: [h, w] of any integer type.
    names: {value: class name, '' for unlabelled pixels}.
    origin: As in Shape.

  Returns:
    Tuple of Shapes, none for unlabelled pixels.

  Raises:
    ValueError: A value has no name.
  """
  found = np.unique(image).tolist()
  unknown = [value for value in found if value not in names]
  if unknown:
    raise ValueError(f'holds the value {unknown[0]}, which stands for no class')
  return tuple(bitmap(names[value], image == value, origin)
               for value in found if names[value])
