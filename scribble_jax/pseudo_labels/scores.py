"""Scores of an image's classes, from any source, and labels made of them.

Scores are [H, W, K] float32 in [0, 1]. Channel 0 is the background as far as
anything speaks for it, the others are the foreground classes that the image is
scribbled with: a class that is not scribbled can't appear.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.pseudo_labels import propagation


def classes_of(scribble):
  """Returns an image's classes, [K] uint8: background, then the scribbled."""
  labels = np.unique(scribble)
  return np.concatenate(
      [[0], labels[(labels > 0) & (labels != IGNORE_LABEL)]]).astype(np.uint8)


def seeds_of(scribble, classes):
  """Returns the channel that each stroke holds, [H, W] int; -1 for none."""
  channel = np.full(256, -1)
  channel[classes] = np.arange(len(classes))
  return channel[scribble]


def network_scores(maps, num_foreground, branch):
  """Returns what the classifier says.

  Args:
    maps: [H, W, P] activations of the P foreground classes; behind them, if
      there is a segmentation branch, [H, W, 1 + P] probabilities.
    num_foreground: P.
    branch: 'cam', 'segmentation' or 'both', their mean.

  Returns:
    [H, W, 1 + P]. Activations are divided by their maximum, class by class
    (METHOD 1), and say nothing of the background; probabilities sum to 1 over
    the image's classes.
  """
  activations = maps[..., :num_foreground]
  highest = activations.max((0, 1), keepdims=True)
  activations = activations / np.maximum(highest, 1e-6)
  activations = np.pad(activations, ((0, 0), (0, 0), (1, 0)))
  if branch == 'cam':
    return activations
  probabilities = maps[..., num_foreground:]
  probabilities = probabilities / np.maximum(
      probabilities.sum(-1, keepdims=True), 1e-6)
  if branch == 'segmentation':
    return probabilities
  return (activations + probabilities) / 2


def unnamed(named, others):
  """Returns where a class that the image is not scribbled with is likeliest.

  Args:
    named: [H, W, K] probabilities of the image's classes.
    others: [H, W, any number] probabilities of the other classes.

  Returns:
    [H, W] bool.
  """
  if not others.shape[-1]:
    return np.zeros(others.shape[:-1], bool)
  return others.max(-1) > named.max(-1)


def _of_network(network, image, seeds, refinement):
  del image, seeds, refinement
  return network


def _of_strokes(network, image, seeds, refinement):
  """The strokes alone, spread."""
  return propagation.refine(
      image, np.zeros_like(network), seeds, **refinement)


def _of_both(*args):
  return (_of_strokes(*args) + _of_network(*args)) / 2


class Source(NamedTuple):
  """Where scores come from before refinement.

  Attributes:
    scores: `(network, image, seeds, refinement) -> [H, W, K]` of one image:
      [H, W, K] from `network_scores`, [H, W, 3] uint8, [H, W] from `seeds_of`
      and the keyword arguments of `propagation.refine`.
    needs_network: Whether a classifier is trained; `network` is 0 without.
  """
  scores: Callable
  needs_network: bool


SOURCES = {
    'network': Source(_of_network, needs_network=True),
    'diffusion': Source(_of_strokes, needs_network=False),
    'fusion': Source(_of_both, needs_network=True),
}


def foreground(scores):
  """Returns each pixel's best foreground channel and how sure it is.

  Args:
    scores: [H, W, K].

  Returns:
    channel: [H, W] int, at least 1 unless K is 1.
    score: [H, W] float32, 0 where the background scores as much.
  """
  if scores.shape[-1] == 1:
    return np.zeros(scores.shape[:2], int), np.zeros(
        scores.shape[:2], np.float32)
  channel = 1 + scores[..., 1:].argmax(-1)
  best = scores[..., 1:].max(-1)
  return channel, np.where(best > scores[..., 0], best, 0.0)


def label(scores, thresholds, seeds, classes, undecided, unnamed):
  """Returns the pseudo-label, [H, W] uint8.

  Args:
    scores: [H, W, K].
    thresholds: [C], the score above which a pixel is foreground, by class.
    seeds: From `seeds_of`; strokes keep their class.
    classes: [K] uint8, from `classes_of`.
    undecided: Pixels whose score is closer to the threshold become 255, unless
      the background scores more.
    unnamed: [H, W] bool, where the background becomes 255.
  """
  channel, score = foreground(scores)
  margin = score - thresholds[classes][channel]
  labels = np.where(margin > 0, classes[channel], 0).astype(np.uint8)
  labels[(np.abs(margin) < undecided) & (score > 0)] = IGNORE_LABEL
  labels[unnamed & (labels == 0)] = IGNORE_LABEL
  stroke = seeds >= 0
  labels[stroke] = classes[seeds[stroke]]
  return labels
