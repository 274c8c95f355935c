"""The segmentation losses (METHOD 2): pure functions, arrays to scalars.

A pixel loss returns the loss of each pixel and which pixels count.
`sums_over_pixels` upsamples the logits and sums several pixel losses with one
softmax. loss_terms.py defines which of them are trained. All arithmetic is
float32. A mean over nothing is 0 with a zero gradient, never NaN.

Shape letters: B batch, H W image, C classes.
"""

import jax
import jax.numpy as jnp

from scribble_jax import resize
from scribble_jax import switches
from scribble_jax.labels import IGNORE_LABEL

_STRIP_ROWS = 32  # Pixels; more take more memory and save no time.


def masked_sum(values, mask, axis=None):
  """Returns the sum of `values` where `mask` is true, and their number."""
  return (jnp.sum(jnp.where(mask, values, 0.0), axis),
          jnp.sum(mask, axis, dtype=jnp.float32))


def mean(total, count):
  """Returns the mean from the results of `masked_sum`; 0 of no values."""
  return total / jnp.maximum(count, 1.0)


def means(sums, counts=None):
  """Returns {name: mean} of {name: `masked_sum`}.

  Args:
    sums: {name: (sum, count)} of a batch.
    counts: {name: count} of a larger batch of which this one is a part, so that
      the parts' results add up to its means; None for this batch's counts.
  """
  return {name: mean(total, own if counts is None else counts[name])
          for name, (total, own) in sums.items()}


def counts_over_pixels(logits, maps, pixel_losses, patch=None):
  """Returns {name: count} of `sums_over_pixels`, and computes nothing else.

  The logits are computed only if a count depends on them.
  """
  return {name: count for name, (count,) in _sum_over_strips(
      logits, maps, pixel_losses, patch, slice(1, 2)).items()}


def sums_over_pixels(logits, maps, pixel_losses, patch=None):
  """Sums losses over the pixels of a batch.

  The logits are upsampled a strip of rows at a time, and again in the backward
  pass, so that they are never stored at full size.

  Args:
    logits: [B, h, w, C] float scores.
    maps: {name: [B, H, W]} of labels and weights. Logits are resized to
      (H, W), bilinearly.
    pixel_losses: {name: `(log_probs, maps) -> (values, counted)`}, such as the
      functions below. Arguments are float32 [B, rows, W, C] and {name:
      [B, rows, W]} of a strip; results are the pixels' losses and whether they
      count, both [B, rows, W].
    patch: The backbone's `patch`, which defines where the logits lie.

  Returns:
    {name: (sum, count)}, scalars, over all pixels that count.
  """
  return _sum_over_strips(logits, maps, pixel_losses, patch, slice(0, 2))


def _sum_over_strips(logits, maps, pixel_losses, patch, part):
  """Returns `sums_over_pixels` with a slice `part` of each pair."""
  if not pixel_losses:  # Only LoRM is trained.
    return {}
  height, width = jax.tree.leaves(maps)[0].shape[1:]
  row_weights, column_weights = (
      resize.interpolation_matrix(*sides, patch)
      for sides in zip(logits.shape[1:3], (height, width), strict=True))
  num_strips = -(-height // _STRIP_ROWS)
  rows = -(-height // num_strips)
  padding = num_strips * rows - height

  def strips(x, axis):
    x = jnp.pad(x, [(0, padding if i == axis else 0) for i in range(x.ndim)])
    x = x.reshape(*x.shape[:axis], num_strips, rows, *x.shape[axis + 1:])
    return jnp.moveaxis(x, axis, 0)

  @jax.checkpoint
  def strip_sums(logits, matrix, inside, maps):
    """Returns {name: part of (sum, count)}, both [B]."""
    log_probs = jax.nn.log_softmax(
        resize.interpolate(logits, matrix, column_weights))
    sums = {}
    for name, pixel_loss in pixel_losses.items():
      values, counted = pixel_loss(log_probs, maps)
      sums[name] = masked_sum(
          values, counted & inside[None, :, None], axis=(1, 2))[part]
    return sums

  def add_strip(sums, strip):
    return jax.tree.map(jnp.add, sums, strip_sums(logits, *strip)), None

  # Per image: sums over the batch would communicate at every strip.
  zeros = jnp.zeros([2, len(logits)])
  sums, _ = jax.lax.scan(
      add_strip, dict.fromkeys(pixel_losses, tuple(zeros)[part]),
      (strips(row_weights, 0), strips(jnp.ones(height, bool), 0),
       {name: strips(x, 1) for name, x in maps.items()}))
  # Stacked, so that there is one all-reduce over the devices.
  totals = jnp.sum(jnp.stack(jax.tree.leaves(sums)), axis=1)
  return jax.tree.unflatten(jax.tree.structure(sums), list(totals))


def partial_cross_entropy(log_probs, labels):
  """Cross-entropy of the labelled pixels, CE(scribble) in METHOD 2.

  Args:
    log_probs: [..., C] float32.
    labels: [...] integer classes; IGNORE_LABEL marks an unlabelled pixel.

  Returns:
    values, counted: [...] each pixel's loss, and whether it is labelled.
  """
  return smoothed_cross_entropy(log_probs, labels, 0.0)


def smoothed_cross_entropy(log_probs, labels, smoothing):
  """Cross-entropy with label smoothing, CE_0.1(pseudo) in METHOD 2.

  Args:
    log_probs: [..., C] float32.
    labels: [...] integer classes; IGNORE_LABEL marks an unlabelled pixel.
    smoothing: Share of the target that is spread evenly over all C classes.

  Returns:
    values, counted: [...] each pixel's loss, and whether it is labelled.
  """
  classes = jnp.arange(log_probs.shape[-1]).reshape(
      (1,) * labels.ndim + (-1,))
  # Unlike a gather, a comparison fuses with the softmax and its gradient.
  loss = -(1 - smoothing) * jnp.sum(
      jnp.where(labels[..., None] == classes, log_probs, 0.0), axis=-1)
  if smoothing:
    loss -= smoothing * jnp.mean(log_probs, axis=-1)
  return loss, labels != IGNORE_LABEL


def multi_label_soft_margin(logits, targets, known):
  """Sigmoid cross-entropy of image-level labels (METHOD 1, stage 1).

  Args:
    logits: [B, K] float scores of the foreground classes.
    targets: [B, K] bool, whether the image shows the class.
    known: [B, K] bool, whether that is known; other labels do not count.

  Returns:
    Scalars: the sum over the known labels of the whole batch, their number.
  """
  logits = logits.astype(jnp.float32)
  loss = -jnp.where(targets, jax.nn.log_sigmoid(logits),
                    jax.nn.log_sigmoid(-logits))
  return masked_sum(loss, known)


def distance_entropy(log_probs, distance_map, normaliser):
  """Prediction entropy weighted by a distance map, DEL in METHOD 2.

  Args:
    log_probs: [..., C] float32.
    distance_map: [...] weights in [0, 1].
    normaliser: The divisor of the sum (METHOD 8e): with 'official' the number
      of pixels whose weighted entropy is not 0; with 'corrected' the number of
      pixels whose weight is not 0.

  Returns:
    values, counted: [...] each pixel's loss, and whether it counts.
  """
  entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)
  weighted = distance_map * entropy
  counted = weighted if switches.is_official(normaliser) else distance_map
  return weighted, counted != 0
