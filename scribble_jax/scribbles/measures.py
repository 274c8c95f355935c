"""Figures of scribbles: how much is drawn, where, and how well it fits."""

import dataclasses

import numpy as np
from scipy import ndimage
from scipy.sparse import csgraph

from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.weak_labels import deformation
from scribble_jax.weak_labels import paths


@dataclasses.dataclass(frozen=True)
class Measures:
  """Of one image. Those from `foreground` on need a dense mask, else None.

  Attributes:
    id: Name of the image.
    side: Its longer side in pixels.
    pixels: Number of its pixels.
    covered: Number of pixels scribbled.
    classes: Scribbled class indices.
    lengths: Of each connected stroke, in pixels.
    widths: Of each connected stroke, in pixels.
    foreground: Share of the pixels that are foreground.
    compared: Number of scribbled pixels that the mask has a class for.
    wrong: Number of those that disagree with it.
    distance: Of its agreeing pixels to their region's border in pixels, the
      median; None if there are none.
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
  """Returns the median distance to another class; None if there is none."""
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

  Both are exact for bars along rows, columns and diagonals; other slopes look
  up to 8 % longer.

  Args:
    stroke: [h, w] bool, its window.
  """
  # Doubled, a stroke has a ridge as deep as it is wide, be that odd or even.
  doubled = np.pad(stroke.repeat(2, 0).repeat(2, 1), 1)
  depth = ndimage.distance_transform_cdt(doubled)
  ridge = doubled & (depth == ndimage.maximum_filter(depth, 3))
  width = float(np.median(depth[ridge]))
  rows, columns = np.nonzero(stroke)
  graph = paths.grid_graph(rows, columns, np.ones(len(rows)))
  farthest = np.argmax(csgraph.dijkstra(graph, indices=0))
  length = csgraph.dijkstra(graph, indices=farthest).max()
  # That is from corner to corner: of a bar it crosses the width diagonally.
  return length + width - (width - 1) * np.sqrt(2), width
