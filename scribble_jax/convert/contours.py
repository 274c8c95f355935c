"""Traces the regions of a mask as polygons along the edges of pixels."""

import collections

import numpy as np
from scipy import ndimage


def polygons(mask):
  """Returns a polygon for each connected part of a mask.

  A hole belongs to the same polygon: the outline continues to the edge of the
  hole and returns on the same way, so that an even-odd fill leaves it out.

  Args:
    mask: [H, W] bool.

  Returns:
    List of [N, 2] int64 (x, y) corners of pixels; (0, 0) is the upper left one.
  """
  parts, _ = ndimage.label(mask)
  found = []
  for number, window in enumerate(ndimage.find_objects(parts), 1):
    rings = _rings(parts[window] == number)
    rings.sort(key=lambda ring: ring.min(0)[::-1].tolist())  # Outer ring first.
    whole = [rings[0], rings[0][:1]] if len(rings) > 1 else [rings[0]]
    for hole in rings[1:]:
      whole += [hole, hole[:1], rings[0][:1]]
    corner = np.array([window[1].start, window[0].start])
    found.append(np.concatenate(whole) + corner)
  return found


def _rings(mask):
  """Returns the closed lines around the set pixels of an [h, w] bool."""
  padded = np.pad(mask, 1)
  ways = collections.defaultdict(list)  # {corner: [next corner, ...]}.
  for shift, axis, start, end in (
      (1, 0, (0, 0), (1, 0)), (-1, 1, (1, 0), (1, 1)),
      (-1, 0, (1, 1), (0, 1)), (1, 1, (0, 1), (0, 0))):
    edges = padded & ~np.roll(padded, shift, axis)
    for row, column in np.argwhere(edges[1:-1, 1:-1]).tolist():
      ways[column + start[0], row + start[1]].append(
          (column + end[0], row + end[1]))
  rings = []
  while ways:
    corner, ring = next(iter(ways)), []
    while corner in ways:
      ring.append(corner)
      following = ways[corner].pop()
      if not ways[corner]:
        del ways[corner]
      corner = following
    ring = np.array(ring)
    turns = np.any((ring - np.roll(ring, 1, 0)) !=
                   (np.roll(ring, -1, 0) - ring), axis=1)
    rings.append(ring[turns])
  return rings
