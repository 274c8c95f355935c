"""Scores of an image's classes, from several sources, and labels from them.

Scores are [H, W] float32 in [0, 1] for each class. Only the background and the
foreground classes that the image is scribbled with have scores: another class
can't appear. The background's scores are 0 where the source has no evidence for
it. An image's classes are [C] uint8, with C of the data set: background, the
scribbled classes, then 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.pseudo_labels import picture_features


def classes_of(scribble):
  """Returns an image's classes, [K] uint8: background, then scribbled ones."""
  labels = np.unique(scribble)
  return np.concatenate(
      [[0], labels[(labels > 0) & (labels != IGNORE_LABEL)]]).astype(np.uint8)


def make_network_scores(maps, classes, branch):
  """Returns `label -> [H, W]`, the classifier's scores of one class.

  Activations are divided by their maximum, class by class (METHOD 1), and are 0
  for the background; probabilities sum to 1 over the image's classes.

  Args:
    maps: [H, W, C - 1] activations of the foreground classes, followed by
      [H, W, C] probabilities if there is a segmentation branch. 0 outside the
      image.
    classes: [C] uint8.
    branch: 'cam', 'segmentation', or 'both' for their mean.
  """
  activations, probabilities = jnp.split(maps, [len(classes) - 1], axis=-1)
  if branch != 'cam':
    total = jnp.sum(
        jnp.where(_named(classes), probabilities, 0.0), axis=-1)

  def activation(label):
    values = _channel(activations, jnp.maximum(label, 1) - 1)
    return jnp.where(
        label > 0, values / jnp.maximum(jnp.max(values), 1e-6), 0.0)

  def probability(label):
    return _channel(probabilities, label) / jnp.maximum(total, 1e-6)

  return {
      'cam': activation,
      'segmentation': probability,
      'both': lambda label: (activation(label) + probability(label)) / 2,
  }[branch]


def make_feature_scores(features, scribble, classes, shared):
  """Returns `label -> [H, W]`, scores from `picture_features`.

  Args:
    features: From `picture_features.cell_features`.
    scribble: [H, W] uint8.
    classes: [C] uint8.
    shared: As of `picture_features.class_probabilities`.
  """
  probabilities = picture_features.class_probabilities(
      features, scribble, classes, shared)
  # Later places with label 0 are padding.
  return lambda label: probabilities[jnp.argmax(classes == label)]


def unnamed(maps, classes):
  """Returns where a class without a scribble in the image is most probable.

  Args:
    maps: [H, W, 2 C - 1], as of `make_network_scores`.
    classes: [C] uint8.

  Returns:
    [H, W] bool.
  """
  probabilities, named = maps[..., len(classes) - 1:], _named(classes)
  highest = lambda chosen: jnp.max(
      jnp.where(chosen, probabilities, -1.0), axis=-1)
  return highest(~named) > highest(named)


def _named(classes):
  """Returns which classes are the image's, [1, 1, C] bool."""
  return jnp.any(
      classes[:, None] == jnp.arange(len(classes))[None], axis=0)[None, None]


def _channel(maps, index):
  return jax.lax.dynamic_index_in_dim(
      maps, index.astype(jnp.int32), axis=-1, keepdims=False)


class Source(NamedTuple):
  """A source of scores before refinement.

  Attributes:
    scores: `(spread, network, stroke, held) -> [H, W]`, the scores of one
      class. `spread` are the scores that its strokes spread to, `network` those
      of the classifier, [H, W] float32, 0 if not needed; `stroke` is where its
      own strokes are, `held` where any strokes are, [H, W] bool.
    spreads_strokes: Whether it needs `spread`.
    needs_network: Whether it needs `network`, so that a classifier is trained.
    needs_features: Whether `network` are probabilities of `picture_features`.
    trust: Factor for the restart probability of the walk that refines these
      scores.
    version: Increase it when the same settings give other pseudo-labels;
      existing ones are then made again.
  """
  scores: Callable
  spreads_strokes: bool
  needs_network: bool
  needs_features: bool = False
  trust: float = 1.0
  version: int = 3


SOURCES = {
    'network': Source(lambda spread, network, *strokes: network,
                      spreads_strokes=False, needs_network=True),
    'features': Source(lambda spread, probability, *strokes: probability,
                       spreads_strokes=False, needs_network=False,
                       needs_features=True, trust=10.0, version=4),
    'diffusion': Source(lambda spread, *others: spread,
                        spreads_strokes=True, needs_network=False),
    'fusion': Source(lambda spread, network, *strokes: (spread + network) / 2,
                     spreads_strokes=True, needs_network=True),
}


class Best(NamedTuple):
  """The best of the classes seen so far, at each pixel.

  Attributes:
    background: [H, W] float32, scores of the background.
    foreground: [H, W] float32, highest score of the other classes.
    label: [H, W] uint8, class of that score; 0 if all scores are 0.
  """
  background: jax.Array
  foreground: jax.Array
  label: jax.Array

  def with_class(self, number, label, values):
    """Returns the Best with one more class.

    Args:
      number: Position among the image's classes; 0 is the background.
      label: Index of the class.
      values: [H, W], scores of the class.
    """
    better = (number > 0) & (values > self.foreground)
    return Best(jnp.where(number == 0, values, self.background),
                jnp.where(better, values, self.foreground),
                jnp.where(better, label, self.label))

  def score(self):
    """Returns [H, W] float32 scores, 0 where the background's are as high."""
    return jnp.where(self.foreground > self.background, self.foreground, 0.0)


def no_class_yet(shape):
  """Returns the Best of no class."""
  return Best(jnp.zeros(shape), jnp.zeros(shape), jnp.zeros(shape, jnp.uint8))


def label(score, best, thresholds, scribble, undecided, unnamed):
  """Returns the pseudo-label, [H, W] uint8.

  Args:
    score: [H, W], from `Best.score`.
    best: [H, W] uint8, the class of that score.
    thresholds: [C], scores above which a pixel is foreground, by class.
    scribble: [H, W] uint8; strokes keep their class.
    undecided: Pixels whose score is closer than this to the threshold become
      255, unless the background's score is higher.
    unnamed: [H, W] bool, where background becomes 255.
  """
  margin = score - thresholds[best]
  labels = jnp.where(margin > 0, best, 0)
  labels = jnp.where(
      (jnp.abs(margin) < undecided) & (score > 0), IGNORE_LABEL, labels)
  labels = jnp.where(unnamed & (labels == 0), IGNORE_LABEL, labels)
  return jnp.where(
      scribble != IGNORE_LABEL, scribble, labels).astype(jnp.uint8)
