"""Paths of a pen through a region, as lines of points.

Points are [N, 2] float (row, column) in pixels. `depth` is always the [h, w]
float distance to the region's border in pixels, 0 outside. No choice between
paths depends on rounding errors, so that every machine draws the same.
"""

import numpy as np
from scipy import ndimage
from scipy import sparse
from scipy.sparse import csgraph

# Approximate number of grid nodes in the search for the middle line. It keeps
# the cost of a stroke independent of the image's size.
GRID_NODES = 200
# A line along the border needs a finer grid.
BORDER_GRID_NODES = 1500
# Minimum depth of the middle line, as a share of the region's greatest depth:
# people keep away from borders and skip thin tips.
MIN_RELATIVE_DEPTH = 0.35
# Standard deviation of the logarithm of the travel cost: people take different
# paths through a region.
COST_VARIATION = 0.5
# Range of a border line's distance from the border, as a share of the greatest
# depth.
BORDER_DISTANCE = (0.2, 0.4)
# Minimum depth of a dot, as a share of the greatest depth.
DOT_DEPTH = 0.6
# A curve is the longest of this many random walks of this many steps.
WALKS, STEPS = 12, 40
# Standard deviations, in radians over a whole walk, of its bend and of the
# change of its bend. Walks look like arcs or like the letter S.
BEND, BEND_CHANGE = 2.0, 3.0
# Before a border, a walk turns by TURN radians a step. It measures the depth at
# FEELER_ANGLE radians to either side, FEELER_STEPS steps ahead.
TURN, FEELER_ANGLE, FEELER_STEPS = 0.3, 0.7, 5
# The waves of the pen's jitter are at least the line's length over this long.
WAVES = 7


def deepest(depth):
  """Returns the [1, 2] point of greatest depth; the first one of equals."""
  return np.array([np.unravel_index(np.argmax(depth), depth.shape)], float)


