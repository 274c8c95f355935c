"""sweep.json: the description of a sweep in its folder."""

import json
import pathlib
import sys

from flax.traverse_util import flatten_dict

from scribble_jax import config_files
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import formats
from scribble_jax.sweep import sweep_points

FILE = 'sweep.json'
# Keys that every run depends on, besides its point and its seed.
_SHARED = ('base', 'base_config', 'flags')
# Flags of the sweep that do not change its results.
_PASSING = ('--only', '--parallel', '--list', '--reuse', '--nolist')


def describe(config, changes):
  """Returns everything that a sweep's results depend on, as JSON values.

  Args:
    config: ConfigDict as in configs/robustness.py.
    changes: List of 'KEY=VALUE' that change the config of every run.

  Raises:
    UserError: A change is not allowed, the config is not that of a sweep, or
      its base can't be read.
  """
  lacking = {'title', 'question', 'base', 'seeds', 'flags', 'points',
             'axis_labels', 'log_axes'} - set(config.keys())
  if lacking:
    raise UserError('The config of a sweep needs '
                    f'{", ".join(sorted(lacking))}; configs/robustness.py is '
                    'one. Train other configs with scribble_jax.main.')
  flags = [*config.flags, *sweep_points.change_flags(changes)]
  try:
    base = json.loads(config_files.load(config.base).to_json())
  except UserError as error:
    raise UserError(f'config.base is {config.base!r}, which is no config file: '
                    f'{error}') from error
  return json.loads(json.dumps({
      'title': config.title, 'question': config.question, 'base': config.base,
      'base_config': base, 'flags': flags,
      'seeds': [*config.seeds], 'axis_labels': config.axis_labels.to_dict(),
      'log_axes': [*config.log_axes],
      'command': ['python', '-m', 'scribble_jax.sweep', *(
          flag for flag in sys.argv[1:] if not flag.startswith(_PASSING))],
      'points': [point._asdict() for point in config.points]}))


def read(folder):
  """Returns the description in a sweep's folder.

  Raises:
    UserError: There is none, or it can't be used.
  """
  path = pathlib.Path(folder, FILE)
  try:
    stored = formats.parse_json(path.read_text())
    if not ({*_SHARED, 'points'} <= stored.keys() and all(
        {'name', 'variant', 'overrides'} <= point.keys()
        for point in stored['points'])):
      raise ValueError(f'{path} was not written by this program')
  except (OSError, ValueError, AttributeError, TypeError) as error:
    raise UserError(f'{folder} is no sweep: {error}. Name the folder of a '
                    'sweep.') from error
  return stored


def check_same(stored, wanted, folder):
  """Checks that a sweep continues with the settings of its earlier runs.

  Points and seeds may be added and removed.

  Args:
    stored: Description in the folder.
    wanted: Description of the sweep that continues.
    folder: Folder of the sweep, for the message.

  Raises:
    UserError: The settings differ.
  """
  problems = [f'{key} was {stored[key]!r} and is now {wanted[key]!r}'
              for key in ('base', 'flags') if stored[key] != wanted[key]]
  if stored['base'] == wanted['base']:
    before, now = (flatten_dict(description['base_config'], sep='.')
                   for description in (stored, wanted))
    problems += [
        f'config.{key} of {wanted["base"]} was {before.get(key)!r} and is now '
        f'{now.get(key)!r}' for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)]
  before = {point['name']: point for point in stored['points']}
  problems += [
      f'point {point["name"]} was {before[point["name"]][key]!r} and is now '
      f'{point[key]!r}' for point in wanted['points']
      for key in ('overrides', 'variant')
      if before.get(point['name'], point)[key] != point[key]]
  raise_problems(problems, f'{folder} holds another sweep. Name another '
                 '--workdir, or restore the settings.')


def names_of_same(stored, wanted, point):
  """Returns the names of another sweep's points with a point's settings.

  Args:
    stored: Description of the other sweep.
    wanted: Description of the point's own sweep.
    point: A sweep_points.Point.
  """
  if any(stored[key] != wanted[key] for key in _SHARED):
    return []
  overrides = json.loads(json.dumps(point.overrides))
  return [other['name'] for other in stored['points']
          if (other['variant'], other['overrides'])
          == (point.variant, overrides)]
