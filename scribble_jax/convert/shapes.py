"""What annotation tools draw, in one form for all of them."""

from collections.abc import Iterable
import dataclasses

import numpy as np

from scribble_jax.weak_labels import polylines

LINE, POLYGON, BOX, POINTS, BITMAP = 'line', 'polygon', 'box', 'points', 'mask'


@dataclasses.dataclass(frozen=True)
class Shape:
  """One thing that somebody drew.

  Attributes:
    class_name: As the tool has it.
    kind: LINE, POLYGON, BOX, POINTS or BITMAP.
    points: [N, 2] float64 arrays of (x, y) in pixels; (0, 0) is the upper left
      corner of the picture and (0.5, 0.5) the middle of its first pixel. One
      array, or for a POLYGON one a ring: what an odd number of rings encloses
      belongs to it. A BOX has two opposite corners. () for a BITMAP.
    width: In pixels, of a LINE, of the dots of POINTS, or of a POLYGON whose
      outline belongs to it; None if the tool does not say.
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
class Picture:
  """All that somebody drew on one photograph.

  Attributes:
    id: Path below the folder of photographs, in our layout; may have a suffix.
    photographs: Names that the photograph may have, likeliest first: paths of
      which the end counts, with or without suffix.
    place: File, and where in it, for messages.
    size: (height, width) in pixels that the file names, or None.
    shapes: In the order in which they are drawn; None if nobody has annotated
      the picture yet.
    left_out: (class name or '', reason) of each thing that is not read.
  """
  id: str
  photographs: tuple[str, ...]
  place: str
  size: tuple[int, int] | None
  shapes: tuple[Shape, ...] | None
  left_out: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Export:
  """What a tool has exported.

  Attributes:
    names: Classes that the export lists, in its order; others may be in use.
    pictures: Iterable of Picture, each read when it is asked for.
    own: Paths of pictures that are annotations, and so never photographs.
  """
  names: tuple[str, ...]
  pictures: Iterable[Picture]
  own: frozenset = frozenset()


def coordinates(values):
  """Returns a list of (x, y) as an [N, 2] float64 array.

  Raises:
    ValueError: There are none, or other things than numbers within
      polylines.FARTHEST pixels.
  """
  try:
    found = np.asarray(values, np.float64)
  except (TypeError, ValueError, OverflowError):
    found = np.empty(0)
  if found.ndim != 2 or found.shape[1] != 2 or not len(found):
    raise ValueError('has points that are not pairs of numbers')
  if not (np.abs(found) <= polylines.FARTHEST).all():  # So is NaN.
    raise ValueError('has a point far outside of any picture')
  return found


def box(class_name, left, top, right, bottom, turn=0.0, pivot=None):
  """Returns the Shape of a box; a POLYGON if it is turned.

  Args:
    class_name: As of Shape.
    left: Edges in pixels, as of Shape; so are the next three.
    top: See left.
    right: See left.
    bottom: See left.
    turn: Clockwise, in degrees.
    pivot: (x, y) that it is turned about.
  """
  corners = coordinates([(left, top), (right, bottom)])
  if not turn:
    return Shape(class_name, BOX, (corners,))
  angle = np.deg2rad(turn)
  if not np.isfinite(angle):
    raise ValueError('has a box that is turned by no number of degrees')
  ring = coordinates([(left, top), (right, top), (right, bottom),
                      (left, bottom)])
  rotation = np.array([[np.cos(angle), np.sin(angle)],
                       [-np.sin(angle), np.cos(angle)]])
  return Shape(class_name, POLYGON, (pivot + (ring - pivot) @ rotation,))


def bitmap(class_name, mask, origin=(0, 0)):
  """Returns the Shape of an [h, w] bool mask, cut to the part that is set."""
  rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
  if not len(rows):
    return Shape(class_name, BITMAP, mask=np.zeros([0, 0], bool), origin=origin)
  top, left = int(rows[0]), int(columns[0])
  part = mask[top:rows[-1] + 1, left:columns[-1] + 1].copy()
  return Shape(class_name, BITMAP, mask=part,
               origin=(origin[0] + top, origin[1] + left))


def values(image, names, origin=(0, 0)):
  """Returns a BITMAP for each value of an [h, w] integer image that is named.

  Args:
    image: Of any integer type.
    names: Dict of values; one that is None or not named is an error.
    origin: As of Shape.

  Returns:
    Tuple of Shapes; values with the name '' have none.

  Raises:
    ValueError: A value has no name.
  """
  found = np.unique(image)
  unknown = [int(value) for value in found if names.get(int(value)) is None]
  if unknown:
    raise ValueError(f'holds the value {unknown[0]}, which stands for no class')
  return tuple(bitmap(names[int(value)], image == value, origin)
               for value in found if names[int(value)])
