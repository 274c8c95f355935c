"""Batch normalisation against torch.nn.BatchNorm2d in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import sharding
from scribble_jax.models import batch_norm
from tests.benchmarks import hlo
from tests.peers import torch

SHAPES = [(4, 6, 5, 3), (4, 1, 1, 7), (2, 1, 1, 3), (1, 3, 2, 4)]


def random_variables(channels, seed=1):
  rng = np.random.default_rng(seed)
  draw = lambda: rng.normal(size=channels).astype(np.float32)
  return {
      'params': {'scale': 1 + 0.3 * draw(), 'bias': draw()},
      'batch_stats': {'mean': draw(), 'var': np.exp(draw())},
  }


def random_images(shape, seed=0):
  """Every channel has its own mean and spread."""
  rng = np.random.default_rng(seed)
  spread = np.linspace(0.5, 4, shape[-1])
  return (rng.normal(size=shape) * spread + spread - 2).astype(np.float32)


def make_oracle(variables):
  """PyTorch's module (momentum 0.1, eps 1e-5: its defaults)."""
  params, stats = variables['params'], variables['batch_stats']
  module = torch.nn.BatchNorm2d(len(params['scale'])).double()
  module.load_state_dict({
      'weight': torch.tensor(params['scale']),
      'bias': torch.tensor(params['bias']),
      'running_mean': torch.tensor(stats['mean']),
      'running_var': torch.tensor(stats['var']),
      'num_batches_tracked': torch.tensor(0)})
  return module


def oracle_input(x):
  leaf = torch.tensor(x, dtype=torch.float64).permute(0, 3, 1, 2)
  return leaf.contiguous().requires_grad_()


def channels_last(x):
  return x.detach().permute(0, 2, 3, 1).numpy()


def assert_close(actual, expected, tolerance=1e-5):
  error = np.linalg.norm(np.asarray(actual) - expected)
  assert error <= tolerance * np.linalg.norm(expected)


def assert_stats_agree(stats, module, tolerance=1e-5):
  assert set(stats) == {'mean', 'var'}
  assert_close(stats['mean'], module.running_mean.numpy(), tolerance)
  assert_close(stats['var'], module.running_var.numpy(), tolerance)


def train(variables, x, dtype=jnp.float32):
  """Output and updated statistics."""
  apply = jax.jit(lambda variables, x: batch_norm.BatchNorm(dtype).apply(
      variables, x, train=True, mutable=['batch_stats']))
  y, updated = apply(variables, x)
  return y, updated['batch_stats']


@pytest.mark.parametrize('shape', SHAPES)
def test_three_training_steps_agree_with_pytorch(shape):
  variables = random_variables(shape[-1])
  module = make_oracle(variables).train()
  for seed in range(3):
    x = random_images(shape, seed)
    y, stats = train(variables, x)
    variables = variables | {'batch_stats': stats}
    assert y.shape == x.shape and y.dtype == jnp.float32
    assert_close(y, channels_last(module(oracle_input(x))))
  assert_stats_agree(stats, module)


