"""ResNet with output stride 8 (METHOD 4) or 16; modules named as in PyTorch."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from scribble_jax.models.batch_norm import BatchNorm

# Stages of each depth: (block type, blocks a stage).
DEPTHS = {
    18: ('basic', (2, 2, 2, 2)),
    34: ('basic', (3, 4, 6, 3)),
    50: ('bottleneck', (3, 4, 6, 3)),
    101: ('bottleneck', (3, 4, 23, 3)),
}
# Stride and blocks' dilations of layer3 and layer4, by output stride. Blocks
# behind the last one named take its dilation.
_LAST_STAGES = {
    8: ((1, (2,)), (1, (4, 8, 16))),
    16: ((2, (1,)), (1, (2,))),
}
OUTPUT_STRIDES = tuple(_LAST_STAGES)


def kaiming_fan_out(key, shape, dtype=jnp.float32):
  """N(0, sqrt(2 / (kh * kw * out_channels))) for a kernel [..., in, out]."""
  fan_out = math.prod(shape) // shape[-2]
  return math.sqrt(2 / fan_out) * jax.random.normal(key, shape, dtype)


def conv(features, kernel, *, stride=1, dilation=1, dtype, name):
  """Returns a convolution without bias that pads by its dilation."""
  if kernel == 1:
    return Pointwise(features, stride, False, dtype, name=name)
  pad = dilation * (kernel // 2)
  return nn.Conv(
      features, (kernel, kernel), strides=stride, padding=((pad, pad),) * 2,
      kernel_dilation=dilation, use_bias=False, dtype=dtype,
      kernel_init=kaiming_fan_out, name=name)


class Pointwise(nn.Module):
  """A 1x1 convolution, as the matrix product that it is.

  On CPUs XLA would transpose the whole input for the kernel's gradient. On a
  TPU too it is the faster: from 1024 to 256 channels its compiler estimates
  0.76 million cycles, and 1.87 for the convolution.

  Attributes:
    features: Channels of the result.
    stride: Of the pixels that are taken.
    use_bias: Whether it adds a bias.
    dtype: Compute type.
    precision: Of the product; None for the backend's own, which rounds float32
      factors on accelerators.
  """
  features: int
  stride: int
  use_bias: bool
  dtype: jnp.dtype
  precision: str | None = None

  @nn.compact
  def __call__(self, x):
    """[B, h, w, K] -> [B, h / stride, w / stride, features]."""
    kernel = self.param('kernel', kaiming_fan_out,
                        (1, 1, x.shape[-1], self.features))
    y = jnp.einsum('bhwi,io->bhwo',
                   x[:, ::self.stride, ::self.stride].astype(self.dtype),
                   kernel[0, 0].astype(self.dtype), precision=self.precision)
    if self.use_bias:
      bias = self.param('bias', nn.initializers.zeros, (self.features,))
      y += bias.astype(self.dtype)[None, None, None]
    return y


def max_pool_ceil(x):
  """3x3 max-pool, stride 2, padding 1, PyTorch's ceil mode.

  Args:
    x: [B, h, w, C].

  Returns:
    [B, h // 2 + 1, w // 2 + 1, C].
  """
  padding = [(1, 2 - size % 2) for size in x.shape[1:3]]
  return nn.max_pool(x, (3, 3), strides=(2, 2), padding=padding)


def classifier(num_classes, *, use_bias, name):
  """Returns a 1x1 convolution to logits, float32 whatever it is given.

  Logits that bfloat16 rounds have the wrong maximum at some pixels.
  """
  return Pointwise(num_classes, 1, use_bias, jnp.float32, 'highest', name=name)


class Block(nn.Module):
  """A residual block.

  Attributes:
    kind: 'basic' (3x3, 3x3) or 'bottleneck' (1x1, 3x3, 1x1). The stride is on
      the first convolution.
    features: Channels of the inner convolutions.
    stride: Stride of the block.
    dilation: Of every 3x3 convolution.
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


class ResNet(nn.Module):
  """The backbone.

  Attributes:
    depth: 18, 34, 50 or 101.
    width: Channels of the stem; the stages have 1, 2, 4 and 8 times as many,
      times 4 for bottlenecks.
    dtype: Compute type.
    output_stride: Of layer4 in pixels, 8 as METHOD 4 has it, or 16.
    remat: Whether the backward pass computes each block anew instead of
      keeping what is inside.
  """
  depth: int
  width: int
  dtype: jnp.dtype = jnp.float32
  output_stride: int = 8
  remat: bool = False

  @nn.compact
  def __call__(self, images, train):
    """Normalised [B, H, W, 3] -> layer1 (stride 4), layer4."""
    kind, counts = DEPTHS[self.depth]
    block_class = (nn.remat(Block, static_argnums=2)  # `train` of __call__.
                   if self.remat and train else Block)
    block = functools.partial(block_class, kind, dtype=self.dtype)
    x = conv(self.width, 7, stride=2, dtype=self.dtype, name='conv1')(
        images.astype(self.dtype))
    x = nn.relu(BatchNorm(self.dtype, name='bn1')(x, train))
    x = max_pool_ceil(x)
    stages = ((1, (1,)), (2, (1,)), *_LAST_STAGES[self.output_stride])
    outputs = []
    for stage, (stride, dilations) in enumerate(stages):
      for i in range(counts[stage]):
        x = block(features=self.width * 2**stage,
                  dilation=dilations[min(i, len(dilations) - 1)],
                  stride=stride if i == 0 else 1,
                  name=f'layer{stage + 1}_{i}')(x, train)
      outputs.append(x)
    return outputs[0], outputs[-1]


def feature_size(size):
  """Returns the side of layer4's map for an image side, in pixels."""
  stem = -(-size // 2)
  pooled = stem // 2 + 1
  return -(-pooled // 2)
