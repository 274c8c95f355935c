"""Measures of a scribble: its size, its place and its agreement with a mask."""

import dataclasses

import numpy as np
from scipy import ndimage
from scipy.sparse import csgraph

from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.weak_labels import deformation
from scribble_jax.weak_labels import paths


@dataclasses.dataclass(frozen=True)
class Measures:
  """Measures of one image's scribble.

  The attributes from `foreground` on are None without a dense mask.

  Attributes:
    id: Name of the image.
    side: Longer side of the image in pixels.
    pixels: Number of the image's pixels.
    covered: Number of scribbled pixels.
    classes: Indices of the scribbled classes.
    lengths: Length of each connected stroke in pixels.
    widths: Width of each connected stroke in pixels.
    foreground: Share of the image's pixels that are foreground.
    compared: Number of scribbled pixels for which the mask has a class.
    wrong: Number of those pixels whose class is another one in the mask.
    distance: Median distance in pixels of the other ones, which agree, from
      their region's border; None without such pixels.
    absent: Number of the mask's foreground classes that have no stroke.
    present: Number of the mask's foreground classes.
  """
  id: str
  side: int
  pixels: int
  covered: int
  classes: tuple[int, ...]
  lengths: np.ndarray
  widths: np.ndarray
  foreground: float | None = None
  compared: int | None = None
  wrong: int | None = None
  distance: float | None = None
  absent: int | None = None
  present: int | None = None


def measure(image_id, scribble, mask=None):
  """Measures one image's scribble.

  Args:
    image_id: Name of the image.
    scribble: [H, W] uint8 classes, IGNORE_LABEL where unlabelled.
    mask: [H, W] uint8 classes of every pixel, or None.

  Returns:
    Measures.
  """
  strokes = [*deformation.strokes(scribble)]
  labels = tuple(sorted({int(label) for label, *_ in strokes}))
  sizes = [_length_and_width(stroke) for *_, stroke in strokes]
  sizes = np.reshape(sizes, [-1, 2])
  measures = Measures(
      image_id, max(scribble.shape), scribble.size,
      int(np.sum(scribble != IGNORE_LABEL)), labels, sizes[:, 0], sizes[:, 1])
  if mask is None:
    return measures
  compared = (scribble != IGNORE_LABEL) & (mask != IGNORE_LABEL)
  agreeing = compared & (scribble == mask)
  classes = {int(label) for label in np.unique(mask)} - {0, IGNORE_LABEL}
  return dataclasses.replace(
      measures,
      foreground=float(np.mean((mask > 0) & (mask != IGNORE_LABEL))),
      compared=int(compared.sum()),
      wrong=int(compared.sum() - agreeing.sum()),
      distance=_border_distance(mask, agreeing),
      absent=len(classes - set(labels)), present=len(classes))


def _border_distance(mask, agreeing):
  """Returns the median distance to another class; None without one."""
  distances = [np.zeros(0)]
  for label in np.unique(mask[agreeing]):
    region = mask == label
    if not region.all():
      distance = ndimage.distance_transform_edt(region)
      distances.append(distance[agreeing & region])
  distances = np.concatenate(distances)
  return float(np.median(distances)) if distances.size else None


def _length_and_width(stroke):
  """Returns the length and width of one connected stroke in pixels.

  Both are exact for bars along rows, columns and diagonals. At other slopes
  the length is overestimated by up to 8 %.

  Args:
    stroke: [h, w] bool, the window of the stroke.
  """
  # At double size, the depth of a stroke's middle equals its width, whether
  # the width is odd or even.
  doubled = np.pad(stroke.repeat(2, 0).repeat(2, 1), 1)
  depth = ndimage.distance_transform_cdt(doubled)
  ridge = doubled & (depth == ndimage.maximum_filter(depth, 3))
  width = float(np.median(depth[ridge]))
  rows, columns = np.nonzero(stroke)
  graph = paths.grid_graph(rows, columns, np.ones(len(rows)))
  farthest = np.argmax(csgraph.dijkstra(graph, indices=0))
  length = csgraph.dijkstra(graph, indices=farthest).max()
  # The path goes from corner to corner: it crosses a bar's width diagonally.
  return length + width - (width - 1) * np.sqrt(2), width
