"""Refinement: scores spread between neighbouring pixels of similar colour.

This is a random walk with restart, solved from coarse to fine. At each pixel
without a stroke, the scores x converge to

    x_i = (1 - restart) sum_j a_ij x_j + restart * prior_i,

where a_ij is the affinity of pixel i to its neighbour j, at several distances,
and sums to 1 over j. Strokes keep their class. With a prior of 0 the walk
spreads the strokes alone, and scores decrease with the distance; with a prior
of class scores it refines these. It follows pixel-adaptive refinement (PAMR,
arXiv 2005.08104) and the random walker with priors (Grady, CVPR 2005). Pure
functions of arrays on the device, which process one class at a time, because
[H, W] arrays suit vector registers.
"""

import dataclasses
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribble_jax import resize

_DIRECTIONS = tuple((row, column) for row in (-1, 0, 1)
                    for column in (-1, 0, 1) if (row, column) != (0, 0))
# Sides are padded, so that few shapes are compiled: to a multiple of 128
# pixels, of 256 pixels above 512, and so on.
_SMALLEST_STEP, _STEPS_AN_OCTAVE = 128, 4


@dataclasses.dataclass(frozen=True)
class Walk:
  """Parameters of the random walk.

  Attributes:
    strides: Strides of the grids in pixels, coarse to fine; each divides the
      one before, and the last one is 1.
    dilations: Distances of a pixel's neighbours, in pixels of the grid.
    iterations: Number of steps on each grid.
    contrast: Standard deviation of the affinities' Gaussian of the colour
      difference, in units of the image's root mean square difference between
      neighbours.
    restart: Restart probability of a step on the coarsest grid; on finer grids
      it is smaller, in proportion to their stride. A source of scores may use
      a multiple of it.
  """
  strides: tuple[int, ...]
  dilations: tuple[int, ...]
  iterations: int
  contrast: float
  restart: float

  def padded(self, side):
    """Returns the padded length of an image's side, in pixels."""
    octave = 2 ** (int(side) - 1).bit_length()
    step = max(_SMALLEST_STEP, octave // _STEPS_AN_OCTAVE)
    side += -side % step
    return side + -side % self.strides[0]


class Grid(NamedTuple):
  """An image at a stride, [h, w] cells.

  Attributes:
    weight: [h, w] float32, number of a cell's pixels in the image.
    grown: [h, w] float32, share of the coarser grid's cells around this cell
      that are in the image; 1 on the coarsest grid.
    affinity: From `affinities`.
  """
  weight: jax.Array
  grown: jax.Array
  affinity: jax.Array


def make_grids(image, valid, walk):
  """Returns the Grids of an image, coarse to fine.

  Args:
    image: [3, H, W] float32, whose height and width `walk.strides` divide.
    valid: [H, W] bool; other pixels are ignored.
    walk: Walk.
  """
  grids = []
  for stride in walk.strides:
    weight = _pool(jnp.float32(valid), stride)
    inside = weight > 0
    cells = jnp.stack([_pool(x * valid, stride) for x in image])
    grids.append(Grid(
        weight,
        _magnify(jnp.float32(grids[-1].weight > 0), inside.shape)
        if grids else jnp.ones_like(weight),
        affinities(cells / jnp.maximum(weight, 1e-6)[None], inside,
                   walk.contrast, walk.dilations)))
  return grids


def inside(size, sides):
  """Returns which pixels of a padded image are in the image, [*sides] bool.

  Args:
    size: [2] int32, (height, width) of the image in pixels.
    sides: (height, width) of the padded image in pixels.
  """
  rows, columns = (jnp.arange(side) < length
                   for side, length in zip(sides, size, strict=True))
  return rows[:, None] & columns[None]


def resized(x, sides):
  """Cuts or pads [H, W, C] with 0 to [*sides, C]."""
  x = x[:sides[0], :sides[1]]
  return jnp.pad(x, [(0, side - length) for side, length in zip(
      sides, x.shape, strict=False)] + [(0, 0)])


def refine(probabilities, image, size, walk):
  """Refines the probabilities of an image without strokes.

  Args:
    probabilities: [H, W, C] float32, of all classes.
    image: [H, W, 3] RGB in [0, 255].
    size: [2] int32, (height, width) of the image in pixels; pixels beyond are
      ignored.
    walk: Walk. A higher restart keeps the result closer to `probabilities`.

  Returns:
    [H, W, C] float32 with the same sums over the classes as `probabilities`. A
    class whose probability is below 1 / C everywhere is not spread, because it
    is no pixel's most probable one.
  """
  *shape, num_classes = probabilities.shape
  sides = [side + -side % walk.strides[0] for side in shape]
  valid = inside(size, sides)
  prior = jnp.where(valid[..., None], resized(probabilities, sides), 0.0)
  image = jnp.moveaxis(resized(image, sides), -1, 0).astype(jnp.float32)
  grids, nothing = make_grids(image, valid, walk), jnp.zeros(sides, bool)

  def of_class(prior):
    return jax.lax.cond(
        jnp.max(prior) < 1 / num_classes, lambda: prior,
        lambda: spread(grids, prior, nothing, nothing, walk, walk.restart))

  refined = jax.lax.map(of_class, jnp.moveaxis(prior, -1, 0))
  given, total = jnp.sum(prior, -1), jnp.sum(refined, 0)
  refined *= (given / jnp.maximum(total, 1e-6))[None]
  return jnp.moveaxis(refined, 0, -1)[:shape[0], :shape[1]]


def spread(grids, prior, stroke, held, walk, restart):
  """Spreads a class's scores over an image.

  Args:
    grids: From `make_grids`.
    prior: [H, W] float32 in [0, 1], 0 outside the image.
    stroke: [H, W] bool, pixels with a stroke of the class; their score is 1.
    held: [H, W] bool, pixels with a stroke of any class; the score of those of
      other classes is 0.
    walk: Walk.
    restart: Restart probability, as of Walk.

  Returns:
    [H, W] float32 in [0, 1], 0 outside the image.
  """
  scores = None
  for stride, coarser, grid in zip(
      walk.strides, [None, *grids], grids, strict=False):
    # A cell of a coarse grid has the mean of the strokes that cross it.
    held_here = _pool(jnp.float32(held), stride)
    clamped = _pool(jnp.float32(stroke), stride) / jnp.maximum(held_here, 1e-6)
    start = _pool(prior, stride) / jnp.maximum(grid.weight, 1e-6)
    if coarser is None:
      scores = start
    else:  # Bilinear interpolation of the cells in the image.
      scores = _magnify(
          jnp.where(coarser.weight > 0, scores, 0.0), start.shape
      ) / jnp.maximum(grid.grown, 1e-6)
    scores = _iterate(
        grid.affinity, scores, start, clamped, held_here > 0,
        restart * stride / walk.strides[0], walk)
  return jnp.where(grids[-1].weight > 0, scores, 0.0)


def affinities(image, valid, contrast, dilations):
  """Returns the affinity of each pixel to each of its neighbours.

  Args:
    image: [3, H, W] float32.
    valid: [H, W] bool.
    contrast: As of Walk.
    dilations: As of Walk.

  Returns:
    [N, H, W] float32; N runs over all directions of the first dilation, then
    those of the next one. It sums to 1 over the neighbours inside the image and
    is 0 for others.
  """
  # Pixels outside are infinitely different. Loops over the neighbours compile
  # in a third of the time of one array operation, and on a CPU one sum per loop
  # is faster than several.
  neighbours = [
      _neighbours(jnp.where(valid, x, jnp.inf), dilations, jnp.inf)
      for x in image]
  directions = jnp.array(_DIRECTIONS)
  places = jnp.array([*itertools.product(dilations, range(len(_DIRECTIONS)))])
  squares = jax.lax.map(
      lambda place: sum(
          jnp.square(neighbour(place[0], directions[place[1]]) - x)
          for neighbour, x in zip(neighbours, image, strict=True)), places)

  def over_neighbours(combine, start):
    return jax.lax.scan(
        lambda carry, square: (combine(carry, square), None),
        jnp.full(valid.shape, start, jnp.float32), squares)[0]

  nearest = over_neighbours(jnp.minimum, jnp.inf)
  count = over_neighbours(
      lambda count, square: count + (square < jnp.inf), 0)
  total = over_neighbours(
      lambda total, square: total + jnp.where(square < jnp.inf, square, 0.0), 0)
  # Sums row by row, so that rounding hardly depends on the padding.
  image_sum = lambda x: jnp.sum(jnp.sum(jnp.where(valid, x, 0.0), axis=1))
  mean_square = image_sum(total) / jnp.maximum(image_sum(count), 1)
  variance = 2 * contrast**2 * jnp.maximum(mean_square, 1e-6)
  nearest = jnp.where(count > 0, nearest, 0.0) / variance

  def weigh(total, square):
    # The most similar neighbour has weight 1.
    weight = jnp.exp(nearest - square / variance)
    return total + weight, weight

  total, weights = jax.lax.scan(weigh, jnp.zeros(valid.shape), squares)
  return weights * jnp.where(valid, 1 / jnp.maximum(total, 0.5), 0.0)[None]


def _neighbours(x, dilations, outside=0.0):
  """Returns `(dilation, (row, column)) -> [H, W]`, the shifted array.

  Args:
    x: [H, W].
    dilations: All dilations that will be used.
    outside: Value outside the array.
  """
  reach = max(dilations)
  padded = jnp.pad(x, reach, constant_values=outside)

  def neighbour(dilation, direction):
    corner = [reach + dilation * step for step in direction]
    return jax.lax.dynamic_slice(padded, corner, x.shape)

  return neighbour


def _iterate(affinity, scores, prior, clamped, is_held, restart, walk):
  """Returns the scores after the steps of the walk on one grid."""
  dilations = jnp.array(walk.dilations)

  hold = lambda scores: jnp.where(is_held, clamped, scores)

  def step(_, scores):
    """Returns the scores after one more step."""
    neighbour = _neighbours(hold(scores), walk.dilations)

    def add_dilation(i, total):
      # One pass over memory.
      for number, direction in enumerate(_DIRECTIONS):
        total += (affinity[i * len(_DIRECTIONS) + number]
                  * neighbour(dilations[i], direction))
      return total

    total = jax.lax.fori_loop(
        0, len(walk.dilations), add_dilation, jnp.zeros_like(scores))
    return (1 - restart) * total + restart * prior

  return hold(jax.lax.fori_loop(0, walk.iterations, step, scores))


def _pool(x, stride):
  """[H, W] -> sums over squares, [H / stride, W / stride]."""
  height, width = (side // stride for side in x.shape)
  return x.reshape(height, stride, width, stride).sum((1, 3))


def _magnify(x, size):
  """[h, w] -> [*size], bilinear, centres of cells aligned."""
  matrices = []
  for source, target in zip(x.shape, size, strict=True):
    left, weight = resize.half_pixel_samples(source, target)
    cells = np.eye(source + 1, source, dtype=np.float32)  # The last row is 0.
    matrices.append(cells[left] * weight[:, :1]
                    + cells[left + 1] * weight[:, 1:])
  return resize.interpolate(x[None, ..., None], *matrices)[0, ..., 0]
