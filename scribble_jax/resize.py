"""Bilinear resizing, corners aligned or by half-pixel centres.

The corner values of most networks' maps lie on the corner pixels of the image.
Networks that divide the image into square patches have each value at the centre
of its patch; for these, functions take the patch's side in pixels, `patch`. The
last patch may extend beyond the image.
"""

import functools

import jax.numpy as jnp
import numpy as np


@functools.lru_cache(maxsize=64)
def interpolation_matrix(source, target, patch=None):
  """Returns the weights of a bilinear resize of a network's map to pixels.

  Args:
    source: Number of the map's values along one axis.
    target: Number of pixels.
    patch: Side of a patch in pixels; None: corners aligned.

  Returns:
    [target, source] float32; each row sums to 1.
  """
  if patch is None:
    return _matrix(source, corner_positions(source, target))
  positions = (np.arange(target) + 0.5) / patch - 0.5
  return _matrix(source, np.clip(positions, 0, source - 1))


def sampling_positions(source, target, patch=None):
  """Returns the positions of a map's values in pixels, [target] float.

  Args:
    source: Number of pixels along one axis.
    target: Number of the map's values.
    patch: Side of a patch in pixels; None: corners aligned. A patch whose
      centre is outside the image has the position of the last pixel.
  """
  if patch is None:
    return corner_positions(source, target)
  return np.minimum((np.arange(target) + 0.5) * patch - 0.5, source - 1)


def corner_positions(source, target):
  """Returns the positions of `target` results in `source` values, [target]."""
  # (index * numerator) / denominator is exact for a sample on a pixel, which
  # LoRM's foreground test (> 0) needs.
  return np.arange(target) * (source - 1) / max(target - 1, 1)


def _matrix(source, positions):
  """Returns the weights of linear interpolation, [len(positions), source]."""
  left = np.minimum(np.floor(positions).astype(int), max(source - 2, 0))
  fraction = positions - left
  matrix = np.zeros([len(positions), source])
  rows = np.arange(len(positions))
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
  return interpolate(x, *map(interpolation_matrix, x.shape[1:3], size))


def to_pixels(x, size, patch=None):
  """Resizes a network's map bilinearly to the size of the image.

  Args:
    x: [B, h, w, C] floating-point array.
    size: (H, W) in pixels.
    patch: Side of a patch in pixels; None: corners aligned.

  Returns:
    [B, H, W, C] float32.
  """
  if patch is None:
    return resize_corners_aligned(x, size)
  return interpolate(x, *(
      interpolation_matrix(*sides, patch)
      for sides in zip(x.shape[1:3], size, strict=True)))


def from_pixels(x, size, patch=None):
  """Samples pixels bilinearly at the positions of a network's map.

  Args:
    x: [B, H, W, C] floating-point array.
    size: (h, w) of the map.
    patch: Side of a patch in pixels; None: corners aligned.

  Returns:
    [B, h, w, C] float32.
  """
  if patch is None:
    return resize_corners_aligned(x, size)
  return interpolate(x, *(
      _matrix(source, sampling_positions(source, target, patch))
      for source, target in zip(x.shape[1:3], size, strict=True)))


def interpolate(x, rows, columns):
  """Multiplies each axis of an image by a matrix.

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


def nearest_pixels(size, target_size, patch=None):
  """Returns the rows and columns of the pixels nearest to a map's values.

  Args:
    size: (H, W) in pixels.
    target_size: (h, w) of the map.
    patch: Side of a patch in pixels; None: corners aligned.

  Returns:
    Two int arrays [h] and [w]; ties go to the even index.
  """
  return tuple(
      np.rint(sampling_positions(*sides, patch)).astype(int)
      for sides in zip(size, target_size, strict=True))


def half_pixel_samples(source, target):
  """Returns the neighbours of each sample, for half-pixel centres.

  Args:
    source: Length of the side in pixels.
    target: Length after resizing.

  Returns:
    index: [target] int, index of the left neighbour in the source; the right
      neighbour is the next one.
    weight: [target, 2] float32, the weights of both, which sum to 1; 0 if there
      is no right neighbour.
  """
  positions = (np.arange(target) + 0.5) * source / target - 0.5
  positions = np.clip(positions, 0, source - 1)
  left = np.floor(positions).astype(int)
  fraction = np.float32(positions - left)
  return left, np.stack([1 - fraction, fraction], axis=-1)
