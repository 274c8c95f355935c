"""Scribbles of lower quality: the robustness protocol (METHOD 10).

Each connected stroke has its own random numbers, from a seed, the image's id
and the stroke's place in the map. The ratios only say how far they go: what a
higher ratio keeps, a lower one keeps too.
"""

import numpy as np
from scipy import ndimage
from scipy.sparse import csgraph

from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.weak_labels import paths
from scribble_jax.weak_labels import seeding

_TOUCHING = np.ones([3, 3])  # Diagonal neighbours are of one stroke.


def deform(scribble, *, shrink, drop, key):
  """Shortens strokes and leaves some out, background strokes too.

  Args:
    scribble: [H, W] uint8 classes, IGNORE_LABEL where unlabelled.
    shrink: Share of each stroke's length that goes, in [0, 1]; a contiguous
      part stays, at 1 one spot.
    drop: Probability that a stroke goes, in [0, 1]; the last one never does.
    key: (seed, image id): a non-negative integer and a string.

  Returns:
    [H, W] uint8: `scribble` where it is kept, IGNORE_LABEL elsewhere.
  """
  if not shrink and not drop:
    return scribble.copy()
  rng = seeding.generator(*key)
  found = list(strokes(scribble))
  # Both are drawn for every stroke, so that neither ratio changes the other's.
  survival, place = rng.random([2, len(found)])
  deformed = np.full_like(scribble, IGNORE_LABEL)
  for i, (label, window, stroke) in enumerate(found):
    if survival[i] >= drop or survival[i] == survival.max():
      deformed[window][_shrunk(stroke, shrink, place[i])] = label
  return deformed


def strokes(scribble):
  """Finds the connected strokes of each class.

  Args:
    scribble: [H, W] uint8 classes, IGNORE_LABEL where unlabelled.

  Yields:
    label: Its class.
    window: Two slices that hold the stroke.
    stroke: [h, w] bool, the stroke within its window.
  """
  for label in np.unique(scribble):
    if label != IGNORE_LABEL:
      parts, _ = ndimage.label(scribble == label, _TOUCHING)
      for number, window in enumerate(ndimage.find_objects(parts), 1):
        yield label, window, parts[window] == number


def _shrunk(stroke, ratio, place):
  """Keeps the pixels of a stroke that are nearest to one of its places.

  Nearest along the stroke: what stays is connected, whatever the stroke's form,
  and as strokes are equally wide, its area stands for its length.

  Args:
    stroke: [h, w] bool, connected.
    ratio: Share of the area that goes, in [0, 1].
    place: Where the middle of what stays is, in [0, 1).

  Returns:
    [h, w] bool, a connected part of the stroke, at least one spot.
  """
  if not ratio:
    return stroke
  width, middle = _width(stroke)
  rows, columns = np.nonzero(stroke)
  candidates = np.flatnonzero(middle[rows, columns])
  graph = paths.grid_graph(rows, columns, np.ones(len(rows)))
  distance = csgraph.dijkstra(
      graph, indices=candidates[int(place * len(candidates))])
  kept = max(round((1 - ratio) * len(rows)), width**2)
  # Rounded, so that no machine's last digit decides between equals.
  nearest = np.argsort(np.round(distance, 6), kind='stable')[:kept]
  shrunk = np.zeros_like(stroke)
  shrunk[rows[nearest], columns[nearest]] = True
  return shrunk


def _width(stroke):
  """Returns a stroke's width in pixels, and where it is that wide.

  Args:
    stroke: [h, w] bool.

  Returns:
    width: Side of the largest square that fits in most of the stroke.
    middle: [h, w] bool, the places where it fits.
  """
  width, middle = 1, stroke
  values = stroke.view(np.uint8)
  while True:
    # Squares that reach over the window's edge do not fit: constant 0.
    square = {'size': (width + 1, width + 1), 'mode': 'constant'}
    opened = ndimage.grey_opening(values, **square)
    # Most of it: crossings and blots are wider than the line.
    if 2 * np.count_nonzero(opened) < np.count_nonzero(stroke):
      return width, middle
    width, middle = width + 1, ndimage.grey_erosion(values, **square) > 0
