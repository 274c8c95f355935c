"""How arrays lie on meshes, and what a job's processes agree on, alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import hosts
from scribble_jax import sharding
from scribble_jax.errors import UserError


@pytest.mark.parametrize('shape, expected', [
    (None, (4, 1)),
    ({'data': -1, 'model': 1}, (4, 1)),
    ({'data': -1, 'model': 2}, (2, 2)),
    ({'data': 1, 'model': -1}, (1, 4)),
    ({'data': 2, 'model': 2}, (2, 2))])
def test_shapes_of_meshes(shape, expected):
  assert tuple(sharding.make_mesh(shape).shape.values()) == expected


@pytest.mark.parametrize('shape', [
    {'data': 3, 'model': 1}, {'data': -1, 'model': 3}, {'data': 8, 'model': 1},
    {'data': 0, 'model': 1}, {'data': -1, 'model': -1}])
def test_a_mesh_that_does_not_fit_is_refused(shape):
  with pytest.raises(UserError, match=r'does not fit 4 device\(s\)'):
    sharding.make_mesh(shape)


def test_the_longest_side_that_can_be_is_split():
  mesh = sharding.make_mesh({'data': 2, 'model': 2})
  specs = jax.tree.map(lambda x: x.spec, sharding.of_state(mesh, {
      'kernel': jnp.zeros([3, 3, 64, 130]), 'odd': jnp.zeros([9001]),
      'small': jnp.zeros([64]), 'tall': jnp.zeros([4096, 3])}))
  assert specs == {
      'kernel': jax.P(None, None, None, 'model'), 'odd': jax.P(),
      'small': jax.P(), 'tall': jax.P('model')}
  whole = sharding.of_state(sharding.make_mesh(), {'x': jnp.zeros([4096, 4])})
  assert whole['x'].spec == jax.P()


def test_split_parameters_take_their_share_of_memory():
  mesh = sharding.make_mesh({'data': 1, 'model': 4})
  x = jnp.zeros([1024, 12])
  x = jax.device_put(x, sharding.of_state(mesh, x))
  assert {shard.data.shape for shard in x.addressable_shards} == {(256, 12)}


def test_every_row_of_a_batch_has_one_device():
  mesh = sharding.make_mesh({'data': 2, 'model': 2})
  np.testing.assert_array_equal(
      sharding.local_rows(mesh, 8), np.arange(8))
  batch = sharding.shard_batch({'x': np.arange(8)}, mesh)
  rows = [shard.data.tolist() for shard in batch['x'].addressable_shards]
  assert sorted(rows) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_alone_a_process_agrees_with_itself():
  assert hosts.is_first()
  assert hosts.gather({'a': 1}) == [{'a': 1}]
  assert hosts.share([1, 2, 3]) == [1, 2, 3]
  assert hosts.first_then_others(lambda: 5) == 5
  with pytest.raises(UserError, match='mine'), hosts.together():
    raise UserError('mine')


def test_shares_make_up_the_whole(monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 3)
  shares = []
  for index in range(3):
    monkeypatch.setattr(jax, 'process_index', lambda index=index: index)
    shares += hosts.share(range(10))
  assert sorted(shares) == list(range(10))
