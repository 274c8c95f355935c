"""Chapters of the page: the sections about one study, in order."""

import shlex
from typing import NamedTuple

from scribble_jax.report import comparison
from scribble_jax.report import figures
from scribble_jax.report import run_tables
from scribble_jax.report import runs as runs_lib
from scribble_jax.report import score_tables
from scribble_jax.report import studies
from scribble_jax.report import sweep_axes
from scribble_jax.report.page import blocks
from scribble_jax.tables import Table

_NUM_IMAGES = 8  # Number of best and of worst images that are listed.
_MAX_UNFOLDED = 6  # With more runs, curves and times are folded.


class Section(NamedTuple):
  """One card of a chapter.

  Attributes:
    title: Title as plain text.
    content: HTML.
    folded: Whether the content is shown only after a click on the title.
  """
  title: str
  content: str
  folded: bool = False


def chapter(study, files, command):
  """Returns the values of page.html about a study, by name.

  Args:
    study: A Study.
    files: The `report_files.Files` that get its tables and figures.
    command: Command that writes this report again, as a list of arguments.
  """
  parts = (_results, _published, _axes, _bars, _curves, _classes, _confusion,
           _pictures, _configuration, _machine)
  sections = [section for part in parts for section in part(study, files)]
  return {
      'study': study,
      'headline': score_tables.headline(study) if study.best else None,
      'findings': score_tables.findings(study),
      'evaluation': runs_lib.describe_evaluation(study.runs),
      'unfinished': studies.count_states(study.unfinished),
      'sections': [*sections, _commands(study, command)]}


def _results(study, files):
  content = files.table('results', score_tables.results(study))
  if note := score_tables.seeds_note(study):
    content += blocks.paragraph(note, 'note')
  if study.unfinished:
    content += blocks.heading('Runs that are missing')
    content += files.table('unfinished', score_tables.unfinished(study))
  yield Section('Results', content)


def _published(study, files):
  if study.measure == 'mIoU':
    content = blocks.paragraph(comparison.comparability(study.runs), 'note')
    content += files.table('published', comparison.published(study))
    yield Section('Beside published results', content, study.is_sweep)


def _axes(study, files):
  """Yields a section for each axis of a sweep."""
  for axis in study.axes:
    lines = sweep_axes.lines(study, axis)
    if not lines:
      continue
    label, measure = study.axis_label(axis), study.measure
    name = f'robustness_{axis}'
    content = files.figure(
        name,
        figures.axis_plot(lines, label, measure, axis in study.log_axes),
        f'{measure} over {label}, a line a series; figures in the table below')
    if sweep_axes.has_several_seeds(lines):
      content += blocks.paragraph(
          'Lines: means over the seeds. Bands: from the lowest to the highest '
          'seed. Faint dots: single seeds.', 'note')
    content += files.table(name, score_tables.along_axis(study, axis, lines))
    if between := score_tables.between_ends(study, lines):
      content += blocks.heading('From end to end')
      content += files.table(f'{name}_ends', between)
    yield Section(f'{measure} over {label}', content)


def _bars(study, files):
  """Yields a section about the settings that lie on no axis."""
  settings = [setting for setting in study.settings if not setting.axes]
  if len(settings) < 2 or not any(setting.score for setting in settings):
    return
  first, measure = settings[0], study.measure
  with_reference = study.is_sweep and first.score
  content = files.figure(
      measure.lower(), figures.score_bars(
          [(setting.label, setting.score) for setting in settings], measure,
          first.label if with_reference else None,
          [setting.minus(first) for setting in settings]),
      f'{measure} as bars; figures: Results')
  if any(len(setting.runs) > 1 for setting in settings):
    content += blocks.paragraph(
        'Bars: means over the seeds. Dots: single seeds. Lines: from the '
        'lowest to the highest seed.', 'note')
  yield Section(f'{measure} side by side', content)


def _curves(study, files):
  runs = {setting.label: setting.runs[0] for setting in study.finished}
  scalars = {label: run.scalars for label, run in runs.items()
             if any(tag.startswith('loss/') for tag in run.scalars)}
  if not scalars:
    return
  measure = study.runs[0].measure
  figure = (figures.curves_of_several(scalars, measure) if len(runs) > 1
            else figures.curves_of_run(next(iter(scalars.values())), measure))
  content = files.figure('curves', figure, 'Losses and validation')
  every_scalar = Table(('run', 'scalar', 'step', 'value'), tuple(
      (runs[label].name, tag, step, f'{value:.6g}')
      for label, found in scalars.items() for tag, points in found.items()
      for step, value in points))
  name = files.csv('curves', every_scalar)
  if study.is_sweep:
    content += blocks.paragraph(
        'Of the first finished seed of each setting.', 'note')
  content += blocks.paragraph(f'Every scalar is in {name}.', 'file')
  yield Section('Training curves', content, len(runs) > _MAX_UNFOLDED)


