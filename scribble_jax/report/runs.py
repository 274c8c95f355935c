"""Reads what training and evaluation left in a run's folder."""

import csv
import dataclasses
import functools
import io
import json
import os
import pathlib
import re

from flax.traverse_util import flatten_dict

from scribble_jax import results
from scribble_jax.errors import UserError
from scribble_jax.files import formats
from scribble_jax.report import events

_EVALUATION = 'evaluation/metrics.json'  # Of scribble_jax.evaluate.
_VALIDATION = 'metrics.json'  # Of training.
# What figures of evaluation depend on; the size of a batch is none of it.
_PROTOCOL = ('scales', 'long_side', 'window', 'flip', 'blend',
             'number of images', 'what is measured')
_BY_CLASS = {'miou': 'iou', 'stroke_accuracy': 'stroke_accuracy_by_class'}


@dataclasses.dataclass(frozen=True)
class Run:
  """One training.

  Attributes:
    name: What the page calls it.
    folder: Path of what it left.
    config: Its whole config, nested.
    validated: Figures of training's last validation; None before its end.
    evaluated: Figures of `scribble_jax.evaluate`; None if it has not run.
    figures: Which of the two the page shows; neither mIoU nor stroke accuracy
      is in them if nothing was validated.
    facts: Command, versions, machine and times, as far as they are known.
    measure: Key of `results.MEASURES` that the page compares runs by; None if
      nothing was validated.
  """
  name: str
  folder: pathlib.PurePath
  config: dict
  validated: dict | None
  evaluated: dict | None
  figures: dict | None
  facts: dict
  measure: str | None = None

  @property
  def score(self):
    """The figure named by `measure`, in per cent; None if it is lacking."""
    share = self.figures.get(self.measure)
    return None if share is None else 100 * share

  @functools.cached_property
  def scalars(self):
    """{tag: [(step, value), ...]}."""
    return events.read_scalars(self.folder)

  @property
  def by_class(self):
    """{class: IoU, or stroke accuracy}, as `measure` says; {} without it."""
    return self.figures.get(_BY_CLASS.get(self.measure)) or {}

  @property
  def confusion(self):
    """[C, C] counts by ground truth and prediction, or None."""
    for figures in (self.figures, self.validated):
      if (figures and figures.get(_BY_CLASS.get(self.measure))
          and figures.get('confusion')):
        return figures['confusion']
    return None

  def images(self):
    """Returns [(id, figures...)] of val images, the worst first.

    The figures are mIoU and pixel accuracy, or stroke accuracy.
    """
    path = self.folder / 'val_images.csv'
    if not path.exists():
      return []
    try:
      lines = io.StringIO(path.read_bytes().decode(), newline='')
      reader = csv.DictReader(lines)
      columns = (('stroke_accuracy',) if 'stroke_accuracy' in (
          reader.fieldnames or ()) else ('miou', 'pixel_accuracy'))
      rows = [(row['id'], *(float(row[column]) for column in columns))
              for row in reader if row[columns[0]]]
    except (OSError, KeyError, TypeError, ValueError) as error:
      raise UserError(f'{path} lacks the columns id, miou and pixel_accuracy '
                      f'({error!r}). Remove it.') from error
    return sorted(rows, key=lambda row: row[1])


def read_run(folder, name):
  """Reads a run, finished or not.

  Args:
    folder: Path with a config.json.
    name: What to call it.

  Returns:
    A Run whose figures are the evaluation's, else the validation's, else None.
    An evaluation without anything to compare with comes last.

  Raises:
    UserError: A file is unreadable.
  """
  validated = _read_figures(folder / _VALIDATION)
  evaluated = _read_figures(folder / _EVALUATION)
  if evaluated and not isinstance(evaluated.get('protocol'), dict):
    raise UserError(f"{folder / _EVALUATION} lacks 'protocol'. Evaluate again.")
  figures = next((found for found in (evaluated, validated)
                  if found and results.measure(found)), evaluated or validated)
  return Run(name, folder, read_json(folder / 'config.json'), validated,
             evaluated, figures, read_json(folder / 'run.json', {}),
             figures and results.measure(figures))


def measured_alike(runs):
  """Returns finished runs with figures that compare, where there are such.

  Args:
    runs: Each with figures.

  Returns:
    The runs, with the figures of evaluation only if each run has them and all
    are by one protocol, on as many images; and with one measure for all: mIoU
    if any of them has it.
  """
  alike = all(run.evaluated for run in runs) and not _differing(
      run.evaluated for run in runs)
  if not alike and all(run.validated for run in runs):
    runs = [dataclasses.replace(run, figures=run.validated) for run in runs]
  found = {results.measure(run.figures) for run in runs}
  measure = next((key for key in results.MEASURES if key in found), None)
  return tuple(dataclasses.replace(run, measure=measure) for run in runs)


def _differing(evaluations):
  """Returns what the figures of evaluations differ in: ['scales', ...]."""
  found = [figures['protocol'] | {
      'number of images': figures.get('num_images'),
      'what is measured': results.measure(figures)} for figures in evaluations]
  return [key for key in _PROTOCOL
          if len({json.dumps(each.get(key)) for each in found}) > 1]


