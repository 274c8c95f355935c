"""What a study found: tables and sentences on the mIoU of its settings."""

from scribble_jax.report import axes
from scribble_jax.report import comparison
from scribble_jax.report.tables import Table
from scribble_jax.report.tables import number
from scribble_jax.report.tables import signed


def results(study):
  """Returns the table of settings, or of runs that were named one by one."""
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
  first = study.settings[0]
  rows = []
  for setting in study.settings:
    total = len(setting.runs) + len(setting.unfinished)
    done, miou = f'{len(setting.runs)} of {total}', setting.miou
    if miou is None:
      rows.append((setting.label, done, *[''] * 5))
      continue
    difference = (None if first.miou is None or setting is first
                  else miou.mean - first.miou.mean)
    rows.append((
        setting.label, done, number(miou.mean), number(miou.low),
        number(miou.high), number(miou.deviation), signed(difference)))
  return Table(
      ('Setting', 'Seeds done', 'Mean mIoU (%)', 'Lowest seed', 'Highest seed',
       'Std. dev. (points)', 'Difference to the first (points)'),
      tuple(rows), _best_of_several(study))


def _best_of_several(study):
  """Returns the index of the best setting, to stand out among others."""
  return frozenset({study.settings.index(study.best)}
                   if len(study.finished) > 1 else ())


def unfinished(study):
  """Returns the table of runs without results."""
  return Table(('Setting', 'Seed', 'State', 'Detail'), tuple(
      (setting.label, str(entry.seed), entry.state, entry.detail)
      for setting in study.settings for entry in setting.unfinished))


def findings(study):
  """Returns sentences on what a sweep found."""
  sentences = [_along(study, axis) for axis in study.axes]
  finished, first = study.finished, study.settings[0]
  if len(finished) > 1 and (study.axes or not first.runs):
    worst = min(finished, key=lambda setting: setting.miou.mean)
    sentences.append(f'Lowest of {len(finished)}: {worst.label}, '
                     f'{worst.miou.mean:.2f} %.')
  others = [setting for setting in finished if setting is not first]
  if not study.axes and first.runs and others:
    gaps = {setting.label: setting.miou.mean - first.miou.mean
            for setting in others}
    furthest = max(gaps, key=lambda label: abs(gaps[label]))
    sentences.append(f'Furthest from {first.label}: {furthest}, '
                     f'by {gaps[furthest]:+.2f} points.')
  ranges = [setting.miou.high - setting.miou.low for setting in finished
            if len(setting.runs) > 1]
  if ranges:
    sentences.append(f'Seeds of one setting lie up to {max(ranges):.2f} points '
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
  several = any(len(setting.runs) > 1 for line in lines
                for setting in line.settings.values())
  columns = [study.axis_label(axis)]
  for line in lines:
    columns += [f'{line.label} (%)'] + ['std. dev.'] * several
  columns += [f'{line.label} minus {lines[0].label} (points)'
              for line in lines[1:]]
  rows = []
  for x in axes.positions(lines):
    spreads = [line.settings[x].miou if x in line.settings else None
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
