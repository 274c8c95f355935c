"""Classes of a picture's pixels, from frozen features and its strokes alone.

Several stages of a pretrained backbone, each scaled to unit length at every
place, are resized to a grid of cells; a multinomial logistic regression fitted
on the cells that this picture's strokes meet says which of its classes each
cell is likely of. Of other pictures only what their background looks like is
used, where this one has no background stroke. Pure functions.
"""

import jax
import jax.numpy as jnp

from scribble_jax import resize
from scribble_jax.normalization import IMAGENET_MEAN

CELL = 4  # Pixels.
_MAGNIFICATION = 2  # Of the picture that the backbone sees.
_MOST_SAMPLES = 1024  # Cells that the regression is fitted on.
BACKGROUND_SAMPLES = 12  # Cells of a picture that others may borrow.
_BORROWED_WEIGHT = 0.3  # Of all of them, as a share of a picture's own cells.
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


def background_samples(features, scribble):
  """Returns [BACKGROUND_SAMPLES, D] features of cells with background strokes.

  Args:
    features: [h, w, D], from `cell_features`.
    scribble: [H, W] uint8.

  Returns:
    Evenly chosen ones; rows beyond the number of such cells are 0.
  """
  x, _ = _samples(features, _targets(
      scribble, jnp.zeros(1, jnp.uint8), features.shape), BACKGROUND_SAMPLES)
  return x


def class_probabilities(features, scribble, classes, elsewhere=None):
  """Returns [K, H, W] float32, probabilities of the classes at each pixel.

  All classes weigh alike, so that a spot counts as much as a long stroke.

  Args:
    features: [h, w, D], from `cell_features`.
    scribble: [H, W] uint8.
    classes: [K] uint8 of the picture; those behind its last one are 0 again.
    elsewhere: [N, D], `background_samples` of other pictures, which stand in
      for background strokes where there are none. None: a picture of one
      class is all of it.
  """
  x, y = _samples(
      features, _targets(scribble, classes, features.shape), _MOST_SAMPLES)
  counts = jnp.sum(y, axis=0)
  y *= jnp.sum(counts) / jnp.sum(counts > 0) / jnp.maximum(counts, 1)[None]
  if elsewhere is not None:
    there = jnp.any(elsewhere != 0, axis=1)
    weight = jnp.where(
        jnp.any(y[:, 0] > 0), 0.0,
        _BORROWED_WEIGHT * jnp.sum(y) / jnp.maximum(jnp.sum(there), 1))
    borrowed = jnp.outer(weight * there, jnp.arange(len(classes)) == 0)
    x, y = jnp.concatenate([x, elsewhere]), jnp.concatenate([y, borrowed])
  weights, offsets = fit(x, y, _PENALTY)
  logits = jnp.einsum('hwd,dk->hwk', features, weights,
                      precision='highest') + offsets[None, None]
  probabilities = jax.nn.softmax(logits)
  return jnp.moveaxis(resize.resize_corners_aligned(
      probabilities[None], scribble.shape)[0], -1, 0)


def _targets(scribble, classes, shape):
  """Returns [h, w, K] bool, which classes' strokes meet a cell.

  Args:
    scribble: [H, W] uint8.
    classes: As of `class_probabilities`.
    shape: (h, w, ...).
  """
  rows, columns = (
      jnp.rint(resize.corner_positions(cells, side)).astype(int)
      for cells, side in zip(shape[:2], scribble.shape, strict=True))
  is_class = (classes > 0) | (jnp.arange(len(classes)) == 0)
  return jnp.zeros([*shape[:2], len(classes)], bool).at[
      rows[:, None], columns[None]].max(
          (scribble[..., None] == classes[None, None]) & is_class[None, None])


def _samples(features, targets, most):
  """Returns at most `most` evenly chosen cells that have a label.

  Args:
    features: [h, w, D].
    targets: [h, w, K] bool.
    most: M.

  Returns:
    [M, D] and [M, K] float32; rows beyond the number of labelled ones are 0.
  """
  x, y = (a.reshape(-1, a.shape[-1]) for a in (features, targets))
  ranks = jnp.cumsum(jnp.any(y, -1))
  count = ranks[-1]
  wanted = jnp.arange(most)
  # The first of them, or every so manyth.
  wanted = jnp.where(count > most, wanted * count // most, wanted)
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
