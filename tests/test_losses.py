"""Losses and their gradients against PyTorch in float64 and by hand."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import losses
from scribble_jax import sharding
from tests.benchmarks import hlo
from tests.oracles import torch_losses
from tests.peers import torch


def means_over_pixels(*args):
  return losses.means(losses.sums_over_pixels(*args))


def random_case(seed=0, shape=(3, 7, 6, 5), scale=3.0):
  """Logits, labels with ignored pixels, and a distance map with zeros."""
  rng = np.random.default_rng(seed)
  logits = (scale * rng.normal(size=shape)).astype(np.float32)
  labels = rng.integers(0, shape[-1], shape[:-1]).astype(np.int32)
  labels[rng.random(labels.shape) < 0.6] = 255
  distance_map = rng.uniform(size=shape[:-1]).astype(np.float32)
  distance_map[rng.random(labels.shape) < 0.3] = 0
  return logits, labels, distance_map


def mean(pixel_loss, logits, *args, **kwargs):
  """The mean over logits that have the labels' size already."""
  return losses.mean(*losses.masked_sum(
      *pixel_loss(jax.nn.log_softmax(logits), *args, **kwargs)))


def value_and_gradient(pixel_loss, logits, *args):
  loss = functools.partial(mean, pixel_loss)
  value, gradient = jax.jit(jax.value_and_grad(loss))(logits, *args)
  assert value.shape == () and value.dtype == jnp.float32
  return float(value), np.asarray(gradient)


def oracle(loss, logits, target):
  """The PyTorch loss and its gradient, channels last again."""
  leaf = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
  target = torch.tensor(target)
  target = target.double() if target.is_floating_point() else target.long()
  value = loss(leaf.permute(0, 3, 1, 2), target)
  value.backward()
  return value.item(), leaf.grad.numpy()


def assert_agrees(actual, expected):
  """Values and gradients differ by less than 1e-5 of the expected norm."""
  np.testing.assert_allclose(actual[0], expected[0], rtol=1e-5)
  error = np.linalg.norm(actual[1] - expected[1])
  assert error <= 1e-5 * np.linalg.norm(expected[1])
  assert np.any(expected[1])


def assert_nothing_counts(actual):
  value, gradient = actual
  assert value == 0
  np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize('seed', range(3))
def test_partial_cross_entropy_agrees_with_pytorch(seed):
  logits, labels, _ = random_case(seed)
  assert_agrees(
      value_and_gradient(losses.partial_cross_entropy, logits, labels),
      oracle(torch_losses.partial_cross_entropy, logits, labels))


@pytest.mark.parametrize('smoothing', [0.0, 0.1, 0.5])
def test_smoothed_cross_entropy_agrees_with_pytorch(smoothing):
  logits, labels, _ = random_case()
  actual = functools.partial(losses.smoothed_cross_entropy,
                             smoothing=smoothing)
  expected = functools.partial(torch_losses.smoothed_cross_entropy,
                               smoothing=smoothing)
  assert_agrees(value_and_gradient(actual, logits, labels),
                oracle(expected, logits, labels))


@pytest.mark.parametrize('normaliser', ['official', 'corrected'])
@pytest.mark.parametrize('seed', range(3))
def test_distance_entropy_agrees_with_pytorch(seed, normaliser):
  logits, _, distance_map = random_case(seed)
  actual = functools.partial(losses.distance_entropy, normaliser=normaliser)
  expected = functools.partial(torch_losses.distance_entropy,
                               normaliser=normaliser)
  assert_agrees(value_and_gradient(actual, logits, distance_map),
                oracle(expected, logits, distance_map))


@pytest.mark.parametrize('normaliser', ['official', 'corrected'])
def test_distance_entropy_agrees_with_pytorch_when_half_is_saturated(
    normaliser):
  logits, _, distance_map = random_case()
  logits[:, ::2] = np.where(logits[:, ::2] > 0, 400, -400)
  actual = functools.partial(losses.distance_entropy, normaliser=normaliser)
  expected = functools.partial(torch_losses.distance_entropy,
                               normaliser=normaliser)
  assert_agrees(value_and_gradient(actual, logits, distance_map),
                oracle(expected, logits, distance_map))


