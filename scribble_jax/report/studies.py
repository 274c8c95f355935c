"""Studies: the settings of a sweep, or runs side by side; means and spreads."""

import dataclasses
import math
import statistics
from typing import NamedTuple

from scribble_jax import results
from scribble_jax.errors import UserError
from scribble_jax.report import events
from scribble_jax.report import runs as runs_lib
from scribble_jax.report.spreads import Spread
from scribble_jax.report.spreads import spread

_REQUIRED = ('seeds', 'points')  # Keys of a sweep.json.
_TYPES = {'seeds': list, 'points': list, 'flags': list, 'command': list,
          'axis_labels': dict, 'log_axes': list}
# Keys of the config that vary pseudo-labels and deformations.
_INPUT_SEEDS = ('stage1.seed', 'scribble_seed')


class Pair(NamedTuple):
  """Two settings over the seeds that both have finished.

  Attributes:
    first: Spread of the score in per cent.
    second: The same of the other.
    difference: Spread of the second minus the first, seed by seed, in points.
    is_partial: Whether one has finished seeds that the other has not.
  """
  first: Spread
  second: Spread
  difference: Spread
  is_partial: bool


def pair(first, second):
  """Returns the Pair of two Settings; None without a common seed."""
  ours, theirs = first.by_seed, second.by_seed
  common = [seed for seed in ours if seed in theirs]
  if not common:
    return None
  return Pair(spread(ours[seed] for seed in common),
              spread(theirs[seed] for seed in common),
              spread(theirs[seed] - ours[seed] for seed in common),
              ours.keys() != theirs.keys())


class Unfinished(NamedTuple):
  """A run without results: seed, 'failed', 'not finished' and so on, why."""
  seed: int
  state: str
  detail: str


@dataclasses.dataclass(frozen=True)
class Setting:
  """One setting of a sweep (what its config calls a point), once a seed.

  Attributes:
    label: What the page calls it.
    series: Line of a plot that it belongs to.
    axes: {axis name: x}; {} for a setting of an ablation.
    runs: Finished ones.
    seeds: Of `runs`.
    unfinished: The others.
  """
  label: str
  series: str
  axes: dict[str, float]
  runs: tuple[runs_lib.Run, ...]
  seeds: tuple[int, ...]
  unfinished: tuple[Unfinished, ...] = ()

  @property
  def score(self):
    """Spread of the runs' score in per cent; None without any."""
    scores = self.by_seed.values()
    return spread(scores) if scores else None

  @property
  def by_seed(self):
    """{seed: score in per cent} of the finished runs that have one."""
    return {seed: run.score
            for seed, run in zip(self.seeds, self.runs, strict=True)
            if run.score is not None}

  def minus(self, other):
    """Returns the Spread of the score minus another's, in points.

    Args:
      other: A Setting.

    Returns:
      Of the seeds that both have finished; None if there are none.
    """
    paired = pair(other, self)
    return paired and paired.difference

  def by_class(self):
    """Returns {class: per cent}, the mean over the runs that have the class."""
    values = {}
    for run in self.runs:
      for name, share in run.by_class.items():
        values.setdefault(name, []).extend(
            [] if share is None else [100 * share])
    return {name: statistics.fmean(found) if found else None
            for name, found in values.items()}


@dataclasses.dataclass(frozen=True)
class Study:
  """What one chapter of the report is about.

  Attributes:
    title: Of the chapter.
    settings: At least one of them with a finished run.
    is_sweep: False for runs that were named one by one, each a setting.
    question: What a sweep is to answer; ''.
    command: Of a sweep, as a list; None.
    axis_labels: {axis name: with which unit it is labelled}.
    log_axes: Names of axes with a logarithmic scale.
    same_inputs: Whether all seeds of a sweep train on the same pseudo-labels
      and scribbles.
  """
  title: str
  settings: tuple[Setting, ...]
  is_sweep: bool = False
  question: str = ''
  command: list[str] | None = None
  axis_labels: dict[str, str] = dataclasses.field(default_factory=dict)
  log_axes: tuple[str, ...] = ()
  same_inputs: bool = False

  @property
  def seeds(self):
    """All seeds, finished or not, in order."""
    return sorted({seed for setting in self.settings for seed in (
        *setting.seeds, *(entry.seed for entry in setting.unfinished))})

  @property
  def runs(self):
    """The finished runs of all settings."""
    return [run for setting in self.settings for run in setting.runs]

  @property
  def finished(self):
    """The settings with at least one finished run."""
    return [setting for setting in self.settings if setting.runs]

  @property
  def measured(self):
    """The settings with a score."""
    return [setting for setting in self.settings if setting.score]

  @property
  def best(self):
    """The setting of the highest mean score; None if there is no score."""
    return max(self.measured, key=lambda setting: setting.score.mean,
               default=None)

  @property
  def measure(self):
    """What people call the score: 'mIoU', or None without any."""
    return results.MEASURES.get(self.runs[0].measure)

  @property
  def axes(self):
    """Names of the axes, in the order of the settings."""
    return list(dict.fromkeys(
        axis for setting in self.settings for axis in setting.axes))

  def axis_label(self, axis):
    """Returns what to write along an axis."""
    return self.axis_labels.get(axis, axis)


