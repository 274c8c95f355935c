"""Scores of an image's classes, from any source, and labels made of them.

Scores are [H, W] float32 in [0, 1] a class. Those of the background are as far
as anything speaks for it; the others are of the foreground classes that the
image is scribbled with: a class that is not scribbled can't appear. An image's
classes are [C] uint8, as many as the data set's: background, the scribbled
ones, then 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.pseudo_labels import picture_features


def classes_of(scribble):
  """Returns an image's classes, [K] uint8: background, then the scribbled."""
  labels = np.unique(scribble)
  return np.concatenate(
      [[0], labels[(labels > 0) & (labels != IGNORE_LABEL)]]).astype(np.uint8)


def make_network_scores(maps, classes, branch):
  """Returns `label -> [H, W]`, what the classifier says of one class.

  Activations are divided by their maximum, class by class (METHOD 1), and say
  nothing of the background; probabilities sum to 1 over the image's classes.

  Args:
    maps: [H, W, C - 1] activations of the foreground classes; behind them, if
      there is a segmentation branch, [H, W, C] probabilities. 0 outside the
      image.
    classes: [C] uint8.
    branch: 'cam', 'segmentation' or 'both', their mean.
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


def make_feature_scores(features, classes, shared):
  """Returns `scribble -> label -> [H, W]`, what `picture_features` say.

  Args:
    features: From `picture_features.cell_features`.
    classes: [C] uint8.
    shared: As of `picture_features.class_probabilities`.
  """
  def of_scribble(scribble):
    probabilities = picture_features.class_probabilities(
        features, scribble, classes, shared)
    # The first place with the label is the class's own.
    return lambda label: probabilities[jnp.argmax(classes == label)]

  return of_scribble


def unnamed(maps, classes):
  """Returns where a class that the image is not scribbled with is likeliest.

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
  """Returns [1, 1, C] bool, which classes are the image's."""
  return jnp.any(
      classes[:, None] == jnp.arange(len(classes))[None], axis=0)[None, None]


def _channel(maps, index):
  return jax.lax.dynamic_index_in_dim(
      maps, index.astype(jnp.int32), axis=-1, keepdims=False)


class Source(NamedTuple):
  """Where scores come from before refinement.

  Attributes:
    scores: `(spread, network, stroke, held) -> [H, W]` of one class. `spread`
      are the scores that its strokes spread to, `network` those of the
      classifier, [H, W] float32, 0 unless asked for; `stroke` is where its own
      strokes are, `held` where any are, [H, W] bool.
    spreads_strokes: Whether it asks for `spread`.
    needs_network: Whether it asks for `network`: a classifier is trained.
    needs_features: Whether `network` are probabilities of `picture_features`.
    trust: How many times more often than a walk from strokes alone one from
      these scores restarts.
    version: To be increased when the same settings give other pseudo-labels;
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
    background: [H, W] float32, its scores.
    foreground: [H, W] float32, the highest score of the other classes.
    label: [H, W] uint8, whose it is; 0 if none has any.
  """
  background: jax.Array
  foreground: jax.Array
  label: jax.Array

  def with_class(self, number, label, values):
    """Returns the Best with one more class.

    Args:
      number: Which of the image's classes it is; the background is the first.
      label: Its index.
      values: [H, W], its scores.
    """
    better = (number > 0) & (values > self.foreground)
    return Best(jnp.where(number == 0, values, self.background),
                jnp.where(better, values, self.foreground),
                jnp.where(better, label, self.label))

  def score(self):
    """Returns [H, W] float32, 0 where the background scores as much."""
    return jnp.where(self.foreground > self.background, self.foreground, 0.0)


def no_class_yet(shape):
  """Returns the Best of no class."""
  return Best(jnp.zeros(shape), jnp.zeros(shape), jnp.zeros(shape, jnp.uint8))


def label(score, best, thresholds, scribble, undecided, unnamed):
  """Returns the pseudo-label, [H, W] uint8.

  Args:
    score: [H, W], from `Best.score`.
    best: [H, W] uint8, the class that has it.
    thresholds: [C], the score above which a pixel is foreground, by class.
    scribble: [H, W] uint8; strokes keep their class.
    undecided: Pixels whose score is closer to the threshold become 255, unless
      the background scores more.
    unnamed: [H, W] bool, where the background becomes 255.
  """
  margin = score - thresholds[best]
  labels = jnp.where(margin > 0, best, 0)
  labels = jnp.where(
      (jnp.abs(margin) < undecided) & (score > 0), IGNORE_LABEL, labels)
  labels = jnp.where(unnamed & (labels == 0), IGNORE_LABEL, labels)
  return jnp.where(
      scribble != IGNORE_LABEL, scribble, labels).astype(jnp.uint8)
