"""Tables and sentences about the scores of a study's settings."""

from scribble_jax.report import comparison
from scribble_jax.report import sweep_axes
from scribble_jax.tables import Table
from scribble_jax.tables import number


def results(study):
  """Returns the table of a sweep's settings or of single runs."""
  if study.is_sweep:
    return _sweep_results(study)
  with_pixels = study.measure == 'mIoU'
  rows = []
  for run in study.runs:
    step, accuracy = run.figures['step'], run.figures.get('pixel_accuracy')
    rows.append((
        run.name, comparison.network(run.config),
        *[number(run.score)] * bool(study.measure),
        *[number(accuracy and 100 * accuracy)] * with_pixels,
        number(step, ','), '' if run.score is None else
        'evaluate' if 'protocol' in run.figures else 'validation'))
  return Table(('Run', 'Network', *[f'{study.measure} (%)'] * bool(
      study.measure), *['Pixel accuracy (%)'] * with_pixels, 'Steps',
                'Measured by'), tuple(rows), _best_of_several(study))


def _sweep_results(study):
  first, seeds = study.settings[0], study.seeds
  if not study.measure:
    return Table(('Setting', 'Seeds done'), tuple(
        (setting.label, _done(setting)) for setting in study.settings))
  rows = []
  for setting in study.settings:
    found = setting.by_seed
    rows.append((
        setting.label, _done(setting), *_mean(setting.score),
        *_mean(None if setting is first else setting.minus(first), '+.2f'),
        *(number(found.get(seed)) for seed in seeds)))
  return Table(
      ('Setting', 'Seeds done', f'Mean {study.measure} (%)',
       'Std. dev. (points)',
       'Difference to the first (points)', 'Its std. dev. (points)',
       *(f'Seed {seed}' for seed in seeds)),
      tuple(rows), _best_of_several(study))


def _done(setting):
  return (f'{len(setting.runs)} of '
          f'{len(setting.runs) + len(setting.unfinished)}')


def _mean(spread, form='.2f'):
  """Returns the texts of a Spread's mean and deviation; '' for None."""
  return (number(spread and spread.mean, form),
          number(spread and spread.deviation))


def headline(study):
  """Returns the headline of a study with scores.

  Returns:
    score: The best score: '72.50 %'.
    measure: Name of the score: 'mIoU'.
    origin: Which setting or network has that score.
  """
  best = study.best
  if len(study.settings) > 1:
    origin = f'Highest of {len(study.measured)}: {best.label}'
    if len(best.runs) > 1:
      origin += f' (mean of {len(best.runs)} seeds)'
  else:
    origin = comparison.network(best.runs[0].config)
    accuracy = best.runs[0].figures.get('pixel_accuracy')
    if accuracy is not None:
      text = f'Pixel accuracy {100 * accuracy:.2f} %'
      origin = f'{text}, {origin}' if origin else text
  return f'{best.score.mean:.2f} %', study.measure, origin


def seeds_note(study):
  """Returns what means and spreads cover; '' for a single seed."""
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
  """Returns {index of the best setting} if several have a score, else {}."""
  return frozenset({study.settings.index(study.best)}
                   if len(study.measured) > 1 else ())


def unfinished(study):
  """Returns a table of the runs without results."""
  return Table(('Setting', 'Seed', 'State', 'Detail'), tuple(
      (run.label, str(run.seed), run.state, run.detail)
      for run in study.unfinished))


def findings(study):
  """Returns sentences about the results of a sweep; [] for single runs."""
  if not study.is_sweep:
    return []
  sentences = [_along(study, axis) for axis in study.axes]
  measured, first = study.measured, study.settings[0]
  if len(measured) > 1 and (study.axes or not first.score):
    worst = min(measured, key=lambda setting: setting.score.mean)
    sentences.append(f'Lowest of {len(measured)}: {worst.label}, '
                     f'{worst.score.mean:.2f} %.')
  gaps = {} if study.axes else {
      setting.label: gap.mean for setting in measured
      if setting is not first and (gap := setting.minus(first))}
  if gaps:
    furthest = max(gaps, key=lambda label: abs(gaps[label]))
    sentences.append(f'Furthest from {first.label}: {furthest}, '
                     f'by {gaps[furthest]:+.2f} points.')
  ranges = [setting.score.high - setting.score.low for setting in measured
            if len(setting.by_seed) > 1]
  if ranges:
    sentences.append(f'Seeds of one setting lie up to {max(ranges):.2f} points '
                     'apart.')
  return [sentence for sentence in sentences if sentence]


def _along(study, axis):
  """Returns how scores change along an axis; '' if no line has both ends."""
  found = sweep_axes.lines(study, axis)
  changes = [f'{label} {ends.first.mean:.2f} → {ends.second.mean:.2f} % '
             f'({ends.difference.mean:+.2f} points{_over(ends)})'
             for label, ends in sweep_axes.ends(found) if ends]
  if not changes:
    return ''
  xs = sweep_axes.positions(found)
  return (f'{study.axis_label(axis)} from {xs[0]:.4g} to {xs[-1]:.4g}: '
          f'{"; ".join(changes)}.')


def _over(ends):
  """Returns how many seeds a Pair covers, or '' if it covers all."""
  count = len(ends.difference.values)
  return (f' over {count} common seed{"s" * (count > 1)}'
          if ends.is_partial else '')


def along_axis(study, axis, lines):
  """Returns a table of every line's score at every x of an axis.

  Further columns are the differences between the first line and the others.

  Args:
    study: A Study.
    axis: Name of one of its axes.
    lines: The axis' lines, from `sweep_axes.lines`.
  """
  several = sweep_axes.has_several_seeds(lines)
  columns = [study.axis_label(axis)]
  for line in lines:
    columns += [f'{line.label} (%)'] + ['std. dev.'] * several
  for line in lines[1:]:
    columns += ([f'{line.label} minus {lines[0].label} (points)']
                + ['its std. dev.'] * several)
  rows = []
  for x in sweep_axes.positions(lines):
    settings = [line.settings.get(x) for line in lines]
    row = [f'{x:.6g}']
    for setting in settings:
      row += _mean(setting and setting.score)[:1 + several]
    for setting in settings[1:]:
      gap = setting and settings[0] and setting.minus(settings[0])
      row += _mean(gap, '+.2f')[:1 + several]
    rows.append(tuple(row))
  return Table(tuple(columns), tuple(rows))


def between_ends(study, lines):
  """Returns a table of the loss from the smallest to the largest x.

  Args:
    study: A Study.
    lines: The lines of one of its axes, from `sweep_axes.lines`.

  Returns:
    A Table over the seeds that both ends have finished; None if fewer than two
    lines have both ends.
  """
  found, xs = sweep_axes.ends(lines), sweep_axes.positions(lines)
  if len(found) < 2:
    return None
  return Table(
      ('Series', 'Common seeds', f'{study.measure} at {xs[0]:.4g} (%)',
       f'{study.measure} at {xs[-1]:.4g} (%)', 'Loss (points)',
       'Its std. dev. (points)'),
      tuple((label, *_loss(ends)) for label, ends in found))


def _loss(ends):
  """Returns the cells of `between_ends` for a Pair or None."""
  if ends is None:
    return ('0', *[''] * 4)
  start, end = ends.first.mean, ends.second.mean
  return (str(len(ends.difference.values)), number(start), number(end),
          number(start - end), number(ends.difference.deviation))
