"""A classifier of cells of pictures, learned from all strokes: pure functions.

It is a multinomial logistic regression on features of a pretrained network. It
is fitted anew for each mask, in a tenth of a second: a mask depends on nothing
but the strokes and the pictures.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.pseudo_labels import picture_features
from scribble_jax.pseudo_labels.picture_features import CELL

OWN_SAMPLES, OTHER_SAMPLES = 256, 384  # Cells that are learned from at most.
SAMPLES_PER_CLASS = 32  # Of a picture, for others to learn from.
_OTHERS_WEIGHT = 0.3  # Of other pictures' cells, as a share of a class's own.
_PENALTY = 1.0  # Of the weights; see `picture_features.fit`.
_STEPS = 50  # Half as many as there: no pixel in a thousand changes.
_CLASSES_STEP = 8  # Classes are padded to a multiple of it: few shapes.


class Samples(NamedTuple):
  """Cells that strokes meet.

  Attributes:
    x: [M, D] float32 features.
    labels: [M] int, identifiers of classes.
  """
  x: np.ndarray
  labels: np.ndarray


def pooled(pictures):
  """Returns Samples of several pictures, about as many of each class.

  Args:
    pictures: Sequence of Samples, in an order that does not change.

  Returns:
    At most OTHER_SAMPLES of them, evenly chosen; None without any.
  """
  if not pictures:
    return None
  labels = np.concatenate([samples.labels for samples in pictures])
  starts = np.cumsum([0, *(len(samples.labels) for samples in pictures)])
  classes = np.unique(labels)
  share = OTHER_SAMPLES // max(1, len(classes))
  kept = np.concatenate([np.zeros(0, int), *(
      _evenly(np.flatnonzero(labels == label), share) for label in classes)])
  owners = np.searchsorted(starts, kept, 'right') - 1
  x = [pictures[owner].x[index - starts[owner]]
       for owner, index in zip(owners, kept, strict=True)]
  return Samples(np.float32(x).reshape(len(x), pictures[0].x.shape[1]),
                 labels[kept])


def samples_of(features, labels, most, per_class=None):
  """Returns evenly chosen Samples of a picture.

  Args:
    features: [h, w, D] float32, of `picture_features.cell_features`; of the
      padded picture.
    labels: [H, W] uint8 identifiers, IGNORE_LABEL where nothing is drawn; the
      picture without padding.
    most: Cells at most.
    per_class: Cells of a class at most; None for any number.
  """
  cells, found = _drawn_cells(labels, features.shape[1])
  if per_class:
    kept = np.concatenate([np.zeros(0, int), *(
        _evenly(np.flatnonzero(found == label), per_class)
        for label in np.unique(found))])
    cells, found = cells[kept], found[kept]
  kept = _evenly(np.arange(len(found)), most)
  cells, found = cells[kept], found[kept]
  flat = features.reshape(-1, features.shape[-1])
  return Samples(np.float32(np.asarray(flat)[cells]), found.astype(int))


def _drawn_cells(labels, row_length):
  """Returns the cells that strokes meet, once for each class.

  Args:
    labels: As of `samples_of`.
    row_length: Cells in a row of the padded picture.

  Returns:
    [M] numbers of cells, row by row, and [M] identifiers.
  """
  rows, columns = np.nonzero(labels != IGNORE_LABEL)
  cells = ((rows + CELL // 2) // CELL * row_length
           + (columns + CELL // 2) // CELL)
  pairs = np.unique(cells * 256 + labels[rows, columns])
  return pairs // 256, pairs % 256


def _evenly(index, most):
  """Returns at most `most` evenly chosen values."""
  return (index if len(index) <= most
          else index[np.arange(most) * len(index) // most])


def fit_classes(own, others, classes):
  """Fits the classifier of one picture.

  Classes weigh alike, so that a spot counts as much as a long stroke. Cells of
  other pictures weigh less than this picture's own, except those of a class
  that is not drawn here.

  Args:
    own: Samples of the picture, at most OWN_SAMPLES; none for a picture without
      strokes.
    others: Samples of all others, from `pooled`.
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


@jax.jit
def _fit(x, y):
  return picture_features.fit(x, y, _PENALTY, steps=_STEPS)


@jax.jit
def probabilities(features, weights, offsets):
  """Returns [..., K] float32 of [..., D] features; see `fit_classes`."""
  return jax.nn.softmax(jnp.matmul(
      features.astype(jnp.float32), weights, precision='highest')
      + offsets.reshape([1] * (features.ndim - 1) + [-1]))


def confidence(glances, weights, offsets):
  """Returns how sure the classifier is of pictures, [N] float.

  Args:
    glances: [N, M, D] features of cells of N pictures.
    weights: Of `fit_classes`.
    offsets: Likewise.

  Returns:
    The mean by which the likeliest class leads the next one, from 0 to 1.
  """
  found = []
  for start in range(0, len(glances), 256):  # Of one shape, but the last ones.
    part = glances[start:start + 256]
    padded = np.zeros([256, *part.shape[1:]], np.float32)
    padded[:len(part)] = part
    ranked = np.sort(np.asarray(probabilities(padded, weights, offsets)))
    found.append((ranked[..., -1] - ranked[..., -2]).mean(1)[:len(part)])
  return np.concatenate([np.zeros(0), *found])
