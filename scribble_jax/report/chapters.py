"""One chapter a study: what the page shows, in order."""

import re
import shlex

from scribble_jax.report import comparison
from scribble_jax.report import figures
from scribble_jax.report import page
from scribble_jax.report import run_tables
from scribble_jax.report import runs as runs_lib
from scribble_jax.report import score_tables
from scribble_jax.report import sweep_axes
from scribble_jax.tables import Table

_NUM_IMAGES = 8  # Best and worst ones to list.
_MAX_OPEN = 6  # Runs whose curves and times show without a click.
_GALLERY = (('panels_val.png', 'Validation images'),
            ('panels_train.png', 'Training images'))


class Chapter:
  """Writes the sections of one study."""

  def __init__(self, study, files, number, prefix):
    """Starts empty.

    Args:
      study: A Study.
      files: A Files, for tables and figures.
      number: Of the chapter, for its anchors.
      prefix: Of its files' names; '' if the report has one chapter.
    """
    self._study = study
    self._files = files
    self._number = number
    self._prefix = re.sub(r'\W+', '_', prefix)
    self._sections = []  # (title, anchor, html)

  def html(self, command):
    """Returns the chapter.

    Args:
      command: How to make this report again, as a list.
    """
    self._results()
    self._published()
    for axis in self._study.axes:
      self._axis(axis)
    self._bars()
    self._curves()
    self._classes()
    self._confusion()
    for title, setting in self._shown().items():
      self._gallery(title, setting.runs[0])
    self._configuration()
    self._machine()
    self._commands(command)
    links = [(title, anchor) for title, anchor, _ in self._sections]
    return (self._headline() + page.navigation(links)
            + ''.join(content for _, _, content in self._sections))

  def _add(self, title, content, folded=False):
    anchor = f'section-{self._number}-{len(self._sections) + 1}'
    self._sections.append(
        (title, anchor, page.section(title, anchor, content, folded)))

  def _stem(self, name):
    return f'{self._prefix}_{name}' if self._prefix else name

  def _table(self, name, table):
    return self._files.table(self._stem(name), table)

  def _figure(self, name, figure, description):
    return self._files.figure(self._stem(name), figure, description)

  def _headline(self):
    study, best = self._study, ''
    if study.best:
      score, measure, under = score_tables.headline(study)
      best = (f'<div class="headline">{score} <small>{measure}</small></div>\n'
              + page.paragraph(under))
    return ''.join([
        page.heading(study.title, 1),
        page.paragraph(study.question) if study.question else '', best,
        page.findings(score_tables.findings(study) if study.is_sweep else []),
        page.paragraph(runs_lib.describe_evaluation(study.runs), 'note'),
        self._warning()])

  def _warning(self):
    lacking = [entry for setting in self._study.settings
               for entry in setting.unfinished]
    if not lacking:
      return ''
    states = [entry.state for entry in lacking]
    counts = ', '.join(f'{states.count(state)} {state}'
                       for state in dict.fromkeys(states))
    return page.paragraph(
        f'{len(lacking)} of {len(lacking) + len(self._study.runs)} runs are '
        f'missing here: {counts}. They are listed under the results.',
        'warning')

  def _results(self):
    content = self._table('results', score_tables.results(self._study))
    if note := score_tables.seeds_note(self._study):
      content += page.paragraph(note, 'note')
    lacking = score_tables.unfinished(self._study)
    if lacking.rows:
      content += page.heading('Runs that are missing', 3)
      content += self._table('unfinished', lacking)
    self._add('Results', content)

  def _published(self):
    runs = [run for run in self._study.runs if run.by_class]
    if not run_tables.has_published(self._study):
      return
    content = (page.paragraph(comparison.comparability(runs), 'note')
               + self._table('published', run_tables.published(self._study)))
    self._add('Beside published results', content, self._study.is_sweep)

  def _axis(self, axis):
    lines = sweep_axes.lines(self._study, axis)
    if not lines:
      return
    label, measure = self._study.axis_label(axis), self._study.measure
    name = f'robustness_{axis}'
    ranges = any(len(setting.runs) > 1 for line in lines
                 for setting in line.settings.values())
    content = self._figure(
        name, figures.axis_plot(
            lines, label, measure, axis in self._study.log_axes),
        f'{measure} over {label}, a line a series; figures in the table below')
    if ranges:
      content += page.paragraph('Lines: means over the seeds. Bands: from the '
                                'lowest to the highest seed. Faint dots: '
                                'single seeds.', 'note')
    content += self._table(name, score_tables.along_axis(
        self._study, axis, lines))
    between = score_tables.between_ends(self._study, lines)
    if between:
      content += page.heading('From end to end', 3)
      content += self._table(f'{name}_ends', between)
    self._add(f'{measure} over {label}', content)

  def _bars(self):
    """Shows settings that lie on no axis."""
    settings = [setting for setting in self._study.settings if not setting.axes]
    if len(settings) < 2 or not any(setting.score for setting in settings):
      return
    first, measure = settings[0], self._study.measure
    with_reference = self._study.is_sweep and first.score
    figure = figures.score_bars(
        [(setting.label, setting.score) for setting in settings], measure,
        first.label if with_reference else None,
        [setting.minus(first) for setting in settings])
    content = self._figure(measure.lower(), figure,
                           f'{measure} as bars; figures: Results')
    if any(len(setting.runs) > 1 for setting in settings):
      content += page.paragraph('Bars: means over the seeds. Dots: single '
                                'seeds. Lines: from the lowest to the highest '
                                'seed.', 'note')
    self._add(f'{measure} side by side', content)

  def _curves(self):
    runs = {setting.label: setting.runs[0] for setting in self._study.finished}
    scalars = {label: run.scalars for label, run in runs.items()
               if any(tag.startswith('loss/') for tag in run.scalars)}
    if not scalars:
      return
    measure = self._study.runs[0].measure
    figure = (figures.curves_of_several(scalars, measure) if len(runs) > 1
              else figures.curves_of_run(next(iter(scalars.values())), measure))
    content = self._figure('curves', figure, 'Losses and validation')
    name = self._files.rows(
        self._stem('curves'), ('run', 'scalar', 'step', 'value'),
        ((runs[label].name, tag, step, f'{value:.6g}')
         for label, found in scalars.items() for tag, points in found.items()
         for step, value in points))
    if self._study.is_sweep:
      content += page.paragraph('Of the first finished seed of each setting.',
                                'note')
    content += page.paragraph(f'Every scalar is in {name}.', 'file')
    self._add('Training curves', content, len(runs) > _MAX_OPEN)

  def _classes(self):
    study, measure = self._study, run_tables.class_measure(self._study)
    if not study.measured:
      return
    figure = figures.classes(
        [(setting.label, setting.by_class()) for setting in study.measured],
        run_tables.class_names(study), measure)
    name = 'iou' if measure == 'IoU' else 'by_class'
    content = self._figure(name, figure,
                           f'{measure} by class, figures in the table below')
    self._add('Classes', content + page.folded(
        'As a table', self._table(name, run_tables.by_class(study))))

  def _confusion(self):
    ranked = sorted(self._study.measured,
                    key=lambda setting: -setting.score.mean)
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
    content = page.paragraph(
        f'{which}{seeds}{source}. A row tells what the pixels of a class were '
        'taken for, in per cent.', 'note')
    content += self._figure('confusion', figures.confusion(shares, names),
                            'Confusion matrix, figures in the table below')
    self._add('Confusion', content + page.folded('As a table', self._table(
        'confusion', run_tables.confusion(shares, names))))

  def _shown(self):
    """Returns {title: setting} of whom to show pictures."""
    study = self._study
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

  def _gallery(self, title, run):
    """Shows the pictures of a run, and its best and worst val images."""
    content = ''.join(self._picture(run, *entry) for entry in _GALLERY)
    images = run.images()
    for name, heading, found in (
        ('best', 'Best validation images', images[::-1][:_NUM_IMAGES]),
        ('worst', 'Worst validation images', images[:_NUM_IMAGES])):
      content += self._picture(run, f'panels_{name}.png', heading)
      if found:
        content += page.folded(
            f'{heading}: figures',
            self._table(f'images_{name}', run_tables.images(found)))
    if not content:
      return
    if self._study.is_sweep:
      content = page.paragraph(
          f'Of seed {run.config.get("seed", "?")}.', 'note') + content
    first = not any(title.startswith('Pictures')
                    for title, _, _ in self._sections)
    self._add(title, content, folded=not first)

  def _picture(self, run, name, title):
    path = run.folder / name
    return page.pictures(path.read_bytes(), title) if path.exists() else ''

  def _configuration(self):
    study = self._study
    content = ''
    if len(study.finished) > 1:
      differences = run_tables.config_differences(study)
      content += (self._table('config_differences', differences)
                  if differences else page.paragraph(
                      'Nothing differs besides the seed.'))
    run = study.finished[0].runs[0]
    whole = Table(('Key', 'Value'), tuple(runs_lib.flat(run.config).items()))
    content += page.folded(f'Whole configuration of {run.name}',
                           self._table('config', whole))
    self._add('Configuration', content)

  def _machine(self):
    study = self._study
    content = self._table('times', run_tables.times(study))
    if len(study.runs) > _MAX_OPEN:
      content = page.folded('Every run', content)
    content = page.findings(run_tables.whole_time(study)) + content
    machine = run_tables.machine(study)
    if machine:
      content += self._table('machine', machine)
    self._add('Times, hardware, versions', content)

  def _commands(self, command):
    """Lists what to type to get the same."""
    runs = [run for run in self._study.runs if run.facts.get('command')]
    each = '\n'.join(
        (f'# {run.name}\n' if len(self._study.runs) > 1 else '')
        + _shell(run.facts['command']) for run in runs)
    content = ''
    if self._study.command:
      content += page.preformatted(_shell(self._study.command))
    if each:
      content += (page.folded('Every run by itself', page.preformatted(each))
                  if len(runs) > 1 else page.preformatted(each))
    content += page.paragraph('This report:')
    content += page.preformatted(_shell(command))
    self._add('Commands', content)


def _shell(command):
  return shlex.join(map(str, command))
