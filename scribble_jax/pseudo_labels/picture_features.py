"""Classes of a picture's pixels, from frozen features and its strokes alone.

Several stages of a pretrained backbone, each scaled to unit length at every
place, are resized to a grid of cells; a multinomial logistic regression fitted
on the cells that this picture's strokes meet says which of its classes each
cell is likely of. Nothing is learned from other pictures. Pure functions.
"""

import jax
import jax.numpy as jnp

from scribble_jax import resize
from scribble_jax.normalization import IMAGENET_MEAN

CELL = 4  # Pixels.
_MAGNIFICATION = 2  # Of the picture that the backbone sees.
_MOST_SAMPLES = 1024  # Cells that the regression is fitted on.
_PENALTY = 1.0  # Of half the squared weights, beside the samples' losses.
_STEPS = 100


def cell_features(backbone, variables, image, inside):
  """Returns [H / CELL + 1, W / CELL + 1, K] features, float32.

  Args:
    backbone: `family.Backbone`.
    variables: Its own.
    image: [H, W, 3] float32 RGB in [0, 255]; CELL divides its sides.
    inside: [H, W] bool; what is outside is taken for a mean colour.
  """
  sides = [_MAGNIFICATION * side + 1 for side in inside.shape]
  image = jnp.where(inside[..., None], image, 255 * IMAGENET_MEAN[None, None])
  image = resize.resize_corners_aligned(image[None], sides)
  step = _MAGNIFICATION * CELL
  features = []
  for x in backbone.stages(variables, backbone.normalize(image)):
    x = x.astype(jnp.float32)
    x /= jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)
    features.append(resize.interpolate(x, *(
        resize.interpolation_matrix(length, side, backbone.patch)[::step]
        for length, side in zip(x.shape[1:3], sides, strict=True)))[0])
  return jnp.concatenate(features, -1)


def class_probabilities(features, scribble, classes):
  """Returns [K, H, W] float32, probabilities of the classes at each pixel.

  Args:
    features: [h, w, D], from `cell_features`.
    scribble: [H, W] uint8.
    classes: [K] uint8 of the picture; those behind its last one are 0 again.
  """
  height, width, _ = features.shape
  place = jnp.arange(len(classes))
  is_class = (classes > 0) | (place == 0)
  rows, columns = (
      jnp.rint(resize.corner_positions(cells, side)).astype(int)
      for cells, side in zip((height, width), scribble.shape, strict=True))
  targets = jnp.zeros([height, width, len(classes)], bool).at[
      rows[:, None], columns[None]].max(
          (scribble[..., None] == classes[None, None]) & is_class[None, None])
  x, y = _samples(features.reshape(height * width, -1),
                  targets.reshape(height * width, -1))
  weights, offsets = fit(x, y, _PENALTY)
  logits = jnp.einsum('hwd,dk->hwk', features, weights,
                      precision='highest') + offsets[None, None]
  probabilities = jax.nn.softmax(logits)
  return jnp.moveaxis(resize.resize_corners_aligned(
      probabilities[None], scribble.shape)[0], -1, 0)


def _samples(x, y):
  """Returns at most _MOST_SAMPLES evenly chosen rows that have a label.

  Args:
    x: [N, D].
    y: [N, K] bool.

  Returns:
    [M, D] and [M, K] float32; rows beyond the number of labelled ones are 0.
  """
  labelled = jnp.any(y, -1)
  ranks = jnp.cumsum(labelled)
  count = ranks[-1]
  wanted = jnp.arange(_MOST_SAMPLES)
  # The first of them, or every so manyth.
  wanted = jnp.where(count > _MOST_SAMPLES,
                     wanted * count // _MOST_SAMPLES, wanted)
  index = jnp.minimum(jnp.searchsorted(ranks, wanted + 1), len(x) - 1)
  there = (wanted < count)[:, None]
  return x[index] * there, jnp.float32(y[index] & there)


def fit(x, y, penalty):
  """Fits a multinomial logistic regression.

  Minimises sum_mk y_mk (-log p_mk) + penalty / 2 |weights|^2 from 0, by steps
  that a bound of the curvature scales (Boehning, 1992), with momentum.

  Args:
    x: [M, D] float32.
    y: [M, K] float32, how often a sample is of a class; 0 for none.
    penalty: Of the weights, not of the offsets.

  Returns:
    weights [D, K], offsets [K]; a class without samples is never predicted.
  """
  counts = jnp.sum(y, axis=1, keepdims=True)
  known = jnp.any(y > 0, axis=0)
  x = jnp.concatenate([x, jnp.ones([len(x), 1])], axis=1)
  penalties = jnp.full(x.shape[1], penalty).at[-1].set(0.0)
  product = lambda *factors: jnp.matmul(*factors, precision='highest')
  bound = product(x.T, counts * x) / 2 + jnp.diag(penalties + 1e-4)
  factor = jax.scipy.linalg.cho_factor(bound)

  def log_odds(weights):
    return jnp.where(known[None], product(x, weights), -jnp.inf)

  def step(i, state):
    weights, ahead = state
    gradient = product(x.T, counts * jax.nn.softmax(log_odds(ahead)) - y)
    gradient += penalties[:, None] * ahead
    new = ahead - jax.scipy.linalg.cho_solve(factor, gradient)
    return new, new + i / (i + 3) * (new - weights)

  start = jnp.zeros([x.shape[1], y.shape[1]])
  weights, _ = jax.lax.fori_loop(0, _STEPS, step, (start, start))
  return weights[:-1], jnp.where(known, weights[-1], -jnp.inf)
