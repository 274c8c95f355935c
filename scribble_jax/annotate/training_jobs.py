"""Starts, stops and observes the training process of the page."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

from scribble_jax.annotate import trainer
from scribble_jax.errors import UserError
from scribble_jax.files import formats
from scribble_jax.sweep import process

STEPS = (50, 100, 300, 1_000)  # Possible numbers of updates.
_RUNS, _LOCK, _LOST = 'runs', 'lock', 'lost'
_MAX_POINTS = 300  # Of the loss curve.
_TAIL = 4_000  # Bytes of the log that are searched for the progress.
_PROGRESS = re.compile(r'^(?P<what>[^:|]{1,60}): +(?P<percent>\d{1,3})%\|')
_LOSSES = 'loss/total'


class Jobs:
  """The job of a workdir, which runs at most one at a time."""

  def __init__(self, folder, max_megapixels):
    """Opens the workdir.

    Args:
      folder: Workdir of the page.
      max_megapixels: As of `photographs.Photographs`.
    """
    self._max_megapixels = max_megapixels
    self._workdir = pathlib.Path(folder)
    self._folder = self._workdir / trainer.FOLDER
    self._folder.mkdir(exist_ok=True)
    self._children = []
    # Even a test of the job's lock takes it for a moment.
    self._asking = threading.RLock()

  def start(self, steps, resume):
    """Starts a training, or resumes the last one.

    Args:
      steps: One of STEPS; a resumed training keeps its own.
      resume: Whether to resume the last one.

    Raises:
      UserError: One is running, or there is none to resume.
    """
    if not resume and steps not in STEPS:
      raise UserError(f'Choose one of {STEPS} steps.')
    with self._asking:
      state = self._state()
      with process.alone(self._folder / _LOCK) as lock:
        if lock is None:
          raise UserError('A training is running. Stop it first.')
        if resume:
          if state.get('stage') not in (
              trainer.STOPPED, trainer.FAILED, _LOST):
            raise UserError('There is no training to resume. Start a new one.')
          run, steps = state['run'], state['steps']
        else:
          run = self._make_run()
          (self._folder / trainer.LOG).unlink(missing_ok=True)
        self._launch(run, steps, lock)

  def _launch(self, run, steps, lock):
    """Starts the process, which inherits the lock."""
    formats.write_json(self._folder / trainer.STATE, {
        'stage': trainer.PREPARING, 'run': run, 'steps': steps})
    with open(self._folder / trainer.LOG, 'a') as log:
      self._children.append(subprocess.Popen(
          [sys.executable, '-m', 'scribble_jax.annotate.trainer',
           f'--workdir={self._workdir}', f'--run={run}', f'--steps={steps}',
           f'--max_megapixels={self._max_megapixels}', f'--lock={lock}'],
          stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[lock],
          start_new_session=True))

  def stop(self):
    """Asks the job to save a checkpoint and stop."""
    state = self._state()
    if self.is_running() and state.get('process'):
      os.kill(state['process'], signal.SIGTERM)

  def is_running(self):
    """Whether a job is running, also one of an earlier server."""
    for child in self._children:
      child.poll()  # Otherwise it would remain as a zombie.
    with self._asking, process.alone(self._folder / _LOCK) as lock:
      return lock is None

  def status(self):
    """Returns the state of the last job, ready for JSON.

    Returns:
      'running'; 'stage' ('none' if nothing was trained yet, 'lost' if the
      process was killed); 'text', a message; 'what' and 'percent', the
      progress; 'loss' as [[step, value], ...]; 'steps'.
    """
    running, state = self.is_running(), self._state()
    what, percent, last = self._progress()
    stage = state.get('stage', 'none')
    return {
        'running': running, 'stage': stage, 'steps': state.get('steps'),
        'text': state.get('text') or ('' if running else last),
        'what': what if running else '', 'percent': percent if running else 0,
        'loss': self._losses(state)}

  def _state(self):
    """Returns the job's last state; 'lost' as its stage if it was killed."""
    state = formats.read_json(self._folder / trainer.STATE) or {}
    unfinished = (trainer.PREPARING, trainer.TRAINING, trainer.PREDICTING,
                  trainer.STOPPING)
    if state.get('stage') in unfinished and not self.is_running():
      state |= {'stage': _LOST, 'text': 'The training was interrupted. It can '
                'continue from the last checkpoint.'}
    return state

  def _make_run(self):
    """Creates the workdir of a new run; returns its path."""
    numbers = [int(path.name) for path in (self._workdir / _RUNS).glob('*')
               if path.name.isdigit()]
    run = self._workdir / _RUNS / str(max(numbers, default=0) + 1)
    run.mkdir(parents=True)
    return str(run)

  def _progress(self):
    """Returns the current activity, its progress in %, and the last line."""
    path = self._folder / trainer.LOG
    text = path.read_bytes()[-_TAIL:] if path.exists() else b''
    lines = [line.strip() for line in re.split(
        '[\r\n]', text.decode(errors='replace')) if line.strip()]
    last = lines[-1][:300] if lines else ''
    found = next(filter(None, map(_PROGRESS.match, reversed(lines))), None)
    return (found['what'], int(found['percent']), last) if found else (
        '', 0, last)

  def _losses(self, state):
    if not state.get('run'):
      return []
    from scribble_jax.report import events  # Imports TensorBoard, in seconds.
    points = events.read_scalars(pathlib.Path(state['run'])).get(_LOSSES, [])
    step = -(-len(points) // _MAX_POINTS) or 1
    return [[int(at), round(value, 4)] for at, value in points[::step]]
