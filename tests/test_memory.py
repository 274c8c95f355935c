"""Memory: what inference takes, and the one line where there is too little."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import inference
from scribble_jax import memory
from scribble_jax import models
from scribble_jax import sharding
from scribble_jax import windows
from scribble_jax.errors import UserError
from tests import twins
from tests.predictions import probabilities


@functools.cache
def program(megabytes):
  """A compiled program whose result has so many megabytes."""
  return jax.jit(lambda x: jnp.full([megabytes, 2**18], x)).lower(
      1.0).compile()


def test_a_program_that_this_machine_cannot_hold_is_refused(monkeypatch):
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  monkeypatch.setattr(memory, 'free_bytes', lambda: 60e6)
  memory.require(program(50), mesh, 'Lower x.')
  with pytest.raises(UserError, match=r'takes 0\.08 GB of memory, and 0\.06 '
                     r'GB are free\. Lower x\.'):
    memory.require(program(80), mesh, 'Lower x.')
  monkeypatch.setattr(memory, 'free_bytes', lambda: None)  # Not known.
  memory.require(program(80), mesh, 'Lower x.')


def test_free_memory_is_what_the_system_and_the_container_leave(
    monkeypatch, tmp_path):
  meminfo = tmp_path / 'meminfo'
  monkeypatch.setattr(memory, '_MEMINFO', meminfo)
  monkeypatch.setattr(memory, '_CGROUP', tmp_path)
  assert memory.free_bytes() is None
  meminfo.write_text('MemTotal: 90 kB\nMemAvailable:  30 kB\nSwapFree: 5 kB\n')
  assert memory.free_bytes() == 35 * 1024
  (tmp_path / 'memory.max').write_text('max\n')
  (tmp_path / 'memory.current').write_text('7000\n')
  assert memory.free_bytes() == 35 * 1024
  (tmp_path / 'memory.max').write_text('9000\n')
  # Of the 7,000 bytes, 500 are a cache of files.
  (tmp_path / 'memory.stat').write_text('anon 6500\ninactive_file 500\n')
  assert memory.free_bytes() == 2500


def test_a_device_without_memory_ends_in_one_line():
  with (pytest.raises(UserError, match='Out of memory on cpu. Lower x.'),
        memory.shortage_named('Lower x.')):
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory')
  with (pytest.raises(jax.errors.JaxRuntimeError, match='INTERNAL'),
        memory.shortage_named('Lower x.')):
    raise jax.errors.JaxRuntimeError('INTERNAL: a bug')


def test_inference_names_its_setting(monkeypatch):
  model, variables, _ = twins.make_twins('deeplabv2', 18, twins.SMALL)
  protocol = windows.Protocol(
      window=33, scales=(1.0,), long_side=None, flip=False)
  monkeypatch.setattr(memory, 'free_bytes', lambda: 10)
  with pytest.raises(UserError, match='Lower --config.evaluation.batch_size'):
    probabilities(
        model, variables, [np.zeros([33, 33, 3], np.uint8)], protocol)


def test_a_photograph_takes_less_than_a_gigabyte_a_cpu(monkeypatch):
  """Of a full-size network, as the compiler plans it; it took 17."""
  planned = []

  def note(compiled, mesh, remedy):
    planned.append(compiled.memory_analysis().temp_size_in_bytes)
    raise StopIteration

  monkeypatch.setattr(memory, 'require', note)
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  model = models.build(twins.model_config(head='deeplabv2', dtype='auto'))
  assert model.dtype == jnp.float32
  variables = twins.random_variables(model)
  predict = inference.make_predict(model, mesh, windows.Protocol(
      window=465, scales=(1.0,), long_side=None, flip=False))
  with pytest.raises(RuntimeError):  # Of the StopIteration in a generator.
    next(predict(variables, [(None, np.zeros([375, 500, 3], np.uint8), ())]))
  assert planned[0] < 1e9