def study_of_runs(folders):
  """Returns a Study with a setting for each run; UserError as `read_runs`."""
  runs = runs_lib.read_runs(folders)
  title = runs[0].name if len(runs) == 1 else f'{len(runs)} runs'
  return Study(title, tuple(
      Setting(run.name, run.name, {}, (run,), (run.config.get('seed', 0),))
      for run in runs))


def read_sweep(folder):
  """Reads a sweep, as far as it has come.

  Args:
    folder: Path with a sweep.json.

  Returns:
    A Study.

  Raises:
    UserError: sweep.json can't be used, or no run is finished.
  """
  path = folder / 'sweep.json'
  sweep = runs_lib.read_json(path)
  try:
    _check_types(sweep)
    seeds = [int(seed) for seed in sweep['seeds']]
    settings = [_read_setting(folder, entry, seeds)
                for entry in sweep['points']]
    same_inputs = _has_same_inputs(sweep)
  except (KeyError, TypeError, ValueError, AttributeError,
          OverflowError) as error:
    raise UserError(f'{path} describes no sweep ({error!r}). Start the sweep '
                    'again.') from error
  finished = [run for setting in settings for run in setting.runs]
  if not finished:
    states = [entry.state for setting in settings
              for entry in setting.unfinished]
    counts = ', '.join(f'{states.count(state)} {state}'
                       for state in dict.fromkeys(states))
    raise UserError(f'{folder} has no finished run yet '
                    f'({counts or "no points"}). Go on with the sweep first.')
  alike = {run.folder: run for run in runs_lib.measured_alike(finished)}
  return Study(
      str(sweep.get('title') or runs_lib.names([folder])[0]),
      tuple(dataclasses.replace(
          setting, runs=tuple(alike[run.folder] for run in setting.runs))
            for setting in settings),
      is_sweep=True, question=str(sweep.get('question') or ''),
      command=sweep.get('command'), axis_labels=sweep.get('axis_labels') or {},
      log_axes=tuple(sweep.get('log_axes') or ()), same_inputs=same_inputs)


def _check_types(sweep):
  """Raises KeyError or TypeError for a sweep.json of another shape."""
  for key in _REQUIRED:
    if key not in sweep:
      raise KeyError(key)
  for key, kind in _TYPES.items():
    if not isinstance(sweep.get(key), kind | None):
      raise TypeError(f'{key} is {sweep[key]!r}')


def _has_same_inputs(sweep):
  """Whether no flag and no point changes what the seeds train on."""
  changed = [*(sweep.get('flags') or ()), *(
      key for entry in sweep['points'] for key in entry.get('overrides') or ())]
  return not any(key in str(text) for text in changed for key in _INPUT_SEEDS)


def _read_setting(folder, entry, seeds):
  """Returns a Setting with whichever runs are finished."""
  label = str(entry.get('label') or entry['name'])
  finished, unfinished = {}, []
  for seed in seeds:
    path = folder / entry['name'] / f'seed_{seed}'
    # A sweep compares runs at the end of their training.
    if (path / 'config.json').exists() and (path / 'metrics.json').exists():
      finished[seed] = runs_lib.read_run(path, f'{label}, seed {seed}')
    else:
      unfinished.append(_unfinished(path, seed))
  axes = {str(axis): float(x) for axis, x in (entry.get('axes') or {}).items()}
  if not all(map(math.isfinite, axes.values())):
    raise ValueError(f'setting {label!r} lies at {axes}')
  return Setting(label, str(entry.get('series') or label), axes,
               tuple(finished.values()), tuple(finished), tuple(unfinished))


def _unfinished(path, seed):
  """Returns what is known of a run without results."""
  failure = path.with_name(f'{path.name}.failed.json')
  if failure.exists():
    found = runs_lib.read_json(failure)
    log = found.get('log')
    detail = ' '.join(str(found.get('message') or 'no message').split())
    return Unfinished(
        seed, 'failed', detail + (f' Log: {log}' if log else ''))
  if not (path / 'config.json').exists():
    return Unfinished(seed, 'not started', '')
  step = events.last_step(events.read_scalars(path))
  of = runs_lib.read_json(path / 'config.json').get('num_steps')
  return Unfinished(seed, 'not finished', f'at step {step:,}' + (
      f' of {of:,}' if isinstance(of, int) else ''))
