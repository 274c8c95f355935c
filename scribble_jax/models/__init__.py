"""Builds the networks that a config names."""

import jax
import jax.numpy as jnp

from scribble_jax.errors import UserError
from scribble_jax.models import classifier
from scribble_jax.models import deeplab
from scribble_jax.models.backbones import BACKBONES
from scribble_jax.models.backbones import OUTPUT_STRIDES
from scribble_jax.models.backbones import family


def build(config):
  """Returns stage 2's network.

  Args:
    config: `num_classes`, `backbone` (of BACKBONES), `head` (of
      `deeplab.HEADS`), `output_stride` (8 or 16), `width`, `head_width`,
      `dropout`, `dtype` ('float32', 'bfloat16' or 'auto'), `remat` ('none' or
      'blocks') and `freeze_backbone` (of `family.FREEZES`).

  Raises:
    UserError: A value is not one of the choices.
  """
  return deeplab.SegmentationNetwork(
      head=_choose(config, 'head', deeplab.HEADS), **_common(config))


def build_classifier(config, with_segmentation):
  """Returns stage 1's network.

  Args:
    config: As of `build`.
    with_segmentation: Whether it has a segmentation branch, with this `head`.

  Raises:
    UserError: A value is not one of the choices.
  """
  head = _choose(config, 'head', deeplab.HEADS)
  return classifier.ClassificationNetwork(
      head=head if with_segmentation else None, **_common(config))


def make_backbone(config):
  """Returns the `family.Backbone` of either network.

  Args:
    config: As of `build`.

  Raises:
    UserError: A value is not one of the choices.
  """
  backbone = BACKBONES[_choose(config, 'backbone', BACKBONES)](
      config.width, dtype=_dtype(config),
      output_stride=_choose(config, 'output_stride', OUTPUT_STRIDES),
      remat=_choose(config, 'remat', _REMATS) == 'blocks')
  freeze = _choose(config, 'freeze_backbone', family.FREEZES)
  return backbone.clone(frozen=backbone.num_frozen(freeze))


def apply_in_training(model, variables, images, rng):
  """Runs a network on a batch in training mode.

  Args:
    model: Network of either stage.
    variables: 'params' and 'batch_stats'.
    images: [B, H, W, 3] uint8.
    rng: Random key of the dropout.

  Returns:
    outputs: What the model returns.
    batch_stats: The updated running statistics.
  """
  outputs, updated = model.apply(
      model.backbone.hold(variables), model.backbone.normalize(images),
      train=True, rngs={'dropout': rng}, mutable=['batch_stats'])
  return outputs, updated.get('batch_stats', {})  # {} without a BatchNorm.


_REMATS = ('none', 'blocks')
_DTYPES = ('float32', 'bfloat16', 'auto')


def _common(config):
  """Returns the arguments that both networks take."""
  return {
      'num_classes': config.num_classes,
      'backbone': make_backbone(config),
      'head_width': config.head_width,
      'dropout': config.dropout,
      'dtype': _dtype(config)}


def _dtype(config):
  """Returns the compute type."""
  dtype = _choose(config, 'dtype', _DTYPES)
  if dtype == 'auto':
    dtype = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  return jnp.float32 if dtype == 'float32' else jnp.bfloat16


def _choose(config, key, choices):
  """Returns the value of a key; raises UserError unless it is a choice."""
  if config[key] not in choices:
    raise UserError(f'config.model.{key} is {config[key]!r}. '
                    f'Choose one of: {", ".join(map(str, choices))}.')
  return config[key]