def test_running_variance_is_unbiased_where_four_values_are_seen():
  x = np.array([1, 2, 3, 6], np.float32).reshape(4, 1, 1, 1)
  variables = {
      'params': {'scale': np.ones(1), 'bias': np.zeros(1)},
      'batch_stats': {'mean': np.zeros(1), 'var': np.ones(1)}}
  y, stats = train(variables, x)
  # The mean is 3, the sum of squares 14: 14 / 4 normalises, 14 / 3 is kept.
  np.testing.assert_allclose(stats['mean'], [0.3], rtol=1e-6)
  np.testing.assert_allclose(stats['var'], [0.9 + 0.1 * 14 / 3], rtol=1e-6)
  np.testing.assert_allclose(
      y[:, 0, 0, 0], np.array([-2, -1, 0, 3]) / np.sqrt(14 / 4 + 1e-5),
      rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('training', [True, False])
def test_gradients_agree_with_pytorch(shape, training):
  variables = random_variables(shape[-1])
  x = random_images(shape)
  cotangent = np.random.default_rng(2).normal(size=shape).astype(np.float32)

  def weighted_sum(params, x):
    y, _ = batch_norm.BatchNorm().apply(
        variables | {'params': params}, x, train=training,
        mutable=['batch_stats'])
    return jnp.sum(y * cotangent)

  gradients, input_gradient = jax.jit(jax.grad(weighted_sum, argnums=(0, 1)))(
      variables['params'], x)

  module, leaf = make_oracle(variables).train(training), oracle_input(x)
  module(leaf).backward(
      torch.tensor(cotangent, dtype=torch.float64).permute(0, 3, 1, 2))
  # With two values per channel the gradient nearly cancels.
  tolerance = 1e-5 if np.prod(shape[:-1]) > 4 else 1e-4
  assert_close(gradients['scale'], module.weight.grad.numpy(), tolerance)
  assert_close(gradients['bias'], module.bias.grad.numpy(), tolerance)
  expected = channels_last(leaf.grad)
  error = np.linalg.norm(input_gradient - expected)
  assert error <= tolerance * np.linalg.norm(cotangent)


@pytest.mark.parametrize('shape', SHAPES)
def test_evaluation_agrees_with_pytorch_and_keeps_the_statistics(shape):
  variables = random_variables(shape[-1])
  x = random_images(shape)
  y, updated = batch_norm.BatchNorm().apply(
      variables, x, train=False, mutable=['batch_stats'])
  assert_close(y, channels_last(make_oracle(variables).eval()(
      oracle_input(x))))
  jax.tree.map(np.testing.assert_array_equal, updated['batch_stats'],
               variables['batch_stats'])


def test_initial_variables():
  variables = batch_norm.BatchNorm().init(
      jax.random.key(0), jnp.ones([2, 3, 3, 5]), train=False)
  expected = {
      'params': {'scale': np.ones(5), 'bias': np.zeros(5)},
      'batch_stats': {'mean': np.zeros(5), 'var': np.ones(5)}}
  jax.tree.map(np.testing.assert_array_equal, dict(variables), expected)
  assert {x.dtype for x in jax.tree.leaves(variables)} == {
      jnp.dtype(jnp.float32)}


def test_bfloat16_inputs_have_float32_statistics():
  x = jnp.asarray(random_images((4, 17, 16, 3)), jnp.bfloat16)
  variables = random_variables(3)
  y, stats = train(variables, x, jnp.bfloat16)
  assert y.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(stats)} == {
      jnp.dtype(jnp.float32)}
  module = make_oracle(variables).train()
  expected = channels_last(module(oracle_input(np.asarray(x, np.float32))))
  assert_stats_agree(stats, module)
  assert_close(y.astype(jnp.float32), expected, tolerance=0.01)


def far_images():
  """Channels whose mean is 100 times their deviation, of either sign."""
  rng = np.random.default_rng(0)
  deviation = np.array([0.01, 1, 30])
  # Examples differ among themselves too, and so do devices.
  x = rng.normal(size=(8, 9, 7, 3)) + rng.normal(size=(8, 1, 1, 3))
  return (deviation * (x / x.std((0, 1, 2)) + [100, -100, 100])).astype('f')


def value_and_gradients(variables, x, cotangent):
  """Output, statistics, and gradients of the parameters and the input."""
  def weighted_sum(params, x):
    y, updated = batch_norm.BatchNorm().apply(
        variables | {'params': params}, x, train=True,
        mutable=['batch_stats'])
    return jnp.sum(y * cotangent), (y, updated['batch_stats'])

  gradients, (y, stats) = jax.grad(
      weighted_sum, argnums=(0, 1), has_aux=True)(variables['params'], x)
  return y, stats, gradients


