"""Class probabilities of pixels from frozen features and strokes.

The features are several stages of a pretrained backbone, each scaled to unit
length at every position and resized to a grid of cells. A shared multinomial
logistic regression is fitted on the cells that the strokes of many pictures
cross. Starting from it, each picture gets its own regression, fitted on the
cells of its own strokes. It gives the probabilities of the picture's classes at
each cell. Pure functions.

Shape letters: H W picture, h w grid of cells, D features, K classes, M samples.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from scribble_jax import resize
from scribble_jax.normalization import IMAGENET_MEAN

CELL = 4  # Pixels.
_MAGNIFICATION = 2  # Of the picture, before the backbone.
_MAX_SAMPLES = 1024  # Cells that a picture's own regression is fitted on.
SHARED_SAMPLES = 48  # Cells of each picture in the shared regression.
# Factor of half the squared difference to the shared regression, or to 0; it is
# added to the sum of the samples' losses.
_PENALTY = 0.3
_STEPS, _SHARED_STEPS = 100, 300


class Regression(NamedTuple):
  """A multinomial logistic regression.

  Attributes:
    weights: [D, K] float32.
    offsets: [K] float32; -inf for a class that is never predicted.
  """
  weights: jax.Array
  offsets: jax.Array


def cell_features(backbone, variables, image, inside):
  """Returns the features of a picture, [H / CELL + 1, W / CELL + 1, D] float32.

  Args:
    backbone: `family.Backbone`.
    variables: Variables of the backbone.
    image: [H, W, 3] float32 RGB in [0, 255]; CELL divides its sides.
    inside: [H, W] bool; pixels outside get a mean colour.
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


def shared_samples(features, scribble, num_classes):
  """Returns a picture's samples for the shared regression.

  All pictures with strokes have equal weight, and so have all classes of a
  picture.

  Args:
    features: [h, w, D], from `cell_features`.
    scribble: [H, W] uint8.
    num_classes: K, of the data set.

  Returns:
    [SHARED_SAMPLES, D] features of evenly chosen cells with a stroke, and their
    [SHARED_SAMPLES, K] weights by class; surplus rows are 0.
  """
  x, y = _samples(features, _targets(
      scribble, jnp.arange(num_classes, dtype=jnp.uint8), features.shape),
                  SHARED_SAMPLES)
  return x, _balanced(y, SHARED_SAMPLES)


@jax.jit
def fit_shared(x, y):
  """Returns the Regression of all pictures' `shared_samples`, [M, ...]."""
  return fit(x, y, _PENALTY, steps=_SHARED_STEPS)


def class_probabilities(features, scribble, classes, shared=None):
  """Returns the probabilities of the classes at each pixel, [K, H, W] float32.

  All classes have equal weight, so that a spot counts as much as a long stroke.

  Args:
    features: [h, w, D], from `cell_features`.
    scribble: [H, W] uint8.
    classes: [K] uint8, classes of the picture, padded with 0.
    shared: Regression from `fit_shared`, by class index; it also predicts the
      background if the picture has no stroke there. None to use the picture's
      own strokes alone.
  """
  x, y = _samples(
      features, _targets(scribble, classes, features.shape), _MAX_SAMPLES)
  y = _balanced(y, jnp.sum(y))
  if shared is not None:
    is_class = _is_class(classes)
    shared = Regression(
        jnp.where(is_class, shared.weights[:, classes], 0.0),
        jnp.where(is_class, shared.offsets[classes], -jnp.inf))
  weights, offsets = fit(x, y, _PENALTY, shared)
  logits = jnp.einsum('hwd,dk->hwk', features, weights,
                      precision='highest') + offsets[None, None]
  probabilities = jax.nn.softmax(logits)
  return jnp.moveaxis(resize.resize_corners_aligned(
      probabilities[None], scribble.shape)[0], -1, 0)