def read_runs(folders):
  """Reads runs that are to be shown side by side.

  Args:
    folders: Paths, each with a config.json.

  Raises:
    UserError: A run has no results yet.
  """
  runs = [read_run(folder, name) for folder, name in zip(
      folders, names(folders), strict=True)]
  for run in runs:
    if run.figures is None:
      raise UserError(f'{run.folder / _VALIDATION} is missing or unreadable. '
                      'Train to the end, or run scribble_jax.evaluate.')
  return measured_alike(runs)


def names(folders):
  """Returns the folders' names, with as much of the path as tells them apart.

  Args:
    folders: Different absolute paths; the seed_N of a sweep says little alone.
  """
  # The parts of gs://BUCKET are those of /gs/BUCKET.
  paths = [os.path.join(*folder.parts) for folder in folders]
  plain = [os.path.join(*path.split(os.sep)[-2:])
           if re.fullmatch(r'seed_\d+', os.path.basename(path))
           else os.path.basename(path) for path in paths]
  if len(set(plain)) == len(plain):
    return plain
  common = os.path.commonpath(paths)
  return [os.path.relpath(path, common) for path in paths]


def read_json(path, default=None):
  """Returns a JSON object.

  Args:
    path: From `storage.path`.
    default: What a file that is not there stands for; None if it must be.

  Raises:
    UserError: The file is missing without a default, or is no JSON object.
  """
  if default is not None and not path.exists():
    return default
  try:
    content = formats.parse_json(
        path.read_text(encoding='utf-8'),
        parse_constant=lambda constant: None)  # NaN says as little as null.
  except (OSError, ValueError) as error:
    raise UserError(f'{path} is missing or unreadable ({error}). Name the '
                    'folder of a run or a sweep.') from error
  if not isinstance(content, dict):
    raise UserError(f'{path} holds no JSON object. Restore or remove it.')
  return content


def _read_figures(path):
  """Returns checked figures, or None if the file is not there."""
  figures = read_json(path, {})
  if not figures:
    return None
  measure = results.measure(figures)
  wanted = ('miou', 'pixel_accuracy') if measure == 'miou' else (measure,)
  for key in filter(None, wanted):
    if not isinstance(figures.get(key), int | float):
      raise UserError(f'{path} has no number as {key!r}. Validate or evaluate '
                      'again.')
  by_class = _BY_CLASS.get(measure)
  if 'step' not in figures or (
      measure and not isinstance(figures.get(by_class), dict)):
    raise UserError(f"{path} lacks {by_class or 'figures'!r} or 'step'. "
                    'Validate or evaluate again.')
  return figures


def flat(config):
  """Returns {'a.b': text of the value} of a nested config."""
  return {key: value if isinstance(value, str) else json.dumps(value)
          for key, value in flatten_dict(config, sep='.').items()}


def describe_evaluation(runs):
  """Returns a sentence or two on how the figures of runs came about.

  Args:
    runs: With figures that were `measured_alike`.
  """
  measured = [run for run in runs if run.score is not None]
  if not measured:
    return 'Nothing was validated: there is no figure to compare by.'
  text = _describe_measured(measured)
  if measured[0].measure == 'stroke_accuracy':
    text += (' Predictions are compared with the strokes of the images alone, '
             'which tell nothing of borders.')
  if len(measured) < len(runs):
    text += (f' {len(runs) - len(measured)} of {len(runs)} runs have no '
             f'{results.MEASURES[measured[0].measure]}.')
  return text


def _describe_measured(runs):
  """`describe_evaluation` of runs that all have a score."""
  several = [run.figures for run in runs]
  if len({'protocol' in figures for figures in several}) > 1:
    return ('Some figures are of scribble_jax.evaluate, others of the '
            'validation of training: they do not compare. Evaluate the rest.')
  figures = several[0]
  differing = ', '.join(_differing(
      run.evaluated for run in runs if run.evaluated))
  if 'protocol' in figures and differing:
    return (f'The evaluations differ in: {differing}. Their figures do not '
            'compare. Evaluate all runs alike.')
  steps = [each['step'] for each in several]
  if None in steps:  # A file was evaluated instead.
    after = f'Measured on {figures.get("checkpoint", "a file")} by'
  elif len(set(steps)) > 1:
    after = f'Measured after {min(steps):,} to {max(steps):,} updates by'
  else:
    after = f'Measured after {steps[0]:,} updates by'
  if 'protocol' not in figures:
    rest = (f'The evaluations differ in: {differing}; they are not shown.'
            if differing else 'For the protocol of the paper run '
            'scribble_jax.evaluate.')
    return (f'{after} the validation of training: each image once, at its own '
            f'size. {rest}')
  protocol = figures['protocol']
  scales = ', '.join(f'{scale:g}' for scale in protocol['scales'])
  side = (f'a long side of {protocol["long_side"]} pixels'
          if protocol['long_side'] else 'their own size')
  parts = (f'{protocol.get("blend", "uniform")} windows of '
           f'{protocol["window"]} pixels' if protocol['window']
           else 'whole images')
  return (f'{after} scribble_jax.evaluate on {figures["num_images"]} images: '
          f'scales {scales} of {side}, {parts}, '
          f'{"with" if protocol["flip"] else "no"} flip{_refined(several)}.')


def _refined(several):
  """Says which of the evaluations' predictions are refined, if any."""
  refined = [each['protocol'].get('refine') for each in several]
  if not any(refined):
    return ''
  return f', {"" if all(refined) else "some "}refined by the walk of stage 1'
