"""Runs the points of a sweep as processes, each in its own folder."""

import concurrent.futures
import json
import os
import pathlib
import queue
import shlex
import shutil
import subprocess
import sys
import threading
import time

from tqdm import tqdm

from scribble_jax import atomic
from scribble_jax import results
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.sweep import points

_DESCRIPTION = 'sweep.json'
_FINISHED = 'metrics.json'  # The last file that training writes.
_RECORDS = 'records'
# A run that is told to stop saves a checkpoint first.
_STOP_SECONDS = 120


class Sweep:
  """A sweep in its folder.

  Attributes:
    workdir: Absolute pathlib.Path.
  """

  def __init__(self, config, workdir, common_flags, reused=()):
    """Looks at what is there already.

    Args:
      config: ConfigDict as in configs/robustness.py.
      workdir: Folder of the sweep.
      common_flags: Flags of every run, behind those of the config.
      reused: Folders of other sweeps, whose finished runs of the same settings
        need not be repeated.

    Raises:
      UserError: The folder holds another sweep, or a reused one none.
    """
    self.workdir = pathlib.Path(workdir).absolute()
    self._config = config
    self._flags = [*config.flags, *common_flags]
    self._stopping = threading.Event()
    self._check_stored()
    self._reused = [(pathlib.Path(folder).absolute(),
                     _read_description(pathlib.Path(folder)))
                    for folder in reused]

  def _description(self):
    config = self._config
    return {
        'title': config.title, 'question': config.question,
        'base': config.base, 'flags': self._flags, 'seeds': [*config.seeds],
        'axis_labels': config.axis_labels.to_dict(),
        'log_axes': [*config.log_axes],
        'command': ['python', '-m', 'scribble_jax.sweep', *sys.argv[1:]],
        'points': [point._asdict() for point in config.points]}

  def _check_stored(self):
    """Refuses a folder whose runs have other settings."""
    if not (self.workdir / _DESCRIPTION).exists():
      return
    stored = _read_description(self.workdir)
    wanted = json.loads(json.dumps(self._description()))
    problems = [f'{key} was {stored[key]!r} and is now {wanted[key]!r}'
                for key in ('base', 'flags') if stored[key] != wanted[key]]
    before = {point['name']: point for point in stored['points']}
    problems += [
        f'point {point["name"]} was {before[point["name"]][key]!r} and is now '
        f'{point[key]!r}' for point in wanted['points']
        for key in ('overrides', 'variant')
        if before.get(point['name'], point)[key] != point[key]]
    raise_problems(problems, f'{self.workdir} holds another sweep. Name '
                   'another --workdir, or use the flags of that one.')

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
    self._keep_description()
    for point in chosen:
      self._take_over(point)
    runs = [(point, seed) for seed in self._config.seeds for point in chosen]
    waiting = [run for run in runs if not self._is_finished(*run)]
    for point, seed in waiting:
      self._failure(point, seed).unlink(missing_ok=True)
    slots = queue.SimpleQueue()  # Of the cores, as people count: from 0.
    for slot in range(parallel):
      slots.put(slot)

    def work(run):
      """Runs one of them on free cores."""
      slot = slots.get()
      try:
        return run, self._run_one(*run, _cores(slot, parallel))
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
    try:
      with atomic.only_one_process(self.workdir / _DESCRIPTION):
        results.write_json(self.workdir / _DESCRIPTION, self._description())
    except OSError as error:
      raise UserError(f'Cannot write to {self.workdir}: {error}. Set --workdir '
                      'to a folder that can be written.') from error

  def _take_over(self, point):
    """Links finished runs of the same settings from the reused sweeps."""
    wanted = self._description()
    same = lambda stored, other: (
        stored['base'] == wanted['base'] and stored['flags'] == wanted['flags']
        and other['variant'] == point.variant
        and other['overrides'] == point.overrides)
    for folder, stored in self._reused:
      for name in (other['name'] for other in stored['points']
                   if same(stored, other)):
        for seed in self._config.seeds:
          source = folder / name / f'seed_{seed}'
          run = self._folder(point, seed)
          if (source / _FINISHED).exists() and not run.exists():
            run.parent.mkdir(parents=True, exist_ok=True)
            run.symlink_to(os.path.relpath(source, run.parent))

  def _summarise(self, runs):
    """Says what is finished; returns whether all is."""
    missing = [run for run in runs if not self._is_finished(*run)]
    failed = [run for run in missing if self._failure(*run).exists()]
    print(f'{len(runs) - len(missing)} of {len(runs)} runs are finished, '
          f'{len(failed)} failed.')
    for point, seed in failed:
      failure = json.loads(self._failure(point, seed).read_text())
      print(f'  {point.name}, seed {seed}: {failure["message"]} '
            f'({failure["log"]})')
    return not missing

  def has_results(self):
    """Whether any run is finished."""
    return any(self._is_finished(point, seed) for point in self._config.points
               for seed in self._config.seeds)

  def describe(self, point):
    """Returns a line on a point: its name, what is done, its command."""
    done = sum(self._is_finished(point, seed) for seed in self._config.seeds)
    command = self._command(point, self._config.seeds[0])
    return (f'{point.name}: {done} of {len(self._config.seeds)} seeds\n  '
            + shlex.join(['python', *command[1:]]))

  def _folder(self, point, seed):
    return self.workdir / point.name / f'seed_{seed}'

  def _failure(self, point, seed):
    return self._folder(point, seed).with_suffix('.failed.json')

  def _is_finished(self, point, seed):
    return (self._folder(point, seed) / _FINISHED).exists()

  def _records(self, point):
    """Returns the folder of the records that points of the same data share."""
    name = '_'.join(f'{key.removeprefix("data.")}={value}'
                    for key, value in point.overrides.items()
                    if key.startswith('data.'))
    return self.workdir / _RECORDS / (name or 'base')

  def _command(self, point, seed):
    return [
        sys.executable, '-m', 'scribble_jax.main',
        points.config_flag(self._config.base, point.variant),
        f'--workdir={self._folder(point, seed)}',
        f'--config.data.records={self._records(point) / _RECORDS}',
        *self._flags, *points.override_flags(point.overrides),
        f'--config.seed={seed}']

  def _run_one(self, point, seed, cores):
    """Runs one point with one seed to its end.

    Returns:
      A line on what came of it.
    """
    if self._stopping.is_set():
      return 'not started'
    start = time.monotonic()
    folder = self._folder(point, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix('.log')
    with open(log, 'w') as output:
      process = subprocess.Popen(
          self._command(point, seed), stdout=output, stderr=subprocess.STDOUT,
          env=os.environ | {'PYTHONUNBUFFERED': '1'},
          process_group=0)  # Ctrl-C reaches it through `_stop`.
      if cores:
        os.sched_setaffinity(process.pid, cores)
      self._wait(process)
    minutes = (time.monotonic() - start) / 60
    if self._is_finished(point, seed):
      self._drop_records(point)
      figures = json.loads((folder / _FINISHED).read_text())
      return f'{100 * figures["miou"]:.2f} % mIoU after {minutes:.1f} minutes'
    if self._stopping.is_set():
      return 'interrupted'
    message = _last_line(log) if process.returncode else 'stopped by a signal'
    results.write_json(self._failure(point, seed), {
        'message': message, 'exit_code': process.returncode, 'log': str(log)})
    return f'failed: {message}'

  def _wait(self, process):
    """Waits for a run's end; asks it to stop once the sweep does."""
    while process.poll() is None:
      if self._stopping.wait(timeout=0.5):
        process.terminate()
        try:
          process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
          process.kill()
          process.wait()

  def _drop_records(self, point):
    """Deletes records that no run of the sweep needs any more."""
    sharing = [other for other in self._config.points
               if self._records(other) == self._records(point)]
    if all(self._is_finished(other, seed) for other in sharing
           for seed in self._config.seeds):
      shutil.rmtree(self._records(point), ignore_errors=True)


def _read_description(folder):
  """Returns a sweep's description as `Sweep` keeps it.

  Raises:
    UserError: There is none.
  """
  try:
    return json.loads((folder / _DESCRIPTION).read_text())
  except (OSError, ValueError) as error:
    raise UserError(f'{folder} is no sweep: {error}. Name the folder of a '
                    'sweep.') from error


def _cores(slot, parallel):
  """Returns a slot's share of the cores; None for all, or if unknown."""
  if parallel == 1 or not hasattr(os, 'sched_getaffinity'):
    return None
  available = sorted(os.sched_getaffinity(0))
  share = max(1, len(available) // parallel)
  first = slot * share % len(available)
  return set(available[first:first + share])


def _last_line(log):
  """Returns the error in a run's output, or else its last line."""
  text = pathlib.Path(log).read_text(errors='replace').replace('\r', '\n')
  lines = [line for line in text.splitlines() if line.strip()]
  errors = [line for line in lines if line.startswith('error: ')]
  return [*(errors or lines or ['no output'])][-1].removeprefix('error: ')
