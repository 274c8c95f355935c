"""A classifier of cells of pictures, learned from all strokes: pure functions.

It is a multinomial logistic regression on features of a pretrained network. It
is fitted again for each mask, in a tenth of a second, so that a mask depends
only on the strokes and the pictures.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.pseudo_labels import picture_features
from scribble_jax.pseudo_labels.picture_features import CELL

OWN_SAMPLES, OTHER_SAMPLES = 256, 384  # Maximum numbers of training cells.
SAMPLES_PER_CLASS = 32  # Cells of a picture, for the masks of other pictures.
_OTHERS_WEIGHT = 0.3  # Weight of other pictures' cells, relative to the own.
_PENALTY = 1.0  # Of the weights; see `picture_features.fit`.
_STEPS = 50  # Half of its default; less than one pixel in a thousand changes.
_CLASSES_STEP = 8  # Classes are padded to a multiple, so few shapes compile.


class Samples(NamedTuple):
  """Cells that strokes cross.

  Attributes:
    x: [M, D] float32 features.
    labels: [M] int, identifiers of their classes.
  """
  x: np.ndarray
  labels: np.ndarray


def pooled(pictures):
  """Returns Samples of several pictures, about equally many of each class.

  Args:
    pictures: Sequence of Samples, in an order that does not change.

  Returns:
    At most OTHER_SAMPLES of them, evenly chosen; None if there is none.
  """
  if not pictures:
    return None
  labels = np.concatenate([samples.labels for samples in pictures])
  starts = np.cumsum([0, *(len(samples.labels) for samples in pictures)])
  kept = _of_each_class(
      labels, OTHER_SAMPLES // max(1, len(np.unique(labels))))
  owners = np.searchsorted(starts, kept, 'right') - 1
  x = [pictures[owner].x[index - starts[owner]]
       for owner, index in zip(owners, kept, strict=True)]
  return Samples(np.float32(x).reshape(len(x), pictures[0].x.shape[1]),
                 labels[kept])


def samples_of(features, labels, most, per_class=None):
  """Returns evenly chosen Samples of a picture.

  Args:
    features: [h, w, D] float32, from `picture_features.cell_features` of the
      padded picture.
    labels: [H, W] uint8 identifiers, IGNORE_LABEL where nothing is drawn; of
      the picture without padding.
    most: Maximum number of cells.
    per_class: Maximum number of cells of a class; None for any number.
  """
  cells, found = _drawn_cells(labels, features.shape[1])
  if per_class:
    kept = _of_each_class(found, per_class)
    cells, found = cells[kept], found[kept]
  kept = _evenly(np.arange(len(found)), most)
  cells, found = cells[kept], found[kept]
  flat = features.reshape(-1, features.shape[-1])
  return Samples(np.float32(np.asarray(flat)[cells]), found.astype(int))


def _drawn_cells(labels, row_length):
  """Returns the cells that strokes cross, once for each class.

  Args:
    labels: As of `samples_of`.
    row_length: Number of cells in a row of the padded picture.

  Returns:
    [M] indices of cells, row by row, and [M] identifiers.
  """
  rows, columns = np.nonzero(labels != IGNORE_LABEL)
  cells = ((rows + CELL // 2) // CELL * row_length
           + (columns + CELL // 2) // CELL)
  pairs = np.unique(cells * 256 + labels[rows, columns])
  return pairs // 256, pairs % 256


def _of_each_class(labels, most):
  """Returns the indices of at most `most` evenly chosen labels a class."""
  return np.concatenate([np.zeros(0, int), *(
      _evenly(np.flatnonzero(labels == label), most)
      for label in np.unique(labels))])


def _evenly(index, most):
  """Returns at most `most` evenly chosen values."""
  return (index if len(index) <= most
          else index[np.arange(most) * len(index) // most])


def fit_classes(own, others, classes):
  """Fits the classifier of one picture.

  All classes have equal weight, so that a spot counts as much as a long stroke.
  Cells of other pictures weigh less than this picture's own, except those of a
  class that is not drawn here.

  Args:
    own: Samples of the picture, at most OWN_SAMPLES; empty for a picture
      without strokes.
    others: Samples of all other pictures, from `pooled`, or None.
    classes: [K] identifiers of all classes.

  Returns:
    `picture_features.Regression` of L >= K classes.
  """
  padded = np.pad(np.asarray(classes, int), (0, -len(classes) % _CLASSES_STEP),
                  constant_values=-1)
  others = others or Samples(own.x[:0], own.labels[:0])
  own_y, other_y = (np.float32(samples.labels[:, None] == padded[None])
                    for samples in (own, others))
  own_counts, other_counts = own_y.sum(0), other_y.sum(0)
  wanted = (own_counts.sum() / np.sum(own_counts > 0) if own_counts.any()
            else other_counts.sum() / max(1, np.sum(other_counts > 0)))
  own_y *= wanted / np.maximum(own_counts, 1)
  other_y *= (np.where(own_counts > 0, _OTHERS_WEIGHT, 1.0) * wanted
              / np.maximum(other_counts, 1))
  x = np.zeros([OWN_SAMPLES + OTHER_SAMPLES, own.x.shape[1]], np.float32)
  y = np.zeros([len(x), len(padded)], np.float32)
  x[:len(own.x)], y[:len(own.x)] = own.x, own_y
  x[OWN_SAMPLES:OWN_SAMPLES + len(others.x)] = others.x
  y[OWN_SAMPLES:OWN_SAMPLES + len(others.x)] = other_y
  return _fit(x, y)


_fit = jax.jit(functools.partial(
    picture_features.fit, penalty=_PENALTY, steps=_STEPS))


@jax.jit
def probabilities(features, weights, offsets):
  """Returns the class probabilities of cells.

  Args:
    features: [..., D].
    weights: [D, K], from `fit_classes`.
    offsets: [K], from `fit_classes`.

  Returns:
    [..., K] float32.
  """
  return jax.nn.softmax(jnp.matmul(
      features.astype(jnp.float32), weights, precision='highest')
      + offsets.reshape([1] * (features.ndim - 1) + [-1]))


def confidence(glances, weights, offsets):
  """Returns how certain the classifier is of pictures.

  Args:
    glances: [N, M, D] features of cells of N pictures.
    weights: [D, K], from `fit_classes`.
    offsets: [K], from `fit_classes`.

  Returns:
    [N] mean difference, from 0 to 1, between the probabilities of the two most
    probable classes.
  """
  found = []
  for start in range(0, len(glances), 256):  # One shape, so one compilation.
    part = glances[start:start + 256]
    padded = np.zeros([256, *part.shape[1:]], np.float32)
    padded[:len(part)] = part
    ranked = np.sort(np.asarray(probabilities(padded, weights, offsets)))
    found.append((ranked[..., -1] - ranked[..., -2]).mean(1)[:len(part)])
  return np.concatenate([np.zeros(0), *found])
