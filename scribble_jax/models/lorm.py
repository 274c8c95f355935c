"""LoRM: similarity-weighted rectification of foreground features (METHOD 2).

Shape letters: B batch, h w feature map, N = h * w tokens, K channels.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from scribble_jax import losses
from scribble_jax import resize
from scribble_jax.models.resnet import kaiming_fan_out

_EPSILON = 1e-8  # Smallest norm of a cosine, as in PyTorch.


def _unit(x):
  norm = jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(x), -1, keepdims=True),
                              _EPSILON**2))
  return x / norm


@jax.jit
def aggregate(queries, keys, values, foreground):
  """Replaces each foreground token by a mean over all, weighted by similarity.

  Args:
    queries: [B, N, K] float, of any length: only directions count.
    keys: [B, N, K] float.
    values: [B, N, K] float.
    foreground: [B, N] bool.

  Returns:
    [B, N, K] float32: softmax_j(cos(queries_i, keys_j)) values_j where
    foreground_i, else 0.
  """
  queries, keys = (_unit(x.astype(jnp.float32)) for x in (queries, keys))
  similarity = jnp.einsum('bic,bjc->bij', queries, keys)
  weights = jax.nn.softmax(similarity, axis=-1)
  weights = jnp.where(foreground[..., None], weights, 0.0)
  return jnp.einsum('bij,bjc->bic', weights, values.astype(jnp.float32))


class LoRM(nn.Module):
  """The local rectification module: two projections and a learned scale.

  Attributes:
    dtype: Compute type of the projections. The aggregation takes float32, in
      the backend's default precision.
  """
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, features, foreground):
    """Returns the rectified features.

    Args:
      features: [B, h, w, K] last backbone features.
      foreground: [B, h, w] bool, from `foreground_mask`.

    Returns:
      [B, h, w, K] float32, 0 outside the foreground.
    """
    batch, height, width, channels = features.shape
    tokens = features.reshape(batch, height * width, channels)
    project = lambda name: nn.Dense(
        channels, dtype=self.dtype, kernel_init=kaiming_fan_out, name=name)
    gamma = self.param('gamma', nn.initializers.ones, ())
    rectified = gamma * aggregate(
        project('query_conv')(tokens), project('key_conv')(tokens), tokens,
        foreground.reshape(batch, height * width))
    return rectified.reshape(features.shape)


def foreground_mask(pseudo_label, size, mode='official'):
  """Marks the features that LoRM rectifies.

  Args:
    pseudo_label: [B, H, W] integer classes; IGNORE_LABEL counts as background.
    size: (h, w) of the features.
    mode: How class ids reach that size (METHOD 8d): 'official', interpolated
      bilinearly, which dilates the foreground; 'corrected', nearest.

  Returns:
    [B, h, w] bool.
  """
  classes = jnp.where(pseudo_label == losses.IGNORE_LABEL, 0, pseudo_label)
  if mode == 'corrected':
    rows, columns = resize.nearest_corners_aligned(classes.shape[1:], size)
    return classes[:, rows][:, :, columns] > 0
  classes = classes[..., None].astype(jnp.float32)
  return resize.resize_corners_aligned(classes, size)[..., 0] > 0


def lorm_loss(features, rectified, foreground, *, background='official',
              normaliser='official'):
  """Mean squared distance between features and rectified features.

  Args:
    features: [B, h, w, K].
    rectified: [B, h, w, K], the result of `LoRM`.
    foreground: [B, h, w] bool, the mask that `rectified` was made with.
    background: METHOD 8c: 'official', background positions count, so their
      features are pulled to zero; 'corrected', only the foreground counts.
    normaliser: METHOD 8e: 'official', the number of squares that are not 0;
      'corrected', the number of elements of the positions that count.

  Returns:
    Scalar float32 over the whole batch; gradients reach both features.
  """
  squares = jnp.square(features.astype(jnp.float32) - rectified)
  counted = jnp.broadcast_to(
      foreground[..., None] | (background == 'official'), squares.shape)
  if normaliser == 'official':
    counted &= squares != 0
  return losses.masked_mean(squares, counted)
