"""Refinement: scores spread between neighbouring pixels of similar colour.

A random walk with restart, solved from coarse to fine. At each pixel without a
stroke, scores x tend to

    x_i = (1 - restart) sum_j a_ij x_j + restart * prior_i,

with a_ij, the affinity of pixel i to its neighbour j at several distances,
summing to 1 over j; strokes keep their class. With a prior of 0 that spreads
the strokes alone, fading with distance; with a prior of class activations it
refines those. After pixel-adaptive refinement (PAMR, arXiv 2005.08104) and the
random walker with priors (Grady, CVPR 2005). Pure functions of arrays.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

_DIRECTIONS = tuple((row, column) for row in (-1, 0, 1)
                    for column in (-1, 0, 1) if (row, column) != (0, 0))
# Images are padded, so that few shapes are compiled: to a multiple of 32
# pixels, of 64 above 256, of 128 above 512, and so on.
_SMALLEST_STEP, _STEPS_AN_OCTAVE = 32, 8
_CHANNELS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256)  # Likewise.


def refine(image, prior, seeds, *, strides, dilations, iterations, contrast,
           restart):
  """Spreads scores over an image of any size.

  Args:
    image: [H, W, 3] uint8 RGB.
    prior: [H, W, K] scores in [0, 1].
    seeds: [H, W] integers: the channel that a stroke holds at 1, the others at
      0; -1 where there is no stroke.
    strides: Of the grids in pixels, coarse to fine, each dividing the one
      before; the last one is 1.
    dilations: Distances of a pixel's neighbours, in pixels of the grid.
    iterations: On each grid.
    contrast: Difference in colour that a walk hesitates to cross, in units of
      the image's root mean square difference between neighbours.
    restart: Probability of each step to end at the prior, on the coarsest
      grid; on finer ones less in proportion to their stride.

  Returns:
    [H, W, K] float32 in [0, 1].
  """
  height, width, channels = prior.shape
  bottom, right = (_padding(side, strides[0]) for side in (height, width))
  more = next(c for c in _CHANNELS if c >= channels) - channels
  pad = lambda x, value=0: np.pad(
      x, ((0, bottom), (0, right)) + ((0, 0),) * (x.ndim - 2),
      constant_values=value)
  refined = propagate(
      pad(image), pad(np.pad(np.float32(prior), ((0, 0), (0, 0), (0, more)))),
      pad(seeds, -1), pad(np.ones([height, width], bool)), contrast, restart,
      strides=tuple(strides), dilations=tuple(dilations),
      iterations=iterations)
  return np.asarray(refined)[:height, :width, :channels]


def _padding(side, stride):
  """Returns the pixels to add to a side."""
  octave = 2 ** (int(side) - 1).bit_length()
  step = max(_SMALLEST_STEP, octave // _STEPS_AN_OCTAVE)
  return -side % math.lcm(step, stride)


@functools.partial(
    jax.jit, static_argnames=('strides', 'dilations', 'iterations'))
def propagate(image, prior, seeds, valid, contrast, restart, *, strides,
              dilations, iterations):
  """`refine` on arrays whose height and width `strides` divide.

  Args:
    image: [H, W, 3].
    prior: [H, W, K] float32.
    seeds: [H, W] integer channels, -1 for none.
    valid: [H, W] bool; pixels outside take no part and become 0.
    contrast: As in `refine`.
    restart: As in `refine`.
    strides: As in `refine`.
    dilations: As in `refine`.
    iterations: As in `refine`.

  Returns:
    [H, W, K] float32.
  """
  image = image.astype(jnp.float32)
  # A pixel of a coarse grid has the strokes' mean where any of them meets it.
  one_hot = jax.nn.one_hot(seeds, prior.shape[-1])
  seeded = one_hot.sum(-1)
  scores = was_inside = None
  for stride in strides:
    weight = _pool(valid.astype(jnp.float32), stride)
    inside = weight > 0
    mean = lambda x, weight=weight, stride=stride: _pool(
        x * valid[..., None], stride) / jnp.maximum(weight, 1e-6)[..., None]
    stroke = _pool(seeded, stride)
    clamped = _pool(one_hot, stride) / jnp.maximum(stroke, 1e-6)[..., None]
    start = mean(prior)
    affinity = affinities(mean(image), inside, contrast, dilations)
    scores = start if scores is None else _grow(
        scores, was_inside, inside.shape)
    was_inside = inside
    scores = _iterate(
        affinity, scores, start, clamped, stroke > 0,
        restart * stride / strides[0], dilations, iterations)
  return jnp.where(valid[..., None], scores, 0.0)


def affinities(image, valid, contrast, dilations):
  """Returns how much each pixel listens to each of its neighbours.

  Args:
    image: [H, W, 3] float32.
    valid: [H, W] bool.
    contrast: As in `refine`.
    dilations: As in `refine`.

  Returns:
    [N, H, W] float32, neighbours first, in the order of `_neighbours`; sums to
    1 over those inside the image, and is 0 for the others.
  """
  near = jnp.stack(_neighbours(valid, dilations)) & valid[None]
  squares = jnp.stack([jnp.sum(jnp.square(neighbour - image), -1)
                       for neighbour in _neighbours(image, dilations)])
  squares = jnp.where(near, squares, 0.0)
  mean_square = jnp.sum(squares) / jnp.maximum(jnp.sum(near), 1)
  distances = squares / (2 * contrast**2 * jnp.maximum(mean_square, 1e-6))
  nearest = jnp.min(jnp.where(near, distances, jnp.inf), axis=0)
  weights = jnp.where(near, jnp.exp(nearest[None] - distances), 0.0)
  # The nearest neighbour weighs 1. A pixel without any listens to none.
  return weights / jnp.maximum(jnp.sum(weights, axis=0), 0.5)[None]


def _neighbours(x, dilations):
  """[H, W, ...] -> [N of [H, W, ...]]: 8 directions a dilation, 0 outside."""
  (height, width), reach = x.shape[:2], max(dilations)
  padded = jnp.pad(x, ((reach, reach),) * 2 + ((0, 0),) * (x.ndim - 2))
  corners = [(reach + dilation * row, reach + dilation * column)
             for dilation in dilations for row, column in _DIRECTIONS]
  return [padded[top:top + height, left:left + width] for top, left in corners]


def _iterate(affinity, scores, prior, clamped, is_seed, restart, dilations,
             iterations):
  """Returns the scores after some steps of the walk, strokes held fixed."""
  def hold(scores):
    return jnp.where(is_seed[..., None], clamped, scores)

  def step(_, scores):
    # One sum over slices, which XLA fuses; stacked, they take 8 times as long.
    spread = sum(weight[..., None] * neighbour for weight, neighbour in zip(
        affinity, _neighbours(hold(scores), dilations), strict=True))
    return (1 - restart) * spread + restart * prior

  return hold(jax.lax.fori_loop(0, iterations, step, scores))


def _pool(x, stride):
  """[H, W, ...] -> sums over squares, [H / stride, W / stride, ...]."""
  height, width = x.shape[0] // stride, x.shape[1] // stride
  return x.reshape(height, stride, width, stride, *x.shape[2:]).sum((1, 3))


def _grow(scores, inside, size):
  """Magnifies [h, w, K] bilinearly to [*size, K], centres of cells aligned.

  Cells outside the image, [h, w] bool, take no part.
  """
  weights = inside[..., None].astype(jnp.float32)
  magnify = lambda x: jax.image.resize(x, (*size, x.shape[-1]), 'linear')
  return magnify(scores * weights) / jnp.maximum(magnify(weights), 1e-6)
