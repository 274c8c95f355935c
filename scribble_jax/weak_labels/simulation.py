"""Simulated strokes: what a person might scribble on each region of a mask.

A stroke goes through its region in one of STYLES, covers a part of its length,
wavers, and never crosses the region's border. Pure functions of a generator
and a mask of any size.
"""

import numpy as np
from scipy import ndimage

from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.weak_labels import paths

MEDIAL, CURVE, BOUNDARY, SPOT = 'medial', 'curve', 'boundary', 'spot'
MIXED = 'mixed'
STYLES = (MEDIAL, CURVE, BOUNDARY, SPOT, MIXED)
# What people do: mostly through the middle, seldom a mere dot.
_MIXTURE = {MEDIAL: 0.45, CURVE: 0.3, BOUNDARY: 0.15, SPOT: 0.1}
WIDTH = 3  # Pixels.
MAX_PARTS, MAX_BACKGROUND_STROKES = 3, 2
# Share of the middle line that one stroke covers: about this on average, up to
# so much more or less.
COVERAGE, COVERAGE_SPREAD = 0.6, 0.15
# No stroke is longer than this share of the image's longer side; it bounds
# background strokes, whose middle line can wind around every object.
MAX_LENGTH = 0.6
# Waver of the hand, as a share of the distance to the border; and turns of a
# stroke shorter than its length over the smoothness are smoothed away.
_JITTER = {MEDIAL: 0.25, CURVE: 0.1, BOUNDARY: 0.15}
_SMOOTHNESS = {MEDIAL: 7, CURVE: 14, BOUNDARY: 14}
# A class's further parts (other objects, or what an occluder cuts off) get a
# stroke when at least this share of its largest part.
MIN_PART = 0.2
# Background strokes keep this share of the longer side apart.
BACKGROUND_GAP = 0.2


def simulate_scribble(rng, mask, width=WIDTH, *, style=MEDIAL,
                      coverage=COVERAGE, max_parts=MAX_PARTS,
                      max_background_strokes=MAX_BACKGROUND_STROKES,
                      background_probability=1.0):
  """Draws one stroke on each large part of each class of a mask.

  Args:
    rng: np.random.Generator.
    mask: [H, W] uint8 classes; 0 is background, 255 belongs to no class.
    width: Stroke width in pixels; a part too small for a stroke gets a dot.
    style: One of STYLES.
    coverage: Mean share of a part's middle line that a stroke is long.
    max_parts: Strokes per foreground class at most, largest parts first.
    max_background_strokes: Background gets one stroke up to this many,
    background_probability: or, if this draw fails, none.

  Returns:
    [H, W] uint8 classes on the strokes, IGNORE_LABEL elsewhere. Every labelled
    pixel agrees with the mask, and every foreground class of the mask has one.
  """
  scribble = np.full_like(mask, IGNORE_LABEL)
  for label in np.unique(mask):
    if label == IGNORE_LABEL:
      continue
    if label == 0:
      if max_background_strokes < 1 or (
          background_probability < 1
          and rng.random() >= background_probability):
        continue
      count = rng.integers(1, max_background_strokes + 1)
      strokes = background_strokes(
          rng, mask == 0, width, count, style, coverage)
    else:
      strokes = [draw_stroke(rng, part, width, style, coverage)
                 for part in _largest_parts(mask == label, max_parts)]
    for stroke in strokes:
      scribble[stroke] = label
  return scribble


def draw_stroke(rng, region, width, style=MEDIAL, coverage=COVERAGE):
  """Draws one wavering stroke through a region.

  Args:
    rng: np.random.Generator.
    region: [H, W] bool with at least one pixel set.
    width: Stroke width in pixels.
    style: One of STYLES.
    coverage: Mean share of the region's middle line that it is long.

  Returns:
    [H, W] bool, a connected non-empty subset of the region.
  """
  window = ndimage.find_objects(region.view(np.uint8))[0]
  inside = region[window]
  # Padding makes the window's edge a border, hence the image's edge too. The
  # chessboard distance does here, in a tenth of the time of the exact one.
  depth = np.float64(ndimage.distance_transform_cdt(np.pad(inside, 1)))
  depth = depth[1:-1, 1:-1]
  if style == MIXED:
    style = rng.choice(list(_MIXTURE), p=list(_MIXTURE.values()))
  neighbours = (
      _neighbour_distance(region, window) if style == BOUNDARY else None)
  points = _line(rng, depth, neighbours, width, style, coverage,
                 MAX_LENGTH * max(region.shape))
  drawn = paths.stamp(points, inside.shape, width)
  # A free pixel beside the border where there is room for it.
  drawn &= depth > 1 if depth.max() > 2 else inside
  stroke = np.zeros_like(region)
  stroke[window] = _largest_parts(drawn, 1)[0] if drawn.any() else (
      paths.stamp(paths.deepest(depth), inside.shape, width) & inside)
  return stroke


def _neighbour_distance(region, window):
  """Returns as a region's depth how far its pixels are from other regions."""
  padded = np.pad(region[window], 1)
  for axis, (side, total) in enumerate(zip(window, region.shape, strict=True)):
    lines = np.moveaxis(padded, axis, 0)  # Nobody is beyond the image's edge.
    lines[0] |= side.start == 0
    lines[-1] |= side.stop == total
  return np.float64(ndimage.distance_transform_cdt(padded))[1:-1, 1:-1]


def _line(rng, depth, neighbour_distance, width, style, coverage, max_length):
  """Returns the [N, 2] points of a stroke of one of the STYLES but MIXED."""
  if style == SPOT:
    return paths.dot(rng, depth)
  points = paths.middle_line(rng, depth)
  if style == BOUNDARY:
    border = paths.border_line(rng, depth, neighbour_distance, width)
    points = border if len(border) > 1 else points
  length = paths.line_length(points)
  kept = min(length * rng.uniform(*_coverage_range(coverage)), max_length)
  if style == CURVE and kept:
    points = paths.curve(rng, depth, kept, margin=0.5 * width + 1)
    length = kept = paths.line_length(points)
  points = paths.stretch(points, rng.uniform(0, length - kept), kept)
  return paths.waver(rng, points, depth, _SMOOTHNESS[style], _JITTER[style])


def _coverage_range(mean):
  """Returns the least and the greatest share; the default's are 0.45, 0.75."""
  spread = min(COVERAGE_SPREAD, mean, 1 - mean)
  return round(mean - spread, 6), round(mean + spread, 6)


def background_strokes(rng, region, width, count, style=MEDIAL,
                       coverage=COVERAGE):
  """Returns up to `count` strokes that keep apart from one another.

  Args:
    rng: np.random.Generator.
    region: [H, W] bool with at least one pixel set.
    width: Stroke width in pixels.
    count: At least 1.
    style: One of STYLES.
    coverage: See `draw_stroke`.

  Returns:
    List of [H, W] bool.
  """
  strokes = [draw_stroke(rng, region, width, style, coverage)]
  while len(strokes) < count:
    distance = ndimage.distance_transform_cdt(~strokes[-1])
    region = region & (distance > BACKGROUND_GAP * max(region.shape))
    if not region.any():
      break
    strokes.append(draw_stroke(rng, region, width, style, coverage))
  return strokes


def _largest_parts(region, max_parts):
  """Returns [H, W] bool masks of a region's connected parts, largest first."""
  parts, count = ndimage.label(region, np.ones([3, 3]))
  areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
  order = np.argsort(-areas, kind='stable')[:max_parts]
  return [parts == 1 + index for index in order
          if areas[index] >= MIN_PART * areas.max()]
