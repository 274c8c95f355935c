"""Simulated strokes: what a person might scribble on each region of a mask.

A stroke follows the middle of its region, covers a part of its length,
wavers, and never crosses the region's border. Pure functions of a generator
and a mask of any size.
"""

import numpy as np
from scipy import ndimage
from scipy import sparse
from scipy.sparse import csgraph

from scribble_jax.labels import IGNORE_LABEL

# The middle line is searched on a grid of about this many nodes, so the cost
# of a stroke does not grow with the image.
GRID_NODES = 200
# Shallower places than this share of the region's greatest depth are left out
# of the search: people keep away from borders and skip thin tips.
MIN_RELATIVE_DEPTH = 0.35
# Standard deviation of the log of the travel cost: no two people take the
# same way through a region.
COST_VARIATION = 0.5
# Share of the middle line that one stroke covers.
MIN_KEPT, MAX_KEPT = 0.45, 0.75
# No stroke is longer than this share of the image's longer side; it bounds
# background strokes, whose middle line can wind around every object.
MAX_LENGTH = 0.6
# Waver of the hand, as a share of the distance to the border.
JITTER = 0.25
# Turns of a stroke shorter than its length over this are smoothed away.
SMOOTHNESS = 7
# A class's further parts (other objects, or what an occluder cuts off) get a
# stroke when at least this share of its largest part.
MIN_PART = 0.2
# Background strokes keep this share of the longer side apart.
BACKGROUND_GAP = 0.2


def simulate_scribble(rng, mask, width=3, *, max_parts=3,
                      max_background_strokes=2, background_probability=1.0):
  """Draws one stroke on each large part of each class of a mask.

  Args:
    rng: np.random.Generator.
    mask: [H, W] uint8 classes; 0 is background, 255 belongs to no class.
    width: Stroke width in pixels; a part too small for a stroke gets a dot.
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
      if background_probability < 1 and rng.random() >= background_probability:
        continue
      count = rng.integers(1, max_background_strokes + 1)
      strokes = _background_strokes(rng, mask == 0, width, count)
    else:
      strokes = [draw_stroke(rng, part, width)
                 for part in _largest_parts(mask == label, max_parts)]
    for stroke in strokes:
      scribble[stroke] = label
  return scribble


def draw_stroke(rng, region, width):
  """Draws one wavering stroke along the middle of a region.

  Args:
    rng: np.random.Generator.
    region: [H, W] bool with at least one pixel set.
    width: Stroke width in pixels.

  Returns:
    [H, W] bool, a connected non-empty subset of the region.
  """
  window = ndimage.find_objects(region.view(np.uint8))[0]
  inside = region[window]
  # Padding makes the window's edge a border, hence the image's edge too. The
  # chessboard distance does here, in a tenth of the time of the exact one.
  depth = np.float64(ndimage.distance_transform_cdt(np.pad(inside, 1)))
  depth = depth[1:-1, 1:-1]
  points = _middle_line(rng, depth)
  points = _partial(rng, points, MAX_LENGTH * max(region.shape))
  points = _waver(rng, points, depth)
  drawn = _stamp(points, inside.shape, width)
  # A free pixel beside the border where there is room for it.
  drawn &= depth > 1 if depth.max() > 2 else inside
  stroke = np.zeros_like(region)
  stroke[window] = _largest_parts(drawn, 1)[0] if drawn.any() else (
      _stamp(_deepest(depth)[None], inside.shape, width) & inside)
  return stroke


def _background_strokes(rng, region, width, count):
  """Returns up to `count` strokes that keep apart from one another."""
  strokes = [draw_stroke(rng, region, width)]
  while len(strokes) < count:
    distance = ndimage.distance_transform_cdt(~strokes[-1])
    region = region & (distance > BACKGROUND_GAP * max(region.shape))
    if not region.any():
      break
    strokes.append(draw_stroke(rng, region, width))
  return strokes


def _largest_parts(region, max_parts):
  """Returns [H, W] bool masks of a region's connected parts, largest first."""
  parts, count = ndimage.label(region, np.ones([3, 3]))
  areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
  order = np.argsort(-areas, kind='stable')[:max_parts]
  return [parts == 1 + index for index in order
          if areas[index] >= MIN_PART * areas.max()]


def _deepest(depth):
  return np.array(np.unravel_index(np.argmax(depth), depth.shape), float)


