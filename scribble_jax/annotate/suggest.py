"""Masks from strokes, in less than a second: pure functions.

The features of a picture are computed once. The class probabilities of
`cell_classifier` are the prior of the random walk of stage 1 (`propagation`),
in which this picture's strokes keep their class. Pictures are scaled down to at
most SIDE pixels a side and padded to few shapes, so that little is compiled.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from scribble_jax import device_batches
from scribble_jax import resize
from scribble_jax.annotate import cell_classifier
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.pseudo_labels import picture_features
from scribble_jax.pseudo_labels import propagation

SIDE = 512  # Maximum of the longer side of a scaled picture, in pixels.
GLANCE_SIDE = 256  # The same for `glance`.
SHOWN_SIDE = 1024  # Longer side of a mask on the page; small ones are enlarged,
_MAX_ENLARGEMENT = 4  # but at most by this factor.
MAX_WALKED = 6  # Maximum number of classes that compete for the pixels.
# Factor for the probability of a class that is not drawn on the picture, if at
# least two others are.
_ABSENT_FACTOR = 0.3
_MIN_SHARE = 0.002  # Classes with a smaller share of the cells are left out.
# Weight of the network's mask in the prior before anything is drawn, and the
# number of cells with strokes that halves it.
_PREDICTED, _HALVED_BY = 0.5, 50
_GLANCE = 5  # Rows and columns of the cells of a `glance`.
# As config.stage1.refinement; the restart includes `scores.Source.trust`.
WALK = propagation.Walk(
    strides=(8, 4, 2, 1), dilations=(1, 2, 4, 8), iterations=30, contrast=0.1,
    restart=0.1)


class Prepared(NamedTuple):
  """What the masks of a picture are made from, besides strokes.

  Attributes:
    size: (height, width) of the scaled picture in pixels.
    features: [h, w, D] float32, from `picture_features.cell_features` of the
      padded picture.
    grids: List of `propagation.Grid`.
  """
  size: tuple[int, int]
  features: np.ndarray
  grids: list


class Scores(NamedTuple):
  """Result of the walk.

  Attributes:
    values: [K, h, w] float32 in [0, 1].
    labels: [K] identifiers of the classes.
  """
  values: np.ndarray
  labels: np.ndarray


class Mask(NamedTuple):
  """The most probable class of each pixel.

  Attributes:
    labels: [h, w] uint8, identifiers of classes.
    probability: [h, w] uint8, probability of that class in units of 1/255.
    certainty: [h, w] uint8, difference to the probability of the next class, in
      the same units.
  """
  labels: np.ndarray
  probability: np.ndarray
  certainty: np.ndarray


def working_size(size, side=SIDE):
  """Returns the (height, width) that a picture is scaled to, in pixels.

  Args:
    size: (height, width) of the picture.
    side: Maximum of the longer side.
  """
  return _times(size, min(1.0, side / max(size)))


def shown_size(size):
  """Returns the (height, width) of the page's mask of a picture of a size."""
  return _times(size, min(_MAX_ENLARGEMENT, SHOWN_SIDE / max(size)))


def _times(size, factor):
  return tuple(max(1, round(length * factor)) for length in size)


def scaled(image, size):
  """Returns an [H, W, 3] uint8 picture scaled down to (height, width)."""
  if image.shape[:2] == tuple(size):
    return image
  return np.asarray(Image.fromarray(image).resize(
      (size[1], size[0]), Image.Resampling.BOX))


def features_of(backbone, variables, image):
  """Returns `picture_features.cell_features` of a picture, [h, w, D] float32.

  Args:
    backbone: `family.Backbone`.
    variables: Variables of the backbone.
    image: [h, w, 3] uint8 RGB, at most SIDE pixels a side.
  """
  return np.asarray(_features(backbone, variables, *_padded(image)))


def prepare(image, features):
  """Returns the Prepared of a picture.

  Args:
    image: [h, w, 3] uint8 RGB, at most SIDE pixels a side.
    features: From `features_of`.
  """
  return Prepared(image.shape[:2], np.float32(features),
                  _grids(*_padded(image)))


def glance(backbone, variables, image):
  """Returns the features of evenly spread cells of a picture.

  Args:
    backbone: `family.Backbone`.
    variables: Variables of the backbone.
    image: [h, w, 3] uint8 RGB, at most GLANCE_SIDE pixels a side.

  Returns:
    [25, D] float16.
  """
  features = features_of(backbone, variables, image)
  rows, columns = (
      np.int32((np.arange(_GLANCE) + 0.5) / _GLANCE * side
               / picture_features.CELL) for side in image.shape[:2])
  return features[rows[:, None], columns[None]].reshape(
      -1, features.shape[-1]).astype(np.float16)


def _padded(image):
  """Returns the padded [H, W, 3] float32 picture and its [H, W] bool area."""
  sides = [WALK.padded(side) for side in image.shape[:2]]
  return (np.float32(device_batches.padded(image, sides)),
          device_batches.padded(np.ones(image.shape[:2], bool), sides))


_features = jax.jit(picture_features.cell_features, static_argnums=0)


@jax.jit
def _grids(image, inside):
  return propagation.make_grids(jnp.moveaxis(image, -1, 0), inside, WALK)


