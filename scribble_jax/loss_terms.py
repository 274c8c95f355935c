"""The training loss of stage 2: METHOD 1's sum of losses over one batch."""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax.numpy as jnp

from scribble_jax import losses
from scribble_jax import models
from scribble_jax import switches
from scribble_jax.models import lorm


class Term(NamedTuple):
  """A term of the sum.

  Attributes:
    labels: The labels it learns from, 'scribble' or 'pseudo_label'.
    pixel_loss: `(log_probs, maps, settings) -> (values, counted)`, as of
      `losses.sums_over_pixels` with the settings of `compute`; None for LoRM,
      which is not a mean over pixels.
  """
  labels: str
  pixel_loss: Callable | None


def _scribble(log_probs, maps, settings):
  del settings
  return losses.partial_cross_entropy(log_probs, maps['scribble'])


def _pseudo_label(log_probs, maps, settings):
  labels = maps['pseudo_label']
  if switches.is_official(settings['pseudo_ignore']):  # Is background then.
    labels = jnp.where(labels == losses.IGNORE_LABEL, 0, labels)
  return losses.smoothed_cross_entropy(
      log_probs, labels, settings['label_smoothing'])


def _distance_entropy(name, log_probs, maps, settings):
  return losses.distance_entropy(
      log_probs, maps[name].astype(jnp.float32) / 255.0,
      settings['normaliser'])


TERMS = {
    'scribble': Term('scribble', _scribble),
    'pseudo_label': Term('pseudo_label', _pseudo_label),
    'lorm': Term('pseudo_label', None),
    'distance_entropy_scribble': Term('scribble', functools.partial(
        _distance_entropy, 'scribble_distance')),
    'distance_entropy_pseudo_label': Term('pseudo_label', functools.partial(
        _distance_entropy, 'pseudo_label_distance')),
}


def compute(model, variables, batch, rng, *, settings, enabled, counts=None):
  """Evaluates the enabled terms of the loss on a batch in training mode.

  Args:
    model: `models.deeplab.SegmentationNetwork`.
    variables: 'params' and 'batch_stats'.
    batch: uint8 arrays: 'image' [B, H, W, 3]; 'scribble', 'pseudo_label',
      'scribble_distance' and 'pseudo_label_distance' [B, H, W].
    rng: Random key of the dropout.
    settings: METHOD 8's switches 'pseudo_ignore', 'lorm_background',
      'lorm_foreground' and 'normaliser'; and 'label_smoothing', for the
      pseudo-labels' cross-entropy.
    enabled: Names of TERMS; other terms are not computed.
    counts: From `count`, summed over all parts of a larger batch, so that the
      parts' terms add up to those of the batch; None if this is no part.

  Returns:
    terms: {name: scalar}.
    batch_stats: The updated running statistics.
  """
  (logits, features), batch_stats = models.apply_in_training(
      model, variables, batch['image'], rng)
  terms = losses.means(losses.sums_over_pixels(
      logits, *_pixel_losses(batch, settings, enabled), model.backbone.patch),
                       counts)
  if 'lorm' in enabled:
    terms['lorm'], _ = _lorm(
        model, variables, features, batch, settings, counts and counts['lorm'])
  return terms, batch_stats


def count(model, variables, batch, rng, *, settings, enabled):
  """Returns {name: divisor of the term's sum}; arguments as of `compute`.

  Official normalisers depend on the predictions and require a forward pass.
  Other counts depend only on the labels.
  """
  (logits, features), _ = models.apply_in_training(
      model, variables, batch['image'], rng)
  counts = losses.counts_over_pixels(
      logits, *_pixel_losses(batch, settings, enabled), model.backbone.patch)
  if 'lorm' in enabled:
    _, counts['lorm'] = _lorm(model, variables, features, batch, settings)
  return counts


def _pixel_losses(batch, settings, enabled):
  """Returns `maps` and `pixel_losses` of `losses.sums_over_pixels`."""
  maps = {name: x for name, x in batch.items() if name != 'image'}
  return maps, {
      name: functools.partial(TERMS[name].pixel_loss, settings=settings)
      for name in enabled if TERMS[name].pixel_loss}


def _lorm(model, variables, features, batch, settings, divisor=None):
  """Returns LoRM's loss and count, as of `lorm.lorm_loss`."""
  foreground = lorm.foreground_mask(
      batch['pseudo_label'], features.shape[1:3], settings['lorm_foreground'],
      model.backbone.patch)
  return model.apply(
      {'params': variables['params']}, features, foreground,
      settings['lorm_background'], settings['normaliser'], divisor,
      method='lorm_loss')
