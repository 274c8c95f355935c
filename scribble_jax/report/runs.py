"""Reads the files that training and evaluation leave in a run's folder."""

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

_EVALUATION = 'evaluation/metrics.json'  # Written by scribble_jax.evaluate.
_VALIDATION = 'metrics.json'  # Written by training.
# Settings that change an evaluation's figures; the batch size does not.
_PROTOCOL = ('scales', 'long_side', 'window', 'flip', 'blend',
             'number of images', 'what is measured')
_BY_CLASS = {'miou': 'iou', 'stroke_accuracy': 'stroke_accuracy_by_class'}


@dataclasses.dataclass(frozen=True)
class Run:
  """One training run.

  Attributes:
    name: Name on the page.
    folder: Path of the run's folder.
    config: The whole config, nested.
    validated: Figures of training's last validation; None before the end of
      training.
    evaluated: Figures of `scribble_jax.evaluate`; None if it has not run.
    figures: The one of the two that the page shows. They have neither mIoU nor
      stroke accuracy if nothing was validated.
    facts: Command, versions, machine and times, as far as they are known.
    measure: Key of `results.MEASURES` by which the page compares runs; None if
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
    """The figure named by `measure` in per cent; None if it is missing."""
    share = self.figures.get(self.measure)
    return None if share is None else 100 * share

  @functools.cached_property
  def scalars(self):
    """{tag: [(step, value), ...]}."""
    return events.read_scalars(self.folder)

  @property
  def by_class(self):
    """{class: IoU or stroke accuracy}, depending on `measure`; may be {}."""
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
    """Returns the figures of the val images, worst image first.

    Returns:
      List of (id, mIoU, pixel accuracy) or (id, stroke accuracy).
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
    name: Name on the page.

  Returns:
    A Run. Its figures are the evaluation's if they have a measure, else the
    validation's if they have one, else whichever exist.

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
  """Returns finished runs with figures that compare, as far as possible.

  Args:
    runs: Runs with figures.

  Returns:
    The runs with one `measure` for all: mIoU if any run has it. Their figures
    are those of evaluation only if every run was evaluated by one protocol on
    as many images.
  """
  alike = all(run.evaluated for run in runs) and not _differing(runs)
  if not alike and all(run.validated for run in runs):
    runs = [dataclasses.replace(run, figures=run.validated) for run in runs]
  found = {results.measure(run.figures) for run in runs}
  measure = next((key for key in results.MEASURES if key in found), None)
  return tuple(dataclasses.replace(run, measure=measure) for run in runs)


def _differing(runs):
  """Returns the settings in which runs' evaluations differ: ['scales', ...]."""
  found = [run.evaluated['protocol'] | {
      'number of images': run.evaluated.get('num_images'),
      'what is measured': results.measure(run.evaluated)}
           for run in runs if run.evaluated]
  return [key for key in _PROTOCOL
          if len({json.dumps(each.get(key)) for each in found}) > 1]


def read_runs(folders):
  """Returns the Runs in some folders, measured alike.

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
  """Returns the folders' names with as much of the path as distinguishes them.

  Args:
    folders: Different absolute paths. For a sweep's seed_N, the name of its
      parent is included.
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
  """Returns the JSON object in a file.

  Args:
    path: From `storage.path`.
    default: Returned if the file does not exist; None if it must exist.

  Raises:
    UserError: The file is missing without a default, or has no JSON object.
  """
  if default is not None and not path.exists():
    return default
  try:
    content = formats.parse_json(
        path.read_text(encoding='utf-8'),
        parse_constant=lambda constant: None)  # NaN is read as null.
  except (OSError, ValueError) as error:
    raise UserError(f'{path} is missing or unreadable ({error}). Name the '
                    'folder of a run or a sweep.') from error
  if not isinstance(content, dict):
    raise UserError(f'{path} holds no JSON object. Restore or remove it.')
  return content


def _read_figures(path):
  """Returns validated figures, or None if the file does not exist."""
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
  """Returns sentences about how the figures of runs were measured.

  Args:
    runs: Runs from `measured_alike`.
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
  """Does `describe_evaluation` for runs that all have a score."""
  several = [run.figures for run in runs]
  figures, differing = several[0], ', '.join(_differing(runs))
  if len({'protocol' in each for each in several}) > 1:
    return ('Some figures are of scribble_jax.evaluate, others of the '
            'validation of training: they do not compare. Evaluate the rest.')
  if 'protocol' in figures and differing:
    return (f'The evaluations differ in: {differing}. Their figures do not '
            'compare. Evaluate all runs alike.')
  steps = [each['step'] for each in several]
  if None in steps:  # A file of weights was evaluated.
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
  refine = [each['protocol'].get('refine') for each in several]
  refined = '' if not any(refine) else (
      f', {"" if all(refine) else "some "}refined by the walk of stage 1')
  return (f'{after} scribble_jax.evaluate on {figures["num_images"]} images: '
          f'scales {scales} of {side}, {parts}, '
          f'{"with" if protocol["flip"] else "no"} flip{refined}.')