def suggest(prepared, labels, others, classes, predicted=None):
  """Returns the Scores of a picture; None if fewer than two classes are known.

  Args:
    prepared: Prepared.
    labels: [h, w] uint8 identifiers of the picture's strokes, of
      `prepared.size`, IGNORE_LABEL elsewhere.
    others: Of other pictures, from `cell_classifier.pooled`; may be None.
    classes: Identifiers of all classes.
    predicted: [h, w] uint8 identifiers that a network predicts, or None.
  """
  classes = np.array(classes)
  own = cell_classifier.samples_of(
      prepared.features, labels, cell_classifier.OWN_SAMPLES)
  is_fitted = len({*own.labels, *(others.labels if others else ())}) > 1
  if not is_fitted and predicted is None:
    return None
  drawn = np.isin(classes, own.labels)
  prior = np.zeros([*prepared.features.shape[:2], len(classes)], np.float32)
  if is_fitted:
    prior += np.asarray(cell_classifier.probabilities(
        prepared.features, *cell_classifier.fit_classes(own, others, classes))
    )[..., :len(classes)]
  if drawn.sum() >= 2:
    prior *= np.where(drawn, 1.0, _ABSENT_FACTOR)
  if predicted is not None:
    share = (_PREDICTED / (1 + len(own.labels) / _HALVED_BY) if is_fitted
             else 1.0)
    rows, columns = (  # Of the corners of cells, of the nearest ones outside.
        np.minimum(np.arange(cells) * picture_features.CELL, side - 1)
        for cells, side in zip(prior.shape, predicted.shape, strict=False))
    prior = (1 - share) * prior + share * (
        predicted[rows[:, None], columns[None], None] == classes)
  chosen = _competing(prior, drawn, prepared.size)
  prior = prior[..., chosen] / np.maximum(
      prior[..., chosen].sum(-1, keepdims=True), 1e-6)
  return Scores(_walked(prepared, prior, labels, classes[chosen]),
                classes[chosen])


def _competing(prior, drawn, size):
  """Returns the indices of the competing classes: drawn ones come first.

  Args:
    prior: [h, w, K] of cells.
    drawn: [K] bool.
    size: (height, width) of the picture in pixels.
  """
  inside = prior[:-(-size[0] // picture_features.CELL),
                 :-(-size[1] // picture_features.CELL)]
  best = np.argmax(inside, -1)
  shares = np.bincount(best.reshape(-1), minlength=len(drawn)) / best.size
  order = np.argsort(-(shares + drawn), kind='stable')[:MAX_WALKED]
  return np.sort(order[(shares[order] > _MIN_SHARE) | drawn[order]])


def _walked(prepared, prior, labels, classes):
  """Returns the walk's [K, h, w] float32 scores of the [K] classes."""
  sides = [WALK.padded(side) for side in prepared.size]
  places = MAX_WALKED - len(classes)
  # Strokes of classes beyond MAX_WALKED are left out.
  labels = np.where(np.isin(labels, classes), labels, IGNORE_LABEL)
  scores = _walk(
      prepared.grids, np.pad(prior, [(0, 0), (0, 0), (0, places)]),
      device_batches.padded(labels.astype(np.uint8), sides, IGNORE_LABEL),
      np.pad(classes, (0, places)).astype(np.uint8), np.int32(len(classes)))
  height, width = prepared.size
  return np.asarray(scores)[:len(classes), :height, :width]


@jax.jit
def _walk(grids, prior, labels, classes, count):
  """Returns [MAX_WALKED, H, W] float32 scores; 0 from class `count` on."""
  held = labels != IGNORE_LABEL
  inside = grids[-1].weight > 0
  prior = jnp.moveaxis(resize.resize_corners_aligned(
      prior[None], labels.shape)[0], -1, 0)

  def add_class(number, scores):
    """Returns the scores with those of one more class added."""
    return scores.at[number].set(propagation.spread(
        grids, jnp.where(inside, prior[number], 0.0),
        labels == classes[number], held, WALK, WALK.restart))

  return jax.lax.fori_loop(0, count, add_class, jnp.zeros(prior.shape))


def to_mask(scores, size):
  """Returns the Mask of Scores.

  Args:
    scores: Scores.
    size: (height, width) of the mask in pixels.
  """
  best, second, total = (np.zeros(size, np.float32) for _ in range(3))
  labels = np.full(size, scores.labels[0], np.uint8)
  for values, label in zip(scores.values, scores.labels, strict=True):
    if values.shape != tuple(size):
      values = np.asarray(Image.fromarray(values).resize(
          (size[1], size[0]), Image.Resampling.BILINEAR))
    better = values > best
    labels[better] = label
    second = np.maximum(second, np.minimum(values, best))
    best = np.maximum(best, values)
    total += values
  share = 255 / np.maximum(total, 1e-6)
  return Mask(labels, np.uint8(best * share), np.uint8((best - second) * share))


def mask_of_prediction(predicted, size):
  """Returns the Mask of a network's prediction.

  Args:
    predicted: [H, W] uint8 identifiers.
    size: (height, width) of the mask in pixels.
  """
  labels = np.asarray(Image.fromarray(predicted).resize(
      (size[1], size[0]), Image.Resampling.NEAREST))
  sure = np.full(size, 255, np.uint8)
  return Mask(labels, sure, sure)
