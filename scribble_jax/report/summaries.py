"""Tables and sentences on a study, from its numbers alone."""

import datetime
import math
import statistics

import numpy as np

from scribble_jax.report import axes
from scribble_jax.report import comparison
from scribble_jax.report import runs as runs_lib
from scribble_jax.report.tables import Table
from scribble_jax.report.tables import number
from scribble_jax.report.tables import signed

_MACHINE = ('devices', 'processor', 'cores', 'platform', 'commit')
_SEED = 'seed'  # Key of the config that differs within a point.


def results(study):
  """Returns the table of all points, or of runs that were named one by one."""
  return _sweep_results(study) if study.is_sweep else _run_results(study)


def _run_results(study):
  rows = []
  for run in study.runs:
    step = run.figures['step']
    rows.append((
        run.name, comparison.network(run.config),
        number(100 * run.figures['miou']),
        number(100 * run.figures['pixel_accuracy']),
        '' if step is None else f'{step:,}',
        'evaluate' if 'protocol' in run.figures else 'validation'))
  return Table(('Run', 'Network', 'mIoU (%)', 'Pixel accuracy (%)', 'Steps',
                'Measured by'), tuple(rows), _best_of_several(study))


def _sweep_results(study):
  first = study.points[0]
  rows = []
  for point in study.points:
    total = len(point.runs) + len(point.unfinished)
    done, miou = f'{len(point.runs)} of {total}', point.miou
    if miou is None:
      rows.append((point.label, done, *[''] * 5))
      continue
    difference = (None if first.miou is None or point is first
                  else miou.mean - first.miou.mean)
    rows.append((
        point.label, done, number(miou.mean), number(miou.low),
        number(miou.high), number(miou.deviation), signed(difference)))
  return Table(
      ('Point', 'Seeds done', 'Mean mIoU (%)', 'Lowest seed', 'Highest seed',
       'Std. dev. (points)', 'Difference to the first (points)'),
      tuple(rows), _best_of_several(study))


def _best_of_several(study):
  """Returns the index of the best point, to stand out among others."""
  return frozenset({study.points.index(study.best)}
                   if len(study.finished) > 1 else ())


def unfinished(study):
  """Returns the table of runs without results."""
  return Table(('Point', 'Seed', 'State', 'Detail'), tuple(
      (point.label, str(entry.seed), entry.state, entry.detail)
      for point in study.points for entry in point.unfinished))


def findings(study):
  """Returns sentences on what a sweep found."""
  sentences = [_along(study, axis) for axis in study.axes]
  finished, first = study.finished, study.points[0]
  if len(finished) > 1 and (study.axes or not first.runs):
    worst = min(finished, key=lambda point: point.miou.mean)
    sentences.append(f'Lowest of {len(finished)}: {worst.label}, '
                     f'{worst.miou.mean:.2f} %.')
  others = [point for point in finished if point is not first]
  if not study.axes and first.runs and others:
    gaps = {point.label: point.miou.mean - first.miou.mean for point in others}
    furthest = max(gaps, key=lambda label: abs(gaps[label]))
    sentences.append(f'Furthest from {first.label}: {furthest}, '
                     f'by {gaps[furthest]:+.2f} points.')
  ranges = [point.miou.high - point.miou.low for point in finished
            if len(point.runs) > 1]
  if ranges:
    sentences.append(f'Seeds of one point lie up to {max(ranges):.2f} points '
                     'apart.')
  return [sentence for sentence in sentences if sentence]


def _along(study, axis):
  """Returns what the lines of an axis lose from end to end, '' without ends."""
  found = axes.lines(study, axis)
  changes = [f'{label} {start:.2f} → {end:.2f} % ({end - start:+.2f} points)'
             for label, start, end in axes.ends(found)]
  if not changes:
    return ''
  xs = axes.positions(found)
  return (f'{study.axis_label(axis)} from {xs[0]:.4g} to {xs[-1]:.4g}: '
          f'{"; ".join(changes)}.')


def along_axis(study, axis, lines):
  """Returns the mIoU of every line at every x, and how far lines are apart."""
  several = any(len(point.runs) > 1 for line in lines
                for point in line.points.values())
  columns = [study.axis_label(axis)]
  for line in lines:
    columns += [f'{line.label} (%)'] + ['std. dev.'] * several
  columns += [f'{line.label} minus {lines[0].label} (points)'
              for line in lines[1:]]
  rows = []
  for x in axes.positions(lines):
    spreads = [line.points[x].miou if x in line.points else None
               for line in lines]
    row = [f'{x:.6g}']
    for spread in spreads:
      row += [number(spread and spread.mean)]
      row += [number(spread and spread.deviation)] * several
    row += [signed(spread.mean - spreads[0].mean
                   if spread and spreads[0] else None)
            for spread in spreads[1:]]
    rows.append(tuple(row))
  return Table(tuple(columns), tuple(rows))


