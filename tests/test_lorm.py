"""LoRM, its mask and its loss against PyTorch in float64 and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from scribble_jax.models import lorm
from tests.oracles import torch_losses

torch.set_num_threads(1)

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


def channels_last(x):
  return x.detach().permute(0, 2, 3, 1).numpy()


def oracle_gradients(module, leaf):
  """The gradients of a backward pass in the product's layout."""
  gradients = {'gamma': module.gamma.grad.numpy()[0]}
  for name in ('query_conv', 'key_conv'):
    convolution = getattr(module, name)
    gradients[name] = {
        'kernel': convolution.weight.grad.numpy()[:, :, 0, 0].T,
        'bias': convolution.bias.grad.numpy()}
  return gradients, channels_last(leaf.grad)


def apply(params, features, foreground):
  return jax.jit(lorm.LoRM().apply)({'params': params}, features, foreground)


def assert_close(actual, expected, tolerance=1e-5):
  """The difference's norm is at most `tolerance` of the expected norm."""
  error = np.linalg.norm(np.asarray(actual) - expected)
  assert error <= tolerance * np.linalg.norm(expected), (
      error / np.linalg.norm(expected))


# 35, 143 and 306 positions: no multiple of a power of two.
@pytest.mark.parametrize('size', [(5, 7), (13, 11), (18, 17)])
def test_rectified_features_agree_with_pytorch(size):
  features, foreground = random_case(size)
  params = random_params()
  rectified = apply(params, features, foreground)
  assert rectified.dtype == jnp.float32
  expected = channels_last(
      make_oracle(params)(oracle_features(features),
                          torch.tensor(foreground)))
  assert_close(rectified, expected)
  np.testing.assert_array_equal(rectified[~foreground], 0)
  assert np.all(np.any(expected[foreground], axis=-1))


@pytest.mark.parametrize('size', [(5, 7), (13, 11), (18, 17)])
@pytest.mark.parametrize(('background', 'normaliser'), SWITCHES)
def test_loss_and_gradients_agree_with_pytorch(size, background, normaliser):
  features, foreground = random_case(size)
  params = random_params()

  def loss(params, features):
    rectified = lorm.LoRM().apply({'params': params}, features, foreground)
    return lorm.lorm_loss(features, rectified, foreground,
                          background=background, normaliser=normaliser)

  value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(
      params, features)

  module, leaf = make_oracle(params), oracle_features(features)
  mask = torch.tensor(foreground)
  expected = torch_losses.lorm_loss(
      leaf, module(leaf, mask), mask, background, normaliser)
  expected.backward()
  assert value.shape == ()
  np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
  jax.tree.map(assert_close, gradients, oracle_gradients(module, leaf))


def test_gradients_of_any_function_of_the_rectified_features():
  features, foreground = random_case((13, 11))
  params = random_params()
  cotangent = np.random.default_rng(2).normal(size=features.shape)
  cotangent = cotangent.astype(np.float32)

  def weighted_sum(params, features):
    rectified = lorm.LoRM().apply({'params': params}, features, foreground)
    return jnp.sum(rectified * cotangent)

  gradients = jax.jit(jax.grad(weighted_sum, argnums=(0, 1)))(
      params, features)

  module, leaf = make_oracle(params), oracle_features(features)
  rectified = module(leaf, torch.tensor(foreground))
  rectified.backward(
      torch.tensor(cotangent, dtype=torch.float64).permute(0, 3, 1, 2))
  jax.tree.map(assert_close, gradients, oracle_gradients(module, leaf))


@pytest.mark.parametrize(('background', 'normaliser'), SWITCHES)
def test_empty_foreground_is_finite(background, normaliser):
  features, _ = random_case((5, 7))
  foreground = np.zeros(features.shape[:3], bool)

  def loss(params, features):
    rectified = lorm.LoRM().apply({'params': params}, features, foreground)
    return lorm.lorm_loss(features, rectified, foreground,
                          background=background, normaliser=normaliser)

  value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(
      random_params(), features)
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

  def loss(params, features):
    rectified = lorm.LoRM().apply({'params': params}, features, foreground)
    return lorm.lorm_loss(features, rectified, foreground), rectified

  gradients, rectified = jax.grad(loss, argnums=(0, 1), has_aux=True)(
      params, features)
  # A zero query is as similar to every position: it takes the plain mean.
  assert_close(rectified[3, 2, 0],
               params['gamma'] * np.mean(features[3], axis=(0, 1)))
  jax.tree.map(lambda x: np.testing.assert_array_equal(np.isfinite(x), True),
               gradients)


def test_bfloat16_products_stay_close_and_give_float32():
  features, foreground = random_case((5, 7))
  params = random_params()
  rectified = lorm.LoRM(dtype=jnp.bfloat16).apply(
      {'params': params}, jnp.asarray(features, jnp.bfloat16), foreground)
  assert rectified.dtype == jnp.float32
  assert_close(rectified, np.asarray(apply(params, features, foreground)),
               tolerance=0.02)


def test_initial_parameters():
  channels = 256
  features = jnp.ones([1, 2, 2, channels])
  params = lorm.LoRM().init(
      jax.random.key(0), features, jnp.ones([1, 2, 2], bool))['params']
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


@pytest.mark.parametrize(('background', 'normaliser', 'expected'), [
    ('official', 'official', 9 / 3),
    ('official', 'corrected', 9 / 6),
    ('corrected', 'official', 5 / 2),
    ('corrected', 'corrected', 5 / 3),
])
def test_loss_by_hand(background, normaliser, expected):
  features = jnp.array([[[[3.0, 0.0, 1.0], [0.0, 2.0, 0.0]]]])
  rectified = jnp.array([[[[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]]])
  foreground = jnp.array([[[True, False]]])
  loss = lorm.lorm_loss(features, rectified, foreground,
                        background=background, normaliser=normaliser)
  np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_loss_is_official_by_default():
  features = jnp.array([[[[3.0, 0.0, 1.0], [0.0, 2.0, 0.0]]]])
  rectified = jnp.array([[[[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]]])
  loss = lorm.lorm_loss(features, rectified, jnp.array([[[True, False]]]))
  np.testing.assert_allclose(loss, 3, rtol=1e-6)


@pytest.mark.parametrize(('background', 'normaliser'), SWITCHES)
def test_loss_of_perfectly_rectified_features_is_zero(
    background, normaliser):
  features, foreground = random_case((5, 7))

  def loss(features, rectified):
    return lorm.lorm_loss(features, rectified, foreground,
                          background=background, normaliser=normaliser)

  value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(
      features, features)
  assert value == 0
  np.testing.assert_array_equal(np.stack(gradients), 0)


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
