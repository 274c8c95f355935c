"""Checkpoints of a run: saved by Orbax, restored as far as they are whole."""

from absl import logging
from flax import traverse_util
import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from scribble_jax import hosts
from scribble_jax import results
from scribble_jax.errors import UserError
from scribble_jax.files import storage
from scribble_jax.weights import stored

_AVERAGED = 'averaged'  # Field of a state whose averages inference takes.


def rank(figures):
  """Returns the number by which checkpoints are ordered; ties: the newest.

  Args:
    figures: Of a checkpoint's validation, with a key of `results.MEASURES`; {}
      if there was none.

  Returns:
    The mIoU, or, below any mIoU, the accuracy on strokes; below both what was
    not validated.
  """
  places = {'miou': 0.0, 'stroke_accuracy': -2.0, None: -3.0}
  measure = results.measure(figures)
  return places[measure] + figures.get(measure, 0.0)


def has_checkpoint(directory):
  """Whether a folder, which need not exist, holds a complete checkpoint."""
  return bool(stored.steps(directory))


def open_manager(directory, *, intervals, keep, last_step):
  """Returns a manager that saves periodically and at the end.

  Whoever resumes calls `restore_latest` before: Orbax trips over damage.

  Args:
    directory: Absolute path.
    intervals: In steps; a multiple of any of them is saved.
    keep: How many of the newest stay, besides the best one.
    last_step: The run's last step, saved in any case.
  """
  _discard_unfinished(directory)
  options = ocp.CheckpointManagerOptions(
      best_fn=rank,
      save_decision_policy=policies.AnySavePolicy([
          *(policies.FixedIntervalPolicy(steps) for steps in intervals),
          policies.SpecificStepsPolicy({last_step}),
      ]),
      preservation_policy=policies.AnyPreservationPolicy([
          policies.LatestN(keep),
          policies.BestN(get_metric_fn=rank, n=1),
      ]))
  return ocp.CheckpointManager(directory, options=options)


def _discard_unfinished(directory):
  """Deletes what killed saves left in a bucket, in the way of new ones."""
  if storage.is_remote(directory):
    if hosts.is_first() and directory.exists():
      for folder in directory.iterdir():
        if folder.name.isdigit() and not ocp.utils.is_checkpoint_finalized(
            folder):
          storage.remove_folder(folder)
    hosts.wait_for_all()


def save(manager, step, state, figures):
  """Saves `state` whatever the manager's policy. Returns without waiting.

  Args:
    manager: From `open_manager`.
    step: Completed updates.
    state: A TrainState.
    figures: JSON-ready results, as of `rank`; {} if not validated.
  """
  return manager.save(
      step, args=ocp.args.StandardSave(state), metrics=figures,
      custom_metadata={stored.SUMS: stored.sums(state)}, force=True)


def restore_latest(directory, state):
  """Returns the newest whole checkpoint, laid out like `state`, or `state`.

  Damaged ones are renamed, with a warning, to let Orbax save their steps again.

  Args:
    directory: Absolute path that `open_manager` will be given.
    state: A TrainState.

  Raises:
    UserError: No checkpoint is whole, or they belong to another network.
  """
  steps = stored.steps(directory)[::-1]
  if not steps:
    return state
  step, arrays, damaged = _read_first_whole(directory, steps)
  _check_same_network(directory, arrays, state)
  with hosts.together():
    if hosts.is_first():
      _set_aside(directory, damaged | _damaged_figures(directory, steps), step)

  def restored(path, leaf):
    array = arrays[stored.name_of(path)]
    return jax.make_array_from_callback(
        leaf.shape, leaf.sharding, lambda index: array[index])

  return jax.tree_util.tree_map_with_path(restored, state)


def restore_variables(directory, step):
  """Returns what inference needs of a checkpoint: averages, if it has them.

  Args:
    directory: Absolute path that `open_manager` was given.
    step: 'latest', 'best' or a number of completed updates. A damaged one is
      passed over with a warning, unless its number was named.

  Returns:
    variables: 'params' and 'batch_stats', nested dicts of NumPy arrays.
    step: Completed updates.

  Raises:
    UserError: There is no such checkpoint, or none that is whole.
  """
  numbers = stored.steps(directory)[::-1]
  if not numbers:
    raise UserError(f'{directory} holds no checkpoint yet. Train first, or '
                    'name another workdir.')
  found = {
      'latest': numbers,
      'best': sorted(numbers, key=lambda number: _rank_of(directory, number),
                     reverse=True),
      **{str(number): [number] for number in reversed(numbers)}}
  if str(step) not in found:
    raise UserError(f'{directory} holds no checkpoint {step!r}. Choose '
                    f'--step from: {", ".join(found)}.')
  chosen, arrays, damaged = _read_first_whole(
      directory, found[str(step)], _of_inference)
  for number, reason in damaged.items() if hosts.is_first() else ():
    logging.warning('%s is damaged: %s. Taking %s instead.',
                    directory / str(number), reason, directory / str(chosen))
  if step == 'best' and _rank_of(directory, chosen) == rank({}):
    logging.warning('No checkpoint in %s was validated: the best is the '
                    'newest, step %d.', directory, chosen)
  variables = traverse_util.unflatten_dict(arrays, sep='.')
  return variables.get(_AVERAGED, variables), chosen


