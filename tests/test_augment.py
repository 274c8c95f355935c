"""Augmentation: image and maps stay aligned, fills are as METHOD 5 says."""

import functools
import io

import numpy as np
from PIL import Image
import pytest
from scipy import ndimage
import tensorflow as tf

from scribble_jax.data import augment
from scribble_jax.data import encoding
from scribble_jax.normalization import MEAN_PIXEL


def settings(**changes):
  """METHOD 5's probabilities at 0 and its scale at 1, except for `changes`."""
  return {
      'scale': (1.0, 1.0), 'rotate_probability': 0.0, 'rotate_degrees': 10.0,
      'blur_probability': 0.0, 'flip_probability': 0.0} | changes


ALL = {'scale': (0.5, 2.0), 'rotate_probability': 1.0, 'blur_probability': 0.5,
       'flip_probability': 0.5}


def key(number):
  return tf.constant([number, 1], tf.int64)


def part(image, window):
  """Returns what a window (top, left, height, width) shows of an image."""
  top, left, height, width = window.numpy()
  return tf.constant(image[top:top + height, left:left + width])


def augmented(example, number, crop_size, config, distance_fill='official'):
  maps = dict(example)
  image = maps.pop('image')
  decode = image if callable(image) else functools.partial(part, image)
  result = augment.augment(decode, maps, key(number), crop_size=crop_size,
                           distance_fill=distance_fill, **config)
  return {name: value.numpy() for name, value in result.items()}


def ramps(height, width):
  """An example whose maps repeat the image's red and green channels."""
  rows, columns = np.mgrid[:height, :width]
  image = np.stack([40 + 2 * columns, 40 + 2 * rows, 40 + columns + rows],
                   axis=-1).astype(np.uint8)
  return {'image': image, 'scribble': image[..., 0],
          'scribble_distance': image[..., 1]}


def geometry(seed, height, width, crop_size, config):
  """Returns the matrix and the canvas of one draw."""
  config = {name: value for name, value in config.items()
            if name != 'blur_probability'}
  draws = tf.random.stateless_uniform([augment.NUM_DRAWS + 1], seed)[:-1]
  return [x.numpy() for x in augment.crop_to_image(
      tf.unstack(draws), (tf.constant(height), tf.constant(width)), crop_size,
      **config)]


def matrix(number, height, width, crop_size, config):
  return geometry(key(number), height, width, crop_size, config)[0]


def test_nothing_drawn_is_the_identity():
  example = ramps(31, 31)
  result = augmented(example, 0, 31, settings())
  for name, value in example.items():
    np.testing.assert_array_equal(result[name], value)


@pytest.mark.parametrize('number', range(12))
def test_image_and_maps_are_warped_alike(number):
  # On ramps, bilinear and nearest agree up to half a source pixel's slope.
  result = augmented(ramps(70, 90), number, 65, settings(**ALL))
  rows, columns = (result['scribble_distance'] != 255,
                   result['scribble'] != 255)
  inside = ndimage.binary_erosion(rows & columns, iterations=4)
  assert inside.sum() > 200
  for channel, name in enumerate(('scribble', 'scribble_distance')):
    difference = (result['image'][..., channel].astype(int)
                  - result[name].astype(int))
    assert np.abs(difference[inside]).max() <= 2


@pytest.mark.parametrize('number', range(5))
def test_matrix_says_where_a_landmark_went(number):
  # An independent reading of the matrix: the landmark's pixel in the crop maps
  # back onto the landmark.
  example = {'image': np.zeros([60, 80, 3], np.uint8),
             'scribble': np.full([60, 80], 255, np.uint8)}
  example['scribble'][30:33, 41:44] = 5
  config = settings(**ALL | {'scale': (1.0, 2.0)})
  to_image, _ = geometry(key(number), 60, 80, 161, config)
  result = augmented(example, number, 161, config)
  y, x = ndimage.center_of_mass(result['scribble'] == 5)
  np.testing.assert_allclose(to_image @ [x, y, 1], [42, 31, 1], atol=0.5)


def blurred(image):
  """OpenCV's 5x5 Gaussian in float64."""
  weights = np.exp(-np.arange(-2, 3)**2 / (2 * 1.1**2))
  for axis in (0, 1):
    image = ndimage.correlate1d(image, weights / weights.sum(), axis)
  return image


# The last is compiled for another length than the others.
@pytest.mark.parametrize('height, width', [(1, 1), (40, 50), (90, 70),
                                           (500, 700)])
@pytest.mark.parametrize('number', [3, 11])
@pytest.mark.parametrize('blur_probability', [0.0, 1.0])
def test_crop_is_what_float64_gives(height, width, number, blur_probability):
  rng = np.random.default_rng(number)
  example = {'image': rng.integers(0, 256, (height, width, 3), np.uint8)} | {
      name: rng.integers(0, 256, (height, width), np.uint8)
      for name in ('scribble', 'pseudo_label', 'pseudo_label_distance')}
  config = settings(**ALL | {'blur_probability': blur_probability})
  result = augmented(example, number, 61, config, 'corrected')
  to_image, canvas = geometry(key(number), height, width, 61, config)
  columns, rows = np.meshgrid(*[np.arange(-2, 63)] * 2)
  x, y = np.tensordot(to_image.astype(float)[:2],
                      [columns, rows, np.ones_like(rows)], 1)
  inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
  crop = np.s_[2:-2, 2:-2]

  image = np.stack([np.where(inside, ndimage.map_coordinates(
      example['image'][..., i].astype(float), [y, x], order=1, mode='nearest'),
      MEAN_PIXEL[i]) for i in range(3)], axis=-1)
  image = blurred(image) if blur_probability else image
  image = np.where(canvas[..., None], image[crop], MEAN_PIXEL)
  # Half a level of rounding, the rest of positions in float32.
  np.testing.assert_allclose(result['image'], image, atol=0.6)

  inside = inside[crop] & canvas
  row, column = (np.clip(np.floor(z[crop] + 0.5).astype(int), 0, side - 1)
                 for z, side in ((y, height), (x, width)))
  certain = np.all([abs(np.mod(z[crop], 1) - 0.5) > 1e-3 for z in (x, y)], 0)
  assert certain.mean() > 0.9
  for name in ('scribble', 'pseudo_label', 'pseudo_label_distance'):
    fill = 0 if 'distance' in name else 255
    expected = np.where(inside, example[name][row, column], fill)
    np.testing.assert_array_equal(result[name][certain], expected[certain])


