"""Losses of stage 1's network, and its class maps of images (METHOD 1)."""

import jax
import jax.numpy as jnp

from scribble_jax import losses
from scribble_jax import models
from scribble_jax import resize
from scribble_jax.files.masks import SCRIBBLED_CLASSES

INPUTS = ('scribble', SCRIBBLED_CLASSES)


def loss_terms(model, variables, batch, rng, *, enabled, counts=None):
  """Evaluates the enabled terms of the loss on a batch in training mode.

  The label of a class is positive for a crop with a stroke of it, and negative
  for a crop of an image that is scribbled with other classes only. It is
  unknown if the image has a stroke of the class outside the crop, because the
  class may still be visible in the crop, and if the image has no stroke at all.
  If an image has background strokes only, all other classes are negative.

  Args:
    model: `models.classifier.ClassificationNetwork`.
    variables: 'params' and 'batch_stats'.
    batch: 'image' [B, H, W, 3] and 'scribble' [B, H, W], uint8;
      'scribbled_classes' [B, 256] bool, of the whole images.
    rng: Key for the dropout.
    enabled: Names of the terms: 'classification', and 'scribble' for the
      segmentation branch.
    counts: Counts of a larger batch, as of stage 2's `loss_terms.compute`.

  Returns:
    terms: {name: scalar}.
    batch_stats: The updated running statistics.
  """
  (activations, logits), batch_stats = models.apply_in_training(
      model, variables, batch['image'], rng)
  sums = {}
  if 'classification' in enabled:
    sums['classification'] = _soft_margin(activations, batch)
  if 'scribble' in enabled:
    sums |= losses.sums_over_pixels(
        logits, *_strokes(batch), model.backbone.patch)
  return losses.means(sums, counts), batch_stats


def loss_counts(model, variables, batch, rng, *, enabled):
  """Returns {name: divisor of the term's sum}; arguments as of `loss_terms`."""
  (activations, logits), _ = models.apply_in_training(
      model, variables, batch['image'], rng)
  counts = {}
  if 'classification' in enabled:
    _, counts['classification'] = _soft_margin(activations, batch)
  if 'scribble' in enabled:
    counts |= losses.counts_over_pixels(
        logits, *_strokes(batch), model.backbone.patch)
  return counts


def _soft_margin(activations, batch):
  """Returns the sum of the classification loss and the number of its labels."""
  foreground = jnp.arange(1, activations.shape[-1] + 1)
  shown = jnp.any(batch['scribble'][..., None] == foreground[None, None, None],
                  axis=(1, 2))
  in_image = batch[SCRIBBLED_CLASSES][:, :activations.shape[-1] + 1]
  known = shown | (jnp.any(in_image, 1, keepdims=True) & ~in_image[:, 1:])
  return losses.multi_label_soft_margin(
      jnp.mean(activations, axis=(1, 2)), shown, known)


def _strokes(batch):
  """Returns the maps and losses for `losses.sums_over_pixels`."""
  return {'scribble': batch['scribble']}, {
      'scribble': lambda log_probs, maps: losses.partial_cross_entropy(
          log_probs, maps['scribble'])}


def class_maps(model, variables, images):
  """Returns class activations, followed by class probabilities.

  Args:
    model: `models.classifier.ClassificationNetwork`.
    variables: 'params' and 'batch_stats'.
    images: [B, H, W, 3], pixels in [0, 255].

  Returns:
    [B, H, W, C - 1] float32 activations, ReLU(W_k . F); with a segmentation
    branch [B, H, W, C - 1 + C].
  """
  to_pixels = lambda x: resize.to_pixels(
      x, images.shape[1:3], model.backbone.patch)
  activations, logits = model.apply(
      variables, model.backbone.normalize(images), train=False)
  activations = to_pixels(jax.nn.relu(activations))
  if logits is None:
    return activations
  probabilities = jax.nn.softmax(to_pixels(logits))
  return jnp.concatenate([activations, probabilities], axis=-1)
