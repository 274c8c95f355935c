"""Degrades scribbles by the robustness protocol (METHOD 10).

Each connected stroke has its own random numbers, which depend on a seed, the
image's id and the stroke's place in the map, but not on the ratios: whatever a
higher ratio keeps, a lower ratio keeps too.
"""

import numpy as np
from scipy import ndimage
from scipy.sparse import csgraph

from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.weak_labels import paths
from scribble_jax.weak_labels import seeding

_TOUCHING = np.ones([3, 3])  # Diagonal neighbours belong to one stroke.


def deform(scribble, *, shrink, drop, key):
  """Shortens strokes and removes some, including background strokes.

  Args:
    scribble: [H, W] uint8 classes, IGNORE_LABEL where unlabelled.
    shrink: Share of each stroke's length that is removed, in [0, 1]. A
      contiguous part is kept; at 1 it is one spot.
    drop: Probability that a stroke is removed, in [0, 1]. One stroke is always
      kept.
    key: (seed, image id): a non-negative integer and a string.

  Returns:
    [H, W] uint8: `scribble` where it is kept, IGNORE_LABEL elsewhere.
  """
  if not shrink and not drop:
    return scribble.copy()
  rng = seeding.generator(*key)
  found = list(strokes(scribble))
  # Both are drawn for every stroke, so that no ratio changes the numbers.
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
    label: Class of the stroke.
    window: Two slices, the bounding box of the stroke.
    stroke: [h, w] bool, the stroke within the window.
  """
  for label in np.unique(scribble):
    if label != IGNORE_LABEL:
      parts, _ = ndimage.label(scribble == label, _TOUCHING)
      for number, window in enumerate(ndimage.find_objects(parts), 1):
        yield label, window, parts[window] == number


def _shrunk(stroke, ratio, place):
  """Keeps the pixels of a stroke that are nearest to one of its places.

  Distances are measured along the stroke, so that the kept part is connected.
  As a stroke has one width, its area stands for its length.

  Args:
    stroke: [h, w] bool, connected.
    ratio: Share of the area that is removed, in [0, 1].
    place: Relative position of the middle of the kept part, in [0, 1).

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
  # Rounding keeps ties the same on every machine.
  nearest = np.argsort(np.round(distance, 6), kind='stable')[:kept]
  shrunk = np.zeros_like(stroke)
  shrunk[rows[nearest], columns[nearest]] = True
  return shrunk


def _width(stroke):
  """Returns a stroke's width in pixels, and the places of that width.

  Args:
    stroke: [h, w] bool.

  Returns:
    width: Side of the largest square that fits into most of the stroke.
    middle: [h, w] bool, the places where the square fits.
  """
  width, middle = 1, stroke
  values = stroke.view(np.uint8)
  while True:
    # The constant 0 excludes squares that cross the window's edge.
    square = {'size': (width + 1, width + 1), 'mode': 'constant'}
    opened = ndimage.grey_opening(values, **square)
    # Only most of it, because crossings and blots are wider than the line.
    if 2 * np.count_nonzero(opened) < np.count_nonzero(stroke):
      return width, middle
    width, middle = width + 1, ndimage.grey_erosion(values, **square) > 0
