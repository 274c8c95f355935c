"""Runs the points of a sweep, with a folder for each seed."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shlex
import threading
import time
from typing import NamedTuple

from tqdm import tqdm

from scribble_jax import results
from scribble_jax.data import record_folders
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import formats
from scribble_jax.files import storage
from scribble_jax.sweep import description
from scribble_jax.sweep import process
from scribble_jax.sweep import sweep_points

_TRAINED = 'metrics.json'  # The last file that training writes.
_EVALUATED = 'evaluation/metrics.json'


class Run(NamedTuple):
  """One point of a sweep with one seed.

  Attributes:
    workdir: Absolute path of the sweep's folder.
    point: sweep_points.Point.
    seed: Seed of the training.
  """
  workdir: pathlib.Path
  point: sweep_points.Point
  seed: int

  def __str__(self):
    return f'{self.point.label}, seed {self.seed}'

  @property
  def folder(self):
    """Folder of the run."""
    return self.workdir / self.point.name / f'seed_{self.seed}'

  def beside(self, suffix):
    """Returns the path of a file beside the folder: seed_0.SUFFIX."""
    return self.folder.with_name(f'{self.folder.name}.{suffix}')

  @property
  def records(self):
    """Folder of the records, shared by points with the same data."""
    name = '_'.join(f'{key.removeprefix("data.")}={value}'
                    for key, value in self.point.overrides.items()
                    if key.startswith('data.'))
    return self.workdir / 'records' / (name or 'base') / 'records'


class Sweep:
  """A sweep in its folder.

  Attributes:
    workdir: Absolute pathlib.Path of the folder.
  """

  def __init__(self, config, workdir, changes=(), *, reused=(), evaluate=False):
    """Checks the config and what the folder already contains.

    Args:
      config: ConfigDict as in configs/robustness.py.
      workdir: Folder of the sweep.
      changes: List of 'KEY=VALUE' that change the config of every run.
      reused: Folders of other sweeps. Their finished runs with the same
        settings are linked instead of repeated.
      evaluate: Whether trained networks are evaluated by the paper's protocol.

    Raises:
      UserError: The config is not that of a sweep, `workdir` has another
        sweep, or a folder in `reused` has none.
    """
    if any(map(storage.is_remote, (workdir, *reused))):
      raise UserError("A sweep's folder needs locks and links, which buckets "
                      'do not support. Set --workdir and --reuse to folders of '
                      'this machine; --set=data.root may be gs://.')
    self.workdir = pathlib.Path(workdir).absolute()
    self._description = description.describe(config, changes)
    sweep_points.choose(config.points, None)
    self._config = config
    self._needed = [_TRAINED, *[_EVALUATED] * evaluate]
    self._stopping = threading.Event()
    if (self.workdir / description.FILE).exists():
      description.check_same(
          description.read(self.workdir), self._description, self.workdir)
    self._reused = [(pathlib.Path(folder).absolute(), description.read(folder))
                    for folder in reused]

  def run(self, chosen, parallel):
    """Runs whatever is not finished of some points.

    Args:
      chosen: List of points.
      parallel: Number of runs at a time.

    Returns:
      Whether all of them are finished now.

    Raises:
      UserError: The folder can't be written.
    """
    runs = self._runs(chosen)
    try:
      path = self.workdir / description.FILE
      with atomic.only_one_process(path):
        formats.write_json(path, self._description)
      for run in runs:
        self._prepare(run)
    except OSError as error:
      raise UserError(f'Cannot write to {self.workdir}: {error}. Set --workdir '
                      'to a folder that can be written.') from error
    waiting = self._unfinished(runs)
    slots, thread = iter(range(parallel)), threading.local()

    def take_cores():
      """Gives each thread of the pool its share of the cores."""
      thread.cores = process.shared_cores(next(slots), parallel)

    with (concurrent.futures.ThreadPoolExecutor(
        parallel, initializer=take_cores) as pool,
          tqdm(total=len(runs), initial=len(runs) - len(waiting), unit='run',
               desc=self._config.title, dynamic_ncols=True) as progress):
      try:
        futures = {
            pool.submit(lambda run: self._run_one(run, thread.cores), run): run
            for run in waiting}
        for future in concurrent.futures.as_completed(futures):
          progress.write(f'{futures[future]}: {future.result()}')
          progress.update()
      except BaseException:  # Ctrl-C too.
        self._stopping.set()
        pool.shutdown(cancel_futures=True)
        raise
    return self._summarise(runs)

  def has_results(self):
    """Returns whether any run is finished."""
    runs = self._runs(self._config.points)
    return len(self._unfinished(runs)) < len(runs)

  def describe(self, point):
    """Returns a text about a point: its name, finished seeds and command."""
    runs = self._runs([point])
    command = ['python', '-m', 'scribble_jax.main', *self._run_flags(runs[0])]
    done = len(runs) - len(self._unfinished(runs))
    return f'{point.name}: {done} of {len(runs)} seeds\n  {shlex.join(command)}'

  def _runs(self, points):
    return [Run(self.workdir, point, seed)
            for seed in self._config.seeds for point in points]

  def _has_results(self, folder):
    return all((folder / name).exists() for name in self._needed)

  def _unfinished(self, runs):
    return [run for run in runs if not self._has_results(run.folder)]

  def _prepare(self, run):
    """Makes the folder of a run's point and links a finished run if reused."""
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    for folder, stored in self._reused:
      for name in description.names_of_same(
          stored, self._description, run.point):
        source = folder / name / run.folder.name
        if self._has_results(source) and not os.path.lexists(run.folder):
          run.folder.symlink_to(os.path.relpath(source, run.folder.parent))

  def _summarise(self, runs):
    """Prints what is finished and what failed; returns whether all is done."""
    missing = self._unfinished(runs)
    failed = [run for run in missing if run.beside('failed.json').exists()]
    print(f'{len(runs) - len(missing)} of {len(runs)} runs are finished, '
          f'{len(failed)} failed.')
    for run in failed:
      failure = formats.read_json(run.beside('failed.json')) or {}
      print(f'  {run.point.name}, seed {run.seed}: {failure.get("message")} '
            f'({failure.get("log")})')
    return not missing

  def _run_flags(self, run):
    """Returns the flags of a run's training."""
    return [
        sweep_points.config_flag(self._config.base, run.point.variant),
        f'--workdir={run.folder}', f'--config.data.records={run.records}',
        *self._description['flags'],
        *(f'--config.{key}={value}'
          for key, value in run.point.overrides.items()),
        f'--config.seed={run.seed}']

  def _run_one(self, run, cores):
    """Does one run; returns a line about its result."""
    if self._stopping.is_set():
      return 'not started'
    start = time.monotonic()
    try:
      with process.alone(run.beside('lock')) as lock:
        if lock is None:
          return 'runs in another process'
        run.beside('failed.json').unlink(missing_ok=True)
        message = self._train(run, lock, cores)
      if self._has_results(run.folder):
        self._drop_records(run)
        figures = formats.read_json(run.folder / _TRAINED) or {}
        minutes = (time.monotonic() - start) / 60
        measure = results.measure(figures)
        return (f'{100 * figures[measure]:.2f} % {results.MEASURES[measure]} '
                if measure else 'finished ') + f'after {minutes:.1f} minutes'
      if self._stopping.is_set():
        return 'interrupted'
      message = message or 'ended without results'
      formats.write_json(run.beside('failed.json'), {
          'message': message, 'log': str(run.beside('log'))})
    except (OSError, json.JSONDecodeError) as error:  # The other runs go on.
      message = str(error)
    return f'failed: {message}'

  def _train(self, run, lock, cores):
    """Trains and evaluates as needed; returns an error message or None."""
    for module, result, flags in (
        ('scribble_jax.main', _TRAINED, self._run_flags(run)),
        ('scribble_jax.evaluate', _EVALUATED, [f'--workdir={run.folder}'])):
      if result in self._needed and not (run.folder / result).exists():
        message = process.run(module, flags, run.beside('log'), lock, cores,
                              self._stopping)
        if message or not (run.folder / result).exists():
          return message
    return None

  def _drop_records(self, run):
    """Deletes a run's records if no run of the sweep needs them any more."""
    if not self._unfinished([
        other for other in self._runs(self._config.points)
        if other.records == run.records]):
      record_folders.remove_unused(run.records)
      with contextlib.suppress(OSError):  # Not empty: another process reads.
        run.records.rmdir()
        run.records.parent.rmdir()
