"""Distance maps byte for byte against brute force and by hand."""

import math

import numpy as np
import pytest

from scribble_jax.data import distance_maps
from tests.oracles import distance_maps as brute_force

MAPS = ['scribble_distance_map', 'pseudo_label_distance_map']
LAMBDAS = [0.3, 1.0, 7.5, math.e, math.e ** 2, math.e ** 6, math.e ** 7]


def distance_map(name, labels, weight):
  """The product's map; checks the types and that the input is kept."""
  labels = np.asarray(labels, np.uint8)
  before = labels.copy()
  result = getattr(distance_maps, name)(labels, weight)
  np.testing.assert_array_equal(labels, before)
  assert isinstance(result, np.ndarray) and result.dtype == np.uint8
  assert result.shape == labels.shape
  return result


def assert_agrees(name, labels, weight):
  expected = getattr(brute_force, name)(np.asarray(labels, np.uint8), weight)
  np.testing.assert_array_equal(distance_map(name, labels, weight), expected)


def random_labels(rng):
  """Overlapping rectangles and lines of random classes, 0 and 255 too."""
  height, width = rng.integers(1, 25, 2)
  labels = np.full([height, width], rng.choice([0, 255]), np.uint8)
  for _ in range(rng.integers(0, 8)):
    top, left = rng.integers(0, height), rng.integers(0, width)
    bottom = top + rng.integers(1, 1 + max(1, height // 2))
    right = left + rng.integers(1, 1 + max(1, width // 2))
    labels[top:bottom, left:right] = rng.choice([0, 1, 2, 20, 254, 255])
  return labels


@pytest.mark.parametrize('name', MAPS)
@pytest.mark.parametrize('weight', LAMBDAS)
def test_random_masks_agree_with_brute_force(name, weight):
  rng = np.random.default_rng(0)
  for _ in range(40):
    assert_agrees(name, random_labels(rng), weight)


# With some weights the first saturated squared distance is a whole number.
@pytest.mark.parametrize('name', MAPS)
@pytest.mark.parametrize('weight', [math.e ** 6, 3.0, 15.3])
def test_far_pixels_agree_with_brute_force(name, weight):
  labels = np.full([180, 190], 255)
  labels[3, 4:6] = 2
  assert_agrees(name, labels, weight)


@pytest.mark.parametrize('name', MAPS)
@pytest.mark.parametrize('shape', [(1, 1), (1, 300), (300, 1), (2, 40)])
@pytest.mark.parametrize('weight', [math.e, math.e ** 6])
def test_narrow_images_agree_with_brute_force(name, shape, weight):
  rng = np.random.default_rng(1)
  for density in (0.01, 0.9):
    labels = np.where(rng.random(shape) < density, 3, 255)
    assert_agrees(name, labels, weight)


@pytest.mark.parametrize('name', MAPS)
@pytest.mark.parametrize('column', [0, 1, 11])
def test_foreground_at_the_edge_agrees_with_brute_force(name, column):
  labels = np.zeros([9, 12])
  labels[2:8, column:column + 6] = 4
  labels[5:, column:] = 9
  assert_agrees(name, labels, math.e ** 3)


def test_scribble_distance_map_by_hand():
  # sqrt(lambda) = 2; distances sqrt(2) and sqrt(5) give 2.8 and 4.5, which
  # are truncated. The background stroke has no influence.
  labels = np.full([2, 5], 255)
  labels[0] = [1, 255, 255, 0, 255]
  np.testing.assert_array_equal(
      distance_map('scribble_distance_map', labels, 4.0),
      [[255, 253, 251, 249, 247], [253, 253, 251, 249, 247]])


def test_pseudo_label_distance_map_by_hand():
  # The contour of the 3x3 object is its ring of 8; sqrt(e^6) = 20.09 and
  # sqrt(2 e^6) = 28.4.
  labels = np.zeros([5, 5])
  labels[1:4, 1:4] = 2
  np.testing.assert_array_equal(
      distance_map('pseudo_label_distance_map', labels, math.e ** 6),
      [[28, 20, 20, 20, 28],
       [20, 0, 0, 0, 20],
       [20, 0, 20, 0, 20],
       [20, 0, 0, 0, 20],
       [28, 20, 20, 20, 28]])


def test_two_touching_classes_have_no_contour_between_them():
  labels = np.zeros([7, 8])
  labels[1:6, 1:4], labels[1:6, 4:7] = 1, 2
  one_class = np.where(labels > 0, 1, 0)
  actual = distance_map('pseudo_label_distance_map', labels, math.e ** 6)
  np.testing.assert_array_equal(
      actual, distance_map('pseudo_label_distance_map', one_class,
                           math.e ** 6))
  assert actual[3, 3] == 40


def test_diagonal_neighbours_make_no_contour():
  # The middle pixel touches the background only at its corner.
  labels = np.ones([3, 3])
  labels[0, 0] = 0
  labels = np.pad(labels, 1, constant_values=1)
  assert distance_map(
      'pseudo_label_distance_map', labels, 1.0)[2, 2] == 1


def test_distances_saturate():
  labels = np.full([1, 400], 255)
  labels[0, 0] = 1
  expected = 255 - np.minimum(255, np.floor(math.e ** 0.5 * np.arange(400)))
  actual = distance_map('scribble_distance_map', labels, math.e)
  np.testing.assert_array_equal(actual[0], expected)
  assert actual[0, 154] == 2 and actual[0, 155] == 0
  actual = distance_map('pseudo_label_distance_map', labels, math.e ** 6)
  np.testing.assert_array_equal(actual[0, 12:14], [241, 255])


@pytest.mark.parametrize('labels', [
    np.full([4, 6], 255),
    np.zeros([4, 6]),
    np.where(np.arange(24).reshape(4, 6) % 5 == 0, 0, 255),
], ids=['unlabelled', 'background', 'background strokes'])
def test_without_foreground_every_distance_is_infinite(labels):
  np.testing.assert_array_equal(
      distance_map('scribble_distance_map', labels, math.e), 0)
  np.testing.assert_array_equal(
      distance_map('pseudo_label_distance_map', labels, math.e ** 6), 255)


def test_all_foreground():
  labels = np.full([5, 7], 254)
  np.testing.assert_array_equal(
      distance_map('scribble_distance_map', labels, math.e), 255)
  # The image's border is the contour.
  np.testing.assert_array_equal(
      distance_map('pseudo_label_distance_map', labels, 100.0),
      [[0, 0, 0, 0, 0, 0, 0],
       [0, 10, 10, 10, 10, 10, 0],
       [0, 10, 20, 20, 20, 10, 0],
       [0, 10, 10, 10, 10, 10, 0],
       [0, 0, 0, 0, 0, 0, 0]])


def test_one_foreground_pixel_is_its_own_contour():
  labels = np.full([3, 3], 255)
  labels[1, 1] = 20
  np.testing.assert_array_equal(
      distance_map('pseudo_label_distance_map', labels, 100.0),
      [[14, 10, 14], [10, 0, 10], [14, 10, 14]])
  np.testing.assert_array_equal(
      distance_map('scribble_distance_map', labels, 100.0),
      [[241, 245, 241], [245, 255, 245], [241, 245, 241]])
