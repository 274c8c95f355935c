"""LoRM, its mask and its loss against PyTorch in float64 and by hand."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import sharding
from scribble_jax.models import lorm
from tests.oracles import torch_losses
from tests.peers import torch

CHANNELS = 8
SWITCHES = [(background, normaliser)
            for background in ('official', 'corrected')
            for normaliser in ('official', 'corrected')]


def random_case(size, seed=0):
  """ReLU features and four masks: empty, one position, scattered, full."""
  rng = np.random.default_rng(seed)
  features = np.maximum(rng.normal(size=(4, *size, CHANNELS)), 0)
  foreground = np.zeros([4, *size], bool)
  foreground[1, -1, 1] = True
  foreground[2] = rng.random(size) < 0.4
  foreground[3] = True
  return features.astype(np.float32), foreground


def random_params(seed=1):
  rng = np.random.default_rng(seed)
  convolution = lambda: {
      'kernel': rng.normal(size=(CHANNELS, CHANNELS)).astype(np.float32),
      'bias': rng.normal(size=CHANNELS).astype(np.float32)}
  return {'query_conv': convolution(), 'key_conv': convolution(),
          'gamma': np.float32(0.7)}


def make_oracle(params):
  """The PyTorch module in float64 with these parameters."""
  module = torch_losses.LoRM(CHANNELS).double()
  state = {'gamma': torch.tensor([params['gamma']])}
  for name in ('query_conv', 'key_conv'):
    kernel = torch.tensor(params[name]['kernel'])
    state[f'{name}.weight'] = kernel.T[:, :, None, None]
    state[f'{name}.bias'] = torch.tensor(params[name]['bias'])
  module.load_state_dict(state)
  return module


def oracle_features(features):
  """[B, h, w, K] float32 to a [B, K, h, w] float64 leaf."""
  leaf = torch.tensor(features, dtype=torch.float64).permute(0, 3, 1, 2)
  return leaf.contiguous().requires_grad_()


def oracle_gradients(module, leaf):
  """The gradients of a backward pass in the product's layout."""
  gradients = {'gamma': module.gamma.grad.numpy()[0]}
  for name in ('query_conv', 'key_conv'):
    convolution = getattr(module, name)
    gradients[name] = {
        'kernel': convolution.weight.grad.numpy()[:, :, 0, 0].T,
        'bias': convolution.bias.grad.numpy()}
  return gradients, leaf.grad.permute(0, 2, 3, 1).numpy()


def loss_of(params, features, foreground, background='official',
            normaliser='official', dtype=jnp.float32):
  return lorm.LoRM(dtype).apply(
      {'params': params}, features, foreground, background, normaliser)[0]


def value_and_gradients(*args, **kwargs):
  return jax.jit(jax.value_and_grad(
      functools.partial(loss_of, **kwargs), argnums=(0, 1)))(*args)


def assert_close(actual, expected, tolerance=1e-5):
  """The difference's norm is at most `tolerance` of the expected norm."""
  error = np.linalg.norm(np.asarray(actual) - expected)
  assert error <= tolerance * np.linalg.norm(expected), (
      error / np.linalg.norm(expected))


def test_aggregation_agrees_with_pytorch():
  rng = np.random.default_rng(0)
  unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
  queries, keys = (unit(rng.normal(size=(rows, CHANNELS))).astype(np.float32)
                   for rows in (5, 143))
  values = rng.normal(size=(143, CHANNELS)).astype(np.float32)
  weights = torch.softmax(torch.tensor(
      queries.astype(np.float64) @ keys.T.astype(np.float64)), dim=-1)
  expected = weights @ torch.tensor(values, dtype=torch.float64)
  assert_close(lorm.aggregate(queries, keys, values), expected.numpy(), 1e-6)


# 35, 143, 306 and 992 positions: no multiple of a block, and among the four
# masks are counts that take blocks of each size, whole ones and parts.
@pytest.mark.parametrize('size', [(5, 7), (13, 11), (18, 17), (32, 31)])
@pytest.mark.parametrize(('background', 'normaliser'), SWITCHES)
def test_loss_and_gradients_agree_with_pytorch(size, background, normaliser):
  features, foreground = random_case(size)
  params = random_params()
  value, gradients = value_and_gradients(
      params, features, foreground, background=background,
      normaliser=normaliser)

  module, leaf = make_oracle(params), oracle_features(features)
  mask = torch.tensor(foreground)
  expected = torch_losses.lorm_loss(
      leaf, module(leaf, mask), mask, background, normaliser)
  expected.backward()
  assert value.shape == () and value.dtype == jnp.float32
  np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
  np.testing.assert_allclose(  # Not differentiated.
      loss_of(params, features, foreground, background, normaliser), value,
      rtol=1e-6)
  jax.tree.map(assert_close, gradients, oracle_gradients(module, leaf))


def test_gradients_carry_the_weight_of_the_loss():
  features, foreground = random_case((13, 11))
  params = random_params()
  _, gradients = value_and_gradients(params, features, foreground)
  weighted = jax.grad(lambda *args: 0.3 * loss_of(*args), argnums=(0, 1))(
      params, features, foreground)
  jax.tree.map(lambda actual, expected: assert_close(
      actual, 0.3 * np.asarray(expected), 1e-6), weighted, gradients)


