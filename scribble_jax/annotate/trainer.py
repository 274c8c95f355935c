r"""The process of a training: it continues when the page and its server end.

python -m scribble_jax.annotate.trainer --workdir=DIR --run=DIR/runs/1 \
    --steps=300 --max_megapixels=50 --lock=FD

The page's server starts it and reads state.json and log.txt. On SIGTERM the
training saves a checkpoint and stops.
"""

import collections
import contextlib
import os
import pathlib
import signal
import threading

from absl import flags

from scribble_jax import command_line
from scribble_jax import config_files
from scribble_jax.annotate import layout
from scribble_jax.annotate import photographs as photographs_of
from scribble_jax.annotate import training_set
from scribble_jax.errors import UserError
from scribble_jax.files import formats
from scribble_jax.sweep import process

FOLDER, STATE, LOG = 'job', 'state.json', 'log.txt'
PREPARING, TRAINING, PREDICTING = 'preparing', 'training', 'predicting'
STOPPING = 'stopping'
DONE, FAILED, STOPPED = 'done', 'failed', 'stopped'
_NICENESS = 10  # Keeps the page responsive.
_MAX_FILES = 2_000  # Photographs per command line.
_OTHER_CLASSES = ('Classes were added or deleted since this training began. '
                  'Start a new one.')


class Job:
  """Trains on the strokes, then predicts all photographs."""

  def __init__(self, folder, run, steps, max_megapixels, lock):
    """Opens the workdir.

    Args:
      folder: Workdir of the page.
      run: Workdir of the training.
      steps: Number of updates.
      max_megapixels: As of `photographs.Photographs`.
      lock: File descriptor of the job's lock, from `process.alone`.
    """
    self._files = layout.Layout(pathlib.Path(folder))
    self._run, self._steps, self._lock = run, steps, lock
    self._max_megapixels = max_megapixels
    self._log = self._files.folder / FOLDER / LOG
    self._stopping = threading.Event()

  def stop(self, *_):
    """Asks the job to stop."""
    self._stopping.set()
    self.tell(STOPPING)

  def tell(self, stage, text=''):
    """Writes the state of the job for the page.

    Args:
      stage: One of the constants above.
      text: Message for the user.
    """
    formats.write_json(self._files.folder / FOLDER / STATE, {
        'stage': stage, 'text': text, 'run': self._run, 'steps': self._steps,
        'process': os.getpid()})

  def work(self):
    """Runs the job to its end."""
    self.tell(PREPARING)
    try:
      problem = self._train_and_predict()
    except UserError as error:
      problem = str(error)
    except Exception as error:
      self.tell(FAILED, f'{type(error).__name__}: {error}')
      raise  # The log gets the traceback.
    if self._stopping.is_set():
      self.tell(STOPPED, 'Stopped. It can continue from the last checkpoint.')
    elif problem:
      self.tell(FAILED, problem)

  def _train_and_predict(self):
    """Returns the error as one line, or None."""
    settings = self._files.read_settings()
    photographs = photographs_of.Photographs(
        settings.pictures, self._files.folder / layout.CACHE,
        self._max_megapixels)
    if settings.is_stale:
      return ('Classes are being changed, or a change of them has failed. '
              'Restart the page, then train.')
    names = self._files.ids(layout.SCRIBBLES) & photographs.paths.keys()
    if not names:
      return 'Nothing is drawn yet.'
    labels = note_classes(self._run, settings.palette)
    root, side = training_set.root(
        self._files, photographs, settings.palette, names)
    self.tell(TRAINING)
    problem = self._start('scribble_jax.main', [
        f'--config={training_set.CONFIG}', f'--workdir={self._run}',
        f'--config.data.root={root}', '--config.data.val_list=none',
        f'--config.num_steps={self._steps}', '--resume_with_other_data'])
    if problem or self._stopping.is_set():
      return problem
    if len(formats.read_json(
        pathlib.Path(self._run, config_files.CLASSES))) != len(labels):
      return _OTHER_CLASSES
    self.tell(PREDICTING)
    self._files.start_predictions(labels)
    return self._predict(photographs, side)

  def _predict(self, photographs, side):
    """Predicts the photographs, one subfolder after another.

    Args:
      photographs: `photographs.Photographs`.
      side: As of `training_set.root`.

    Returns:
      The error as one line, or None.
    """
    groups = collections.defaultdict(list)
    for name, path in photographs.paths.items():
      with contextlib.suppress(photographs_of.UnreadableError):
        is_large = max(photographs.size(name)) > training_set.LARGEST
        groups[path.parent, training_set.SIDE if is_large else side].append(
            str(path))
    problem = None
    for (folder, shown_side), paths in sorted(groups.items(), key=str):
      output = self._files.folder / layout.PREDICTIONS / folder.relative_to(
          photographs.folder)
      output.mkdir(parents=True, exist_ok=True)
      flag = [f'--config.evaluation.long_side={shown_side}'] * bool(shown_side)
      for start in range(0, len(paths), _MAX_FILES):
        problem = self._start('scribble_jax.predict', [
            f'--checkpoint={self._run}', f'--output={output}', *flag,
            *paths[start:start + _MAX_FILES]]) or problem
        if self._stopping.is_set():
          return None
    if problem and not self._files.ids(layout.PREDICTIONS):
      return problem
    self.tell(DONE, problem or '')
    return None

  def _start(self, module, arguments):
    return process.run(
        module, arguments, self._log, self._lock, None, self._stopping)


def note_classes(run, palette):
  """Returns the identifiers of a training's classes, by index.

  The first call stores them beside the run, because classes may change later.

  Args:
    run: Workdir of the training.
    palette: The current `palette.Palette`.

  Raises:
    UserError: The run has other classes.
  """
  path = pathlib.Path(f'{run}.classes.json')
  labels = [one.label for one in palette.classes]
  if not path.exists():
    path.parent.mkdir(parents=True, exist_ok=True)
    formats.write_json(path, labels)
  if formats.read_json(path) != labels:
    raise UserError(_OTHER_CLASSES)
  return labels


def main(argv):
  """Runs the job."""
  del argv
  os.nice(_NICENESS)
  job = Job(_WORKDIR.value, _RUN.value, _STEPS.value,
            _MEGAPIXELS.value, _LOCK.value)
  signal.signal(signal.SIGTERM, job.stop)
  job.work()


if __name__ == '__main__':
  _WORKDIR = flags.DEFINE_string(
      'workdir', None, "The page's --workdir.", required=True)
  _RUN = flags.DEFINE_string(
      'run', None, 'Workdir of the training.', required=True)
  _STEPS = flags.DEFINE_integer(
      'steps', None, 'Number of updates.', required=True)
  _MEGAPIXELS = flags.DEFINE_float(
      'max_megapixels', None, 'Larger photographs are not decoded.',
      required=True)
  _LOCK = flags.DEFINE_integer(
      'lock', None, 'Inherited file descriptor of the lock.', required=True)
  command_line.run(main, interrupted='Start it on the page.')
