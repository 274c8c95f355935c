"""Ways of a pen through a region: lines of points, not yet drawn.

Points are [N, 2] float (row, column) in pixels. `depth` is always the [h, w]
float distance to the region's border in pixels, 0 outside. No two ways are
compared by numbers that come out equal but for rounding, so that every machine
draws the same.
"""

import numpy as np
from scipy import ndimage
from scipy import sparse
from scipy.sparse import csgraph

# The middle line is searched on a grid of about this many nodes, so the cost
# of a stroke does not grow with the image.
GRID_NODES = 200
# A line along the border needs a finer one.
BORDER_GRID_NODES = 1500
# Shallower places than this share of the region's greatest depth are left out
# of the search: people keep away from borders and skip thin tips.
MIN_RELATIVE_DEPTH = 0.35
# Standard deviation of the log of the travel cost: no two people take the
# same way through a region.
COST_VARIATION = 0.5
# Distance that a line along the border keeps, as a share of the greatest depth.
BORDER_DISTANCE = (0.2, 0.4)
# A dot lies where the depth is at least this share of the greatest.
DOT_DEPTH = 0.6
# A curve is the longest of this many walks of this many steps.
WALKS, STEPS = 12, 40
# Radians by which a whole walk may bend, and its bend may change: from arcs to
# the letter S.
BEND, BEND_CHANGE = 2.0, 3.0
# Before a border a walk turns by this many radians a step. It feels for one at
# this angle to either side, this many steps ahead.
TURN, FEELER_ANGLE, FEELER_STEPS = 0.3, 0.7, 5
# A hand wavers in waves not shorter than the line's length over this.
WAVES = 7


def deepest(depth):
  """Returns the [1, 2] place farthest from the border; the first of equals."""
  return np.array([np.unravel_index(np.argmax(depth), depth.shape)], float)


def middle_line(rng, depth):
  """Finds the longest of the cheap paths through a region's deep part.

  Args:
    rng: np.random.Generator.
    depth: [h, w] float.

  Returns:
    [N, 2] points; one where there is no path.
  """
  step = np.sqrt(np.count_nonzero(depth) / GRID_NODES)
  step = max(1, int(min(step, depth.max() / 2)))
  grid = depth[step // 2::step, step // 2::step]
  rows, columns = np.nonzero(grid > MIN_RELATIVE_DEPTH * depth.max())
  if len(rows) < 2:
    return deepest(depth)
  start = np.argmax(grid[rows, columns])
  cost = np.exp(COST_VARIATION * rng.standard_normal(len(rows)))
  # Dividing by the depth draws the path to the middle.
  path = _longest_path(rows, columns, cost / grid[rows, columns]**1.5, start)
  return np.stack([rows[path], columns[path]], 1) * float(step) + step // 2


def border_line(rng, depth, neighbour_distance, width):
  """Finds a line along the border, about half way around the region.

  Args:
    rng: np.random.Generator.
    depth: [h, w] float.
    neighbour_distance: As depth, but the image's edge is no border.
    width: Of the stroke in pixels, to keep off the border.

  Returns:
    [N, 2] points; one where there is no path.
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
  # Leaving the course costs more than it saves; the random part breaks ties.
  path = _longest_path(rows, columns, 1 + 3 * off_course**2
                       + 0.01 * rng.random(len(rows)), start)
  return np.stack([rows[path], columns[path]], 1) * float(step) + step // 2


def _longest_path(rows, columns, cost, start):
  """Returns indices of the nodes of a longest cheapest path near `start`."""
  graph = grid_graph(rows, columns, cost)
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
  return path


def grid_graph(rows, columns, cost):
  """Connects each node of a grid to its 8 neighbours.

  Args:
    rows: [N] integers, in the order of np.nonzero.
    columns: [N] integers.
    cost: [N] float of a unit of way.

  Returns:
    [N, N] sparse array of the cost between neighbours.
  """
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


def dot(rng, depth):
  """Returns a [1, 2] place well inside, anywhere but at the border."""
  rows, columns = np.nonzero(depth >= DOT_DEPTH * depth.max())
  index = rng.integers(len(rows))
  return np.array([[rows[index], columns[index]]], float)


def curve(rng, depth, length, margin):
  """Walks freely through a region, bending, and turning away from borders.

  Args:
    rng: np.random.Generator.
    depth: [h, w] float.
    length: Of the curve in pixels, at most.
    margin: Distance from the border in pixels that ends a walk.

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
  padded = np.pad(depth, 1)  # Beyond the edges there is no room.
  last = np.array(depth.shape) + 1

  def look(angle, distance):
    """Returns places ahead and the room there, for [..., WALKS] angles."""
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
  """Cuts a stretch out of a line; one point every half pixel.

  Args:
    points: [N, 2].
    first: Where it starts, in pixels along the line.
    length: In pixels.

  Returns:
    [M, 2] points.
  """
  steps = np.hypot(*np.diff(points, axis=0).T)
  position = np.concatenate([[0], np.cumsum(steps)])
  places = first + np.arange(0, length + 0.5, 0.5)
  return np.stack(
      [np.interp(places, position, points[:, axis]) for axis in (0, 1)], 1)


def waver(rng, points, depth, smoothness, jitter):
  """Rounds a line's corners and lets it waver within its region.

  Args:
    rng: np.random.Generator.
    points: [M, 2], half a pixel apart.
    depth: [h, w] float.
    smoothness: Turns shorter than the line's length over this are smoothed
      away.
    jitter: Waver of the hand, as a share of the distance to the border.

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
