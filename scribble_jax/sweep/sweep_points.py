"""The points of a sweep, and the flags that their settings become."""

from typing import Any
from typing import NamedTuple

from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems

_DECIDED = ('seed', 'data.records')  # Keys that the sweep sets for each run.


class Point(NamedTuple):
  """One setting of a sweep, which is run once with each seed.

  Attributes:
    name: Name of its folder.
    label: Name on the report's page.
    overrides: Changes to the base config: {'optim.lr': 0.1}.
    variant: Variant of the base config, such as 'scribble_only', or ''.
    series: Line of a plot that it belongs to; '' in a sweep without plots.
    axes: Place on each of its axes: {'shrink': 0.5}.
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


def change_flags(changes):
  """Returns changes such as 'optim.lr=0.1' as flags.

  Raises:
    UserError: A change has no value, or its key is set by the sweep.
  """
  raise_problems([f'--set={change} has no value'
                  for change in changes if '=' not in change],
                 'Write it like --set=data.root=DIR.')
  raise_problems([f'--set={change} is set by the sweep itself'
                  for change in changes if change.split('=')[0] in _DECIDED],
                 'Leave it out; --config.seeds chooses the seeds.')
  return [f'--config.{change}' for change in changes]


def choose(points, names):
  """Returns the points with some names.

  Args:
    points: All points of the sweep.
    names: Names to choose; None for all points.

  Raises:
    UserError: A name is unknown, there are no points, or two have one name.
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