def _is_class(classes):
  """Returns which of a picture's classes are not padding, [K] bool."""
  return (classes > 0) | (jnp.arange(len(classes)) == 0)


def _balanced(y, total):
  """Returns [M, K] weights with equal sums for all classes.

  Args:
    y: [M, K], 1 where a sample belongs to a class and 0 elsewhere.
    total: Sum of all weights, unless there is no sample.
  """
  counts = jnp.sum(y, axis=0)
  return y * (total / jnp.maximum(jnp.sum(counts > 0), 1)
              / jnp.maximum(counts, 1))[None]


def _targets(scribble, classes, shape):
  """Returns which classes' strokes cross each cell, [h, w, K] bool.

  Args:
    scribble: [H, W] uint8.
    classes: As of `class_probabilities`.
    shape: (h, w, ...).
  """
  rows, columns = (
      jnp.rint(resize.corner_positions(cells, side)).astype(int)
      for cells, side in zip(shape[:2], scribble.shape, strict=True))
  return jnp.zeros([*shape[:2], len(classes)], bool).at[
      rows[:, None], columns[None]].max(
          (scribble[..., None] == classes[None, None])
          & _is_class(classes)[None, None])


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
  wanted = jnp.where(count > most, wanted * count // most, wanted)
  index = jnp.minimum(jnp.searchsorted(ranks, wanted + 1), len(x) - 1)
  there = (wanted < count)[:, None]
  return x[index] * there, jnp.float32(y[index] & there)


def fit(x, y, penalty, start=None, steps=_STEPS):
  """Fits a multinomial logistic regression.

  Minimises sum_mk y_mk (-log p_mk) + penalty / 2 |difference to `start`|^2 by
  steps that a bound of the curvature scales (Boehning, 1992), with momentum.

  Args:
    x: [M, D] float32.
    y: [M, K] float32, weight of a sample for a class; 0 if it has another.
    penalty: Factor of the penalty on the weights. It also applies to the
      offsets if `start` predicts a class without samples, because nothing else
      determines its offset.
    start: Regression to stay close to; None for weights of 0.
    steps: Number of steps.

  Returns:
    A Regression. It predicts a class without samples only if `start` does.
  """
  sampled = known = jnp.any(y > 0, axis=0)
  origin = jnp.zeros([x.shape[1] + 1, y.shape[1]])
  if start is not None:
    predicted = start.offsets > -jnp.inf
    known |= predicted
    origin = jnp.concatenate(
        [start.weights, jnp.where(predicted, start.offsets, 0.0)[None]])
  penalties = jnp.full(x.shape[1] + 1, penalty).at[-1].set(
      jnp.where(jnp.all(sampled == known), 0.0, penalty))
  counts = jnp.sum(y, axis=1, keepdims=True)
  x = jnp.concatenate([x, jnp.ones([len(x), 1])], axis=1)
  product = lambda *factors: jnp.matmul(*factors, precision='highest')
  bound = product(x.T, counts * x) / 2 + jnp.diag(penalties + 1e-4)
  # A product with the inverse takes a CPU a twentieth of the time of a solve.
  inverse = jax.scipy.linalg.cho_solve(
      jax.scipy.linalg.cho_factor(bound), jnp.eye(len(bound)))

  def log_odds(weights):
    # Without any class there is nothing to fit; the result is not NaN.
    return jnp.where(
        known[None] | ~jnp.any(known), product(x, weights), -jnp.inf)

  def step(i, state):
    weights, ahead = state
    gradient = product(x.T, counts * jax.nn.softmax(log_odds(ahead)) - y)
    gradient += penalties[:, None] * (ahead - origin)
    new = ahead - product(inverse, gradient)
    return new, new + i / (i + 3) * (new - weights)

  weights, _ = jax.lax.fori_loop(0, steps, step, (origin, origin))
  return Regression(weights[:-1], jnp.where(known, weights[-1], -jnp.inf))