def test_geometry_is_scale_rotation_flip_and_shift():
  scales, flips, angles = [], 0, []
  for number in range(200):
    m = matrix(number, 400, 500, 465, settings(**ALL))
    determinant = np.linalg.det(m[:2, :2])
    scales.append(1 / np.sqrt(abs(determinant)))
    flips += determinant < 0
    cosine = abs(m[1, 1]) * scales[-1]
    angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
  assert 0.49 < min(scales) < 0.55 and 1.95 < max(scales) < 2.01
  assert abs(np.mean(scales) - 1.25) < 0.1  # U(0.5, 2).
  assert 70 < flips < 130  # Probability 0.5.
  assert 9 < max(angles) < 10.1


def test_small_image_is_padded_evenly_and_large_one_cropped_inside():
  m = matrix(0, 21, 30, 41, settings())
  np.testing.assert_allclose(m @ [0, 0, 1], [-5, -10, 1])  # 11 // 2, 20 // 2.
  starts = np.array([matrix(n, 100, 41, 41, settings())[:2, 2]
                     for n in range(100)])
  np.testing.assert_array_equal(starts[:, 0], 0)
  assert starts[:, 1].min() >= 0 and starts[:, 1].max() <= 59
  assert len(set(starts[:, 1])) > 30
  np.testing.assert_array_equal(starts, np.round(starts))


def test_rotation_keeps_the_center():
  config = settings(rotate_probability=1.0)
  for number in range(5):
    m = matrix(number, 51, 71, 71, config)
    assert abs(m[0, 1]) > 1e-4
    np.testing.assert_allclose(m @ [35, 35, 1], [35, 25, 1], atol=1e-4)


def test_rotation_loses_what_leaves_the_frame():
  example = {'image': np.full([20, 60, 3], 9, np.uint8),
             'scribble': np.full([20, 60], 3, np.uint8)}
  config = settings(rotate_probability=1.0)
  for number in range(4):
    result = augmented(example, number, 80, config)
    frame = np.zeros([80, 80], bool)
    frame[30:50, 10:70] = True
    assert (result['scribble'][~frame] == 255).all()
    assert (result['image'][~frame] == MEAN_PIXEL).all()
    assert 0.6 * frame.sum() < (result['scribble'] == 3).sum() < frame.sum()


@pytest.mark.parametrize('fill, expected', [
    ('official', 255), ('corrected', 0)])
def test_padding(fill, expected):
  example = ramps(20, 20)
  example['pseudo_label'] = example['scribble']
  result = augmented(example, 0, 40, settings(), fill)
  border = np.ones([40, 40], bool)
  border[10:30, 10:30] = False
  assert (result['scribble'][border] == 255).all()
  assert (result['pseudo_label'][border] == 255).all()
  assert (result['scribble_distance'][border] == expected).all()
  assert (result['image'][border] == MEAN_PIXEL).all()
  np.testing.assert_array_equal(
      result['scribble_distance'][10:30, 10:30], example['scribble_distance'])


def test_blur_is_opencvs_5x5_gaussian():
  image = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
  result = augmented({'image': image, 'scribble': image[..., 0]}, 0, 30,
                     settings(blur_probability=1.0))
  expected = blurred(image.astype(float))
  inside = np.s_[2:-2, 2:-2]
  np.testing.assert_allclose(result['image'][inside], expected[inside],
                             atol=0.51)  # Rounded to 8 bit.
  np.testing.assert_array_equal(result['scribble'], image[..., 0])


def encoded(rng, height, width, kind):
  """Returns an image's file; colours that vary from pixel to pixel."""
  image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
  file = io.BytesIO()
  if kind == 'png':
    image.save(file, 'PNG')
  elif kind == 'grey':
    image.convert('L').save(file, 'JPEG')
  else:
    image.save(file, 'JPEG', subsampling=kind, progressive=width % 2)
  return file.getvalue()


@pytest.mark.parametrize(
    'kind', ['4:2:0', '4:2:2', '4:4:4', 'grey', 'png'])
def test_a_large_image_gives_the_same_when_decoded_in_part(kind, monkeypatch):
  rng = np.random.default_rng(0)
  parts = []
  for number, (height, width) in enumerate(
      [(301, 447), (352, 333), (305, 352), (320, 352)] * 4):
    content = encoded(rng, height, width, kind)

    def decode(window, content=content):
      parts.append(window.numpy()[2:].prod() / (height * width))  # noqa: B023
      return encoding.decode_window(content, window)

    example = {'image': decode} | {
        name: rng.integers(0, 256, (height, width), np.uint8)
        for name in ('scribble', 'pseudo_label_distance')}
    results = []
    for large in (0, 2**30):
      monkeypatch.setattr(augment, '_LARGE', large)
      results.append(augmented(example, number, 49, settings(**ALL)))
    for name, values in results[1].items():
      np.testing.assert_array_equal(results[0][name], values)
  assert min(parts[1::2]) == 1 and max(parts[::2]) < 0.4
