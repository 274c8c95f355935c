"""Builds the segmentation network that a config names."""

import jax.numpy as jnp

from scribble_jax.errors import UserError
from scribble_jax.models import deeplab
from scribble_jax.models import resnet


def build(config):
  """Returns the Linen module of `config.model`.

  Args:
    config: `num_classes`, `backbone` ('resnet18', '34', '50', '101'), `head`
      ('deeplabv2' or 'deeplabv3plus'), `width`, `head_width`, `dropout` and
      `dtype` ('float32' or 'bfloat16').

  Raises:
    UserError: A name that does not exist.
  """
  backbones = {f'resnet{depth}': depth for depth in resnet.DEPTHS}
  dtypes = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}
  return deeplab.SegmentationNetwork(
      num_classes=config.num_classes,
      depth=_choose('backbone', config.backbone, backbones),
      head=_choose('head', config.head, {h: h for h in deeplab.DILATIONS}),
      width=config.width,
      head_width=config.head_width,
      dropout=config.dropout,
      dtype=_choose('dtype', config.dtype, dtypes))


def _choose(key, value, choices):
  if value not in choices:
    raise UserError(f'config.model.{key} is {value!r}. '
                    f'Choose one of: {", ".join(choices)}.')
  return choices[value]