def _of_inference(names):
  """Returns which of a checkpoint's arrays `restore_variables` reads."""
  parts = {name.split('.')[0] for name in names}
  wanted = ({_AVERAGED} if _AVERAGED in parts else {'params', 'batch_stats'})
  return [name for name in names if name.split('.')[0] in wanted]


def _rank_of(directory, step):
  """Returns what `rank` says of a checkpoint on disk."""
  try:
    return rank(stored.figures(directory / str(step)))
  except stored.DamagedError:
    return rank({})


def _read_first_whole(directory, steps, choose=list):
  """Reads the first of several checkpoints that is whole.

  The first process decides which that is.

  Args:
    directory: Of all checkpoints.
    steps: Which to try, in this order.
    choose: As of `stored.read`.

  Returns:
    step: The first whole one.
    arrays: From `stored.read`.
    damaged: {step: reason} of those before.

  Raises:
    UserError: None is whole.
  """
  arrays, damaged, chosen = None, {}, None
  with hosts.together():
    for step in steps if hosts.is_first() else ():
      try:
        arrays, chosen = stored.read(directory / str(step), choose), step
        break
      except stored.DamagedError as error:
        damaged[step] = str(error)
    if hosts.is_first() and chosen is None:
      _raise_damaged(directory, damaged)
  chosen, damaged = hosts.gather((chosen, damaged))[0]
  with hosts.together():
    if arrays is None:
      try:
        arrays = stored.read(directory / str(chosen), choose)
      except stored.DamagedError as error:
        _raise_damaged(directory, {chosen: str(error)})
  return chosen, arrays, damaged


def _raise_damaged(directory, damaged):
  """Raises the UserError that says that no checkpoint in question is whole."""
  step, reason = next(iter(damaged.items()))
  others = len(damaged) - 1
  raise UserError(
      f'{directory / str(step)} is damaged: {reason}'
      + (f'; {others} older ones are damaged too' if others else '')
      + '. Copy it again, choose another --step, or train in a new --workdir.')


def _damaged_figures(directory, steps):
  """Returns {step: reason} of checkpoints whose figures can't be read."""
  damaged = {}
  for step in steps:
    try:
      stored.figures(directory / str(step))
    except stored.DamagedError as error:
      damaged[step] = str(error)
  return damaged


def _set_aside(directory, damaged, chosen):
  """Renames damaged checkpoints, which nothing reads or deletes then.

  Args:
    directory: Of all checkpoints.
    damaged: {step: reason}.
    chosen: The step that training goes on from, for the message.

  Raises:
    UserError: They can't be renamed.
  """
  for step, reason in damaged.items():
    folder = directory / str(step)
    # Orbax would take DAMAGED_6 for step 6.
    target = directory / f'{step}.DAMAGED'
    while target.exists():  # It was damaged before.
      target = target.with_name(f'{target.name}.again')
    try:
      with storage.os_errors():
        folder.rename(target)
    except OSError as error:
      raise UserError(f'{folder} is damaged: {reason}, and can\'t be renamed: '
                      f'{error}. Move it away.') from error
    logging.warning('%s is damaged: %s. It is now called %s; training goes on '
                    'from %s.', folder, reason, target.name,
                    directory / str(chosen))


def figures(manager, step):
  """Returns the figures that were saved with a checkpoint; {} for none."""
  manager.wait_until_finished()
  return manager.metrics(step) or {}


def _check_same_network(directory, arrays, state):
  """Compares names and shapes of all that is trained."""
  found = {name: array.shape for name, array in arrays.items()}
  wanted = {stored.name_of(path): leaf.shape
            for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
  # Names begin with a field; 'params' tell more than what derives from them.
  for name in sorted(found.keys() | wanted.keys(),
                     key=lambda name: (not name.startswith('params'), name)):
    if found.get(name) != wanted.get(name):
      what = ('optimizer (config.optim)' if name.startswith(
          ('opt_state', _AVERAGED)) else 'network')
      raise UserError(
          f'{directory} belongs to another {what}: {name} has shape '
          f'{found.get(name)} there and {wanted.get(name)} in this config. '
          'Use another --workdir or the config of that run.')
