"""Jobs of several processes on loopback: equal, moved, killed, stopped."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from scribble_jax.report import events
from scribble_jax.weights import checkpoint
from tests import test_main

NUM_STEPS = 16
FLAGS = (
    f'--config.num_steps={NUM_STEPS}', '--config.checkpoint_every=2',
    '--config.keep_checkpoints=20', f'--config.eval_every={NUM_STEPS}',
    '--config.log_every=1', '--peer_timeout=20',
    # At larger rates a tiny network soon multiplies what rounding does.
    '--config.optim.lr=0.001')
# How many kills a run has to survive; each takes a minute.
NUM_KILLS = int(os.environ.get('SCRIBBLE_JAX_TEST_KILLS', '1'))
SECONDS = 600  # For any one thing.


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('hosts')


def start(folder, run, num_processes, *flags, command=None):
  """Starts a job of 4 devices in all; its output goes to RUN.PROCESS.log."""
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    port = listener.getsockname()[1]
  processes = []
  for index in range(num_processes):
    job = (f'--coordinator=127.0.0.1:{port}', f'--process_id={index}',
           f'--num_processes={num_processes}') if num_processes > 1 else ()
    with open(folder / f'{run}.{index}.log', 'a') as log:
      processes.append(subprocess.Popen(
          [*(command or test_main.command(
              folder / run, folder / 'data', *FLAGS)), *job, *flags],
          cwd=test_main.REPOSITORY, stdout=log, stderr=log, env=os.environ | {
              'JAX_NUM_CPU_DEVICES': str(4 // num_processes)}))
  return processes


def end(processes):
  """Returns the exit codes of processes that are expected to end."""
  try:
    return [process.wait(SECONDS) for process in processes]
  finally:
    for process in processes:
      process.kill()
      process.wait()


def run(folder, name, num_processes, *flags, **options):
  codes = end(start(folder, name, num_processes, *flags, **options))
  assert codes == [0] * num_processes, log_of(folder, name)


def log_of(folder, name):
  return '\n'.join(path.read_text()[-3000:]
                   for path in sorted(folder.glob(f'{name}.*.log')))


def wait_for_step(folder, name, processes, step):
  """Returns once a checkpoint of this step or a later one is complete."""
  deadline = time.monotonic() + SECONDS
  while max(steps_of(folder / name), default=0) < step:
    assert time.monotonic() < deadline
    assert all(process.poll() is None for process in processes), log_of(
        folder, name)
    time.sleep(0.01)


def steps_of(workdir):
  with contextlib.suppress(FileNotFoundError):
    return [int(path.name) for path in (workdir / 'checkpoints').iterdir()
            if path.name.isdigit()]
  return []


def figures_of(workdir):
  return json.loads((workdir / 'metrics.json').read_text())


def assert_same_run(folder, name, other):
  """Compares losses, parameters, statistics, the evaluation's counts."""
  states = [checkpoint.restore_variables(
      folder / run / 'checkpoints', 'latest') for run in (name, other)]
  assert states[0][1] == states[1][1] == NUM_STEPS
  jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5),
      states[0][0], states[1][0])
  losses, expected = (
      events.read_scalars(folder / run) for run in (name, other))
  for term in ('loss/total', 'loss/lorm', 'grad_norm'):
    for step, value in losses[term]:
      assert value == pytest.approx(dict(expected[term])[step], rel=1e-4)
  figures, expected = figures_of(folder / name), figures_of(folder / other)
  assert figures['confusion'] == expected['confusion']
  assert (folder / name / 'val_images.csv').read_text() == (
      folder / other / 'val_images.csv').read_text()


@pytest.fixture(scope='module')
def straight(folder):
  """The name of a run of one process with four devices."""
  run(folder, 'straight', 1)
  return 'straight'


def test_several_processes_equal_one(folder, straight):
  name = 'several'
  run(folder, name, 4, f'--config.data.stage1={name}_labels')
  assert_same_run(folder, name, straight)
  labels, expected = (
      {path.name: path.read_bytes()
       for path in (folder / 'data').glob(f'{labels}/*/pseudo_labels/*.png')}
      for labels in (f'{name}_labels', 'stage1'))
  assert len(labels) == 10 and labels == expected


