"""What the log of a run says about the time that devices wait for input."""

import time
import types

import jax
import numpy as np
import pytest

from scribble_jax import sharding
from scribble_jax.training import loop
from scribble_jax.training import step_log


class Writer:
  """Keeps the scalars of each flush, in order."""

  def __init__(self):
    self.scalars = []

  def write_scalars(self, step, scalars):
    self.scalars.append(scalars | {'step': step})


class Clock:
  """Stands still unless told to go on."""

  def __init__(self, monkeypatch):
    self.now = 0.0
    monkeypatch.setattr(step_log, 'time', types.SimpleNamespace(
        monotonic=lambda: self.now))


def make_log(writer, num_steps=100, start_step=0, loss_weights=None):
  return step_log.StepLog(
      writer, start_step=start_step, num_steps=num_steps, batch_size=4,
      title='Test', loss_weights=loss_weights or {})


def update(log, clock, step, *, wait, work):
  """One update on a device that begins when its batch is there."""
  begin = clock.now
  clock.now += wait
  end = clock.now
  clock.now += work
  log.add(step, {'loss/total': np.float32(1)}, (begin, end))
  log._pending[-1][-1].result()  # The clock stands still until it is seen.


@pytest.mark.parametrize('waits, completions, expected', [
    # The device is free all the time that the loop waits.
    ([(0, 2), (5, 8)], [5, 11], 5),
    # An update takes 10, a batch 11: the loop waits always, the device does 1.
    ([(0, 0), (0, 11), (11, 22), (22, 33)], [10, 21, 32, 43], 3),
    # Batches are made faster than updates.
    ([(0, 1), (1, 4), (4, 7), (7, 10)], [11, 21, 31, 41], 1),
    # What was before the start does not count.
    ([(-50, -3), (0, 1), (1, 2)], [0, 1.5, 4], 1.5),
])
def test_idle_seconds(waits, completions, expected):
  assert step_log.idle_seconds(0, waits, completions) == expected


def shares_of_waiting(monkeypatch, wait, work, after=lambda log, clock: None):
  """Returns `input_wait_share` of every five of 30 updates.

  Args:
    monkeypatch: pytest's.
    wait: Seconds for each batch.
    work: Seconds of each update.
    after: What comes after each five.
  """
  clock, writer = Clock(monkeypatch), Writer()
  with make_log(writer) as log:
    for step in range(1, 31):
      update(log, clock, step, wait=wait, work=work)
      if not step % 5:
        log.flush()
        after(log, clock)
  return [scalars['input_wait_share'] for scalars in writer.scalars]


def test_an_input_bound_run_is_told_once(monkeypatch, caplog):
  assert shares_of_waiting(monkeypatch, wait=3, work=7) == (
      pytest.approx([0.3] * 6))
  assert caplog.text.count('Input-bound: 30 % of the step') == 1
  assert 'more cores' in caplog.text


def test_compilation_and_validation_are_not_waits(monkeypatch, caplog):
  def validate(log, clock):
    """Then waits for the pipeline, and compiles."""
    log.pause()
    clock.now += 500
    update(log, clock, 0, wait=400, work=100)

  assert shares_of_waiting(
      monkeypatch, wait=0.1, work=9.9, after=validate) == (
          pytest.approx([0.01] * 6))
  assert 'Input-bound' not in caplog.text


def test_a_run_of_seconds_is_not_judged(monkeypatch, caplog):
  clock, writer = Clock(monkeypatch), Writer()
  with make_log(writer) as log:
    for step in range(1, 12):
      update(log, clock, step, wait=2, work=0.5)
    log.flush()
  assert writer.scalars[-1]['input_wait_share'] == pytest.approx(0.8)
  assert 'Input-bound' not in caplog.text


def test_steps_are_timed_from_completion_to_completion(monkeypatch):
  clock, writer = Clock(monkeypatch), Writer()
  with make_log(writer) as log:
    for step, work in enumerate((50, 2, 2, 8, 2, 2), 1):
      update(log, clock, step, wait=0, work=work)
    log.flush()
  (scalars,) = writer.scalars
  assert scalars['step_seconds/median'] == 2
  assert scalars['step_seconds/highest'] == 8
  assert scalars['images_per_second'] == pytest.approx(5 * 4 / 16)


@pytest.mark.parametrize('slow', ['input', 'step'])
def test_the_train_loop_tells_slow_input_from_slow_steps(
    config, tmp_path, monkeypatch, slow):
  seconds = {'input': 0.0, 'step': 0.0} | {slow: 0.2}

  def batches(*args, **kwargs):
    while True:
      time.sleep(seconds['input'])
      yield {'image': np.ones([4, 2], np.float32)}

  def step(state, batch):
    time.sleep(seconds['step'])
    return state, {'loss/total': np.float32(1)}

  monkeypatch.setattr(loop.input_pipeline, 'train_batches', batches)
  config.num_steps = 8
  writer = Writer()
  updates = loop._updates(
      config, tmp_path, types.SimpleNamespace(inputs=(), augmentation={}), None,
      sharding.make_mesh(), types.SimpleNamespace(step=0), lambda *args: step)
  with make_log(writer) as log:
    for number, _, scalars, wait in updates:
      log.add(number, scalars, wait)
    log.flush()
  assert (writer.scalars[-1]['input_wait_share'] > 0.5) == (slow == 'input')


def test_an_error_of_the_devices_reaches_the_loop():
  class Broken:
    def block_until_ready(self):
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED')

  with make_log(Writer()) as log:
    log.add(1, {'loss/total': np.float32(1)}, (0, 0))
    with pytest.raises(jax.errors.JaxRuntimeError, match='RESOURCE'):
      for step in range(2, 10):  # The loop may be some steps ahead.
        log.add(step, {'loss/total': Broken()}, (0, 0))


@pytest.mark.parametrize('start_step, lorm, weight, dominant', [
    (0, 31.0, 1.0, True), (0, 29.0, 1.0, False), (0, 31.0, 0.9, False),
    (0, 310.0, 0.1, True), (1, 31.0, 1.0, False)])
def test_a_term_that_leaves_the_others_little_say_is_named(
    caplog, start_step, lorm, weight, dominant):
  weights = {'scribble': 1.0, 'pseudo_label': 2.0, 'lorm': weight}
  terms = {'scribble': 0.5, 'pseudo_label': 1.5, 'lorm': lorm}
  with make_log(Writer(), start_step=start_step, loss_weights=weights) as log:
    for step in (1, 2):
      for part in (0.5, 1.5):  # On average 1.
        log.add(start_step + step, {'loss/total': np.float32(1)} | {
            f'loss/{name}': np.float32(part * term)
            for name, term in terms.items()}, (0.0, 0.0))
      log.flush()
  assert caplog.text.count('lorm is 31') == dominant
