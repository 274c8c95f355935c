"""What stage 2 learns: METHOD 1's sum of losses over one batch."""

import functools

import jax.numpy as jnp

from scribble_jax import losses
from scribble_jax import models
from scribble_jax.models import lorm

# The terms of METHOD 1's sum, and what of the batch each of them learns from.
TERMS = {
    'scribble': 'scribble',
    'pseudo_label': 'pseudo_label',
    'lorm': 'pseudo_label',
    'distance_entropy_scribble': 'scribble',
    'distance_entropy_pseudo_label': 'pseudo_label',
}
SMOOTHING = 0.1  # Of the pseudo-labels' cross-entropy (METHOD 2).


def loss_terms(model, variables, batch, rng, *, method, enabled):
  """Evaluates the enabled terms of the loss on a batch in training mode.

  Args:
    model: `models.deeplab.SegmentationNetwork`.
    variables: 'params' and 'batch_stats'.
    batch: uint8 arrays: 'image' [B, H, W, 3]; 'scribble', 'pseudo_label',
      'scribble_distance' and 'pseudo_label_distance' [B, H, W].
    rng: Key of the dropout.
    method: METHOD 8's switches: 'pseudo_ignore', 'lorm_background',
      'lorm_foreground', 'normaliser'.
    enabled: Names of TERMS; the others cost nothing.

  Returns:
    terms: {name: scalar}.
    batch_stats: The updated running statistics.
  """
  (logits, features), batch_stats = models.apply_in_training(
      model, variables, batch['image'], rng)
  maps = {name: x for name, x in batch.items() if name != 'image'}
  terms = losses.means_over_pixels(logits, maps, {
      name: pixel_loss for name, pixel_loss in _pixel_losses(method).items()
      if name in enabled})
  if 'lorm' in enabled:
    foreground = lorm.foreground_mask(
        batch['pseudo_label'], features.shape[1:3], method['lorm_foreground'])
    terms['lorm'] = model.apply(
        {'params': variables['params']}, features, foreground,
        background=method['lorm_background'],
        normaliser=method['normaliser'], method='lorm_loss')
  return terms, batch_stats


def _pixel_losses(method):
  """Returns all terms but LoRM as functions of `losses.means_over_pixels`."""
  def scribble(log_probs, maps):
    return losses.partial_cross_entropy(log_probs, maps['scribble'])

  def pseudo_label(log_probs, maps):
    labels = maps['pseudo_label']
    if method['pseudo_ignore'] == 'official':  # Ignored becomes background.
      labels = jnp.where(labels == losses.IGNORE_LABEL, 0, labels)
    return losses.smoothed_cross_entropy(log_probs, labels, SMOOTHING)

  def distance_entropy(name, log_probs, maps):
    return losses.distance_entropy(
        log_probs, maps[name].astype(jnp.float32) / 255.0,
        method['normaliser'])

  return {
      'scribble': scribble,
      'pseudo_label': pseudo_label,
      'distance_entropy_scribble': functools.partial(
          distance_entropy, 'scribble_distance'),
      'distance_entropy_pseudo_label': functools.partial(
          distance_entropy, 'pseudo_label_distance'),
  }
