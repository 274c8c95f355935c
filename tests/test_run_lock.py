"""Only one live run in a workdir, and what a dead one leaves."""

import json
import multiprocessing
import os
import signal
import time

import pytest

from scribble_jax.errors import PassingError
from scribble_jax.training import run_lock


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
  monkeypatch.setattr(run_lock, '_INTERVAL', 0.05)
  monkeypatch.setattr(run_lock, '_PATIENCE', 1.0)


def heartbeat(folder):
  return json.loads((folder / 'heartbeat.json').read_text())


def test_a_second_run_is_refused_and_says_who_is_there(tmp_path):
  with (run_lock.only_run(tmp_path),
        pytest.raises(PassingError, match=rf'process {os.getpid()}\). Wait'),
        run_lock.only_run(tmp_path)):
    pass
  with run_lock.only_run(tmp_path):  # The first one has ended.
    pass


def test_the_heartbeat_goes_on_and_ends_with_the_run(tmp_path):
  with run_lock.only_run(tmp_path) as run:
    first = heartbeat(tmp_path)
    assert first['step'] is None
    run.at(7)
    deadline = time.monotonic() + 10
    while heartbeat(tmp_path)['step'] != 7:
      assert time.monotonic() < deadline
    assert heartbeat(tmp_path)['time'] > first['time']
  assert not (tmp_path / 'heartbeat.json').exists()


def _hold(folder, held):
  with run_lock.only_run(folder):
    held.set()
    time.sleep(100)


def test_a_killed_run_leaves_nothing_in_the_way(tmp_path):
  context = multiprocessing.get_context('spawn')
  held = context.Event()
  process = context.Process(target=_hold, args=(tmp_path, held))
  process.start()
  assert held.wait(60)
  os.kill(process.pid, signal.SIGKILL)
  process.join()
  assert (tmp_path / 'heartbeat.json').exists()
  with run_lock.only_run(tmp_path):
    assert heartbeat(tmp_path)['process'] == os.getpid()


def elsewhere(folder, **changes):
  (folder / 'heartbeat.json').write_text(json.dumps({
      'host': 'another', 'process': 3, 'time': 5.0, 'step': 9} | changes))


def test_a_dead_run_of_another_machine_is_taken_over(tmp_path):
  elsewhere(tmp_path)
  with run_lock.only_run(tmp_path):
    assert heartbeat(tmp_path)['host'] != 'another'


def test_a_live_run_of_another_machine_is_refused(tmp_path, monkeypatch):
  elsewhere(tmp_path)
  monkeypatch.setattr(
      run_lock.time, 'sleep', lambda _: elsewhere(tmp_path, step=10))
  with (pytest.raises(PassingError, match='host another, process 3'),
        run_lock.only_run(tmp_path)):
    pass