def test_cross_entropies_agree_with_pytorch_when_saturated():
  logits, labels, _ = random_case()
  logits = np.sign(logits) * 200
  actual = functools.partial(losses.smoothed_cross_entropy, smoothing=0.1)
  assert_agrees(value_and_gradient(actual, logits, labels),
                oracle(torch_losses.smoothed_cross_entropy, logits, labels))
  assert_agrees(
      value_and_gradient(losses.partial_cross_entropy, logits, labels),
      oracle(torch_losses.partial_cross_entropy, logits, labels))


def test_partial_cross_entropy_by_hand():
  logits = jnp.log(jnp.array([[[[1.0, 3.0], [1.0, 1.0], [9.0, 1.0]]]]))
  labels = jnp.array([[[0, 1, losses.IGNORE_LABEL]]])
  loss = mean(losses.partial_cross_entropy, logits, labels)
  np.testing.assert_allclose(loss, (np.log(4) + np.log(2)) / 2, rtol=1e-6)


def test_partial_cross_entropy_averages_over_the_batch_not_per_image():
  logits = jnp.log(jnp.array([[[[1.0, 3.0], [1.0, 3.0], [1.0, 3.0]]],
                              [[[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]]]))
  labels = jnp.array([[[0, 0, 0]], [[0, 255, 255]]])
  loss = mean(losses.partial_cross_entropy, logits, labels)
  np.testing.assert_allclose(
      loss, (3 * np.log(4) + np.log(2)) / 4, rtol=1e-6)


def test_smoothed_cross_entropy_by_hand():
  logits = jnp.log(jnp.array([[[[1.0, 3.0], [9.0, 1.0]]]]))
  labels = jnp.array([[[0, losses.IGNORE_LABEL]]])
  loss = mean(losses.smoothed_cross_entropy, logits, labels, 0.1)
  expected = -(0.95 * np.log(1 / 4) + 0.05 * np.log(3 / 4))
  np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize('normaliser', ['official', 'corrected'])
def test_distance_entropy_of_a_uniform_prediction_by_hand(normaliser):
  distance_map = jnp.array([[[1.0, 0.5, 0.0]]])
  loss = mean(losses.distance_entropy, jnp.zeros([1, 1, 3, 4]), distance_map,
              normaliser)
  np.testing.assert_allclose(loss, (1.0 + 0.5) / 2 * np.log(4), rtol=1e-6)


@pytest.mark.parametrize(
    ('normaliser', 'count'), [('official', 1), ('corrected', 2)])
def test_distance_entropy_counts_a_saturated_pixel_only_if_corrected(
    normaliser, count):
  logits = jnp.array([[[[0.0, 0.0], [200.0, -200.0], [0.0, 0.0]]]])
  distance_map = jnp.array([[[0.5, 1.0, 0.0]]])
  loss = mean(losses.distance_entropy, logits, distance_map, normaliser)
  np.testing.assert_allclose(loss, 0.5 * np.log(2) / count, rtol=1e-6)


@pytest.mark.parametrize('scale', [1.0, 200.0])
def test_cross_entropies_are_zero_when_every_pixel_is_ignored(scale):
  logits, labels, _ = random_case(scale=scale)
  labels[...] = losses.IGNORE_LABEL
  smoothed = functools.partial(losses.smoothed_cross_entropy, smoothing=0.1)
  assert_nothing_counts(
      value_and_gradient(losses.partial_cross_entropy, logits, labels))
  assert_nothing_counts(value_and_gradient(smoothed, logits, labels))


@pytest.mark.parametrize('normaliser', ['official', 'corrected'])
def test_distance_entropy_is_zero_where_the_map_is(normaliser):
  logits, _, distance_map = random_case()
  loss = functools.partial(losses.distance_entropy, normaliser=normaliser)
  assert_nothing_counts(value_and_gradient(loss, logits, 0 * distance_map))


@pytest.mark.parametrize('normaliser', ['official', 'corrected'])
def test_distance_entropy_is_zero_when_every_entropy_underflows(normaliser):
  logits = np.full([2, 3, 3, 4], -200, np.float32)
  logits[..., 1] = 200
  loss = functools.partial(losses.distance_entropy, normaliser=normaliser)
  assert_nothing_counts(
      value_and_gradient(loss, logits, np.ones([2, 3, 3], np.float32)))


def test_ignored_pixels_change_neither_cross_entropy():
  logits, labels, _ = random_case()
  changed = np.where(
      (labels == losses.IGNORE_LABEL)[..., None], -logits, logits)
  assert np.any(changed != logits)
  for pixel_loss in (losses.partial_cross_entropy, functools.partial(
      losses.smoothed_cross_entropy, smoothing=0.1)):
    assert (mean(pixel_loss, logits, labels)
            == mean(pixel_loss, changed, labels))


def test_the_ignore_label_is_255():
  assert losses.IGNORE_LABEL == 255


# Strips of equal height, strips that do not divide it, less than one strip.
@pytest.mark.parametrize('size', [(64, 20), (65, 33), (97, 13), (9, 13)])
def test_means_over_pixels_agree_with_pytorch(size):
  logits, _, _ = random_case(shape=(2, 7, 6, 5))
  _, labels, distance_map = random_case(shape=(2, *size, 5))
  pixel_losses = {
      'cross_entropy': lambda log_probs, maps: losses.smoothed_cross_entropy(
          log_probs, maps['labels'], 0.1),
      'entropy': lambda log_probs, maps: losses.distance_entropy(
          log_probs, maps['distance_map'], 'official')}
  maps = {'labels': labels, 'distance_map': distance_map}

  def loss(logits):
    means = means_over_pixels(logits, maps, pixel_losses)
    return means['cross_entropy'] + 0.5 * means['entropy']

  def expected(logits, labels):
    return (torch_losses.smoothed_cross_entropy(logits, labels)
            + 0.5 * torch_losses.distance_entropy(
                logits, torch.tensor(distance_map, dtype=torch.float64)))

  assert_agrees(jax.jit(jax.value_and_grad(loss))(logits),
                oracle(expected, logits, labels))


def test_logits_never_exist_at_full_size():
  maps = {'labels': jnp.zeros([2, 256, 256], jnp.uint8)}

  def loss(logits):
    return means_over_pixels(logits, maps, {
        'scribble': lambda log_probs, maps: losses.partial_cross_entropy(
            log_probs, maps['labels'])})['scribble']

  compiled = jax.jit(jax.value_and_grad(loss)).lower(
      jnp.zeros([2, 64, 64, 5])).compile()
  shapes = re.findall(r'f32\[([0-9,]+)\]', compiled.as_text())
  assert max(math.prod(map(int, shape.split(','))) for shape in shapes) <= (
      2 * 256 * 256 * 5 / 4)


def test_devices_meet_once_for_all_losses_and_never_in_a_loop():
  logits, _, _ = random_case(shape=(4, 7, 6, 5))
  _, labels, distance_map = random_case(shape=(4, 97, 13, 5))

  def loss(logits, labels, distance_map):
    means = means_over_pixels(
        logits, {'labels': labels, 'distance_map': distance_map}, {
            'cross_entropy': lambda log_probs, maps: (
                losses.smoothed_cross_entropy(log_probs, maps['labels'], 0.1)),
            'entropy': lambda log_probs, maps: losses.distance_entropy(
                log_probs, maps['distance_map'], 'official')})
    return means['cross_entropy'] + means['entropy']

  gradient = jax.value_and_grad(loss)
  expected = jax.jit(gradient)(logits, labels, distance_map)
  by_batch = sharding.by_batch(sharding.make_mesh())
  compiled = jax.jit(gradient, in_shardings=by_batch).lower(
      logits, labels, distance_map).compile()
  actual = compiled(*jax.device_put((logits, labels, distance_map), by_batch))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-5, atol=1e-9), actual, expected)
  text = compiled.as_text()
  (meeting,) = hlo.parse(text).collectives
  assert not meeting.in_loop and '/while/' not in meeting.text
  assert text.count(' while(') >= 2  # Strips, forward and backward.
