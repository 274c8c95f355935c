"""Bilinear resizing, corners aligned or by half-pixel centres."""

import functools

import jax.numpy as jnp
import numpy as np


@functools.lru_cache(maxsize=64)
def interpolation_matrix(source, target):
  """Returns the weights of a corner-aligned bilinear resize along one axis.

  Args:
    source: Number of values, in pixels.
    target: Number of results.

  Returns:
    [target, source] float32; each row sums to 1.
  """
  # (index * numerator) / denominator is exact where a sample meets a pixel,
  # which LoRM's foreground test (> 0) relies on.
  positions = np.arange(target) * (source - 1) / max(target - 1, 1)
  left = np.minimum(np.floor(positions).astype(int), max(source - 2, 0))
  fraction = positions - left
  matrix = np.zeros([target, source])
  rows = np.arange(target)
  matrix[rows, left] = 1 - fraction
  matrix[rows, np.minimum(left + 1, source - 1)] += fraction
  return matrix.astype(np.float32)


def resize_corners_aligned(x, size):
  """Resizes bilinearly so that corner pixels map onto corner pixels.

  The same as PyTorch's `interpolate(mode='bilinear', align_corners=True)`.

  Args:
    x: [B, h, w, C] floating-point array.
    size: (H, W) in pixels.

  Returns:
    [B, H, W, C] float32.
  """
  if x.shape[1:3] == tuple(size):
    return x.astype(jnp.float32)
  return interpolate(x, interpolation_matrix(x.shape[1], size[0]),
                     interpolation_matrix(x.shape[2], size[1]))


def interpolate(x, rows, columns):
  """Applies one matrix along each axis of an image.

  Args:
    x: [B, h, w, C] floating-point array.
    rows: [H, h] weights.
    columns: [W, w] weights.

  Returns:
    [B, H, W, C] float32.
  """
  x = jnp.einsum('Yy,byxc->bYxc', rows, x.astype(jnp.float32),
                 precision='highest')
  return jnp.einsum('Xx,byxc->byXc', columns, x, precision='highest')


def nearest_corners_aligned(size, target_size):
  """Returns the (row, column) indices of the nearest corner-aligned samples.

  Args:
    size: (H, W) of the source.
    target_size: (h, w) of the result.

  Returns:
    Two int arrays [h] and [w] that index the source; ties go to the even one.
  """
  return tuple(
      np.rint(np.arange(t) * (s - 1) / max(t - 1, 1)).astype(int)
      for s, t in zip(size, target_size, strict=True))


def half_pixel_samples(source, target):
  """Returns what each sample of a side lies between, for half-pixel centres.

  Args:
    source: Length of the side in pixels.
    target: Length after resizing.

  Returns:
    index: [target] int, the left neighbour's in the source; the right one
      follows it.
    weight: [target, 2] float32 of both, which sum to 1; 0 where there is no
      right one.
  """
  positions = (np.arange(target) + 0.5) * source / target - 0.5
  positions = np.clip(positions, 0, source - 1)
  left = np.floor(positions).astype(int)
  fraction = np.float32(positions - left)
  return left, np.stack([1 - fraction, fraction], axis=-1)