def test_several_processes_evaluate_as_one(folder, straight):
  written = {}
  for number in (1, 2):
    output = folder / f'evaluation_{number}'
    run(folder, straight, number, f'--output={output}',
        '--config.evaluation.scales=(1.0,)', command=[
            sys.executable, '-m', 'scribble_jax.evaluate',
            f'--workdir={folder / straight}'])
    run(folder, straight, number, f'--output={output / "predicted"}',
        '--probabilities', str(folder / 'data/JPEGImages'), command=[
            sys.executable, '-m', 'scribble_jax.predict',
            f'--checkpoint={folder / straight}'])
    written[number] = {path.relative_to(output): path.read_bytes()
                       for path in output.rglob('*.*')}
  num_images = len([*(folder / 'data/JPEGImages').iterdir()])
  assert len(written[1]) == 4 + 3 * num_images and written[1] == written[2]


def test_a_run_moves_between_jobs_and_meshes(folder, straight):
  for step, num_processes, model in ((2, 1, 1), (6, 2, 2), (10, 1, 4)):
    processes = start(folder, 'moved', num_processes,
                      f'--config.mesh.model={model}')
    wait_for_step(folder, 'moved', processes, step)
    for process in processes:
      process.send_signal(signal.SIGKILL)
    end(processes)
  run(folder, 'moved', 2)
  assert_same_run(folder, 'moved', straight)


def test_sigterm_to_one_process_saves_once_and_stops_all(folder):
  long = '--config.num_steps=100000'
  processes = start(folder, 'stopped', 2, long)
  wait_for_step(folder, 'stopped', processes, 2)
  processes[1].send_signal(signal.SIGTERM)
  assert end(processes) == [75, 75], log_of(folder, 'stopped')
  last = max(steps_of(folder / 'stopped'))
  assert f'step {last} is saved' in log_of(folder, 'stopped')


def test_whatever_is_killed_whenever_nothing_is_lost(folder, straight):
  rng = np.random.default_rng(0)
  for number in range(NUM_KILLS):
    name = f'killed_{number}'
    size = 4 if number % 4 == 3 else 2
    processes = start(folder, name, size, '--config.checkpoint_every=1')
    wait_for_step(folder, name, processes, int(rng.integers(1, NUM_STEPS - 4)))
    time.sleep(rng.random() * 0.3)  # Often amid a save.
    victim = int(rng.integers(size))
    processes[victim].send_signal(signal.SIGKILL)
    codes = end(processes)
    assert 1 not in codes, log_of(folder, name)
    saved = max(steps_of(folder / name))
    unfinished = [*(folder / name / 'checkpoints').glob('*tmp*')]
    print(f'Process {victim} of {size} killed: steps up to {saved} are saved, '
          f'{len(unfinished)} unfinished; exit codes {codes}')
    if set(codes) != {0}:
      assert saved >= 1
      run(folder, name, size, '--config.checkpoint_every=1')
    assert_same_run(folder, name, straight)


def test_a_process_that_hangs_ends_the_job(folder):
  processes = start(folder, 'hung', 2, '--config.num_steps=100000')
  wait_for_step(folder, 'hung', processes, 2)
  processes[1].send_signal(signal.SIGSTOP)
  try:
    assert processes[0].wait(SECONDS) not in (0, 1)
  finally:
    processes[1].send_signal(signal.SIGCONT)
    for process in processes:
      process.kill()
    end(processes)


def test_a_mistake_of_one_is_everybodys(folder):
  processes = start(folder, 'mistaken', 2, '--config.data.train_list=none.txt')
  assert end(processes) == [1, 1], log_of(folder, 'mistaken')
  for index in range(2):
    log = pathlib.Path(folder / f'mistaken.{index}.log').read_text()
    assert 'none.txt' in log and 'Traceback' not in log


def test_a_damaged_record_ends_the_job_and_loses_nothing(folder, straight):
  records = folder / 'data' / 'records_damaged'
  shutil.copytree(folder / 'data' / 'records', records)
  # Stage 2's, of each folder of pseudo-labels that a test before has made.
  shards = [next(path.parent.glob('*train.tfrecord*'))
            for path in records.glob('*/*val.tfrecord*')]
  for shard in shards:
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
  flag = f'--config.data.records={records.name}'
  codes = end(start(folder, 'damaged', 2, flag))
  # The other one comes upon it too, or finds that this one is gone.
  assert 1 in codes and 0 not in codes, log_of(folder, 'damaged')
  log = (folder / f'damaged.{codes.index(1)}.log').read_text()
  assert 'Traceback' not in log
  assert log.splitlines()[-1].startswith(tuple(
      f'error: The records are damaged: {shard}' for shard in shards))
  shutil.rmtree(records)
  run(folder, 'damaged', 2, flag)
  assert_same_run(folder, 'damaged', straight)
