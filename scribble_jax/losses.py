"""The segmentation losses (METHOD 2): pure functions, arrays to scalars.

Shape letters: B batch, H W image, C classes. Logits have the labels' size
already (scribble_jax.resize). All arithmetic is float32. A mean over nothing
is 0 with a zero gradient, never NaN.
"""

import jax
import jax.numpy as jnp

IGNORE_LABEL = 255


def masked_mean(values, mask):
  """Mean of `values` where `mask` holds; 0 where it never does."""
  total = jnp.sum(jnp.where(mask, values, 0.0))
  return total / jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1.0)


def partial_cross_entropy(logits, labels):
  """Cross-entropy over the labelled pixels, CE(scribble) in METHOD 2.

  Args:
    logits: [B, H, W, C] float scores.
    labels: [B, H, W] integer classes; IGNORE_LABEL marks an unlabelled pixel.

  Returns:
    Scalar mean over the labelled pixels of the whole batch.
  """
  return smoothed_cross_entropy(logits, labels, 0.0)


def smoothed_cross_entropy(logits, labels, smoothing):
  """Cross-entropy with label smoothing, CE_0.1(pseudo) in METHOD 2.

  Args:
    logits: [B, H, W, C] float scores.
    labels: [B, H, W] integer classes; IGNORE_LABEL marks pixels left out.
    smoothing: Share of the target spread evenly over all C classes.

  Returns:
    Scalar mean over the labelled pixels of the whole batch.
  """
  log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
  labels = labels.astype(jnp.int32)
  labelled = labels != IGNORE_LABEL
  in_range = jnp.where(labelled, labels, 0)  # Class 255 does not exist.
  target_log_probs = jnp.take_along_axis(
      log_probs, in_range[..., None], axis=-1)[..., 0]
  loss = -(1 - smoothing) * target_log_probs
  if smoothing:
    loss -= smoothing * jnp.mean(log_probs, axis=-1)
  return masked_mean(loss, labelled)


def multi_label_soft_margin(logits, targets, known):
  """Sigmoid cross-entropy of image-level labels (METHOD 1, stage 1).

  Args:
    logits: [B, K] float scores of the foreground classes.
    targets: [B, K] bool, which classes an image shows.
    known: [B, K] bool; the others are left out.

  Returns:
    Scalar mean over the known labels of the whole batch.
  """
  logits = logits.astype(jnp.float32)
  loss = -jnp.where(targets, jax.nn.log_sigmoid(logits),
                    jax.nn.log_sigmoid(-logits))
  return masked_mean(loss, known)


def distance_entropy(logits, distance_map, normaliser='official'):
  """Prediction entropy weighted by a distance map, DEL in METHOD 2.

  Args:
    logits: [B, H, W, C] float scores.
    distance_map: [B, H, W] weights in [0, 1].
    normaliser: What the sum is divided by (METHOD 8e): 'official', the number
      of pixels whose weighted entropy is not 0; 'corrected', the number of
      pixels whose weight is not 0.

  Returns:
    Scalar mean over the whole batch.
  """
  log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
  entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)
  weighted = distance_map * entropy
  counted = {'official': weighted, 'corrected': distance_map}[normaliser]
  return masked_mean(weighted, counted != 0)
