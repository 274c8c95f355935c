"""The real program, as a process of its own: kill, signals, mistakes."""

import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import orbax.checkpoint as ocp
import pytest

from tests.conftest import record_folders
from tests.test_train import assert_same_state

REPOSITORY = pathlib.Path(__file__).parent.parent

TINY_FLAGS = (
    '--config.data.crop_size=33', '--config.batch_size=4',
    '--config.model.width=4', '--config.model.head_width=8',
    '--config.num_steps=12', '--config.optim.warmup_steps=2',
    '--config.log_every=2', '--config.eval_every=12',
    '--config.checkpoint_every=3', '--config.num_panels=2',
    '--config.data.embedded.num_train=10', '--config.data.embedded.num_val=3',
    '--config.data.embedded.image_size=48',
    '--config.stage1.labels.source=diffusion',
    '--config.stage1.refinement.iterations=2',
    '--config.stage1.refinement.strides=(2, 1)',
    '--config.stage1.refinement.dilations=(1,)')


def command(workdir, root, *flags):
  return [sys.executable, '-m', 'scribble_jax.main',
          '--config=configs/demo.py', f'--workdir={workdir}',
          f'--config.data.root={root}', *TINY_FLAGS, *flags]


def start(*args):
  return subprocess.Popen(
      command(*args), cwd=REPOSITORY, text=True,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_until(process, condition):
  deadline = time.monotonic() + 300
  while not condition():
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < deadline
    time.sleep(0.02)


def has_checkpoint(workdir):
  return any(path.name.isdigit()  # Complete ones.
             for path in (workdir / 'checkpoints').glob('*'))


def last_state(workdir):
  manager = ocp.CheckpointManager(workdir / 'checkpoints')
  return manager.latest_step(), manager.restore(
      manager.latest_step(), args=ocp.args.StandardRestore())


def test_killed_and_resumed_main_equals_a_straight_run(tmp_path):
  straight = start(tmp_path / 'straight', tmp_path / 'data')
  output, errors = straight.communicate(timeout=600)
  assert straight.returncode == 0, errors
  assert 'mIoU' in output and 'Traceback' not in errors
  # Status is no warning, and libraries' chat is left out.
  lines = errors.replace('\r', '\n').splitlines()
  assert any(line.startswith('Compiled the train step') for line in lines)
  assert any(line.startswith('Training on ') for line in lines)
  assert not [line for line in lines if '.py:' in line or 'warning' in line]

  killed = start(tmp_path / 'killed', tmp_path / 'data')
  wait_until(killed, lambda: has_checkpoint(tmp_path / 'killed'))
  killed.send_signal(signal.SIGKILL)
  killed.communicate()
  step, _ = last_state(tmp_path / 'killed')
  assert 0 < step < 12
  resumed = start(tmp_path / 'killed', tmp_path / 'data')
  _, errors = resumed.communicate(timeout=600)
  assert resumed.returncode == 0, errors

  step, state = last_state(tmp_path / 'killed')
  assert step == 12
  assert_same_state(state, last_state(tmp_path / 'straight')[1])


def test_two_runs_on_one_data_set_do_not_disturb_each_other(
    drawn_root, tmp_path):
  """Other lambdas, seconds apart, both killed: each equals its lone twin."""
  for name in ('shared', 'lone_one', 'lone_other'):
    shutil.copytree(drawn_root, tmp_path / 'data' / name)
  flags = {name: ('--config.data.pseudo_labels=pseudo_labels',
                  f'--config.data.lambda_s={value}')
           for name, value in (('one', 1.0), ('other', 40.0))}

  def begin(name, *more):
    return start(tmp_path / name, tmp_path / 'data/shared', *flags[name], *more)

  runs = {'one': begin('one')}
  # The other one comes when this one trains.
  wait_until(runs['one'], (tmp_path / 'one/config.json').exists)
  runs['other'] = begin('other')
  for name, run in runs.items():
    wait_until(run, lambda name=name: has_checkpoint(tmp_path / name))
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert 0 < last_state(tmp_path / name)[0] < 12
  assert len(record_folders(tmp_path / 'data/shared/records')) == 2

  finish({name: begin(name) for name in flags})
  finish({name: start(tmp_path / f'lone_{name}', tmp_path / f'data/lone_{name}',
                      *flags[name]) for name in flags})
  states = {name: last_state(tmp_path / name)[1] for name in (
      'one', 'other', 'lone_one', 'lone_other')}
  for name in flags:
    assert_same_state(states[name], states[f'lone_{name}'])
  with pytest.raises(AssertionError):
    assert_same_state(states['one'], states['other'])

  # With other strokes it goes on if it is told to; tests/test_provenance.py has
  # what it says otherwise.
  finish({'one': begin(
      'one', '--config.data.scribbles=pseudo_labels', '--config.num_steps=13',
      '--resume_with_other_data')})
  assert last_state(tmp_path / 'one')[0] == 13


def finish(runs):
  for name, run in runs.items():
    _, errors = run.communicate(timeout=600)
    assert run.returncode == 0, (name, errors)


def test_sigterm_saves_and_stops_even_before_the_first_resumed_step(tmp_path):
  long = '--config.num_steps=100000'
  first = start(tmp_path / 'run', tmp_path / 'data', long)
  wait_until(first, lambda: has_checkpoint(tmp_path / 'run'))
  first.send_signal(signal.SIGTERM)
  _, errors = first.communicate(timeout=300)
  assert first.returncode == 75, errors
  saved, _ = last_state(tmp_path / 'run')
  assert f'step {saved} is saved' in errors

  second = start(tmp_path / 'run', tmp_path / 'data', long)
  # Its event file is opened before the first step, which compiles.
  wait_until(second, lambda: len([*(tmp_path / 'run').glob('events*')]) == 2)
  second.send_signal(signal.SIGTERM)
  _, errors = second.communicate(timeout=300)
  assert second.returncode == 75, errors
  assert f'step {saved + 1} is saved' in errors


def test_a_disk_that_fills_up_is_one_line_and_loses_nothing(tmp_path):
  process = start(tmp_path / 'run', tmp_path / 'data',
                  '--config.num_steps=100000')
  wait_until(process, lambda: has_checkpoint(tmp_path / 'run'))
  # From now on no file may grow beyond this many bytes.
  resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1_000, 1_000))
  _, errors = process.communicate(timeout=300)
  assert process.returncode == 1, errors
  assert errors.splitlines()[-1].startswith(
      f'error: Cannot write to {tmp_path}/run: File too large. Make room')
  step, state = last_state(tmp_path / 'run')
  assert step >= 3 and int(state['step']) == step


@pytest.mark.parametrize('flags, message', [
    (['--config.optim.learning_rate=1'], 'learning_rate'),
    (['--config.optim.lr=fast'], 'fast'),
    (['--config.data.root=/proc/nowhere'], 'Cannot make the data set'),
    (['surplus'], "Unknown argument 'surplus'"),
    (['--confg=x'], 'confg'),
    (['--config=configs/nothing.py'], 'configs/nothing.py'),
    (['--config=configs/demo.py:deeplabv3'], 'Choose from'),
    (['--config={tmp}/broken.py'], 'broken.py, line 2'),
])
def test_mistake_on_the_command_line(tmp_path, flags, message):
  (tmp_path / 'broken.py').write_text('def get_config():\n  return (\n')
  process = start(tmp_path / 'run', tmp_path / 'data',
                  *(flag.format(tmp=tmp_path) for flag in flags))
  output, errors = process.communicate(timeout=120)
  last = errors.strip().splitlines()[-1]
  assert process.returncode == 1
  assert last.startswith('error: ') and message in last
  assert 'Traceback' not in errors and not output
