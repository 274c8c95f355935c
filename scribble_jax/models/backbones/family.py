"""The interface of a backbone; each family is a module beside this one.

To add a family, write one file with a subclass of Backbone and its VARIANTS,
and add it to this package's `__init__`.
"""

import dataclasses
import re

from flax import traverse_util
import flax.linen as nn
import jax
import jax.numpy as jnp

from scribble_jax import normalization
from scribble_jax.errors import UserError

FREEZES = ('none', 'stages', 'all')  # What part of a backbone is frozen.


class Backbone(nn.Module):
  """A network that computes the features of images.

  Subclasses also have the attribute `width`: 64 for the published network;
  smaller values make it narrower in proportion.

  Attributes:
    namings: How files of weights name the parameters, the family's own naming
      first: pairs (pattern, replacement) of regular expressions, applied in
      this order to a path such as 'layer1_0/conv1/kernel'. After them 'kernel'
      and 'scale' become 'weight', BatchNorm's 'mean' and 'var' become
      'running_mean' and 'running_var', and slashes become dots.
    ignored: Regular expression of the tensors in such files that are not used.
    patch: Side, in pixels, of the square patches whose centres the features
      lie on, as in `resize`; None if the corners are aligned with the image's.
    cpu_libraries: Operations that XLA leaves to YNNPACK in gradients on a CPU.
      By default XLA leaves convolutions to it too, whose gradients by kernels
      take 3 to 8 times as long there as in Eigen (jaxlib 0.10.2).
    num_layers: Number of the last layer, for learning rates that grow from
      layer to layer and for freezing. Layer 0 is what comes before the first
      block. A family without numbered layers has only layer 0.
    last_layer: Regular expression of the paths of parameters that have no
      number and belong to the last layer, such as a final normalisation.
    dtype: Compute type.
    output_stride: Stride of the features, 8 or 16 pixels; some families ignore
      it.
    remat: Whether the backward pass recomputes each block instead of storing
      its intermediate values.
    frozen: Number of first layers that training does not change. Their
      parameters get neither gradients nor updates. A family's `__call__` uses
      `trains` for BatchNorms and dropout.
  """
  namings = ((),)
  ignored = r'(?!)'
  patch = None
  cpu_libraries = ('DOT',)
  num_layers = 0
  last_layer = r'(?!)'
  dtype: jnp.dtype = dataclasses.field(default=jnp.float32, kw_only=True)
  output_stride: int = dataclasses.field(default=8, kw_only=True)
  remat: bool = dataclasses.field(default=False, kw_only=True)
  frozen: int = dataclasses.field(default=0, kw_only=True)

  def __call__(self, images, train):
    """Returns two maps of features.

    Args:
      images: [B, H, W, 3] normalised images of any size.
      train: Whether to use batch statistics (needs mutable 'batch_stats').

    Returns:
      low_level: [B, h, w, K] at stride 4; None if the family has no such map.
      features: [B, h, w, K] at the output stride, which LoRM rectifies.
    """
    raise NotImplementedError

  def show_stages(self, maps):
    """Stores the maps of several stages, from fine to coarse, for `stages`."""
    if not self.is_initializing():
      self.sow('stages', 'maps', maps)

  def stages(self, variables, images):
    """Returns the maps of several stages, [B, h, w, K] each, fine to coarse.

    Args:
      variables: The backbone's 'params' and 'batch_stats'.
      images: [B, H, W, 3] normalised.
    """
    (_, features), shown = self.apply(
        variables, images, train=False, mutable=['stages'])
    return shown['stages']['maps'][0] if shown else [features]

  def normalize(self, images):
    """Returns [..., 3] uint8 RGB as the float32 that the weights expect."""
    return normalization.normalize(images)

  def feature_size(self, side):
    """Returns the side of the features for an image side, in pixels."""
    raise NotImplementedError

  def layer_of(self, path):
    """Returns the layer that a parameter belongs to, from 0 to `num_layers`.

    Args:
      path: Path in the backbone, such as 'blocks_3/conv/kernel'. Blocks are
        counted from 0: this one is layer 4. Parameters without a number belong
        to layer 0, or to the last one if they match `last_layer`.
    """
    block = re.match(r'[a-z]+s?_(\d+)(?:/|$)', path)
    if block and self.num_layers:
      return int(block[1]) + 1
    return self.num_layers if re.match(self.last_layer, path) else 0

  def num_frozen(self, freeze):
    """Returns the value of `frozen` for a value of FREEZES.

    Raises:
      UserError: The backbone has no numbered layers for 'stages'.
    """
    if freeze == 'stages' and not self.num_layers:
      raise UserError(
          "config.model.freeze_backbone is 'stages', but "
          f'{self.name_in_config} counts no layers. Choose one of: none, all.')
    return {'none': 0, 'stages': self.num_layers // 2 + 1,
            'all': self.num_layers + 1}[freeze]

  def trains(self, train, layer=None):
    """Whether a layer, or any layer at all, is in training mode.

    Args:
      train: The argument of `__call__`.
      layer: As of `layer_of`; None for any layer.
    """
    return train and self.frozen <= (
        self.num_layers if layer is None else layer)

  def hold(self, variables):
    """Returns a network's variables, with no gradient for the frozen ones."""
    if not self.frozen:
      return variables
    return traverse_util.path_aware_map(
        lambda path, leaf: jax.lax.stop_gradient(leaf)
        if self.is_frozen(path) else leaf, variables)

  def is_frozen(self, path):
    """Whether training does not change a variable of a network.

    Args:
      path: Path such as ('params', 'backbone', 'conv1', 'kernel').
    """
    return path[1] == 'backbone' and (
        self.layer_of('/'.join(path[2:])) < self.frozen)

  @property
  def name_in_config(self):
    """The backbone's key in VARIANTS."""
    raise NotImplementedError

  @property
  def published(self):
    """The source of published weights, of `published_weights`, or None."""
    return None

  @classmethod
  def recognise(cls, shapes):
    """Returns 'backbone' and 'width' for the config's `model`.

    Args:
      shapes: {name: shape} of a file's tensors, in the family's own naming.

    Returns:
      A dict; None if the tensors belong to another family.

    Raises:
      UserError: They belong to this family, but to no variant of it.
    """
    del shapes


def first_side(shapes, name):
  """Returns the length of the first axis of a tensor in {name: shape}.

  Raises:
    UserError: The tensor is missing or has no axis.
  """
  if not shapes.get(name):
    raise UserError(f'The checkpoint has no tensor {name}, so it belongs to '
                    'neither DeepLabV2 nor DeepLabV3+. Use another file.')
  return shapes[name][0]
