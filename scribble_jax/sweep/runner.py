"""Runs the points of a sweep, each seed in its own folder."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import queue
import shlex
import threading
import time

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
_RECORDS = 'records'


class Sweep:
  """A sweep in its folder.

  Attributes:
    workdir: Absolute pathlib.Path.
  """

  def __init__(self, config, workdir, changes=(), *, reused=(), evaluate=False):
    """Looks at what is there already.

    Args:
      config: ConfigDict as in configs/robustness.py.
      workdir: Folder of the sweep.
      changes: 'KEY=VALUE's for the config of every run.
      reused: Folders of other sweeps, whose finished runs of the same settings
        need not be repeated.
      evaluate: Whether trained networks are evaluated by the paper's protocol.

    Raises:
      UserError: The config is not that of a sweep, the folder holds another
        sweep, or a reused one none.
    """
    if any(map(storage.is_remote, (workdir, *reused))):
      raise UserError("A sweep's folder holds locks, logs and links, which "
                      'buckets have not. Set --workdir and --reuse to folders '
                      'of this machine; --set=data.root may be gs://.')
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
    """Runs what is not finished of some points.

    Args:
      chosen: Points.
      parallel: Runs at a time.

    Returns:
      Whether all of them are finished now.

    Raises:
      UserError: The folder can't be written.
    """
    runs = [(point, seed) for seed in self._config.seeds for point in chosen]
    try:
      self._keep_description()
      for run in runs:
        self._prepare(*run)
    except OSError as error:
      raise UserError(f'Cannot write to {self.workdir}: {error}. Set --workdir '
                      'to a folder that can be written.') from error
    waiting = [run for run in runs if not self._is_finished(*run)]
    slots = queue.SimpleQueue()  # Shares of the cores.
    for slot in range(parallel):
      slots.put(slot)

    def work(run):
      """Runs one of them on free cores."""
      slot = slots.get()
      try:
        return run, self._run_one(*run, process.shared_cores(slot, parallel))
      finally:
        slots.put(slot)

    with (concurrent.futures.ThreadPoolExecutor(parallel) as pool,
          tqdm(total=len(runs), initial=len(runs) - len(waiting), unit='run',
               desc=self._config.title, dynamic_ncols=True) as progress):
      try:
        futures = [pool.submit(work, run) for run in waiting]
        for future in concurrent.futures.as_completed(futures):
          (point, seed), line = future.result()
          progress.write(f'{point.label}, seed {seed}: {line}')
          progress.update()
      except BaseException:  # Ctrl-C too.
        self._stopping.set()
        pool.shutdown(cancel_futures=True)
        raise
    return self._summarise(runs)

  def _keep_description(self):
    path = self.workdir / description.FILE
    with atomic.only_one_process(path):
      formats.write_json(path, self._description)

  def _prepare(self, point, seed):
    """Makes a run's place; takes over a finished run of a reused sweep."""
    run = self._folder(point, seed)
    run.parent.mkdir(parents=True, exist_ok=True)
    for folder, stored in self._reused:
      for name in description.names_of_same(stored, self._description, point):
        source = folder / name / f'seed_{seed}'
        if self._has_results(source) and not os.path.lexists(run):
          run.symlink_to(os.path.relpath(source, run.parent))

  def _summarise(self, runs):
    """Says what is finished; returns whether all is."""
    missing = [run for run in runs if not self._is_finished(*run)]
    failed = [run for run in missing if self._failure(*run).exists()]
    print(f'{len(runs) - len(missing)} of {len(runs)} runs are finished, '
          f'{len(failed)} failed.')
    for point, seed in failed:
      failure = formats.read_json(self._failure(point, seed)) or {}
      print(f'  {point.name}, seed {seed}: {failure.get("message")} '
            f'({failure.get("log")})')
    return not missing

  def has_results(self):
    """Whether any run is finished."""
    return any(self._is_finished(point, seed) for point in self._config.points
               for seed in self._config.seeds)

  def describe(self, point):
    """Returns a line on a point: its name, what is done, its command."""
    done = sum(self._is_finished(point, seed) for seed in self._config.seeds)
    command = ['python', '-m', 'scribble_jax.main',
               *self._run_flags(point, self._config.seeds[0])]
    return (f'{point.name}: {done} of {len(self._config.seeds)} seeds\n  '
            f'{shlex.join(command)}')

  def _folder(self, point, seed):
    return self.workdir / point.name / f'seed_{seed}'

  def _beside(self, point, seed, suffix):
    """Returns a file beside a run's folder."""
    folder = self._folder(point, seed)
    return folder.with_name(folder.name + suffix)

  def _failure(self, point, seed):
    return self._beside(point, seed, '.failed.json')

  def _has_results(self, folder):
    return all((folder / name).exists() for name in self._needed)

  def _is_finished(self, point, seed):
    return self._has_results(self._folder(point, seed))

  def _records(self, point):
    """Returns the folder of the records that points of the same data share."""
    name = '_'.join(f'{key.removeprefix("data.")}={value}'
                    for key, value in point.overrides.items()
                    if key.startswith('data.'))
    return self.workdir / _RECORDS / (name or 'base') / _RECORDS

  def _run_flags(self, point, seed):
    """Returns the flags of a run's training."""
    return [
        sweep_points.config_flag(self._config.base, point.variant),
        f'--workdir={self._folder(point, seed)}',
        f'--config.data.records={self._records(point)}',
        *self._description['flags'],
        *sweep_points.override_flags(point.overrides),
        f'--config.seed={seed}']

  def _run_one(self, point, seed, cores):
    """Runs one point with one seed to its end.

    Returns:
      A line on what came of it.
    """
    if self._stopping.is_set():
      return 'not started'
    start = time.monotonic()
    try:
      with process.alone(self._beside(point, seed, '.lock')) as lock:
        if lock is None:
          return 'runs in another process'
        self._failure(point, seed).unlink(missing_ok=True)
        message = self._train(point, seed, lock, cores)
      if self._is_finished(point, seed):
        self._drop_records(point)
        figures = formats.read_json(self._folder(point, seed) / _TRAINED) or {}
        minutes = (time.monotonic() - start) / 60
        measure = results.measure(figures)
        return (f'{100 * figures[measure]:.2f} % {results.MEASURES[measure]} '
                if measure else 'finished ') + f'after {minutes:.1f} minutes'
      if self._stopping.is_set():
        return 'interrupted'
      message = message or 'ended without its figures'
      formats.write_json(self._failure(point, seed), {
          'message': message,
          'log': str(self._beside(point, seed, '.log'))})
    except (OSError, json.JSONDecodeError) as error:  # The other runs go on.
      message = str(error)
    return f'failed: {message}'

  def _train(self, point, seed, lock, cores):
    """Trains and evaluates, as far as needed; returns what failed, or None."""
    folder, log = self._folder(point, seed), self._beside(point, seed, '.log')
    for module, result, flags in (
        ('scribble_jax.main', _TRAINED, self._run_flags(point, seed)),
        ('scribble_jax.evaluate', _EVALUATED, [f'--workdir={folder}'])):
      if result in self._needed and not (folder / result).exists():
        message = process.run(module, flags, log, lock, cores, self._stopping)
        if message or not (folder / result).exists():
          return message
    return None

  def _drop_records(self, point):
    """Deletes records that no run of the sweep needs any more."""
    sharing = [other for other in self._config.points
               if self._records(other) == self._records(point)]
    if all(self._is_finished(other, seed) for other in sharing
           for seed in self._config.seeds):
      folder = self._records(point)
      record_folders.remove_unused(folder)
      with contextlib.suppress(OSError):  # Not empty: another process reads.
        folder.rmdir()
        folder.parent.rmdir()