def largest_arrays(function, *args):
  """Sizes of all arrays in the compiled program, in elements, descending."""
  text = jax.jit(function).lower(*args).compile().as_text()
  shapes = set(re.findall(r'f32\[([0-9,]+)\]', text))
  return sorted((math.prod(map(int, shape.split(','))) for shape in shapes),
                reverse=True)


def test_no_array_of_all_pairs_exists():
  side, batch = 48, 3  # 2,304 positions: 5.3 million pairs an image.
  features = jnp.ones([batch, side, side, CHANNELS])
  foreground = jnp.ones([batch, side, side], bool)
  gradient = jax.value_and_grad(loss_of, argnums=(0, 1))
  largest = largest_arrays(gradient, random_params(), features, foreground)[0]
  assert largest <= max(lorm.BLOCK_ROWS) * side**2
  # The oracle of this test: it does find an array of pairs.
  pairs = lambda x: jnp.exp(x @ x.T)
  assert largest_arrays(pairs, jnp.ones([side**2, CHANNELS]))[0] == side**4


def test_devices_add_no_collective_but_one():
  features, foreground = random_case((13, 11))
  params = random_params()
  expected = value_and_gradients(params, features, foreground)
  for count in (2, 4):
    mesh = sharding.make_mesh(devices=jax.devices()[:count])
    replicated, by_batch = sharding.replicated(mesh), sharding.by_batch(mesh)
    with jax.set_mesh(mesh):
      compiled = jax.jit(
          jax.value_and_grad(loss_of, argnums=(0, 1)),
          in_shardings=(replicated, by_batch, by_batch)).lower(
              params, features, foreground).compile()
    text = compiled.as_text()
    found = {name: text.count(f' {name}(') + text.count(f' {name}-start(')
             for name in ('all-reduce', 'all-gather', 'all-to-all',
                          'collective-permute', 'reduce-scatter')}
    # The sums; a gradient of parameters takes one whatever the formulation.
    assert found == dict.fromkeys(found, 0) | {'all-reduce': 1}
    actual = compiled(*jax.device_put(
        (params, features, foreground), (replicated, by_batch, by_batch)))
    jax.tree.map(lambda a, b: assert_close(a, np.asarray(b), 1e-6),
                 actual, expected)


@pytest.mark.parametrize(('background', 'normaliser'), SWITCHES)
def test_empty_foreground_is_finite(background, normaliser):
  features, _ = random_case((5, 7))
  foreground = np.zeros(features.shape[:3], bool)
  value, gradients = value_and_gradients(
      random_params(), features, foreground, background=background,
      normaliser=normaliser)
  count = {'official': np.sum(features != 0), 'corrected': features.size}
  expected = np.sum(np.square(features)) / count[normaliser]
  if background == 'corrected':
    expected = 0
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  jax.tree.map(lambda x: np.testing.assert_array_equal(x, 0), gradients[0])
  assert np.all(np.isfinite(gradients[1]))
  assert np.any(gradients[1]) == (background == 'official')


def test_zero_feature_vectors_are_finite():
  features, foreground = random_case((5, 7))
  features[3, 2] = 0
  params = random_params()
  for name in ('query_conv', 'key_conv'):
    params[name]['bias'][:] = 0

  _, gradients = value_and_gradients(params, features, foreground)
  jax.tree.map(lambda x: np.testing.assert_array_equal(np.isfinite(x), True),
               gradients)


def test_bfloat16_products_stay_close():
  features, foreground = random_case((13, 11))
  params = random_params()
  exact, exact_gradients = value_and_gradients(params, features, foreground)
  value, gradients = value_and_gradients(
      params, jnp.asarray(features, jnp.bfloat16), foreground,
      dtype=jnp.bfloat16)
  assert value.dtype == jnp.float32
  assert gradients[1].dtype == jnp.bfloat16
  np.testing.assert_allclose(value, exact, rtol=0.02)
  assert_close(np.asarray(gradients[1], np.float32),
               np.asarray(exact_gradients[1]), 0.02)
  for name in ('query_conv', 'key_conv'):
    assert_close(gradients[0][name]['kernel'],
                 np.asarray(exact_gradients[0][name]['kernel']), 0.05)


def test_initial_parameters():
  channels = 256
  features = jnp.ones([1, 2, 2, channels])
  params = lorm.LoRM().init(
      jax.random.key(0), features, jnp.ones([1, 2, 2], bool), 'official',
      'official')['params']
  assert set(params) == {'query_conv', 'key_conv', 'gamma'}
  assert params['gamma'].shape == () and params['gamma'] == 1
  for name in ('query_conv', 'key_conv'):
    assert set(params[name]) == {'kernel', 'bias'}
    np.testing.assert_array_equal(params[name]['bias'], np.zeros(channels))
    kernel = np.asarray(params[name]['kernel'])
    assert kernel.shape == (channels, channels)
    deviation = np.sqrt(2 / channels)
    np.testing.assert_allclose(np.std(kernel), deviation, rtol=0.02)
    assert abs(np.mean(kernel)) < 0.02 * deviation
    assert np.max(np.abs(kernel)) > 3.5 * deviation  # Not truncated.
  assert np.any(params['query_conv']['kernel'] != params['key_conv']['kernel'])


