"""What stage 1's network learns, and the maps it makes of images (METHOD 1)."""

import jax
import jax.numpy as jnp

from scribble_jax import losses
from scribble_jax import models
from scribble_jax import resize
from scribble_jax.files.masks import SCRIBBLED_CLASSES

INPUTS = ('scribble', SCRIBBLED_CLASSES)


def loss_terms(model, variables, batch, rng, *, enabled, counts=None):
  """Evaluates the enabled terms of the loss on a batch in training mode.

  A class is shown by a crop that has a stroke of it, and is not by one of an
  image that is scribbled with others. Of an image's classes whose strokes a
  crop misses nothing is known: they may be in sight all the same. Nothing is
  known of an image without any stroke either; strokes on the background alone
  say that no other class is there.

  Args:
    model: `models.classifier.ClassificationNetwork`.
    variables: 'params' and 'batch_stats'.
    batch: 'image' [B, H, W, 3] and 'scribble' [B, H, W], uint8;
      'scribbled_classes' [B, 256] bool, of the whole images.
    rng: Key of the dropout.
    enabled: Of 'classification' and 'scribble', the segmentation branch's.
    counts: Of a larger batch, as of stage 2's `loss_terms.compute`.

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
  """Returns {name: what the term's sum is divided by}; as of `loss_terms`."""
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
  """Returns the sum and the count of the classes that are known."""
  foreground = jnp.arange(1, activations.shape[-1] + 1)
  shown = jnp.any(batch['scribble'][..., None] == foreground[None, None, None],
                  axis=(1, 2))
  in_image = batch[SCRIBBLED_CLASSES][:, :activations.shape[-1] + 1]
  known = shown | (jnp.any(in_image, 1, keepdims=True) & ~in_image[:, 1:])
  return losses.multi_label_soft_margin(
      jnp.mean(activations, axis=(1, 2)), shown, known)


def _strokes(batch):
  """Returns maps and the strokes' loss, as of `losses.sums_over_pixels`."""
  return {'scribble': batch['scribble']}, {
      'scribble': lambda log_probs, maps: losses.partial_cross_entropy(
          log_probs, maps['scribble'])}


def class_maps(model, variables, images):
  """Returns class activations and, behind them, class probabilities.

  Args:
    model: `models.classifier.ClassificationNetwork`.
    variables: 'params' and 'batch_stats'.
    images: [B, H, W, 3], pixels in [0, 255].

  Returns:
    [B, H, W, C - 1] float32, ReLU(W_k . F); with a segmentation branch
    [B, H, W, C - 1 + C].
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
