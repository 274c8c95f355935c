"""Common part of the configs of sweeps."""

import importlib

from ml_collections import ConfigDict

from scribble_jax.errors import UserError
from scribble_jax.sweep.sweep_points import Point

DATA_SETS = ('scribblesup', 'own_data', 'demo')
FULL, SCRIBBLES = 'full method', 'scribbles alone'


def sweep(title, question, base, points, *, seeds, flags=(),
          axis_labels=None, log_axes=()):
  """Returns the config of a sweep.

  Args:
    title: Title of the report.
    question: Question that the sweep answers.
    base: One of DATA_SETS, followed by a colon and variants if there are any.
    points: List of `Point`; the others are compared with the first one.
    seeds: Values of `config.seed`; each point has one run for each of them.
    flags: Flags of every run.
    axis_labels: {axis: label in plots}.
    log_axes: Axes with a logarithmic scale.
  """
  config = ConfigDict()
  config.title = title
  config.question = question
  config.base = f'configs/{base.replace(":", ".py:", 1)}'
  if ':' not in base:
    config.base += '.py'
  config.seeds = seeds
  config.flags = flags
  config.points = tuple(points)
  config.axis_labels = ConfigDict(axis_labels or {})
  config.log_axes = log_axes
  return config


def base_config(base):
  """Returns the config that a sweep changes.

  Args:
    base: One of DATA_SETS, followed by a colon and variants if there are any.

  Raises:
    UserError: There is no such config.
  """
  data_set, _, variant = base.partition(':')
  if data_set not in DATA_SETS:
    raise UserError(f'Unknown data set {data_set!r}. Choose from: '
                    f'{", ".join(DATA_SETS)}.')
  module = importlib.import_module(f'scribble_jax.configs.{data_set}')
  return module.get_config(*[variant] if variant else [])


def is_demo(base):
  """Whether the config is the demo, whose sweeps are made for a laptop."""
  return base.partition(':')[0] == 'demo'


def seeds(base):
  """Returns the seeds of every point."""
  return (0, 1) if is_demo(base) else (0, 1, 2)


def without(*terms):
  """Returns overrides that set the weights of terms of the loss to 0."""
  return {f'loss_weights.{term}': 0.0 for term in terms}


def reference(axes, series=''):
  """Returns the point without changes, with its value on each axis."""
  return Point('full', FULL, series=series, axes=axes)
