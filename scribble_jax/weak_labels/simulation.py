"""Simulates the strokes that a person might draw on the regions of a mask.

A stroke has one of STYLES, covers a part of its region's length, has jitter,
and never crosses the region's border. The functions are pure: they depend on a
random number generator and a mask of any size.
"""

import numpy as np
from scipy import ndimage

from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.weak_labels import paths

MEDIAL, CURVE, BOUNDARY, SPOT = 'medial', 'curve', 'boundary', 'spot'
MIXED = 'mixed'
STYLES = (MEDIAL, CURVE, BOUNDARY, SPOT, MIXED)
# Frequencies of the styles in MIXED: people draw mostly through the middle.
_MIXTURE = {MEDIAL: 0.45, CURVE: 0.3, BOUNDARY: 0.15, SPOT: 0.1}
WIDTH = 3  # Pixels.
MAX_PARTS, MAX_BACKGROUND_STROKES = 3, 2
# Share of the middle line that a stroke covers: its mean, and the maximum
# deviation from the mean.
COVERAGE, COVERAGE_SPREAD = 0.6, 0.15
# Maximum length of a stroke, as a share of the image's longer side. It limits
# background strokes, whose middle line can wind around every object.
MAX_LENGTH = 0.6
# Jitter of the pen, as a share of the distance to the border, and smoothness:
# turns shorter than the stroke's length over the smoothness are removed.
_JITTER = {MEDIAL: 0.25, CURVE: 0.1, BOUNDARY: 0.15}
_SMOOTHNESS = {MEDIAL: 7, CURVE: 14, BOUNDARY: 14}
# Minimum area of a part of a class that gets a stroke, as a share of the area
# of the class's largest part.
MIN_PART = 0.2
# Distance between background strokes, as a share of the image's longer side.
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
    coverage: Mean length of a stroke, as a share of its part's middle line.
    max_parts: Maximum number of strokes of a foreground class; the largest
      parts get them.
    max_background_strokes: Maximum number of background strokes. The number is
      random and at least 1, unless the maximum is 0.
    background_probability: Probability that there are background strokes.

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
  """Draws one stroke through a region.

  Args:
    rng: np.random.Generator.
    region: [H, W] bool with at least one pixel set.
    width: Stroke width in pixels.
    style: One of STYLES.
    coverage: Mean length of the stroke, as a share of the region's middle line.

  Returns:
    [H, W] bool, a connected non-empty subset of the region.
  """
  window = ndimage.find_objects(region.view(np.uint8))[0]
  inside = region[window]
  # Padding makes the edges of the window and of the image borders. The
  # chessboard distance suffices and takes a tenth of the exact one's time.
  depth = np.float64(ndimage.distance_transform_cdt(np.pad(inside, 1)))
  depth = depth[1:-1, 1:-1]
  if style == MIXED:
    style = rng.choice(list(_MIXTURE), p=list(_MIXTURE.values()))
  neighbours = (
      _neighbour_distance(region, window) if style == BOUNDARY else None)
  points = _line(rng, depth, neighbours, width, style, coverage,
                 MAX_LENGTH * max(region.shape))
  drawn = paths.stamp(points, inside.shape, width)
  # Keep one pixel free beside the border if there is room for it.
  drawn &= depth > 1 if depth.max() > 2 else inside
  stroke = np.zeros_like(region)
  stroke[window] = _largest_parts(drawn, 1)[0] if drawn.any() else (
      paths.stamp(paths.deepest(depth), inside.shape, width) & inside)
  return stroke


def _neighbour_distance(region, window):
  """Returns a region's depth without the image's edge as a border."""
  padded = np.pad(region[window], 1)
  for axis, (side, total) in enumerate(zip(window, region.shape, strict=True)):
    lines = np.moveaxis(padded, axis, 0)  # No region is beyond the edge.
    lines[0] |= side.start == 0
    lines[-1] |= side.stop == total
  return np.float64(ndimage.distance_transform_cdt(padded))[1:-1, 1:-1]


def _line(rng, depth, neighbour_distance, width, style, coverage, max_length):
  """Returns the [N, 2] points of a stroke of any style except MIXED."""
  if style == SPOT:
    return paths.dot(rng, depth)
  points = paths.middle_line(rng, depth)
  if style == BOUNDARY:
    border = paths.border_line(rng, depth, neighbour_distance, width)
    points = border if len(border) > 1 else points
  length = paths.line_length(points)
  spread = min(COVERAGE_SPREAD, coverage, 1 - coverage)
  # Rounded, so that the default range is exactly 0.45 to 0.75.
  share = rng.uniform(round(coverage - spread, 6), round(coverage + spread, 6))
  kept = min(length * share, max_length)
  if style == CURVE and kept:
    points = paths.curve(rng, depth, kept, margin=0.5 * width + 1)
    length = kept = paths.line_length(points)
  points = paths.stretch(points, rng.uniform(0, length - kept), kept)
  return paths.waver(rng, points, depth, _SMOOTHNESS[style], _JITTER[style])


def background_strokes(rng, region, width, count, style=MEDIAL,
                       coverage=COVERAGE):
  """Draws up to `count` strokes with a distance between them.

  Args:
    rng: np.random.Generator.
    region: [H, W] bool with at least one pixel set.
    width: Stroke width in pixels.
    count: Maximum number of strokes, at least 1.
    style: One of STYLES.
    coverage: As in `draw_stroke`.

  Returns:
    List of [H, W] bool.
  """
  strokes = []
  while region.any():
    strokes.append(draw_stroke(rng, region, width, style, coverage))
    if len(strokes) == count:
      break
    distance = ndimage.distance_transform_cdt(~strokes[-1])
    region = region & (distance > BACKGROUND_GAP * max(region.shape))
  return strokes


def _largest_parts(region, max_parts):
  """Returns [H, W] bool masks of a region's large connected parts."""
  parts, count = ndimage.label(region, np.ones([3, 3]))
  areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
  order = np.argsort(-areas, kind='stable')[:max_parts]
  return [parts == 1 + index for index in order
          if areas[index] >= MIN_PART * areas.max()]
