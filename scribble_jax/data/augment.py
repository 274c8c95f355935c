"""METHOD 5's augmentation: one geometric warp for the image and all its maps.

Scaling, rotation, flip, padding and crop are composed into one affine map from
crop pixels to image pixels, so that everything is resampled once. Pixel centres
have integer coordinates, (x, y).
"""

import math

import numpy as np
import tensorflow as tf

from scribble_jax import switches
from scribble_jax.normalization import MEAN_PIXEL

BLUR_SIGMA = 1.1  # Pixels: OpenCV's rule for a kernel of 5.
_BLUR_REACH = 2  # Pixels on either side.
# Pixels of an image, from which on only the window of the crop is decoded. For
# smaller ones, computing the window costs as much as it saves: 6.7 instead of
# 6.2 ms at 500x375, 13.0 and 13.5 at 1000x750.
_LARGE = 2**20
# Pixels around the window of a crop: 16 for the colours of a JPEG, which are
# interpolated if their resolution is lower; the rest for the bilinear
# neighbours and rounding in float32.
_MARGIN = 20
NUM_DRAWS = 6  # Random numbers of the geometry of one augmentation.
# Bytes of the padded input of the warp, which is compiled for each length that
# occurs: one or two for VOC, whose images have similar sizes.
_LENGTHS = 2**np.arange(18, 32)


def _matrix(a, b, c, d, e, f):
  return tf.convert_to_tensor([[a, b, c], [d, e, f], [0.0, 0.0, 1.0]])


def _translation(x, y):
  return _matrix(1.0, 0.0, x, 0.0, 1.0, y)


def crop_to_image(draws, size, crop_size, *, scale, rotate_probability,
                  rotate_degrees, flip_probability):
  """Returns the map from a crop's pixels to the image's.

  Args:
    draws: NUM_DRAWS scalar tensors, uniform in [0, 1).
    size: (height, width) of the image in pixels, scalar tensors.
    crop_size: Side of the crop in pixels.
    scale: (lowest, highest) factor of the image's size.
    rotate_probability: Probability of a rotation about the centre.
    rotate_degrees: Largest angle of the rotation in either direction.
    flip_probability: Probability of a left-right flip.

  Returns:
    matrix: [3, 3] float32, from crop pixels (x, y, 1) to image pixels.
    canvas: [crop, crop] bool, the pixels in the frame of the scaled image.
      Parts that are rotated out of the frame are lost, as in OpenCV.
  """
  scale_draw, left_draw, top_draw, flip_draw, rotate_draw, angle_draw = draws
  height, width = (tf.cast(side, tf.float32) for side in size)
  factor = scale[0] + scale_draw * (scale[1] - scale[0])
  scaled_height = tf.maximum(tf.round(height * factor), 1.0)
  scaled_width = tf.maximum(tf.round(width * factor), 1.0)

  # Each matrix takes one step back from the crop towards the image.
  def pad_and_crop(draw, scaled):
    padded = tf.maximum(scaled, crop_size)
    before = tf.floor((padded - scaled) / 2)  # Padding is split evenly.
    start = tf.floor(draw * (padded - crop_size + 1))
    return start - before

  left = pad_and_crop(left_draw, scaled_width)
  top = pad_and_crop(top_draw, scaled_height)
  uncrop = _translation(left, top)
  flip = flip_draw < flip_probability
  sign = tf.where(flip, -1.0, 1.0)
  unflip = _matrix(sign, 0.0, tf.where(flip, scaled_width - 1, 0.0),
                   0.0, 1.0, 0.0)
  angle = (2 * angle_draw - 1) * rotate_degrees * math.pi / 180
  angle = tf.where(rotate_draw < rotate_probability, angle, 0.0)
  center = (scaled_width - 1) / 2, (scaled_height - 1) / 2
  cos, sin = tf.cos(angle), tf.sin(angle)
  unrotate = (_translation(*center)
              @ _matrix(cos, -sin, 0.0, sin, cos, 0.0)
              @ _translation(-center[0], -center[1]))
  x_ratio, y_ratio = width / scaled_width, height / scaled_height
  unscale = _matrix(x_ratio, 0.0, (x_ratio - 1) / 2,  # Half-pixel centres.
                    0.0, y_ratio, (y_ratio - 1) / 2)
  pixels = tf.range(crop_size, dtype=tf.float32)
  inside = lambda start, side: (pixels >= -start) & (pixels < side - start)
  canvas = (inside(top, scaled_height)[:, None]
            & inside(left, scaled_width)[None])
  return unscale @ unrotate @ unflip @ uncrop, canvas


