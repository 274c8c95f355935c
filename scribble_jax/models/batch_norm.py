"""Batch normalisation with PyTorch's running statistics."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

EPSILON = 1e-5
MOMENTUM = 0.1  # Weight of the newest batch in the running statistics.


class BatchNorm(nn.Module):
  """Normalises each channel over the batch; float32 inside.

  `flax.linen.BatchNorm` keeps the biased running variance. PyTorch keeps the
  unbiased one, n / (n - 1) times as large, which matters if a batch has few
  values per channel, as in the image-pooling branch. Under `jit` over a sharded
  batch the statistics are those of the global batch.

  Attributes:
    dtype: Type of the result.
    epsilon: Added to a variance before the square root.
  """
  dtype: jnp.dtype = jnp.float32
  epsilon: float = EPSILON

  @nn.compact
  def __call__(self, x, train):
    """[B, h, w, C] -> [B, h, w, C]; `train`: with the batch's statistics.

    Raises:
      ValueError: In training, if a channel has a single value.
    """
    features = x.shape[-1]
    scale = self.param('scale', nn.initializers.ones, (features,))
    bias = self.param('bias', nn.initializers.zeros, (features,))
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, (features,))
    running_var = self.variable('batch_stats', 'var', jnp.ones, (features,))

    if not train:
      return _apply(x, running_mean.value, running_var.value, scale, bias,
                    self.dtype, self.epsilon)
    count = x.size // features
    if self.is_initializing():
      return x.astype(self.dtype)
    if count < 2:
      raise ValueError('BatchNorm needs more than one value a channel.')
    y, mean, var = _normalize(x, scale, bias, self.dtype, self.epsilon)
    running_mean.value += MOMENTUM * (mean - running_mean.value)
    running_var.value += MOMENTUM * (
        var * count / (count - 1) - running_var.value)
    return y


def _channels(values):
  """[C] -> [1, 1, 1, C]."""
  return values[None, None, None]


def _apply(x, mean, var, scale, bias, dtype, epsilon):
  factor = scale * jax.lax.rsqrt(var + epsilon)
  y = ((x.astype(jnp.float32) - _channels(mean)) * _channels(factor)
       + _channels(bias))
  return y.astype(dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _normalize(x, scale, bias, dtype, epsilon):
  """Normalises with the batch's own statistics.

  The gradient is written out because the sums of autodiff depend on one
  another, and each would be a separate collective.

  Args:
    x: [B, h, w, C].
    scale: [C].
    bias: [C].
    dtype: Type of the result.
    epsilon: As of `BatchNorm`.

  Returns:
    [B, h, w, C] in `dtype`, and the batch's mean and biased variance [C], which
    propagate no gradient.
  """
  return _normalize_forward(x, scale, bias, dtype, epsilon)[0]


def _normalize_forward(x, scale, bias, dtype, epsilon):
  mean, var = _moments(x)
  y = _apply(x, mean, var, scale, bias, dtype, epsilon)
  return (y, mean, var), (x, scale, mean, var)


def _normalize_backward(dtype, epsilon, residuals, gradients):
  del dtype
  x, scale, mean, var = residuals
  d_y = gradients[0].astype(jnp.float32)
  deviation = jax.lax.rsqrt(var + epsilon)
  unit = (x.astype(jnp.float32) - _channels(mean)) * _channels(deviation)
  # Summed on each device first, so that there is one all-reduce.
  d_bias, d_scale = jnp.sum(jnp.stack([
      jnp.sum(_by_device(term), axis=(1, 2, 3))
      for term in (d_y, d_y * unit)]), axis=1)
  count = x.size // x.shape[-1]
  d_x = _channels(scale * deviation) * (
      d_y - _channels(d_bias / count) - unit * _channels(d_scale / count))
  return d_x.astype(x.dtype), d_scale, d_bias


_normalize.defvjp(_normalize_forward, _normalize_backward)


def _num_devices():
  """Returns the number of devices that share the batch; 1 without a mesh."""
  return max(1, jax.sharding.get_abstract_mesh().size)


def _by_device(x):
  """[B, h, w, C] -> [devices, B / devices, h, w, C]."""
  return x.reshape(_num_devices(), -1, *x.shape[1:])


def _moments(x):
  """Returns each channel's mean and biased variance over the batch.

  Each device centres its own examples. One all-gather then gives every device
  the moments of all, which it combines by Chan's formula. Sums and sums of
  squares would be smaller to exchange, but inaccurate for a channel whose mean
  is many times its deviation.

  Args:
    x: [B, h, w, C]; under a mesh B is a multiple of its number of devices.

  Returns:
    Two float32 arrays [C].
  """
  x = _by_device(x.astype(jnp.float32))
  axes = 1, 2, 3
  rough = jnp.mean(x, axis=axes)
  centered = x - rough[:, None, None, None]
  # The rounding error of `rough`.
  rest = jnp.mean(centered, axis=axes)
  moments = jnp.stack([
      rough + rest, jnp.mean(jnp.square(centered), axis=axes) - rest**2])
  if _num_devices() > 1:
    moments = jax.lax.with_sharding_constraint(moments, jax.P())
  means, variances = moments
  deviations = means - means[:1]  # Small, so that their sums are exact.
  rest = jnp.mean(deviations, axis=0)
  return means[0] + rest, jnp.mean(
      variances + jnp.square(deviations - rest[None]), axis=0)
