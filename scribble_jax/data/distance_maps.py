"""The two distance maps that weight the entropy (METHOD 3), exact in 8 bits."""

import math

import numpy as np
from scipy import ndimage

from scribble_jax.labels import IGNORE_LABEL


def _foreground(labels):
  return (labels > 0) & (labels < IGNORE_LABEL)


def _scaled_distance(marked, scale):
  """Distance to the nearest marked pixel times `scale`, truncated to 8 bits."""
  distance = np.full(marked.shape, 255, np.uint8)  # The largest value.
  area = _area_within(marked, math.ceil(255 / scale) if scale else math.inf)
  if area is None:
    return distance
  rows, columns = ndimage.distance_transform_edt(
      ~marked[area], return_distances=False, return_indices=True)
  rows -= np.arange(rows.shape[0], dtype=rows.dtype)[:, None]
  columns -= np.arange(rows.shape[1], dtype=rows.dtype)
  squared = rows * rows + columns * columns
  # Squared distances are whole numbers, so a table saves most of the roots.
  last = rows.shape[0]**2 + rows.shape[1]**2
  if scale:
    # The table ends where values saturate; 1 more, as rounding may leave
    # 254.999... there.
    last = min(last, math.ceil((255 / scale)**2) + 1)
  scaled = np.minimum(scale * np.sqrt(np.arange(last + 1)), 255)
  # astype truncates. Unlike indexing, `take` releases Python's lock.
  distance[area] = np.take(scaled.astype(np.uint8), squared, mode='clip')
  return distance


def _area_within(marked, reach):
  """Returns the smallest rectangle around marked pixels, plus a margin.

  Args:
    marked: [H, W] bool.
    reach: Margin in pixels; may be infinite.

  Returns:
    Slices of rows and columns, or None if nothing is marked.
  """
  area = []
  for axis, length in enumerate(marked.shape):
    places = np.flatnonzero(marked.any(axis=1 - axis))
    if not places.size:
      return None
    area.append(slice(int(max(places[0] - reach, 0)),
                      int(min(places[-1] + reach + 1, length))))
  return tuple(area)


def scribble_distance_map(scribble, lambda_s):
  """Returns d_s: 255 on the foreground strokes, decreasing with the distance.

  Args:
    scribble: [H, W] uint8 classes, 255 where unlabelled.
    lambda_s: Coefficient of the squared distance; e in the paper.

  Returns:
    [H, W] uint8, 255 - min(255, trunc(sqrt(lambda_s) * distance in pixels));
    0 everywhere if there is no foreground stroke.
  """
  return 255 - _scaled_distance(_foreground(scribble), math.sqrt(lambda_s))


def pseudo_label_distance_map(pseudo_label, lambda_c):
  """Returns d_c: 0 on the foreground's contour, increasing with the distance.

  Args:
    pseudo_label: [H, W] uint8 classes, 255 where undecided.
    lambda_c: Coefficient of the squared distance; e^6 in the paper.

  Returns:
    [H, W] uint8, min(255, trunc(sqrt(lambda_c) * distance in pixels)). The
    distance is that to the nearest foreground pixel with a 4-neighbour outside
    the foreground or the image. 255 everywhere without foreground.
  """
  foreground = _foreground(pseudo_label)
  framed = np.pad(foreground, 1)
  contour = foreground & ~(framed[:-2, 1:-1] & framed[2:, 1:-1]
                           & framed[1:-1, :-2] & framed[1:-1, 2:])
  return _scaled_distance(contour, math.sqrt(lambda_c))