def _window(draws, size, crop_size, **geometry):
  """Returns the (top, left, height, width) of the image that a crop needs.

  Args:
    draws: [NUM_DRAWS], as for `crop_to_image`.
    size: [2] int32, (height, width) of the image in pixels.
    crop_size: Side of the crop in pixels.
    **geometry: As for `crop_to_image`.
  """
  matrix, _ = crop_to_image(
      tf.unstack(draws), tf.unstack(size), crop_size, **geometry)
  ends = tf.constant([-_BLUR_REACH, crop_size - 1 + _BLUR_REACH], tf.float32)
  y, x = (row[0] * ends + row[1] * ends[:, None] + row[2]
          for row in (matrix[1], matrix[0]))
  begin = tf.floor([tf.reduce_min(y), tf.reduce_min(x)]) - _MARGIN
  end = tf.math.ceil([tf.reduce_max(y), tf.reduce_max(x)]) + _MARGIN + 1
  begin = tf.clip_by_value(tf.cast(begin, tf.int32), 0, size - 1)
  end = tf.clip_by_value(tf.cast(end, tf.int32), begin + 1, size)
  return tf.concat([begin, end - begin], 0)


def _positions(matrix, first, last):
  """Returns (x, y), [N, N] each, of the crop's pixels first..last - 1."""
  pixels = tf.range(first, last, dtype=tf.float32)
  return [row[0] * pixels + row[1] * pixels[:, None] + row[2]
          for row in (matrix[0], matrix[1])]


def _inside(size, x, y):
  """Whether positions are on the image: pixels extend half a side around."""
  height, width = tf.unstack(tf.cast(size, tf.float32) - 0.5)
  return (x >= -0.5) & (x < width) & (y >= -0.5) & (y < height)


def _image_at(data, size, window, x, y):
  """Samples an image bilinearly: [N, N, 3] float32.

  The window of the image is at the start of `data`. The outermost pixels extend
  to the edge of the image, as in OpenCV's resize; outside is the mean pixel.
  """
  top, left, height, width = tf.unstack(window)

  def neighbours(position, start, side):
    low = tf.floor(position)
    weight = (position - low)[..., None]
    low = tf.cast(low, tf.int32) - start
    clip = lambda pixel: tf.clip_by_value(pixel, 0, side - 1)
    return (1 - weight, clip(low)), (weight, clip(low + 1))

  def pixels(row, column):
    index = 3 * (row * width + column)[..., None] + tf.range(3)
    return tf.cast(tf.gather(data, index), tf.float32)

  values = sum(
      row_weight * sum(weight * pixels(row, column)
                       for weight, column in neighbours(x, left, width))
      for row_weight, row in neighbours(y, top, height))
  return tf.where(_inside(size, x, y)[..., None], values,
                  MEAN_PIXEL.astype(np.float32))


def blur(image):
  """Blurs [H + 4, W + 4, 3] float32 by a 5x5 Gaussian, to [H, W, 3]."""
  offsets = np.arange(-_BLUR_REACH, _BLUR_REACH + 1)
  weights = np.exp(-0.5 * (offsets / BLUR_SIGMA) ** 2)
  weights = (weights / weights.sum()).astype(np.float32)
  height, width = (side - 2 * _BLUR_REACH for side in image.shape[:2])
  image = sum(weight * image[i:i + height] for i, weight in enumerate(weights))
  return sum(weight * image[:, i:i + width] for i, weight in enumerate(weights))


