"""What stage 2 learns: METHOD 1's sum of losses over one batch."""

import jax.numpy as jnp

from scribble_jax import losses
from scribble_jax import models
from scribble_jax import resize
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
  logits = resize.resize_corners_aligned(logits, batch['scribble'].shape[1:])
  pseudo_label = batch['pseudo_label'].astype(jnp.int32)
  if method['pseudo_ignore'] == 'official':  # Ignored becomes background.
    pseudo_label = jnp.where(
        pseudo_label == losses.IGNORE_LABEL, 0, pseudo_label)

  def distance_entropy(name):
    return losses.distance_entropy(
        logits, batch[name].astype(jnp.float32) / 255.0, method['normaliser'])

  def lorm_loss():
    """LoRM of METHOD 2 on the last features."""
    foreground = lorm.foreground_mask(
        pseudo_label, features.shape[1:3], method['lorm_foreground'])
    return model.apply(
        {'params': variables['params']}, features, foreground,
        background=method['lorm_background'],
        normaliser=method['normaliser'], method='lorm_loss')

  compute = {
      'scribble': lambda: losses.partial_cross_entropy(
          logits, batch['scribble']),
      'pseudo_label': lambda: losses.smoothed_cross_entropy(
          logits, pseudo_label, SMOOTHING),
      'lorm': lorm_loss,
      'distance_entropy_scribble': lambda: distance_entropy(
          'scribble_distance'),
      'distance_entropy_pseudo_label': lambda: distance_entropy(
          'pseudo_label_distance'),
  }
  return {name: compute[name]() for name in enabled}, batch_stats
