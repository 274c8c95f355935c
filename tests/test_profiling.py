"""--config.profile: the trace holds the steps that it names, whole."""

import types

import jax
import numpy as np
import pytest

from scribble_jax import sharding
from scribble_jax.training import loop
from scribble_jax.training import profiling

NUM_STEPS = 6


def run_updates(config, workdir, monkeypatch):
  """Runs the train loop's updates, of a step that costs nothing."""
  monkeypatch.setattr(
      loop.input_pipeline, 'train_batches', lambda *args, **kwargs: (
          {'image': np.ones([4, 2], np.float32)} for _ in range(NUM_STEPS)))
  double = jax.jit(lambda x: 2 * x)
  config.num_steps = NUM_STEPS
  updates = loop._updates(
      config, workdir, types.SimpleNamespace(inputs=(), augmentation={}), None,
      sharding.make_mesh(), types.SimpleNamespace(step=0),
      lambda *args: lambda state, batch: (state, {
          'loss/total': double(batch['image'])}))
  assert [step for step, *_ in updates] == [*range(1, NUM_STEPS + 1)]


def traced_steps(workdir):
  """Returns the numbers of the steps in the one trace of a workdir."""
  (path,) = (workdir / 'profile').rglob('*.xplane.pb')
  return sorted(
      dict(event.stats)['step_num']
      for plane in jax.profiler.ProfileData.from_file(str(path)).planes
      for line in plane.lines for event in line.events if event.name == 'train')


# jaxlib 0.12's reader of traces, on Python 3.13.
@pytest.mark.filterwarnings('ignore:builtin type .* has no __module__')
def test_the_trace_holds_the_steps_of_the_config(
    config, tmp_path, monkeypatch, caplog):
  config.profile = '2:4'
  run_updates(config, tmp_path, monkeypatch)
  assert traced_steps(tmp_path) == [2, 3]
  assert f'steps 2 to 3 is in {tmp_path}/profile' in caplog.text


def test_no_trace_unless_asked_for(config, tmp_path, monkeypatch):
  run_updates(config, tmp_path, monkeypatch)
  assert not (tmp_path / 'profile').exists()


@pytest.fixture
def calls(monkeypatch):
  """What is asked of the profiler and the devices, in order."""
  calls = []
  monkeypatch.setattr(
      jax.profiler, 'start_trace', lambda folder: calls.append('start'))
  monkeypatch.setattr(
      jax.profiler, 'stop_trace', lambda: calls.append('stop'))
  monkeypatch.setattr(jax, 'block_until_ready', calls.append)
  return calls


@pytest.mark.parametrize('num_steps', [6, 3])  # 3: the run ends in between.
def test_the_trace_ends_when_the_devices_are_done(
    calls, tmp_path, caplog, num_steps):
  trace = profiling.Trace(range(2, 5), tmp_path)
  for step in range(1, num_steps + 1):
    trace.before(step)
    calls.append(step)
    trace.after(step, f'outputs of {step}')
  trace.close()
  assert calls == {
      6: [1, 'start', 2, 3, 4, 'outputs of 4', 'stop', 5, 6],
      3: [1, 'start', 2, 3, 'outputs of 3', 'stop']}[num_steps]
  assert f'steps 2 to {min(4, num_steps)} is in' in caplog.text


def test_a_run_that_resumes_within_the_range_traces_the_rest(
    calls, tmp_path, caplog):
  trace = profiling.Trace(range(2, 5), tmp_path)
  for step in (4, 5):
    trace.before(step)
    trace.after(step, step)
  assert calls == ['start', 4, 'stop']
  assert 'steps 4 to 4 is in' in caplog.text