def _middle_line(rng, depth):
  """Finds the longest of the cheap paths through a region's deep part.

  Args:
    rng: np.random.Generator.
    depth: [h, w] float distance to the border in pixels, 0 outside the region.

  Returns:
    [N, 2] float (row, column) in pixels; one point where there is no path.
  """
  step = np.sqrt(np.count_nonzero(depth) / GRID_NODES)
  step = max(1, int(min(step, depth.max() / 2)))
  grid = depth[step // 2::step, step // 2::step]
  rows, columns = np.nonzero(grid > MIN_RELATIVE_DEPTH * depth.max())
  if len(rows) < 2:
    return _deepest(depth)[None]
  start = np.argmax(grid[rows, columns])
  cost = np.exp(COST_VARIATION * rng.standard_normal(len(rows)))
  # Dividing by the depth draws the path to the middle.
  graph = _grid_graph(rows, columns, cost / grid[rows, columns]**1.5)
  # Two sweeps: the farthest node from the farthest node ends a longest path.
  distance = csgraph.dijkstra(graph, indices=start)
  end = np.argmax(np.where(np.isfinite(distance), distance, -1))
  distance, before = csgraph.dijkstra(
      graph, indices=end, return_predecessors=True)
  node = np.argmax(np.where(np.isfinite(distance), distance, -1))
  path = [node]
  while before[node] >= 0:
    node = before[node]
    path.append(node)
  return np.stack([rows[path], columns[path]], 1) * float(step) + step // 2


def _grid_graph(rows, columns, cost):
  """Connects each node to its 8 neighbours; returns an [N, N] sparse graph."""
  index = np.full([rows.max() + 2, columns.max() + 3], -1)
  index[rows, columns + 1] = np.arange(len(rows))
  sources, targets, weights = [], [], []
  for down, right in (0, 1), (1, -1), (1, 0), (1, 1):
    neighbour = index[rows + down, columns + 1 + right]
    source = np.flatnonzero(neighbour >= 0)
    target = neighbour[source]
    sources.append(np.concatenate([source, target]))
    targets.append(np.concatenate([target, source]))
    length = np.hypot(down, right) * (cost[source] + cost[target]) / 2
    weights.append(np.concatenate([length, length]))
  entries = np.concatenate(weights), (
      np.concatenate(sources), np.concatenate(targets))
  return sparse.csr_array(entries, shape=(len(rows), len(rows)))


def _partial(rng, points, max_length):
  """Keeps a random contiguous share of a line; one point every half pixel.

  Args:
    rng: np.random.Generator.
    points: [N, 2] (row, column) in pixels.
    max_length: Longest stroke, in pixels.

  Returns:
    [M, 2] (row, column) in pixels.
  """
  steps = np.hypot(*np.diff(points, axis=0).T)
  position = np.concatenate([[0], np.cumsum(steps)])
  length = position[-1]
  kept = min(length * rng.uniform(MIN_KEPT, MAX_KEPT), max_length)
  first = rng.uniform(0, length - kept)
  places = first + np.arange(0, kept + 0.5, 0.5)
  return np.stack(
      [np.interp(places, position, points[:, axis]) for axis in (0, 1)], 1)


def _waver(rng, points, depth):
  """Rounds a line's corners and lets it waver within its region.

  Args:
    rng: np.random.Generator.
    points: [M, 2] (row, column) in pixels, half a pixel apart.
    depth: [h, w] float distance to the border in pixels.

  Returns:
    [M, 2] (row, column) in pixels.
  """
  smoothing = max(2.0, len(points) / SMOOTHNESS)  # In points.

  def smooth(values):
    return ndimage.gaussian_filter1d(values, smoothing, axis=0, mode='nearest')

  room = smooth(depth[tuple(np.round(points).astype(int).T)])
  # A Gaussian filter leaves noise with variance 1 / (2 sqrt(pi) sigma).
  noise = smooth(rng.standard_normal(points.shape))
  noise *= np.sqrt(2 * np.sqrt(np.pi) * smoothing)
  return smooth(points) + np.tanh(JITTER * noise) * room[:, None]


def _stamp(points, shape, width):
  """Returns [h, w] bool: discs of diameter `width` pixels at the points."""
  offset = np.mgrid[:width, :width].reshape(2, -1).T - (width - 1) / 2
  offset = offset[np.hypot(*offset.T) <= width / 2]
  pixels = np.round(points)[:, None] + np.floor(offset + 0.5)
  rows, columns = pixels.reshape(-1, 2).astype(int).T
  kept = ((rows >= 0) & (rows < shape[0]) &
          (columns >= 0) & (columns < shape[1]))
  drawn = np.zeros(shape, bool)
  drawn[rows[kept], columns[kept]] = True
  return drawn
