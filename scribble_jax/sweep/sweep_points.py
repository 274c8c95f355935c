"""What a sweep's config says: its points."""

from typing import Any
from typing import NamedTuple

from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems


class Point(NamedTuple):
  """One setting of a sweep, run once a seed.

  Attributes:
    name: Of its folder.
    label: For people.
    overrides: {'optim.lr': 0.1}: what it changes in the base config.
    variant: Of the base config, such as 'scribble_only'; '' for none.
    series: Which line of a plot it belongs to; '' in a sweep without plots.
    axes: {'shrink': 0.5}: its place on every axis that it lies on.
  """
  name: str
  label: str
  overrides: dict[str, Any] = {}  # noqa: RUF012 - never changed.
  variant: str = ''
  series: str = ''
  axes: dict[str, float] = {}  # noqa: RUF012


def config_flag(base, variant):
  """Returns --config of a base config with one more variant."""
  if variant:
    base += (',' if ':' in base else ':') + variant
  return f'--config={base}'


# What the sweep itself decides for each run.
_DECIDED = ('seed', 'data.records')


def change_flags(changes):
  """Returns ['optim.lr=0.1'] as flags.

  Raises:
    UserError: One has no value, or is of what the sweep decides.
  """
  raise_problems([f'--set={change} has no value'
                  for change in changes if '=' not in change],
                 'Write it like --set=data.root=DIR.')
  raise_problems([f'--set={change} is for the sweep to decide'
                  for change in changes if change.split('=')[0] in _DECIDED],
                 'Leave it out; --config.seeds chooses the seeds.')
  return [f'--config.{change}' for change in changes]


def override_flags(overrides):
  """Returns {'optim.lr': 0.1} as flags."""
  return [f'--config.{key}={value}' for key, value in overrides.items()]


def choose(points, names):
  """Returns the points with these names.

  Args:
    points: All of the sweep.
    names: None for all.

  Raises:
    UserError: A name is not there, or there are no points, or two of one name.
  """
  known = [point.name for point in points]
  raise_problems([f'config.points names {name!r} twice'
                  for name in sorted(set(known)) if known.count(name) > 1],
                 'Give every point a name of its own.')
  if not known:
    raise UserError('config.points is empty. Add points to the sweep.')
  raise_problems([f'--only names {name!r}, which is no point of this sweep'
                  for name in names or () if name not in known],
                 f'Choose from: {", ".join(known)}.')
  return [point for point in points if not names or point.name in names]
