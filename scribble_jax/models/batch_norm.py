"""Batch normalisation with PyTorch's running statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp

EPSILON = 1e-5
MOMENTUM = 0.1  # Share of the newest batch in the running statistics.


class BatchNorm(nn.Module):
  """Normalises each channel over the batch; float32 inside.

  `flax.linen.BatchNorm` keeps the biased running variance; PyTorch keeps the
  unbiased one, n / (n - 1) times larger, which matters where a batch has few
  values a channel (the image-pooling branch). Under `jit` over a sharded batch
  the statistics are those of the global batch.

  Attributes:
    dtype: Type of the result.
  """
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x, train):
    """[B, h, w, C] -> [B, h, w, C]; `train` uses and tracks batch statistics.

    Raises:
      ValueError: In training, if a channel has a single value.
    """
    features = x.shape[-1]
    scale = self.param('scale', nn.initializers.ones, (features,))
    bias = self.param('bias', nn.initializers.zeros, (features,))
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, (features,))
    running_var = self.variable('batch_stats', 'var', jnp.ones, (features,))

    x = x.astype(jnp.float32)
    if train:
      count = x.size // features
      if count < 2 and not self.is_initializing():
        raise ValueError('BatchNorm needs more than one value a channel.')
      mean = jnp.mean(x, axis=(0, 1, 2))
      centered = x - mean[None, None, None]
      var = jnp.mean(jnp.square(centered), axis=(0, 1, 2))
      if not self.is_initializing():
        running_mean.value += MOMENTUM * (mean - running_mean.value)
        running_var.value += MOMENTUM * (
            var * count / (count - 1) - running_var.value)
    else:
      centered = x - running_mean.value[None, None, None]
      var = running_var.value
    factor = scale * jax.lax.rsqrt(var + EPSILON)
    y = centered * factor[None, None, None] + bias[None, None, None]
    return y.astype(self.dtype)
