"""Studies: the settings of a sweep, or several runs, and their statistics."""

import collections
import dataclasses
import math
import statistics
from typing import NamedTuple

from scribble_jax import results
from scribble_jax.errors import UserError
from scribble_jax.report import events
from scribble_jax.report import runs as runs_lib
from scribble_jax.report.spreads import pair
from scribble_jax.report.spreads import spread

# Types of a sweep.json's values, if they are not null.
_TYPES = {'seeds': list, 'points': list, 'flags': list, 'command': list,
          'axis_labels': dict, 'log_axes': list}
# Keys of the config that vary pseudo-labels and deformations.
_INPUT_SEEDS = ('stage1.seed', 'scribble_seed')


class Unfinished(NamedTuple):
  """A run without results.

  Attributes:
    label: Label of its setting.
    seed: Its seed.
    state: 'failed', 'not finished' or 'not started'.
    detail: Error message, or the step that it has reached.
  """
  label: str
  seed: int
  state: str
  detail: str


def count_states(unfinished):
  """Returns how many runs are in which state: '1 failed, 2 not started'."""
  counts = collections.Counter(run.state for run in unfinished)
  return ', '.join(f'{count} {state}' for state, count in counts.items())


@dataclasses.dataclass(frozen=True)
class Setting:
  """One setting of a sweep (a point of its config) with a run for each seed.

  Attributes:
    label: Name on the page.
    series: Name of its line in plots.
    axes: {axis name: x}; {} for a setting of an ablation.
    runs: Finished runs.
    seeds: Seeds of `runs`.
    unfinished: The other runs.
  """
  label: str
  series: str
  axes: dict[str, float]
  runs: tuple[runs_lib.Run, ...]
  seeds: tuple[int, ...]
  unfinished: tuple[Unfinished, ...] = ()

  @property
  def score(self):
    """Spread of the runs' scores in per cent; None without any."""
    scores = self.by_seed.values()
    return spread(scores) if scores else None

  @property
  def by_seed(self):
    """{seed: score in per cent} of the finished runs that have a score."""
    return {seed: run.score
            for seed, run in zip(self.seeds, self.runs, strict=True)
            if run.score is not None}

  def minus(self, other):
    """Returns the Spread of the score minus that of another Setting.

    The differences are in points, over the seeds that both settings have
    finished; None without such seeds.
    """
    paired = pair(other, self)
    return paired and paired.difference

  def by_class(self):
    """Returns {class: per cent}: means over the runs that have the class."""
    values = {}
    for run in self.runs:
      for name, share in run.by_class.items():
        values.setdefault(name, []).extend(
            [] if share is None else [100 * share])
    return {name: statistics.fmean(found) if found else None
            for name, found in values.items()}


