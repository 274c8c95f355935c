"""Tables of a study's runs: classes, images, configs, times and machines."""

import datetime
import math
import statistics

import numpy as np

from scribble_jax.report import runs as runs_lib
from scribble_jax.tables import Table
from scribble_jax.tables import number

_MACHINE = ('devices', 'processor', 'cores', 'platform', 'commit')


def class_names(study):
  """Returns the names of all classes of the runs, in order."""
  return list(dict.fromkeys(
      name for run in study.runs for name in run.by_class))


def class_measure(study):
  """Returns the name of a class's figure, such as 'IoU'."""
  return 'IoU' if study.measure == 'mIoU' else study.measure


def by_class(study):
  """Returns a table of figures by class, with a column for each setting."""
  settings = study.measured
  by_setting = [setting.by_class() for setting in settings]
  heads = [f'{class_measure(study)} (%)'] if len(settings) == 1 else [
      setting.label for setting in settings]
  return Table(('Class', *heads), tuple(
      (name, *(number(found.get(name)) for found in by_setting))
      for name in class_names(study)))


def confusion_shares(setting):
  """Returns a setting's confusion matrix, summed over its seeds.

  Args:
    setting: A Setting with a score.

  Returns:
    None if no run has a matrix, or a tuple of
    shares: [C, C] per cent of each ground-truth class; NaN for a class without
      pixels.
    names: Class names.
    num_runs: Number of runs with a matrix.
  """
  names = list(setting.by_class())
  found = [np.asarray(run.confusion, float) for run in setting.runs
           if run.confusion and list(run.by_class) == names]
  found = [counts for counts in found
           if counts.shape == (len(names), len(names))]
  if not found:
    return None
  counts = np.sum(found, axis=0)
  totals = counts.sum(1, keepdims=True)
  shares = np.divide(100 * counts, totals, where=totals > 0,
                     out=np.full_like(counts, math.nan))
  return shares, names, len(found)


def confusion(shares, names):
  """Returns the shares of `confusion_shares` as a table."""
  return Table(('Ground truth', *names), tuple(
      (name, *('' if math.isnan(share) else number(share) for share in row))
      for name, row in zip(names, shares, strict=True)))


def images(rows):
  """Returns a table of some rows of `Run.images`."""
  figures = (('mIoU (%)', 'Pixel accuracy (%)') if len(rows[0]) == 3
             else ('stroke accuracy (%)',))
  return Table(('Image', *figures), tuple(
      (name, *(number(100 * share) for share in shares))
      for name, *shares in rows))


def config_differences(study):
  """Returns a table of the config's keys that differ between settings.

  Args:
    study: A Study.

  Returns:
    A Table with a row for each setting; None if only the seed differs.
  """
  settings = study.finished
  configs = [runs_lib.flat(setting.runs[0].config) for setting in settings]
  keys = dict.fromkeys(key for config in configs for key in config)
  differing = [key for key in keys if key != 'seed'
               and len({config.get(key) for config in configs}) > 1]
  if not differing:
    return None
  return Table(
      ('Setting' if study.is_sweep else 'Run', *differing),
      tuple((setting.label, *(config.get(key, '') for key in differing))
            for setting, config in zip(settings, configs, strict=True)))


def times(study):
  """Returns a table of each run's training time over all its starts."""
  return Table(
      ('Run', 'Seed', 'Started', 'Training of stage 2', 'Starts', 'Images/s',
       *([f'Best {study.measure} (%)', 'at step'] if study.measure else [])),
      tuple(_times(setting.label, run)
            for setting in study.finished for run in setting.runs))


def whole_time(study):
  """Returns [sentence about the time of all runs]; [] with fewer than two."""
  known = [run.facts['seconds'] for run in study.runs
           if run.facts.get('seconds') is not None]
  if len(known) < 2:
    return []
  return [f'The training of stage 2 took {_clock(sum(known))} in {len(known)} '
          f'runs with all their starts, {_clock(statistics.median(known))} in '
          'the median (hours:minutes:seconds). Stage 1 is not included.']


def _clock(seconds):
  return str(datetime.timedelta(seconds=round(seconds)))


def _moment(text):
  """Returns an ISO time without its seconds; other texts unchanged."""
  try:
    return f'{datetime.datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}'.strip()
  except (TypeError, ValueError):
    return str(text)


def _times(label, run):
  figures, seconds = run.validated or {}, run.facts.get('seconds')
  cells = (label, str(run.config.get('seed', '')),
           _moment(run.facts.get('started', '')),
           '' if seconds is None else _clock(seconds),
           str(run.facts.get('starts', '')),
           number(figures.get('images_per_second'), '.1f'))
  if not run.measure:
    return cells
  best = figures.get(f'best_{run.measure}')
  return (*cells, number(best and 100 * best),
          number(figures.get('best_step'), ','))


def machine(study):
  """Returns a table of the runs' hardware and versions; None if unknown."""
  entries = {}
  for run in study.runs:
    known = {key: run.facts.get(key) for key in _MACHINE}
    for name, value in (known | run.facts.get('versions', {})).items():
      if value is not None:
        entries.setdefault(name, {})[str(value)] = None
  rows = tuple((name, '; '.join(values)) for name, values in entries.items())
  return Table(('With', 'Version'), rows) if rows else None
