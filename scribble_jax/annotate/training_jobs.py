"""Trainings as the page sees them: start, progress, loss, stop."""

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

STEPS = (50, 100, 300, 1_000)  # To choose from.
_RUNS, _LOCK = 'runs', 'lock'
_MOST_POINTS = 300  # Of the loss curve.
_TAIL = 4_000  # Bytes of the log.
_PROGRESS = re.compile(r'^(?P<what>[^:|]{1,60}): +(?P<percent>\d{1,3})%\|')
_LOSSES = 'loss/total'


class Jobs:
  """The one job that a folder of strokes may have at a time."""

  def __init__(self, folder, max_megapixels):
    """Opens the folder.

    Args:
      folder: Of a `layout.Layout`.
      max_megapixels: As of `photographs.Photographs`.
    """
    self._max_megapixels = max_megapixels
    self._workdir = pathlib.Path(folder)
    self._folder = self._workdir / trainer.FOLDER
    self._folder.mkdir(exist_ok=True)
    self._children = []
    self._asking = threading.RLock()  # Asking takes the job's lock too.

  def start(self, steps, resume):
    """Starts a training, or goes on with the last one.

    Args:
      steps: Of STEPS; one that goes on keeps its own.
      resume: Whether to go on with the last one, which was stopped.

    Raises:
      UserError: One is running, or there is none to go on with.
    """
    if not resume and steps not in STEPS:
      raise UserError(f'Choose one of {STEPS} steps.')
    with self._asking:
      self._start(steps, resume)

  def _start(self, steps, resume):
    """`start`, while nobody else asks for the lock."""
    state = self._state()
    with process.alone(self._folder / _LOCK) as lock:
      if lock is None:
        raise UserError('A training is running. Stop it first.')
      if resume:
        if state.get('stage') not in (trainer.STOPPED, trainer.FAILED, 'lost'):
          raise UserError('There is no training to go on with.')
        run, steps = state['run'], state['steps']
      else:
        run = str(self._new_run())
        os.makedirs(run)
        (self._folder / trainer.LOG).unlink(missing_ok=True)
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
    """Asks the job to stop; it saves a checkpoint first."""
    state = self._state()
    if self.is_running() and state.get('process'):
      os.kill(state['process'], signal.SIGTERM)

  def is_running(self):
    """Whether a job is running, whoever has started it."""
    for child in self._children:
      child.poll()  # Else it would stay as a zombie.
    with self._asking, process.alone(self._folder / _LOCK) as lock:
      return lock is None

  def status(self):
    """Returns all that the page shows of the last job, ready for JSON.

    Returns:
      'running', 'stage' ('none' if nothing was trained yet, 'lost' if its
      process was killed), 'text', 'what' and 'percent' of the progress, 'loss'
      [[step, value], ...], 'steps'.
    """
    running, state = self.is_running(), self._state()
    what, percent, last = self._progress()
    stage = state.get('stage', 'none')
    return {
        'running': running, 'stage': stage, 'steps': state.get('steps'),
        'text': state.get('text') or ('' if running else last),
        'what': what if running else '', 'percent': percent if running else 0,
        'loss': self._losses(state), 'choices': STEPS}

  def _state(self):
    """Returns the job's last words; of a killed one that it is 'lost'."""
    state = formats.read_json(self._folder / trainer.STATE) or {}
    unfinished = (trainer.PREPARING, trainer.TRAINING, trainer.PREDICTING,
                  trainer.STOPPING)
    if state.get('stage') in unfinished and not self.is_running():
      state |= {'stage': 'lost', 'text': 'The training was interrupted. It can '
                'go on from the last checkpoint.'}
    return state

  def _new_run(self):
    numbers = [int(path.name) for path in (self._workdir / _RUNS).glob('*')
               if path.name.isdigit()]
    return self._workdir / _RUNS / str(max(numbers, default=0) + 1)

  def _progress(self):
    """Returns what is being done, how far in per cent, and the last line."""
    path = self._folder / trainer.LOG
    if not path.exists():
      return '', 0, ''
    with open(path, 'rb') as file:
      file.seek(max(0, path.stat().st_size - _TAIL))
      text = file.read().decode(errors='replace')
    lines = [line.strip() for line in re.split('[\r\n]', text) if line.strip()]
    for line in reversed(lines):
      found = _PROGRESS.match(line)
      if found:
        return found['what'], int(found['percent']), lines[-1][:300]
    return '', 0, lines[-1][:300] if lines else ''

  def _losses(self, state):
    if not state.get('run'):
      return []
    from scribble_jax.report import events  # TensorBoard's part takes long.
    points = events.read_scalars(pathlib.Path(state['run'])).get(_LOSSES, [])
    step = -(-len(points) // _MOST_POINTS) or 1
    return [[int(at), round(value, 4)] for at, value in points[::step]]