def between_ends(lines):
  """Returns what lines lose from the smallest to the largest x.

  Args:
    lines: Of one axis.

  Returns:
    A Table, or None unless two lines have both ends.
  """
  found, xs = axes.ends(lines), axes.positions(lines)
  if len(found) < 2:
    return None
  return Table(
      ('Series', f'mIoU at {xs[0]:.4g} (%)', f'mIoU at {xs[-1]:.4g} (%)',
       'Loss (points)'),
      tuple((label, number(start), number(end), number(start - end))
            for label, start, end in found))


def published(study):
  """Returns the table of a study beside the published figures."""
  points = [study.best] if study.is_sweep else study.finished
  alone = len(points) == 1 and not study.is_sweep
  own = [('this run' if alone else point.label,
          comparison.network(point.runs[0].config), point.miou.mean)
         for point in points]
  return comparison.comparison(own, 'This run' if alone else 'The best here',
                               comparison.is_comparable(study.runs))


def class_names(study):
  """Returns the classes of all runs, in order."""
  return list(dict.fromkeys(
      name for run in study.runs for name in run.figures['iou']))


def iou(study):
  """Returns the table of IoU by class, a column a point."""
  points = study.finished
  by_point = [point.iou() for point in points]
  heads = ['IoU (%)'] if len(points) == 1 else [
      point.label for point in points]
  return Table(('Class', *heads), tuple(
      (name, *(number(found.get(name)) for found in by_point))
      for name in class_names(study)))


def confusion_shares(point):
  """Returns a point's confusion matrix, summed over its seeds.

  Args:
    point: With finished runs.

  Returns:
    (per cent of each ground-truth class [C, C] with NaN where there is none,
    class names, number of runs), or None without any matrix.
  """
  names = list(point.runs[0].figures['iou'])
  found = [np.asarray(run.confusion, float) for run in point.runs
           if run.confusion and list(run.figures['iou']) == names]
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
  """Returns `confusion_shares` as a table."""
  return Table(('Ground truth', *names), tuple(
      (name, *('' if math.isnan(share) else number(share) for share in row))
      for name, row in zip(names, shares, strict=True)))


def images(rows):
  """Returns a table of val images, (id, mIoU, pixel accuracy)."""
  return Table(('Image', 'mIoU (%)', 'Pixel accuracy (%)'), tuple(
      (name, number(100 * miou), number(100 * accuracy))
      for name, miou, accuracy in rows))


def config_differences(study):
  """Returns the keys of the config that differ between runs, besides the seed.

  Args:
    study: A Study.

  Returns:
    A Table with a row a point, or None if nothing differs.
  """
  points = study.finished
  configs = [runs_lib.flat(point.runs[0].config) for point in points]
  keys = dict.fromkeys(key for config in configs for key in config)
  differing = [key for key in keys if key != _SEED
               and len({config.get(key) for config in configs}) > 1]
  if not differing:
    return None
  return Table(
      ('Point' if study.is_sweep else 'Run', *differing),
      tuple((point.label, *(config.get(key, '') for key in differing))
            for point, config in zip(points, configs, strict=True)))


def times(study):
  """Returns when and how long each run trained."""
  return Table(
      ('Run', 'Seed', 'Started', 'Training time', 'Images/s', 'Best mIoU (%)',
       'at step'),
      tuple(_times(point.label, run)
            for point in study.finished for run in point.runs))


def whole_time(study):
  """Returns a sentence on the time of several runs, in a list; [] of one."""
  known = [run.facts['seconds'] for run in study.runs
           if run.facts.get('seconds') is not None]
  if len(known) < 2:
    return []
  return [f'{len(known)} runs trained for {_clock(sum(known))} in all, '
          f'{_clock(statistics.median(known))} in the median '
          '(hours:minutes:seconds).']


def _clock(seconds):
  return str(datetime.timedelta(seconds=round(seconds)))


def _moment(text):
  """Returns an ISO time for people; what is none as it is."""
  try:
    return f'{datetime.datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}'.strip()
  except (TypeError, ValueError):
    return str(text)


def _times(label, run):
  figures = run.validated or {}
  seconds, speed = run.facts.get('seconds'), figures.get('images_per_second')
  best, step = figures.get('best_miou'), figures.get('best_step')
  return (label, str(run.config.get('seed', '')),
          _moment(run.facts.get('started', '')),
          '' if seconds is None else _clock(seconds),
          '' if speed is None else f'{speed:.1f}',
          number(best and 100 * best), '' if step is None else f'{step:,}')


def machine(study):
  """Returns what runs were trained with: hardware and versions; or None."""
  entries = {}
  for run in study.runs:
    known = {key: run.facts.get(key) for key in _MACHINE}
    for name, value in (known | run.facts.get('versions', {})).items():
      if value is not None:
        entries.setdefault(name, {})[str(value)] = None
  rows = tuple((name, '; '.join(values)) for name, values in entries.items())
  return Table(('With', 'Version'), rows) if rows else None
