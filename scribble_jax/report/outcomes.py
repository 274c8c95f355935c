"""What a study found: tables and sentences on the mIoU of its settings."""

from scribble_jax.report import axes
from scribble_jax.report import comparison
from scribble_jax.tables import Table
from scribble_jax.tables import number
from scribble_jax.tables import signed


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
  first, seeds = study.settings[0], study.seeds
  rows = []
  for setting in study.settings:
    total = len(setting.runs) + len(setting.unfinished)
    miou, found = setting.miou, setting.by_seed
    rows.append((
        setting.label, f'{len(setting.runs)} of {total}', *_mean(miou),
        *_mean(None if setting is first else setting.minus(first), signed),
        *(number(found.get(seed)) for seed in seeds)))
  return Table(
      ('Setting', 'Seeds done', 'Mean mIoU (%)', 'Std. dev. (points)',
       'Difference to the first (points)', 'Its std. dev. (points)',
       *(f'Seed {seed}' for seed in seeds)),
      tuple(rows), _best_of_several(study))


def _mean(spread, form=number):
  """Returns mean and standard deviation as texts; '' for what there is none."""
  return (form(spread and spread.mean), number(spread and spread.deviation))


def seeds_note(study):
  """Returns how to read means and spreads over seeds, '' for single seeds."""
  if not study.is_sweep or len(study.seeds) < 2:
    return ''
  note = ('Differences are taken seed by seed, over the seeds that both '
          'settings have finished.')
  if study.same_inputs:
    note += (' Seeds vary the training of stage 2 (initial weights, order, '
             'augmentation); generated pseudo-labels and deformations are the '
             'same for all seeds.')
  return note


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
    gaps = {setting.label: gap.mean for setting in others
            if (gap := setting.minus(first))}
    furthest = max(gaps, key=lambda label: abs(gaps[label]), default=None)
    if furthest is not None:
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
  changes = [f'{label} {ends.first.mean:.2f} → {ends.second.mean:.2f} % '
             f'({ends.difference.mean:+.2f} points{_over(ends)})'
             for label, ends in axes.ends(found) if ends]
  if not changes:
    return ''
  xs = axes.positions(found)
  return (f'{study.axis_label(axis)} from {xs[0]:.4g} to {xs[-1]:.4g}: '
          f'{"; ".join(changes)}.')


def _over(ends):
  """Returns over which seeds a Pair is, if not over all."""
  count = len(ends.difference.values)
  return (f' over {count} common seed{"s" * (count > 1)}'
          if ends.is_partial else '')


def along_axis(study, axis, lines):
  """Returns the mIoU of every line at every x, and how far lines are apart."""
  several = any(len(setting.runs) > 1 for line in lines
                for setting in line.settings.values())
  columns = [study.axis_label(axis)]
  for line in lines:
    columns += [f'{line.label} (%)'] + ['std. dev.'] * several
  for line in lines[1:]:
    columns += ([f'{line.label} minus {lines[0].label} (points)']
                + ['its std. dev.'] * several)
  rows = []
  for x in axes.positions(lines):
    settings = [line.settings.get(x) for line in lines]
    row = [f'{x:.6g}']
    for setting in settings:
      row += _mean(setting and setting.miou)[:1 + several]
    for setting in settings[1:]:
      gap = setting and settings[0] and setting.minus(settings[0])
      row += _mean(gap, signed)[:1 + several]
    rows.append(tuple(row))
  return Table(tuple(columns), tuple(rows))


def between_ends(lines):
  """Returns what lines lose from the smallest to the largest x.

  Args:
    lines: Of one axis.

  Returns:
    A Table over the seeds that both ends have finished, or None unless two
    lines have both ends.
  """
  found, xs = axes.ends(lines), axes.positions(lines)
  if len(found) < 2:
    return None
  return Table(
      ('Series', 'Common seeds', f'mIoU at {xs[0]:.4g} (%)',
       f'mIoU at {xs[-1]:.4g} (%)', 'Loss (points)', 'Its std. dev. (points)'),
      tuple((label, *_loss(ends)) for label, ends in found))


def _loss(ends):
  """Returns the cells of a Pair, or of None."""
  if ends is None:
    return ('0', *[''] * 4)
  start, end = ends.first.mean, ends.second.mean
  return (str(len(ends.difference.values)), number(start), number(end),
          number(start - end), number(ends.difference.deviation))