def middle_line(rng, depth):
  """Finds a long path through the deep part of a region.

  Args:
    rng: np.random.Generator.
    depth: [h, w] float.

  Returns:
    [N, 2] points; a single point if there is no path.
  """
  step = np.sqrt(np.count_nonzero(depth) / GRID_NODES)
  step = max(1, int(min(step, depth.max() / 2)))
  grid = depth[step // 2::step, step // 2::step]
  rows, columns = np.nonzero(grid > MIN_RELATIVE_DEPTH * depth.max())
  if len(rows) < 2:
    return deepest(depth)
  start = np.argmax(grid[rows, columns])
  cost = np.exp(COST_VARIATION * rng.standard_normal(len(rows)))
  # Dividing by the depth moves the path to the middle.
  cost /= grid[rows, columns]**1.5
  return _longest_path(rows, columns, cost, start) * float(step) + step // 2


def border_line(rng, depth, neighbour_distance, width):
  """Finds a line along the border, about half way around the region.

  Args:
    rng: np.random.Generator.
    depth: [h, w] float.
    neighbour_distance: Like `depth`, but the image's edge is not a border.
    width: Width of the stroke in pixels, which keeps it off the border.

  Returns:
    [N, 2] points; a single point if there is no path.
  """
  aim = max(rng.uniform(*BORDER_DISTANCE) * depth.max(), 0.5 * width + 1)
  step = np.sqrt(np.count_nonzero(depth) / BORDER_GRID_NODES)
  step = max(1, int(min(step, aim / 2)))
  nodes = slice(step // 2, None, step), slice(step // 2, None, step)
  grid = neighbour_distance[nodes]
  rows, columns = np.nonzero(
      (np.abs(grid - aim) <= step) & (depth[nodes] > 0.5 * width + 1))
  if len(rows) < 2:
    return deepest(depth)
  off_course = np.abs(grid[rows, columns] - aim) / step
  start = rng.integers(len(rows))
  # Leaving the course costs more than it saves. The random part breaks ties.
  cost = 1 + 3 * off_course**2 + 0.01 * rng.random(len(rows))
  return _longest_path(rows, columns, cost, start) * float(step) + step // 2


def _longest_path(rows, columns, cost, start):
  """Returns the longest shortest path that `start` is connected to.

  Args:
    rows: [N] integers, the rows of the grid's nodes in the order of np.nonzero.
    columns: [N] integers.
    cost: [N] float, the cost of a unit of length at each node.
    start: Index of a node.

  Returns:
    [M, 2] integer (row, column) of the path's nodes.
  """
  graph = grid_graph(rows, columns, cost)
  # The farthest node from the farthest node ends a longest path.
  distance = csgraph.dijkstra(graph, indices=start)
  end = np.argmax(np.where(np.isfinite(distance), distance, -1))
  distance, before = csgraph.dijkstra(
      graph, indices=end, return_predecessors=True)
  node = np.argmax(np.where(np.isfinite(distance), distance, -1))
  path = [node]
  while before[node] >= 0:
    node = before[node]
    path.append(node)
  return np.stack([rows[path], columns[path]], 1)


def grid_graph(rows, columns, cost):
  """Connects each node of a grid to its 8 neighbours.

  Args:
    rows: [N] integers, the rows of the nodes in the order of np.nonzero.
    columns: [N] integers.
    cost: [N] float, the cost of a unit of length at each node.

  Returns:
    [N, N] sparse array of the costs between neighbours.
  """
  index = np.full([rows.max() + 2, columns.max() + 3], -1)
  index[rows, columns + 1] = np.arange(len(rows))
  edges = []
  for down, right in (0, 1), (1, -1), (1, 0), (1, 1):
    neighbour = index[rows + down, columns + 1 + right]
    source = np.flatnonzero(neighbour >= 0)
    target = neighbour[source]
    weight = np.hypot(down, right) * (cost[source] + cost[target]) / 2
    edges += [(weight, source, target), (weight, target, source)]
  weights, sources, targets = map(np.concatenate, zip(*edges, strict=True))
  return sparse.csr_array(
      (weights, (sources, targets)), shape=(len(rows), len(rows)))


def dot(rng, depth):
  """Returns a random [1, 2] point that is well inside the region."""
  rows, columns = np.nonzero(depth >= DOT_DEPTH * depth.max())
  index = rng.integers(len(rows))
  return np.array([[rows[index], columns[index]]], float)


def curve(rng, depth, length, margin):
  """Returns the longest of several walks, which turn away from borders.

  Args:
    rng: np.random.Generator.
    depth: [h, w] float.
    length: Maximum length of the curve in pixels.
    margin: Distance from the border in pixels at which a walk ends.

  Returns:
    [N, 2] points.
  """
  margin = min(margin, 0.5 * depth.max())
  rows, columns = np.nonzero(depth > margin)
  index = rng.integers(len(rows), size=WALKS)
  heading = rng.uniform(-np.pi, np.pi, WALKS)
  bend = rng.normal(0, BEND / STEPS, WALKS)
  bend_change = rng.normal(0, BEND_CHANGE / STEPS**2, WALKS)
  step = length / STEPS
  place = np.stack([rows[index], columns[index]], 1).astype(float)
  padded = np.pad(depth, 1)  # The depth is 0 beyond the edges.
  last = np.array(depth.shape) + 1

  def look(angle, distance):
    """Returns points ahead and their depths, for [..., WALKS] angles."""
    ahead = place + distance * np.stack([np.sin(angle), np.cos(angle)], -1)
    pixel = np.clip(np.rint(ahead) + 1, 0, last).astype(int)
    return ahead, padded[pixel[..., 0], pixel[..., 1]]

  feelers = FEELER_ANGLE * np.array([[-1], [0], [1]])
  walked, going = [place], np.ones(WALKS, bool)
  counts = np.ones(WALKS, int)
  for _ in range(STEPS):
    _, (left, straight, right) = look(heading + feelers, FEELER_STEPS * step)
    away = np.where(right > left, TURN, -TURN)
    heading = heading + np.where(straight < margin + step, away, bend)
    bend = bend + bend_change
    ahead, room = look(heading, step)
    going = going & (room > margin)
    counts += going
    place = np.where(going[:, None], ahead, place)
    walked.append(place)
  best = np.argmax(counts)
  return np.stack(walked)[:counts[best], best]


def line_length(points):
  """Returns the length of a line in pixels."""
  return float(np.sum(np.hypot(*np.diff(points, axis=0).T)))


def stretch(points, first, length):
  """Returns a part of a line.

  Args:
    points: [N, 2].
    first: Start of the part, in pixels along the line.
    length: Length of the part in pixels.

  Returns:
    [M, 2] points, half a pixel apart.
  """
  steps = np.hypot(*np.diff(points, axis=0).T)
  position = np.concatenate([[0], np.cumsum(steps)])
  places = first + np.arange(0, length + 0.5, 0.5)
  return np.stack(
      [np.interp(places, position, points[:, axis]) for axis in (0, 1)], 1)


def waver(rng, points, depth, smoothness, jitter):
  """Smooths a line and adds jitter that stays within the region.

  Args:
    rng: np.random.Generator.
    points: [M, 2], half a pixel apart.
    depth: [h, w] float.
    smoothness: Turns shorter than the line's length over this are removed.
    jitter: Jitter of the pen, as a share of the distance to the border.

  Returns:
    [M, 2] points.
  """
  def smooth(values, turns):
    smoothing = max(2.0, len(points) / turns)  # In points.
    # A Gaussian filter leaves noise with variance 1 / (2 sqrt(pi) sigma).
    return ndimage.gaussian_filter1d(
        values, smoothing, axis=0, mode='nearest'), (
            np.sqrt(2 * np.sqrt(np.pi) * smoothing))

  room, _ = smooth(depth[tuple(np.round(points).astype(int).T)], smoothness)
  noise, scale = smooth(rng.standard_normal(points.shape), WAVES)
  line, _ = smooth(points, smoothness)
  return line + np.tanh(jitter * (noise * scale)) * room[:, None]


def stamp(points, shape, width):
  """Returns [h, w] bool: a disc of diameter `width` at each point."""
  offset = np.mgrid[:width, :width].reshape(2, -1).T - (width - 1) / 2
  offset = offset[np.hypot(*offset.T) <= width / 2]
  pixels = np.round(points)[:, None] + np.floor(offset + 0.5)
  rows, columns = pixels.reshape(-1, 2).astype(int).T
  kept = ((rows >= 0) & (rows < shape[0]) &
          (columns >= 0) & (columns < shape[1]))
  drawn = np.zeros(shape, bool)
  drawn[rows[kept], columns[kept]] = True
  return drawn
