"""Corner-aligned resizing against PyTorch in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import resize
from tests.oracles import torch_losses
from tests.peers import torch

SIZES = [
    ((59, 59), (465, 465)), ((465, 465), (59, 59)),
    ((13, 9), (26, 35)), ((33, 20), (7, 12)), ((6, 17), (11, 5)),
    ((8, 5), (8, 5)), ((1, 1), (7, 4)), ((1, 6), (5, 6)),
    ((9, 7), (1, 1)), ((9, 7), (4, 1)), ((2, 2), (3, 9)),
]


def assert_close(actual, expected):
  error = np.linalg.norm(np.asarray(actual) - expected)
  assert error <= 1e-5 * np.linalg.norm(expected)


def resized(size):
  return jax.jit(lambda x: resize.resize_corners_aligned(x, size))


@pytest.mark.parametrize(('source', 'target'), SIZES)
def test_values_and_gradients_agree_with_pytorch(source, target):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, *source, 3)).astype(np.float32)
  cotangent = rng.normal(size=(2, *target, 3)).astype(np.float32)
  actual, backward = jax.vjp(resized(target), x)
  assert actual.dtype == jnp.float32

  leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
  expected = torch_losses.resize(leaf.permute(0, 3, 1, 2), target)
  expected = expected.permute(0, 2, 3, 1)
  expected.backward(torch.tensor(cotangent, dtype=torch.float64))
  assert actual.shape == expected.shape
  assert_close(actual, expected.detach().numpy())
  assert_close(backward(cotangent)[0], leaf.grad.numpy())


def test_class_numbers_of_a_465_crop_hit_every_eighth_pixel_exactly():
  rng = np.random.default_rng(0)
  classes = rng.integers(0, 256, (2, 465, 465, 1)).astype(np.float32)
  actual = resized((59, 59))(classes)
  np.testing.assert_array_equal(actual, classes[:, ::8, ::8])


def test_the_same_size_changes_nothing():
  x = np.random.default_rng(0).normal(size=(1, 6, 7, 2)).astype(np.float32)
  np.testing.assert_array_equal(resized((6, 7))(x), x)


def test_corners_stay_and_the_middle_is_the_mean():
  x = jnp.array([[[[0.0], [1.0]], [[2.0], [7.0]]]])
  np.testing.assert_allclose(
      resize.resize_corners_aligned(x, (3, 3))[0, :, :, 0],
      [[0, 0.5, 1], [1, 2.5, 4], [2, 4.5, 7]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('source, target', [
    ((7, 5), (13, 9)), ((20, 31), (9, 11)), ((4, 4), (4, 9)), ((1, 3), (5, 1))])
def test_half_pixel_resize_equals_pytorch(source, target):
  x = np.random.default_rng(0).normal(size=(*source, 2)).astype('f')
  expected = torch.nn.functional.interpolate(
      torch.tensor(x).permute(2, 0, 1)[None], size=target, mode='bilinear',
      align_corners=False)[0].permute(1, 2, 0).numpy()
  for axis in range(2):
    left, weight = resize.half_pixel_samples(source[axis], target[axis])
    x = sum(
        np.take(x, np.minimum(left + side, source[axis] - 1), axis)
        * np.expand_dims(weight[:, side], (1 - axis, 2)) for side in range(2))
  np.testing.assert_allclose(x, expected, atol=1e-5)
