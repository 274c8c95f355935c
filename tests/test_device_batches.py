"""Pieces of work that share batches, and come back in their order."""

import jax
import numpy as np
import pytest

from scribble_jax import device_batches
from scribble_jax import sharding


def run(shapes, count, num_slots=2, log=None):
  """Returns what comes of arrays of some lengths: twice each, in their turn."""
  def program(x):
    if log is not None:
      log.append(x.shape)
    return {'twice': 2 * x}

  work = [(i, np.full(length, i)) for i, length in enumerate(shapes)]
  mesh = sharding.make_mesh(devices=jax.devices()[:count])
  return list(device_batches.run(
      program, mesh, iter(work), lambda x: num_slots))


@pytest.mark.parametrize('count', [1, 2, 4])
def test_everything_comes_back_in_order(count):
  shapes = np.random.default_rng(0).integers(1, 4, 50)
  for i, (companion, result) in enumerate(run(shapes, count)):
    assert companion == i
    np.testing.assert_array_equal(result['twice'], np.full(shapes[i], 2 * i))


def test_what_has_one_shape_shares_batches():
  log = []
  run([3, 5, 3, 3, 5, 3, 5, 5], 2, log=log)
  assert log == [(4, 3), (4, 5)]


def test_rare_shapes_do_not_wait_for_their_like_forever():
  """Or all that comes behind them would pile up."""
  seen = []

  def work():
    for i in range(100):
      seen.append(i)
      yield i, np.zeros(7 if i == 3 else 2)

  results = device_batches.run(
      lambda x: x, sharding.make_mesh(devices=jax.devices()[:1]), work(),
      lambda x: 2)
  behind = [len(seen) - 1 - companion for companion, _ in results]
  assert max(behind) <= 4 * 2 + 2 * 2


def test_a_batch_that_is_not_full_spreads_over_the_devices():
  places = []

  def program(x):
    places.extend(np.flatnonzero(np.asarray(x)[:, 0]).tolist())
    return x

  list(device_batches.run(
      program, sharding.make_mesh(devices=jax.devices()[:4]),
      ((i, np.ones(1)) for i in range(3)), lambda x: 2))
  assert places == [0, 2, 4]  # Two slots a device.
