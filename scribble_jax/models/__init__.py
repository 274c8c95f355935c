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
  """Returns stage 2's network, as `config.model` has it.

  Args:
    config: `num_classes`, `backbone` (of BACKBONES), `head` (of
      `deeplab.HEADS`), `output_stride` (8 or 16), `width`, `head_width`,
      `dropout`, `dtype` ('float32', 'bfloat16' or 'auto'), `remat` ('none' or
      'blocks') and `freeze_backbone` (of `family.FREEZES`).

  Raises:
    UserError: A name that does not exist.
  """
  return deeplab.SegmentationNetwork(
      head=_choose('head', config.head, _HEADS), **_common(config))


def build_classifier(config, with_segmentation):
  """Returns stage 1's network.

  Args:
    config: As of `build`.
    with_segmentation: Whether it has a segmentation branch, of `head`.

  Raises:
    UserError: A name that does not exist.
  """
  head = _choose('head', config.head, _HEADS)
  return classifier.ClassificationNetwork(
      head=head if with_segmentation else None, **_common(config))


def make_backbone(config):
  """Returns the `family.Backbone` of either network.

  Args:
    config: As of `build`.

  Raises:
    UserError: A name that does not exist.
  """
  make = _choose('backbone', config.backbone, BACKBONES)
  backbone = make(config.width, dtype=_dtype(config),
                  output_stride=_choose(
                      'output_stride', config.output_stride, _STRIDES),
                  remat=_choose('remat', config.remat, _REMATS))
  freeze = _choose('freeze_backbone', config.freeze_backbone, _FREEZES)
  return backbone.clone(frozen=backbone.num_frozen(freeze))


def apply_in_training(model, variables, images, rng):
  """Runs a network on a batch in training mode.

  Args:
    model: Of either stage.
    variables: 'params' and 'batch_stats'.
    images: [B, H, W, 3] uint8.
    rng: Key of the dropout.

  Returns:
    outputs: What the model returns.
    batch_stats: The updated running statistics.
  """
  outputs, updated = model.apply(
      model.backbone.hold(variables), model.backbone.normalize(images),
      train=True, rngs={'dropout': rng}, mutable=['batch_stats'])
  return outputs, updated.get('batch_stats', {})  # Some have no BatchNorm.


_HEADS = {head: head for head in deeplab.HEADS}
_STRIDES = {stride: stride for stride in OUTPUT_STRIDES}
_FREEZES = {freeze: freeze for freeze in family.FREEZES}
_REMATS = {'none': False, 'blocks': True}
_DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16, 'auto': None}


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
  dtype = _choose('dtype', config.dtype, _DTYPES)
  if dtype is None:
    dtype = jnp.float32 if jax.default_backend() == 'cpu' else jnp.bfloat16
  return dtype


def _choose(key, value, choices):
  if value not in choices:
    raise UserError(f'config.model.{key} is {value!r}. '
                    f'Choose one of: {", ".join(map(str, choices))}.')
  return choices[value]