def _classes(study, files):
  if not study.measured:
    return
  measure = run_tables.class_measure(study)
  figure = figures.classes(
      [(setting.label, setting.by_class()) for setting in study.measured],
      run_tables.class_names(study), measure)
  name = 'iou' if measure == 'IoU' else 'by_class'
  content = files.figure(
      name, figure, f'{measure} by class, figures in the table below')
  yield Section('Classes', content + blocks.folded(
      'As a table', files.table(name, run_tables.by_class(study))))


def _confusion(study, files):
  """Yields a section about the best setting that has a confusion matrix."""
  ranked = sorted(study.measured, key=lambda setting: -setting.score.mean)
  found = [(setting, shares) for setting in ranked
           if (shares := run_tables.confusion_shares(setting))]
  if not found:
    return
  setting, (shares, names, num_runs) = found[0]
  which = 'Of this run' if len(ranked) == 1 else f'Of {setting.label}, ' + (
      'the best' if setting is ranked[0] else 'the best that has one')
  seeds = f', summed over {num_runs} seeds' if num_runs > 1 else ''
  source = ('' if any(run.figures.get('confusion') for run in setting.runs)
            else ', by the validation of training')
  content = blocks.paragraph(
      f'{which}{seeds}{source}. A row tells what the pixels of a class were '
      'taken for, in per cent.', 'note')
  content += files.figure('confusion', figures.confusion(shares, names),
                          'Confusion matrix, figures in the table below')
  yield Section('Confusion', content + blocks.folded('As a table', files.table(
      'confusion', run_tables.confusion(shares, names))))


def _pictures(study, files):
  """Yields a section for each setting whose pictures are shown."""
  folded = False
  for title, setting in _shown(study).items():
    run = setting.runs[0]
    content = _gallery(run, files)
    if content:
      if study.is_sweep:
        seed = run.config.get('seed', '?')
        content = blocks.paragraph(f'Of seed {seed}.', 'note') + content
      yield Section(title, content, folded)
      folded = True


def _shown(study):
  """Returns {title: setting} of the settings whose pictures are shown."""
  if len(study.finished) == 1:
    return {'Pictures': study.finished[0]}
  if not study.is_sweep:
    return {f'Pictures: {setting.label}': setting
            for setting in study.finished}
  if not study.measured:
    return {f'Pictures of {study.finished[0].label}': study.finished[0]}
  worst = min(study.measured, key=lambda setting: setting.score.mean)
  return {f'Pictures of the best setting: {study.best.label}': study.best,
          f'Pictures of the lowest setting: {worst.label}': worst}


def _gallery(run, files):
  """Returns the pictures of a run and its best and worst images as HTML."""
  content = ''
  images = run.images()
  for name, title, rows in (
      ('val', 'Validation images', ()), ('train', 'Training images', ()),
      ('best', 'Best validation images', images[::-1]),
      ('worst', 'Worst validation images', images)):
    path = run.folder / f'panels_{name}.png'
    if path.exists():
      content += blocks.picture(path.read_bytes(), title)
    if rows:
      content += blocks.folded(f'{title}: figures', files.table(
          f'images_{name}', run_tables.images(rows[:_NUM_IMAGES])))
  return content


def _configuration(study, files):
  content = ''
  if len(study.finished) > 1:
    differences = run_tables.config_differences(study)
    content = (files.table('config_differences', differences) if differences
               else blocks.paragraph('Nothing differs besides the seed.'))
  run = study.finished[0].runs[0]
  whole = Table(('Key', 'Value'), tuple(runs_lib.flat(run.config).items()))
  yield Section('Configuration', content + blocks.folded(
      f'Whole configuration of {run.name}', files.table('config', whole)))


def _machine(study, files):
  content = files.table('times', run_tables.times(study))
  if len(study.runs) > _MAX_UNFOLDED:
    content = blocks.folded('Every run', content)
  content = blocks.findings(run_tables.whole_time(study)) + content
  if machine := run_tables.machine(study):
    content += files.table('machine', machine)
  yield Section('Times, hardware, versions', content)


def _commands(study, command):
  """Returns the section with the commands that repeat everything."""
  runs = [run for run in study.runs if run.facts.get('command')]
  each = '\n'.join(
      (f'# {run.name}\n' if len(study.runs) > 1 else '')
      + _shell(run.facts['command']) for run in runs)
  content = ''
  if study.command:
    content += blocks.preformatted(_shell(study.command))
  if each:
    content += (blocks.folded('Every run by itself', blocks.preformatted(each))
                if len(runs) > 1 else blocks.preformatted(each))
  content += blocks.paragraph('This report:')
  return Section('Commands', content + blocks.preformatted(_shell(command)))


def _shell(command):
  return shlex.join(map(str, command))
