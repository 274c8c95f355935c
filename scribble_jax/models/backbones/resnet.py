"""ResNet with output stride 8 (METHOD 4) or 16, named as in torchvision."""

import functools
import re

import flax.linen as nn
import jax.numpy as jnp

from scribble_jax.errors import UserError
from scribble_jax.models.backbones import family
from scribble_jax.models.backbones import published_weights
from scribble_jax.models.batch_norm import BatchNorm
from scribble_jax.models.layers import conv

# Stages of each depth: (block type, blocks a stage).
DEPTHS = {
    18: ('basic', (2, 2, 2, 2)),
    34: ('basic', (3, 4, 6, 3)),
    50: ('bottleneck', (3, 4, 6, 3)),
    101: ('bottleneck', (3, 4, 23, 3)),
}
# {output stride: (stride, dilations of the blocks) of layer3 and of layer4}.
# Further blocks have the last dilation.
_LAST_STAGES = {
    8: ((1, (2,)), (1, (4, 8, 16))),
    16: ((2, (1,)), (1, (2,))),
}


def max_pool_ceil(x):
  """3x3 max-pool, stride 2, padding 1, PyTorch's ceil mode.

  Args:
    x: [B, h, w, C].

  Returns:
    [B, h // 2 + 1, w // 2 + 1, C].
  """
  padding = [(1, 2 - size % 2) for size in x.shape[1:3]]
  return nn.max_pool(x, (3, 3), strides=(2, 2), padding=padding)


class Block(nn.Module):
  """A residual block.

  Attributes:
    kind: 'basic' (3x3, 3x3) or 'bottleneck' (1x1, 3x3, 1x1). The stride is on
      the first convolution.
    features: Channels of the inner convolutions.
    stride: Stride of the block.
    dilation: Dilation of every 3x3 convolution.
    dtype: Compute type.
  """
  kind: str
  features: int
  stride: int
  dilation: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x, train):
    """[B, h, w, K] -> [B, h / stride, w / stride, features * expansion]."""
    kernels = {'basic': (3, 3), 'bottleneck': (1, 3, 1)}[self.kind]
    expansion = {'basic': 1, 'bottleneck': 4}[self.kind]
    out_features = self.features * expansion
    shortcut, y = x, x
    for i, kernel in enumerate(kernels, start=1):
      last = i == len(kernels)
      y = conv(out_features if last else self.features, kernel,
               stride=self.stride if i == 1 else 1,
               dilation=self.dilation if kernel == 3 else 1,
               dtype=self.dtype, name=f'conv{i}')(y)
      y = BatchNorm(self.dtype, name=f'bn{i}')(y, train)
      y = y if last else nn.relu(y)
    if self.stride != 1 or x.shape[-1] != out_features:
      shortcut = conv(out_features, 1, stride=self.stride, dtype=self.dtype,
                      name='downsample_0')(x)
      shortcut = BatchNorm(self.dtype, name='downsample_1')(shortcut, train)
    return nn.relu(y + shortcut)


class ResNet(family.Backbone):
  """The backbone.

  Attributes:
    depth: 18, 34, 50 or 101.
    width: Channels of the stem; the stages have 1, 2, 4 and 8 times as many,
      times 4 for bottlenecks.
  """
  depth: int
  width: int

  namings = (((r'(layer\d)_(\d+)/', r'\1/\2/'),
              ('downsample_', 'downsample/')),)
  ignored = r'fc\.'  # The classifier of ImageNet's 1,000 classes.
  num_layers = 4  # The stages; the stem is layer 0.

  @nn.compact
  def __call__(self, images, train):
    """As of `family.Backbone`: layer1 and layer4."""
    kind, counts = DEPTHS[self.depth]
    block_class = (nn.remat(Block, static_argnums=2)  # `train` of __call__.
                   if self.remat and train else Block)
    block = functools.partial(block_class, kind, dtype=self.dtype)
    x = conv(self.width, 7, stride=2, dtype=self.dtype, name='conv1')(
        images.astype(self.dtype))
    x = nn.relu(BatchNorm(self.dtype, name='bn1')(x, self.trains(train, 0)))
    x = max_pool_ceil(x)
    stages = ((1, (1,)), (2, (1,)), *_LAST_STAGES[self.output_stride])
    outputs = []
    for stage, (stride, dilations) in enumerate(stages):
      stage_trains = self.trains(train, stage + 1)
      for i in range(counts[stage]):
        x = block(features=self.width * 2**stage,
                  dilation=dilations[min(i, len(dilations) - 1)],
                  stride=stride if i == 0 else 1,
                  name=f'layer{stage + 1}_{i}')(x, stage_trains)
      outputs.append(x)
    self.show_stages(outputs)
    return outputs[0], outputs[-1]

  def layer_of(self, path):
    """As of `family.Backbone`: the stage."""
    stage = re.match(r'layer(\d)_', path)
    return int(stage[1]) if stage else 0

  def num_frozen(self, freeze):
    """As of `family.Backbone`; 'stages': all below layer4."""
    return 4 if freeze == 'stages' else super().num_frozen(freeze)

  @property
  def name_in_config(self):
    """As of `VARIANTS`."""
    return f'resnet{self.depth}'

  @property
  def published(self):
    """The Hub's copy of torchvision's first weights, which the paper used."""
    return published_weights.Hub(
        f'timm/resnet{self.depth}.tv_in1k', 'BSD-3-Clause',
        or_else="take torchvision's own .pth")

  @classmethod
  def recognise(cls, shapes):
    """As of `family.Backbone`."""
    counts = tuple(
        1 + max((int(match[1]) for name in shapes
                 if (match := re.match(rf'layer{stage}\.(\d+)\.', name))),
                default=-1)
        for stage in (1, 2, 3, 4))
    if not any(counts):
      return None
    kind = 'bottleneck' if any(
        re.match(r'layer\d\.\d+\.conv3\.', name) for name in shapes
    ) else 'basic'
    depth = {layout: depth for depth, layout in DEPTHS.items()}.get(
        (kind, counts))
    if depth is None:
      raise UserError(f'The checkpoint has {counts} {kind} blocks, like no '
                      'ResNet of depth 18, 34, 50 or 101. Use another file.')
    return {'backbone': f'resnet{depth}',
            'width': family.first_side(shapes, 'conv1.weight')}

  def feature_size(self, side):
    """Returns the side of layer4's map for an image side, in pixels."""
    stem = -(-side // 2)
    pooled = stem // 2 + 1
    stage2 = -(-pooled // 2)
    return -(-stage2 // (self.output_stride // 8))


VARIANTS = {f'resnet{depth}': functools.partial(ResNet, depth)
            for depth in DEPTHS}
