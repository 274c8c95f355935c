"""Batch normalisation against torch.nn.BatchNorm2d in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from scribble_jax.models import batch_norm

torch.set_num_threads(1)

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
