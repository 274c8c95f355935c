"""Layers of the backbones and heads."""

from collections.abc import Callable
import math

import flax.linen as nn
import jax
import jax.numpy as jnp


def kaiming_fan_out(key, shape, dtype=jnp.float32):
  """N(0, sqrt(2 / (kh * kw * out_channels))) for a kernel [..., in, out]."""
  fan_out = math.prod(shape) // shape[-2]
  return math.sqrt(2 / fan_out) * jax.random.normal(key, shape, dtype)


def conv(features, kernel, *, stride=1, dilation=1, dtype, name):
  """Returns a convolution without bias, padded to keep the size."""
  if kernel == 1:
    return Pointwise(features, stride, False, dtype, name=name)
  pad = dilation * (kernel // 2)
  return nn.Conv(
      features, (kernel, kernel), strides=stride, padding=((pad, pad),) * 2,
      kernel_dilation=dilation, use_bias=False, dtype=dtype,
      kernel_init=kaiming_fan_out, name=name)


class Pointwise(nn.Module):
  """A 1x1 convolution, computed as a matrix product.

  For a convolution on CPUs, XLA would transpose the whole input in the kernel's
  gradient. On a TPU the product is faster too: from 1024 to 256 channels its
  compiler estimates 0.76 million cycles, and 1.87 for the convolution.

  Attributes:
    features: Channels of the result.
    stride: Stride along both axes.
    use_bias: Whether it adds a bias.
    dtype: Compute type.
    precision: Precision of the product; None for the backend's default, which
      rounds float32 factors on accelerators.
    kernel_init: Initializer of the kernel.
  """
  features: int
  stride: int
  use_bias: bool
  dtype: jnp.dtype
  precision: str | None = None
  kernel_init: Callable = kaiming_fan_out

  @nn.compact
  def __call__(self, x):
    """[B, h, w, K] -> [B, h / stride, w / stride, features]."""
    kernel = self.param('kernel', self.kernel_init,
                        (1, 1, x.shape[-1], self.features))
    y = jnp.einsum('bhwi,io->bhwo',
                   x[:, ::self.stride, ::self.stride].astype(self.dtype),
                   kernel[0, 0].astype(self.dtype), precision=self.precision)
    if self.use_bias:
      bias = self.param('bias', nn.initializers.zeros, (self.features,))
      y += bias.astype(self.dtype)[None, None, None]
    return y


def classifier(num_classes, *, use_bias, name, kernel_init=kaiming_fan_out):
  """Returns a 1x1 convolution to logits that computes in float32.

  Logits rounded to bfloat16 have the wrong maximum at some pixels.
  """
  return Pointwise(num_classes, 1, use_bias, jnp.float32, 'highest',
                   kernel_init, name=name)
