"""The schedule and ten updates against PyTorch's SGD."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scribble_jax.training import optimizer
from tests.peers import torch

# (num_steps, lr, warmup_steps); the first is the paper's on PASCAL VOC.
SCHEDULES = [(33100, 1e-3, 3310), (10, 0.1, 4), (7, 0.5, 1)]


def expected_rate(step, num_steps, lr, warmup_steps):
  """Linear from 0, then half a cosine to 0."""
  if step < warmup_steps:
    return lr * step / warmup_steps
  progress = (step - warmup_steps) / (num_steps - warmup_steps)
  return lr * (1 + math.cos(math.pi * progress)) / 2


@pytest.mark.parametrize(('num_steps', 'lr', 'warmup_steps'), SCHEDULES)
def test_the_rate_starts_at_zero_peaks_after_warmup_and_ends_at_zero(
    num_steps, lr, warmup_steps):
  rate = optimizer.learning_rate(
      num_steps, lr=lr, warmup_steps=warmup_steps)
  assert float(rate(0)) == 0
  np.testing.assert_allclose(rate(warmup_steps), lr, rtol=1e-6)
  np.testing.assert_allclose(rate(num_steps), 0, atol=1e-7 * lr)
  others = [warmup_steps - 1, (warmup_steps + num_steps) // 2]
  peak = float(rate(warmup_steps))
  assert all(float(rate(step)) < peak for step in others)


@pytest.mark.parametrize(('num_steps', 'lr', 'warmup_steps'), SCHEDULES)
def test_the_rate_is_linear_then_a_cosine(num_steps, lr, warmup_steps):
  rate = optimizer.learning_rate(
      num_steps, lr=lr, warmup_steps=warmup_steps)
  steps = np.unique(np.linspace(0, num_steps, 50).astype(int))
  actual = [float(rate(jnp.asarray(step))) for step in steps]
  expected = [expected_rate(step, num_steps, lr, warmup_steps)
              for step in steps]
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6 * lr)


def random_trees(count, seed=0):
  """Trees of the kinds of parameters: kernel, BN, classifier bias, gamma."""
  rng = np.random.default_rng(seed)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
  return [{'conv': {'kernel': draw(3, 3, 2, 4)},
           'bn': {'scale': draw(4), 'bias': draw(4)},
           'classifier': {'kernel': draw(4, 3), 'bias': draw(3)},
           'gamma': draw()} for _ in range(count)]


@pytest.mark.parametrize(
    ('momentum', 'weight_decay'), [(0.9, 5e-4), (0.9, 0.1), (0.5, 0.0)])
def test_ten_steps_agree_with_pytorch(momentum, weight_decay):
  num_steps, lr, warmup_steps = 10, 0.1, 3
  params, *gradients = random_trees(1 + num_steps)

  leaves, structure = jax.tree.flatten(params)
  leaves = [torch.tensor(x, dtype=torch.float64) for x in leaves]
  sgd = torch.optim.SGD(
      leaves, lr=lr, momentum=momentum, weight_decay=weight_decay)
  schedule = torch.optim.lr_scheduler.LambdaLR(
      sgd, lambda step: expected_rate(step, num_steps, 1.0, warmup_steps))

  tx = optimizer.make_optimizer(
      num_steps, lr=lr, warmup_steps=warmup_steps, momentum=momentum,
      weight_decay=weight_decay)
  actual, state = params, tx.init(params)
  update = jax.jit(tx.update)
  for gradient in gradients:
    updates, state = update(gradient, state, actual)
    actual = optax.apply_updates(actual, updates)
    for leaf, value in zip(
        leaves, jax.tree.leaves(gradient), strict=True):
      leaf.grad = torch.tensor(value, dtype=torch.float64)
    sgd.step()
    schedule.step()
    expected = jax.tree.unflatten(structure, [x.numpy() for x in leaves])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6),
        actual, expected)
  change = jax.tree.map(lambda a, b: np.abs(a - b).max(), actual, params)
  assert min(jax.tree.leaves(change)) > 1e-3


def test_weight_decay_shrinks_every_parameter():
  params, = random_trees(1)
  tx = optimizer.make_optimizer(
      10, lr=0.1, warmup_steps=1, momentum=0.0, weight_decay=0.5)
  state = tx.init(params)
  zeros = jax.tree.map(jnp.zeros_like, params)
  _, state = tx.update(zeros, state, params)  # At rate 0.
  updates, _ = tx.update(zeros, state, params)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, -0.1 * 0.5 * b, rtol=1e-5),
      updates, params)


def test_the_first_update_is_exactly_zero_but_fills_the_momentum():
  params, gradient = random_trees(2)
  tx = optimizer.make_optimizer(
      10, lr=0.1, warmup_steps=2, momentum=0.9, weight_decay=0.0)
  first, state = tx.update(gradient, tx.init(params), params)
  jax.tree.map(lambda x: np.testing.assert_array_equal(x, 0), first)
  second, _ = tx.update(gradient, state, params)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, -0.05 * 1.9 * b, rtol=1e-5),
      second, gradient)