def by_hand(variables, x, cotangent):
  """What a training step returns, in the type of `x`."""
  params, before = variables['params'], variables['batch_stats']
  mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
  deviation, size = np.sqrt(var + 1e-5), x.size // x.shape[-1]
  unit = (x - mean) / deviation
  d_bias, d_scale = cotangent.sum((0, 1, 2)), (cotangent * unit).sum((0, 1, 2))
  return {
      'y': unit * params['scale'] + params['bias'],
      'd_x': params['scale'] / deviation * (
          cotangent - d_bias / size - unit * d_scale / size),
      'scale': d_scale, 'bias': d_bias,
      'mean': 0.9 * before['mean'] + 0.1 * mean,
      'var': 0.9 * before['var'] + 0.1 * var * size / (size - 1)}


def by_pytorch(variables, x, cotangent):
  """The same in PyTorch's float32."""
  module = make_oracle(variables).float().train()
  leaf = torch.tensor(x).permute(0, 3, 1, 2).contiguous().requires_grad_()
  y = module(leaf)
  y.backward(torch.tensor(cotangent).permute(0, 3, 1, 2))
  return {
      'y': channels_last(y), 'd_x': channels_last(leaf.grad),
      'scale': module.weight.grad.numpy(), 'bias': module.bias.grad.numpy(),
      'mean': module.running_mean.numpy(), 'var': module.running_var.numpy()}


@pytest.mark.parametrize('count', [1, 2, 4])
def test_channels_far_from_zero_lose_no_more_than_in_pytorch(count):
  x = far_images()
  cotangent = np.random.default_rng(2).normal(size=x.shape).astype('f')
  variables = random_variables(3)
  mesh = sharding.make_mesh(devices=jax.devices()[:count])
  by_batch, whole = sharding.by_batch(mesh), sharding.replicated(mesh)
  with jax.set_mesh(mesh):
    y, stats, (d_params, d_x) = jax.jit(value_and_gradients)(
        *jax.device_put((variables, x, cotangent),
                        (whole, by_batch, by_batch)))

  actual = {'y': y, 'd_x': d_x, 'scale': d_params['scale'],
            'bias': d_params['bias'], **stats}
  exact = by_hand(variables, x.astype(np.float64), cotangent)
  pytorch = by_pytorch(variables, x, cotangent)
  # A channel at a time: the widest would hide the others.
  error = lambda values, name: np.linalg.norm(
      (values[name] - exact[name]).reshape(-1, 3), axis=0)
  for name in exact:
    size = np.linalg.norm(exact[name].reshape(-1, 3), axis=0)
    allowed = np.maximum(1e-5 * size, error(pytorch, name))
    assert np.all(error(actual, name) <= allowed), name


def test_devices_meet_once_forward_and_once_backward():
  x = far_images()
  mesh = sharding.make_mesh()
  by_batch, whole = sharding.by_batch(mesh), sharding.replicated(mesh)
  with jax.set_mesh(mesh):
    text = jax.jit(
        value_and_gradients, in_shardings=(whole, by_batch, by_batch)).lower(
            random_variables(3), x, x).compile().as_text()
  assert sorted(x.opcode for x in hlo.parse(text).collectives) == [
      'all-gather', 'all-reduce']


def test_statistics_are_those_of_the_whole_sharded_batch():
  devices = jax.devices()
  x = random_images((len(devices), 3, 2, 4))
  variables = random_variables(4)
  mesh = jax.make_mesh((len(devices),), ('batch',),
                       axis_types=(jax.sharding.AxisType.Auto,))
  sharded = jax.device_put(x, jax.sharding.NamedSharding(
      mesh, jax.sharding.PartitionSpec('batch')))
  y, stats = train(variables, sharded)
  module = make_oracle(variables).train()
  assert_close(y, channels_last(module(oracle_input(x))))
  assert_stats_agree(stats, module)
