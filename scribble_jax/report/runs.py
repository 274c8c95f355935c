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

from scribble_jax.errors import UserError
from scribble_jax.report import events

_EVALUATION = 'evaluation/metrics.json'  # Of scribble_jax.evaluate.
_VALIDATION = 'metrics.json'  # Of training.
# What figures of evaluation depend on; the size of a batch is none of it.
_PROTOCOL = ('scales', 'long_side', 'window', 'flip', 'number of images')


@dataclasses.dataclass(frozen=True)
class Run:
  """One training.

  Attributes:
    name: What the page calls it.
    folder: Path of what it left.
    config: Its whole config, nested.
    validated: Figures of training's last validation; None before its end.
    evaluated: Figures of `scribble_jax.evaluate`; None if it has not run.
    figures: Which of the two the page shows.
    facts: Command, versions, machine and times, as far as they are known.
  """
  name: str
  folder: pathlib.PurePath
  config: dict
  validated: dict | None
  evaluated: dict | None
  figures: dict | None
  facts: dict

  @functools.cached_property
  def scalars(self):
    """{tag: [(step, value), ...]}."""
    return events.read_scalars(self.folder)

  @property
  def confusion(self):
    """[C, C] counts by ground truth and prediction, or None."""
    for figures in (self.figures, self.validated):
      if figures and figures.get('confusion'):
        return figures['confusion']
    return None

  def images(self):
    """Returns [(id, mIoU, pixel accuracy)] of val images, the worst first."""
    path = self.folder / 'val_images.csv'
    if not path.exists():
      return []
    try:
      lines = io.StringIO(path.read_bytes().decode(), newline='')
      rows = [(row['id'], float(row['miou']), float(row['pixel_accuracy']))
              for row in csv.DictReader(lines) if row['miou']]
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

  Raises:
    UserError: A file is unreadable.
  """
  validated = _read_figures(folder / _VALIDATION)
  evaluated = _read_figures(folder / _EVALUATION)
  if evaluated and not isinstance(evaluated.get('protocol'), dict):
    raise UserError(f"{folder / _EVALUATION} lacks 'protocol'. Evaluate again.")
  return Run(name, folder, read_json(folder / 'config.json'), validated,
             evaluated, evaluated or validated,
             read_json(folder / 'run.json', {}))


def measured_alike(runs):
  """Returns finished runs with figures that compare, where there are such.

  Args:
    runs: Each with figures.

  Returns:
    The runs, with the figures of evaluation only if each run has them and all
    are by one protocol, on as many images.
  """
  alike = all(run.evaluated for run in runs) and not _differing(
      run.evaluated for run in runs)
  if alike or not all(run.validated for run in runs):
    return tuple(runs)
  return tuple(dataclasses.replace(run, figures=run.validated) for run in runs)


def _differing(evaluations):
  """Returns what the figures of evaluations differ in: ['scales', ...]."""
  found = [figures['protocol'] | {'number of images': figures.get('num_images')}
           for figures in evaluations]
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
    content = json.loads(path.read_text(encoding='utf-8'))
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
  for key in ('miou', 'pixel_accuracy'):
    if not isinstance(figures.get(key), int | float):
      raise UserError(f'{path} has no number as {key!r}. Validate or evaluate '
                      'again.')
  if not isinstance(figures.get('iou'), dict) or 'step' not in figures:
    raise UserError(f"{path} lacks 'iou' or 'step'. Validate or evaluate "
                    'again.')
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
  return (f'{after} scribble_jax.evaluate on {figures["num_images"]} images: '
          f'scales {scales} of {side}, windows of {protocol["window"]} pixels, '
          f'{"with" if protocol["flip"] else "no"} flip.')