# Compiled, this is one loop over the pixels; uncompiled, it is one loop per
# operation, which takes five times as long.
@tf.function(jit_compile=True)
def _warp(data, size, window, draws, *, crop_size, fills, blur_probability,
          **geometry):
  """Resamples the image and its maps into a crop.

  Args:
    data: [L] uint8 from `_joined`.
    size: [2] int32, (height, width) of the image in pixels.
    window: [4] int32 from `_window`: the part of the image in `data`.
    draws: [NUM_DRAWS + 1] uniform in [0, 1), the last one for the blur.
    crop_size: Side of the crop in pixels.
    fills: Tuple of int, the value of each map outside of the image.
    blur_probability: Probability of a Gaussian blur of the image.
    **geometry: As for `crop_to_image`.

  Returns:
    [crop, crop, 3] uint8, and a list of [crop, crop] uint8, one per map.
  """
  *draws, blur_draw = tf.unstack(draws)
  matrix, canvas = crop_to_image(
      draws, tf.unstack(size), crop_size, **geometry)

  def resampled(margin):
    positions = _positions(matrix, -margin, crop_size + margin)
    return _image_at(data, size, window, *positions)

  def finished(image):
    image = tf.cast(tf.round(image), tf.uint8)
    return tf.where(canvas[..., None], image, MEAN_PIXEL)

  image = tf.cond(  # Each branch does everything, to be compiled to one loop.
      blur_draw < blur_probability,
      lambda: finished(blur(resampled(_BLUR_REACH))),
      lambda: finished(resampled(0)))

  x, y = _positions(matrix, 0, crop_size)
  canvas &= _inside(size, x, y)
  column, row = (tf.cast(tf.floor(z + 0.5), tf.int32) for z in (x, y))
  top, left, height, width = tf.unstack(window)
  index = tf.where(canvas, (row - top) * width + column - left, 0)
  starts = [(3 + i) * height * width for i in range(len(fills))]
  return image, [
      tf.where(canvas, tf.gather(data, start + index),
               tf.constant(fill, tf.uint8))
      for start, fill in zip(starts, fills, strict=True)]


def _joined(arrays):
  """Concatenates uint8 arrays, padded with zeros to one of `_LENGTHS`."""
  lines = [tf.reshape(array, [-1]) for array in arrays]
  size = sum(tf.size(line, tf.int64) for line in lines)
  length = tf.reduce_min(tf.boolean_mask(_LENGTHS, size <= _LENGTHS))
  return tf.concat([*lines, tf.zeros([length - size], tf.uint8)], 0)


def augment(decode_image, maps, key, *, distance_fill, crop_size,
            blur_probability, **geometry):
  """Augments one training example.

  Args:
    decode_image: Function of a window, a [4] int32 tensor (top, left, height,
      width), that returns this part of the image, uint8 RGB.
    maps: {name: [H, W] uint8}, at least one.
    key: [2] seed; the result is a function of it and the example.
    distance_fill: Value of the distance maps in the padding (METHOD 8b):
      'official', 255; 'corrected', 0.
    crop_size: Side of the crop in pixels.
    blur_probability: Probability of a Gaussian blur of the image.
    **geometry: As for `crop_to_image`.

  Returns:
    Dict of 'image' and the maps, each [crop_size, crop_size, ...] uint8.
  """
  of_distances = 255 if switches.is_official(distance_fill) else 0
  fills = tuple(of_distances if 'distance' in name else 255 for name in maps)
  size = tf.shape(next(iter(maps.values())))
  # Outside of the compiled function, as XLA would draw other numbers.
  draws = tf.random.stateless_uniform([NUM_DRAWS + 1], key)
  window = tf.cond(
      tf.reduce_prod(size) < _LARGE, lambda: tf.concat([[0, 0], size], 0),
      lambda: _window(draws[:-1], size, crop_size, **geometry))
  data = _joined([decode_image(window), *(
      tf.slice(values, window[:2], window[2:]) for values in maps.values())])
  image, warped = _warp(
      data, size, window, draws, crop_size=crop_size, fills=fills,
      blur_probability=blur_probability, **geometry)
  return {'image': image} | dict(zip(maps, warped, strict=True))
