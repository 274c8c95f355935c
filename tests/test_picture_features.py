"""A picture's classes from its strokes' features, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special

from scribble_jax.models.backbones import dinov2
from scribble_jax.models.backbones import resnet
from scribble_jax.normalization import IMAGENET_MEAN
from scribble_jax.pseudo_labels import image_labeller
from scribble_jax.pseudo_labels import network
from scribble_jax.pseudo_labels import picture_features
from scribble_jax.pseudo_labels import propagation


def fitted(x, y, penalty, start=0.0):
  """Returns the regression's minimum by SciPy, as [D + 1, K]."""
  penalties = np.full([x.shape[1] + 1, 1], penalty)
  if np.all(y.sum(0) > 0):
    penalties[-1] = 0

  def value(flat):
    weights = flat.reshape(x.shape[1] + 1, -1)
    logits = x @ weights[:-1] + weights[-1]
    log_probs = logits - scipy.special.logsumexp(logits, 1, keepdims=True)
    error = np.exp(log_probs) * y.sum(1, keepdims=True) - y
    gradient = np.concatenate([x.T @ error, error.sum(0)[None]])
    gradient += penalties * (weights - start)
    return (-np.sum(y * log_probs)
            + np.sum(penalties / 2 * (weights - start)**2),
            gradient.reshape(-1))

  result = scipy.optimize.minimize(
      value, np.zeros((x.shape[1] + 1) * y.shape[1]), jac=True, tol=1e-12,
      method='L-BFGS-B', options={'maxiter': 10_000, 'maxfun': 100_000})
  return result.x.reshape(-1, y.shape[1])


@pytest.mark.parametrize('has_start', [False, True])
@pytest.mark.parametrize('penalty', [0.3, 1.0])
@pytest.mark.parametrize('count, classes', [(40, 2), (200, 3), (30, 5)])
def test_fit_is_the_minimum(count, classes, penalty, has_start):
  rng = np.random.default_rng(count)
  x = rng.normal(size=(count, 12)) / 3
  labels = np.argmax(x[:, :classes] + rng.normal(size=(count, classes)) / 5, 1)
  y = np.eye(classes)[labels]
  y[:count // 10] = 0  # Without a label.
  y[-1] = 1  # Of every class.
  start = has_start * 3 * rng.normal(size=(13, classes))
  weights, offsets = map(np.asarray, jax.jit(picture_features.fit)(
      np.float32(x), np.float32(y), penalty, picture_features.Regression(
          *map(np.float32, (start[:-1], start[-1]))) if has_start else None))
  expected = fitted(x, y, penalty, start)
  probabilities = scipy.special.softmax(x @ weights + offsets, axis=1)
  np.testing.assert_allclose(
      probabilities, scipy.special.softmax(
          x @ expected[:-1] + expected[-1], axis=1), atol=1e-3)


def test_a_class_without_samples_changes_nothing():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(50, 4)).astype('f')
  y = np.eye(2, dtype='f')[np.int32(x[:, 0] > 0)]
  weights, offsets = picture_features.fit(x, y, 1.0)
  three = picture_features.fit(x, np.insert(y, 1, 0, axis=1), 1.0)
  np.testing.assert_allclose(three[0][:, [0, 2]], weights, atol=1e-5)
  np.testing.assert_allclose(three[1], [offsets[0], -np.inf, offsets[1]],
                             atol=1e-5)


