"""Labels from scores of all classes at once, in NumPy.

Scores are [H, W, K]: background, then the foreground classes of an image.
"""

import numpy as np

from tests.oracles import propagation


def seeds_of(scribble, classes):
  """Returns the channel that each stroke holds, [H, W] int; -1 for none."""
  channel = np.full(256, -1)
  channel[classes] = np.arange(len(classes))
  return channel[scribble]


def network_scores(maps, classes, num_classes, branch):
  """Returns [H, W, K] of maps [H, W, C - 1] or [H, W, 2 C - 1]."""
  foreground = [int(label) for label in classes[1:]]
  activations = maps[..., [label - 1 for label in foreground]]
  activations = activations / np.maximum(activations.max((0, 1)), 1e-6)
  activations = np.pad(activations, ((0, 0), (0, 0), (1, 0)))
  if branch == 'cam':
    return activations
  named = maps[..., [num_classes - 1 + label for label in (0, *foreground)]]
  named = named / np.maximum(named.sum(-1, keepdims=True), 1e-6)
  return named if branch == 'segmentation' else (activations + named) / 2


def unnamed(maps, classes, num_classes):
  """Returns [H, W] bool, where a class without a stroke is likeliest."""
  probabilities = maps[..., num_classes - 1:]
  others = np.setdiff1d(np.arange(num_classes), classes)
  if not len(others):
    return np.zeros(maps.shape[:2], bool)
  return probabilities[..., others].max(-1) > probabilities[
      ..., classes].max(-1)


def scores_by_variant(image, network, seeds, source, refinement):
  """Returns [H, W, K] raw and refined."""
  raw = network
  if source != 'network':
    raw = propagation.refine(
        image, np.zeros_like(network), seeds, **refinement)
  if source == 'fusion':
    raw = (raw + network) / 2
  return raw, propagation.refine(image, raw, seeds, **refinement)


def foreground(scores, classes):
  """Returns each pixel's best foreground class and how sure it is."""
  if len(classes) == 1:
    return (np.zeros(scores.shape[:2], np.uint8), np.zeros(scores.shape[:2]))
  best = scores[..., 1:].max(-1)
  return (classes[1 + scores[..., 1:].argmax(-1)],
          np.where(best > scores[..., 0], best, 0.0))


def label(scores, thresholds, scribble, classes, undecided, is_unnamed):
  """Returns the pseudo-label, [H, W] uint8, and each pixel's margin."""
  best, score = foreground(scores, classes)
  margin = score - thresholds[best]
  labels = np.where(margin > 0, best, 0).astype(np.uint8)
  labels[(np.abs(margin) < undecided) & (score > 0)] = 255
  labels[is_unnamed & (labels == 0)] = 255
  stroke = scribble != 255
  labels[stroke] = scribble[stroke]
  return labels, margin