def uniform_params(channels, gamma):
  """Queries and keys of 0: every position is as similar to every other."""
  zeros = {'kernel': jnp.zeros([channels, channels]),
           'bias': jnp.zeros([channels])}
  return {'query_conv': zeros, 'key_conv': zeros, 'gamma': jnp.float32(gamma)}


@pytest.mark.parametrize(('background', 'normaliser', 'expected'), [
    ('official', 'official', 8 / 2),
    ('official', 'corrected', 8 / 6),
    ('corrected', 'official', 4 / 1),
    ('corrected', 'corrected', 4 / 3),
])
def test_loss_by_hand(background, normaliser, expected):
  # The mean, [1.5, 1, 0.5], times 2 rectifies the first to [3, 2, 1].
  features = jnp.array([[[[3.0, 0.0, 1.0], [0.0, 2.0, 0.0]]]])
  foreground = jnp.array([[[True, False]]])
  loss = loss_of(uniform_params(3, 2.0), features, foreground, background,
                 normaliser)
  np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize(('background', 'normaliser'), SWITCHES)
def test_loss_of_perfectly_rectified_features_is_zero(
    background, normaliser):
  features = jnp.full([2, 5, 7, 3], 2.0)  # Sums of 2 are exact.
  value, gradients = value_and_gradients(
      uniform_params(3, 1.0), features, jnp.ones([2, 5, 7], bool),
      background=background, normaliser=normaliser)
  assert value == 0
  jax.tree.map(lambda x: np.testing.assert_array_equal(x, 0), gradients)


def blobs(shape, seed):
  """Rectangles of random classes (255 and 0 too) on background."""
  rng = np.random.default_rng(seed)
  labels = np.zeros(shape, np.int32)
  for image in labels:
    for _ in range(5):
      top, left = rng.integers(0, shape[1:])
      height, width = 1 + rng.integers(0, (shape[1] // 3, shape[2] // 3))
      image[top:top + height, left:left + width] = rng.choice(
          [0, 1, 7, 20, 254, 255])
  return labels


# Official: (full - 1) / (small - 1) is exact in binary. Corrected: no
# position falls half-way between two pixels.
@pytest.mark.parametrize(('mode', 'full', 'small'), [
    ('official', (25, 15), (17, 9)),
    ('official', (64, 33), (37, 25)),
    ('official', (65, 97), (9, 13)),
    ('corrected', (23, 11), (8, 4)),
    ('corrected', (14, 30), (4, 12)),
    ('corrected', (65, 97), (9, 13)),
])
@pytest.mark.parametrize('seed', range(3))
def test_foreground_mask_agrees_with_pytorch(mode, full, small, seed):
  labels = blobs((3, *full), seed)
  mask = jax.jit(lorm.foreground_mask, static_argnums=(1, 2))(
      labels, small, mode)
  assert mask.dtype == jnp.bool_
  expected = torch_losses.foreground_mask(
      torch.tensor(labels).long(), small, mode).numpy()
  np.testing.assert_array_equal(mask, expected)
  assert 0 < np.mean(expected) < 1


@pytest.mark.parametrize(('mode', 'expected'), [
    ('official', [False, True, True, False]),
    ('corrected', [False, False, False, False]),
])
def test_official_mask_dilates_a_thin_object(mode, expected):
  # Positions 0, 4/3, 8/3 and 4; the nearest pixels are 0, 1, 3 and 4.
  labels = jnp.array([[[0, 0, 5, 0, 0]]])
  mask = lorm.foreground_mask(labels, (1, 4), mode=mode)
  np.testing.assert_array_equal(mask[0, 0], expected)


def test_mask_is_official_by_default():
  mask = lorm.foreground_mask(jnp.array([[[0, 0, 5, 0, 0]]]), (1, 4))
  assert np.any(mask)


@pytest.mark.parametrize('mode', ['official', 'corrected'])
def test_ignored_pixels_are_not_foreground(mode):
  labels = jnp.full([2, 9, 9], 255)
  assert not np.any(lorm.foreground_mask(labels, (5, 5), mode=mode))
  labels = labels.at[1, 4, 4].set(254)
  mask = lorm.foreground_mask(labels, (5, 5), mode=mode)
  np.testing.assert_array_equal(np.argwhere(mask), [[1, 2, 2]])


def test_mask_modes_agree_on_a_crop_of_465():
  labels = blobs((1, 465, 465), seed=0)
  every_eighth = labels[:, ::8, ::8]
  expected = (every_eighth > 0) & (every_eighth < 255)
  for mode in ('official', 'corrected'):
    mask = lorm.foreground_mask(labels, (59, 59), mode=mode)
    np.testing.assert_array_equal(mask, expected)
  assert 0 < np.mean(expected) < 1