@dataclasses.dataclass(frozen=True)
class Study:
  """The subject of one chapter of the report.

  Attributes:
    title: Title of the chapter.
    settings: All settings; at least one has a finished run.
    is_sweep: False for runs that were named one by one, each a setting.
    question: Question that a sweep answers, or ''.
    command: Command of a sweep as a list of arguments, or None.
    axis_labels: {axis name: label with its unit}.
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
  def runs(self):
    """The finished runs of all settings."""
    return [run for setting in self.settings for run in setting.runs]

  @property
  def unfinished(self):
    """The runs of all settings that have no results."""
    return [run for setting in self.settings for run in setting.unfinished]

  @property
  def seeds(self):
    """All seeds, finished or not, in order."""
    return sorted({run.seed for run in self.unfinished}.union(
        *(setting.seeds for setting in self.settings)))

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
    """The setting with the highest mean score; None without scores."""
    return max(self.measured, key=lambda setting: setting.score.mean,
               default=None)

  @property
  def measure(self):
    """Name of the score, such as 'mIoU'; None without scores."""
    return results.MEASURES.get(self.runs[0].measure)

  @property
  def axes(self):
    """Names of the axes, in the order of the settings."""
    return list(dict.fromkeys(
        axis for setting in self.settings for axis in setting.axes))

  def axis_label(self, axis):
    """Returns the label of an axis."""
    return self.axis_labels.get(axis, axis)


def study_of_runs(folders):
  """Returns a Study with a setting for each run.

  Raises:
    UserError: As `runs.read_runs`.
  """
  runs = runs_lib.read_runs(folders)
  title = runs[0].name if len(runs) == 1 else f'{len(runs)} runs'
  return Study(title, tuple(
      Setting(run.name, run.name, {}, (run,), (run.config.get('seed', 0),))
      for run in runs))


def read_sweep(folder):
  """Reads a sweep, finished or not.

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
    settings = _read_settings(folder, sweep)
    # The flags and points do not change what the seeds train on.
    changed = [*(sweep.get('flags') or ()), *(
        key for point in sweep['points']
        for key in point.get('overrides') or ())]
    same_inputs = not any(
        key in str(text) for text in changed for key in _INPUT_SEEDS)
  except (KeyError, TypeError, ValueError, AttributeError,
          OverflowError) as error:
    raise UserError(f'{path} describes no sweep ({error!r}). Start the sweep '
                    'again.') from error
  study = Study(
      str(sweep.get('title') or runs_lib.names([folder])[0]), settings,
      is_sweep=True, question=str(sweep.get('question') or ''),
      command=sweep.get('command'), axis_labels=sweep.get('axis_labels') or {},
      log_axes=tuple(sweep.get('log_axes') or ()), same_inputs=same_inputs)
  if not study.runs:
    states = count_states(study.unfinished) or 'no points'
    raise UserError(f'{folder} has no finished run yet ({states}). Continue '
                    'the sweep first.')
  alike = iter(runs_lib.measured_alike(study.runs))
  return dataclasses.replace(study, settings=tuple(
      dataclasses.replace(
          setting, runs=tuple(next(alike) for _ in setting.runs))
      for setting in settings))


def _read_settings(folder, sweep):
  """Returns the Settings of a sweep; a malformed one raises any error."""
  for key, kind in _TYPES.items():
    if not isinstance(sweep.get(key), kind | None):
      raise TypeError(f'{key} is {sweep[key]!r}')
  seeds = [int(seed) for seed in sweep['seeds']]
  return tuple(_read_setting(folder, point, seeds) for point in sweep['points'])


def _read_setting(folder, point, seeds):
  """Returns a Setting with the runs that are finished."""
  label = str(point.get('label') or point['name'])
  finished, unfinished = {}, []
  for seed in seeds:
    path = folder / point['name'] / f'seed_{seed}'
    # A sweep compares runs at the end of their training.
    if (path / 'config.json').exists() and (path / 'metrics.json').exists():
      finished[seed] = runs_lib.read_run(path, f'{label}, seed {seed}')
    else:
      unfinished.append(Unfinished(label, seed, *_state(path)))
  axes = {str(axis): float(x) for axis, x in (point.get('axes') or {}).items()}
  if not all(map(math.isfinite, axes.values())):
    raise ValueError(f'setting {label!r} lies at {axes}')
  return Setting(label, str(point.get('series') or label), axes,
                 tuple(finished.values()), tuple(finished), tuple(unfinished))


def _state(path):
  """Returns (state, detail) of a run without results."""
  failure = path.with_name(f'{path.name}.failed.json')
  if failure.exists():
    found = runs_lib.read_json(failure)
    log = found.get('log')
    message = ' '.join(str(found.get('message') or 'no message').split())
    return 'failed', message + (f' Log: {log}' if log else '')
  if not (path / 'config.json').exists():
    return 'not started', ''
  step = events.last_step(events.read_scalars(path))
  num_steps = runs_lib.read_json(path / 'config.json').get('num_steps')
  return 'not finished', f'at step {step:,}' + (
      f' of {num_steps:,}' if isinstance(num_steps, int) else '')