@pytest.mark.parametrize('count', [0, 3, 8, 20])
def test_samples_are_all_or_evenly_chosen(count):
  places = np.arange(count) * 3
  y = np.zeros([64, 2], bool)
  y[places, places % 2] = True
  x, labels = picture_features._samples(
      jnp.arange(64.0).reshape(8, 8, 1), jnp.asarray(y).reshape(8, 8, 2), 8)
  expected = places if count <= 8 else places[np.arange(8) * count // 8]
  np.testing.assert_array_equal(x[:len(expected), 0], expected)
  np.testing.assert_array_equal(labels[:len(expected)], y[expected])
  assert not labels[len(expected):].any()


class Ramp:
  """Shows each pixel's colour where a backbone's features lie."""

  def __init__(self, patch):
    self.patch = patch

  def normalize(self, images):
    return images

  def stages(self, variables, images):
    del variables
    if self.patch is None:
      return [images[:, ::4, ::4], images[:, ::16, ::16]]
    middles = [slice(self.patch // 2, None, self.patch)] * 2
    return [images[:, *middles]]


@pytest.mark.parametrize('patch', [None, 3])
def test_cells_lie_on_the_picture(patch):
  """Colours are slopes; a feature's direction tells the place."""
  size = (64, 128)
  rows, columns = np.meshgrid(*map(np.arange, size), indexing='ij')
  image = np.stack([rows + 1, columns + 1, np.full(size, 200)], -1)
  features = picture_features.cell_features(
      Ramp(patch), None, jnp.float32(image), jnp.ones(size, bool))
  assert features.shape[:2] == (17, 33)
  places = [np.arange(n + 1) * (4 * n - 1) / n for n in (16, 32)]
  for i in range(0, features.shape[-1], 3):
    found = features[..., i:i + 2] / features[..., i + 2:i + 3] * 200 - 1
    inner = slice(1, -1)  # Behind the outer middles of patches none lies.
    # Between directions of unit length, linear is not quite straight.
    np.testing.assert_allclose(
        found[inner, inner], np.stack(np.meshgrid(
            *places, indexing='ij'), -1)[inner, inner], atol=0.9)


def test_outside_is_a_mean_colour():
  inside = np.zeros([32, 32], bool)
  inside[:20, :24] = True
  image = np.random.default_rng(0).uniform(0, 255, [32, 32, 3]).astype('f')
  one = picture_features.cell_features(Ramp(None), None, image, inside)
  image[~inside] = 255 * IMAGENET_MEAN
  other = picture_features.cell_features(
      Ramp(None), None, image, np.ones_like(inside))
  np.testing.assert_array_equal(one, other)


def test_pixels_get_the_class_whose_strokes_look_like_them():
  features = np.zeros([9, 13, 3], np.float32)
  features[:, :6, 0] = features[:, 6:, 1] = 3
  features[..., 2] = 0.1
  scribble = np.full([32, 48], 255, np.uint8)
  scribble[5, 4:12], scribble[20:28, 40] = 7, 0
  probabilities = picture_features.class_probabilities(
      features, scribble, np.uint8([0, 7, 0, 0]))
  assert probabilities.shape == (4, 32, 48)
  np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
  assert np.all(probabilities[1, :, :19] > 0.9)
  assert np.all(probabilities[0, :, 25:] > 0.9)
  assert not probabilities[2:].any()
  scribble[scribble == 0] = 255  # One class alone is everywhere.
  probabilities = picture_features.class_probabilities(
      features, scribble, np.uint8([0, 7, 0, 0]))
  np.testing.assert_array_equal(probabilities[1], 1)


def two_halves():
  """Returns features that tell left from right, and strokes on both."""
  rng = np.random.default_rng(0)
  features = rng.normal(size=(9, 13, 3)).astype('f') / 20
  features[:, :6, 0] += 3
  features[:, 6:, 1] += 3
  scribble = np.full([32, 48], 255, np.uint8)
  scribble[5, 4:12], scribble[20:28, 40] = 7, 0
  return features, scribble


def shared_by_place():
  """Returns a regression: class 0 is right, 7 left, 3 unknown, 5 anywhere."""
  weights, offsets = np.zeros([3, 9], np.float32), np.full(9, -np.inf, 'f')
  weights[1, 0] = weights[0, 7] = 0.5
  offsets[[0, 5, 7]] = 0.0, 9.0, 0.1
  return picture_features.Regression(jnp.asarray(weights), jnp.asarray(offsets))


def test_the_shared_regression_stands_in_for_missing_strokes():
  features, scribble = two_halves()
  scribble[scribble == 0] = 255
  probabilities = picture_features.class_probabilities(
      features, scribble, np.uint8([0, 7, 0]), shared_by_place())
  own = features[1, 1:4]  # The cells that the stroke meets.
  expected = fitted(
      np.float64(own), np.float64([[0, 1]] * 3), 0.3,
      np.float64([[0, 0.5], [0.5, 0], [0, 0], [0, 0.1]]))
  at_corners = scipy.special.softmax(
      features[[0, 0, -1, -1], [0, -1, 0, -1]] @ expected[:-1] + expected[-1],
      axis=1)
  np.testing.assert_allclose(
      probabilities[:2, [0, 0, -1, -1], [0, -1, 0, -1]].T, at_corners,
      atol=1e-3)
  assert np.all(probabilities[1, :, :19] > 0.5)
  assert np.all(probabilities[0, :, 25:] > 0.5)
  assert not probabilities[2].any()


def test_pictures_without_strokes_leave_nothing_to_share():
  features, scribble = two_halves()
  shared = picture_features.fit_shared(*picture_features.shared_samples(
      features, np.full_like(scribble, 255), 9))
  assert np.all(shared.weights == 0) and np.all(shared.offsets == -np.inf)
  for one, other in zip(*(picture_features.class_probabilities(
      features, scribble, np.uint8([0, 7, 0]), start)
                          for start in (None, shared)), strict=True):
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_class_that_the_shared_regression_lacks_starts_from_nothing():
  features, scribble = two_halves()
  scribble[scribble == 7] = 3
  probabilities = picture_features.class_probabilities(
      features, scribble, np.uint8([0, 3, 0]), shared_by_place())
  cells = np.float64([*features[1, 1:4], *features[5:8, 10]])
  expected = fitted(
      cells, np.eye(2)[[1, 1, 1, 0, 0, 0]], 0.3,
      np.float64([[0, 0], [0.5, 0], [0, 0], [0, 0]]))
  np.testing.assert_allclose(
      probabilities[:2, 0, 0], scipy.special.softmax(
          features[0, 0] @ expected[:-1] + expected[-1]), atol=1e-3)


def test_a_spot_weighs_as_much_as_a_stroke():
  features, scribble = two_halves()
  scribble[scribble == 0] = 255
  scribble[16, 40] = 0
  probabilities = picture_features.class_probabilities(
      features, scribble, np.uint8([0, 7, 0]))
  cells = [features[4, 10], *features[1, 1:4]]
  expected = fitted(
      np.float64(cells), np.float64([[2, 0]] + [[0, 2 / 3]] * 3), 0.3)
  np.testing.assert_allclose(
      probabilities[:2, 0, -1], scipy.special.softmax(
          features[0, -1] @ expected[:-1] + expected[-1]), atol=1e-3)


def test_classes_of_a_picture_weigh_alike_in_the_shared_regression():
  features, scribble = two_halves()
  scribble[20:28, 40] = 255
  scribble[16, 40] = 0
  x, y = map(np.asarray, picture_features.shared_samples(features, scribble, 9))
  cells, total = [features[4, 10], *features[1, 1:4]], len(y)
  assert total == picture_features.SHARED_SAMPLES
  for cell, label, weight in zip(
      cells, (0, 7, 7, 7), (total / 2, *[total / 6] * 3), strict=True):
    (row,) = np.flatnonzero((x == cell).all(1))
    np.testing.assert_allclose(y[row], weight * np.eye(9)[label])
  assert np.count_nonzero(y) == 4


@pytest.mark.parametrize('backbone', [
    resnet.ResNet(18, 8, output_stride=16),
    dinov2.DINOv2('small', False, 1, 4)])
def test_a_picture_is_judged_by_its_features(backbone):
  rng = np.random.default_rng(0)
  image = np.full([32, 48, 3], (200, 40, 40), np.uint8)
  image[:, 24:] = (40, 60, 200)
  image += rng.integers(0, 10, image.shape, np.uint8)
  scribble = np.full([32, 48], 255, np.uint8)
  scribble[10:20, 5:8], scribble[10:20, 40:43] = 0, 2
  variables = backbone.init(
      jax.random.key(0), jnp.zeros([1, 65, 65, 3]), train=False)
  labeller = image_labeller.ImageLabeller(
      propagation.Walk((2, 1), (1, 2), 3, 0.7, 0.5), 'features', 'cam', 0.0,
      open_unnamed=False, backbone=backbone)
  result = jax.jit(labeller)(
      None, image, np.int32([32, 48]), image_labeller.Inputs(
          scribble[None], np.uint8([0, 2, 0]), np.int32(2),
          np.zeros([2, 3], 'f')), variables)
  for label in result.labels.values():
    assert np.mean(label[:, :20] == 0) > 0.95
    assert np.mean(label[:, 28:] == 2) > 0.95


@pytest.mark.parametrize('classes, warned', [
    ([0], False), ([3], True), ([0, 3], False), ([2, 3], False)])
def test_pictures_that_become_one_class_are_named(classes, warned, caplog):
  scribble = np.full([4, 5], 255, np.uint8)
  scribble[0, :len(classes)] = classes
  network._warn_of_one_class({'id': 'photo', 'scribble': scribble})
  assert ('photo has strokes of one class alone' in caplog.text) == warned
