"""METHOD 5's augmentation: one geometric warp for the image and all its maps.

Scaling, rotation, flip, padding and crop compose into one affine map from crop
pixels to image pixels, so that everything is resampled once. Pixel centres
have integer coordinates, (x, y), here and in TensorFlow's warp.
"""

import math

import numpy as np
import tensorflow as tf

from scribble_jax.normalization import MEAN_PIXEL

BLUR_SIGMA = 1.1  # Pixels: OpenCV's rule for a kernel of 5.
_BLUR_REACH = 2  # Pixels on either side.


def _uniform(key, low, high):
  return tf.random.stateless_uniform([], key, low, high)


def _matrix(a, b, c, d, e, f):
  return tf.convert_to_tensor([[a, b, c], [d, e, f], [0.0, 0.0, 1.0]])


def _translation(x, y):
  return _matrix(1.0, 0.0, x, 0.0, 1.0, y)


def crop_to_image(key, size, crop_size, *, scale, rotate_probability,
                  rotate_degrees, flip_probability):
  """Draws one augmentation's geometry.

  Args:
    key: [2] seed.
    size: (height, width) of the image in pixels, scalar tensors.
    crop_size: Side of the crop in pixels.
    scale: (lowest, highest) factor of the image's size.
    rotate_probability: Of a rotation about the centre.
    rotate_degrees: Its largest angle, either way.
    flip_probability: Of a left-right flip.

  Returns:
    matrix: [3, 3] float32, from crop pixels (x, y, 1) to image pixels.
    canvas: [crop, crop] bool, where the scaled image's frame is in the crop.
      What a rotation turns out of the frame is lost, as in OpenCV.
  """
  keys = tf.unstack(tf.random.split(key, 6))
  height, width = (tf.cast(side, tf.float32) for side in size)
  factor = _uniform(keys[0], *scale)
  scaled_height = tf.maximum(tf.round(height * factor), 1.0)
  scaled_width = tf.maximum(tf.round(width * factor), 1.0)

  # Each matrix takes one step back from the crop towards the image.
  def pad_and_crop(key, scaled):
    padded = tf.maximum(scaled, crop_size)
    before = tf.floor((padded - scaled) / 2)  # Padding is split evenly.
    start = tf.floor(_uniform(key, 0.0, 1.0) * (padded - crop_size + 1))
    return start - before

  left = pad_and_crop(keys[1], scaled_width)
  top = pad_and_crop(keys[2], scaled_height)
  uncrop = _translation(left, top)
  flip = _uniform(keys[3], 0.0, 1.0) < flip_probability
  sign = tf.where(flip, -1.0, 1.0)
  unflip = _matrix(sign, 0.0, tf.where(flip, scaled_width - 1, 0.0),
                   0.0, 1.0, 0.0)
  rotate = _uniform(keys[4], 0.0, 1.0) < rotate_probability
  angle = _uniform(keys[5], -1.0, 1.0) * rotate_degrees * math.pi / 180
  angle = tf.where(rotate, angle, 0.0)
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


def warp(maps, matrix, crop_size, fill, interpolation):
  """Resamples [H, W, C] maps into a [crop_size, crop_size, C] crop.

  Args:
    maps: uint8 or float32.
    matrix: [3, 3], from crop pixels to image pixels.
    crop_size: Side of the crop in pixels.
    fill: Value outside the image.
    interpolation: 'BILINEAR' or 'NEAREST'.
  """
  return tf.raw_ops.ImageProjectiveTransformV3(
      images=maps[None], transforms=tf.reshape(matrix, [1, 9])[:, :8],
      output_shape=[crop_size, crop_size], fill_value=fill,
      interpolation=interpolation, fill_mode='CONSTANT')[0]


def blur(image):
  """5x5 Gaussian blur of [H + 4, W + 4, 3] float32 to [H, W, 3]."""
  offsets = np.arange(-_BLUR_REACH, _BLUR_REACH + 1)
  weights = np.exp(-0.5 * (offsets / BLUR_SIGMA) ** 2)
  weights = (weights / weights.sum()).astype(np.float32)
  kernel = np.broadcast_to(weights[:, None, None, None], [5, 1, 3, 1])
  image = image[None]
  for axes in ((0, 1), (1, 0)):  # Down, then across.
    image = tf.nn.depthwise_conv2d(
        image, kernel.transpose(*axes, 2, 3), [1, 1, 1, 1], 'VALID')
  return image[0]


def augment(example, key, *, crop_size, blur_probability, distance_fill,
            **geometry):
  """Augments one decoded training example.

  Args:
    example: 'image' [H, W, 3] uint8 RGB and any number of [H, W] uint8 maps.
    key: [2] seed; the result is a function of it and the example.
    crop_size: Side of the crop in pixels.
    blur_probability: Of a Gaussian blur of the image.
    distance_fill: METHOD 8b: 'official', padding has 255 in the distance maps;
      'corrected', 0.
    **geometry: As of `crop_to_image`.

  Returns:
    The same dict, every entry [crop_size, crop_size, ...] uint8.
  """
  geometry_key, blur_key = tf.unstack(tf.random.split(key, 2))
  matrix, canvas = crop_to_image(
      geometry_key, tf.unstack(tf.shape(example['image'])[:2]), crop_size,
      **geometry)

  # The image is warped with a margin, for the blur to draw on. Its mean is
  # taken off first: 0 outside then means the mean, also where both mix.
  margin = _translation(-float(_BLUR_REACH), -float(_BLUR_REACH))
  image = tf.cast(example['image'], tf.float32) - MEAN_PIXEL
  image = warp(image, matrix @ margin, crop_size + 2 * _BLUR_REACH, 0.0,
               'BILINEAR')
  image = tf.cond(
      _uniform(blur_key, 0.0, 1.0) < blur_probability,
      lambda: blur(image),
      lambda: image[_BLUR_REACH:-_BLUR_REACH, _BLUR_REACH:-_BLUR_REACH])
  image = tf.cast(tf.round(tf.clip_by_value(image + MEAN_PIXEL, 0, 255)),
                  tf.uint8)
  image = tf.where(canvas[..., None], image, MEAN_PIXEL)

  names = [name for name in example if name != 'image']
  maps = tf.stack([example[name] for name in names], axis=-1)
  # Labels and distance maps share one fill of 255. Complemented before and
  # after the warp, a distance map has 0 there instead.
  complement = tf.constant(
      [255 if 'distance' in name and distance_fill == 'corrected' else 0
       for name in names], tf.uint8)
  maps = tf.bitwise.bitwise_xor(maps, complement)
  maps = warp(maps, matrix, crop_size, 255.0, 'NEAREST')
  maps = tf.where(canvas[..., None], maps, tf.constant(255, tf.uint8))
  maps = tf.bitwise.bitwise_xor(maps, complement)
  return {'image': image} | dict(
      zip(names, tf.unstack(maps, axis=-1), strict=True))
