"""Orbax, reduced to the calls the train loop makes."""

from absl import logging
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from scribble_jax import hosts
from scribble_jax import results
from scribble_jax.errors import UserError
from scribble_jax.files import storage


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
  return directory.is_dir() and bool(ocp.utils.checkpoint_steps(directory))


def open_manager(directory, *, intervals, keep, last_step):
  """Returns a manager that saves periodically and at the end.

  Args:
    directory: Absolute path.
    intervals: In steps; a multiple of any of them is saved.
    keep: How many of the newest stay, besides the best one.
    last_step: The run's last step, saved in any case.
  """
  _discard_unfinished(directory)
  # The handler is named so that what is stored can be asked for before the
  # first save.
  handler = ocp.StandardCheckpointHandler()
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
  return ocp.CheckpointManager(
      directory, item_handlers=handler, options=options)


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
  return manager.save(step, args=ocp.args.StandardSave(state), metrics=figures,
                      force=True)


def restore_latest(manager, state):
  """Returns the newest checkpoint, laid out like `state`, or `state` itself.

  Raises:
    UserError: The checkpoint belongs to another network.
  """
  step = manager.latest_step()
  if step is None:
    return state
  _check_same_network(manager, step, state)
  target = jax.tree.map(ocp.tree.to_shape_dtype_struct, state)
  return manager.restore(step, args=ocp.args.StandardRestore(target))


def restore_variables(directory, step):
  """Returns what inference needs of a checkpoint.

  Args:
    directory: Absolute path that `open_manager` was given.
    step: 'latest', 'best' or a number of completed updates.

  Returns:
    variables: 'params' and 'batch_stats', nested dicts of NumPy arrays.
    step: Completed updates.

  Raises:
    UserError: There is no such checkpoint.
  """
  if not has_checkpoint(directory):
    raise UserError(f'{directory} holds no checkpoint yet. Train first, or '
                    'name another workdir.')
  options = ocp.CheckpointManagerOptions(best_fn=rank, create=False)
  with ocp.CheckpointManager(
      directory, item_handlers=ocp.PyTreeCheckpointHandler(),
      options=options) as manager:
    found = {'latest': manager.latest_step(), 'best': manager.best_step()}
    found |= {str(number): number for number in manager.all_steps()}
    if str(step) not in found:
      raise UserError(f'{directory} holds no checkpoint {step!r}. Choose '
                      f'--step from: {", ".join(found)}.')
    if step == 'best' and rank(figures(manager, found[step])) == rank({}):
      logging.warning('No checkpoint in %s was validated: the best is the '
                      'newest, step %d.', directory, found[step])
    step = found[str(step)]
    stored = manager.item_metadata(step).tree
    wanted = {name: jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), stored[name])
              for name in ('params', 'batch_stats')}
    as_numpy = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    return manager.restore(step, args=ocp.args.PyTreeRestore(
        item=wanted, restore_args=as_numpy, partial_restore=True)), step


def figures(manager, step):
  """Returns the figures that were saved with a checkpoint; {} for none."""
  manager.wait_until_finished()
  return manager.metrics(step) or {}


def _check_same_network(manager, step, state):
  """Compares names and shapes of the parameters."""
  def shapes(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator='/'):
            tuple(leaf.shape) for path, leaf in leaves}

  stored = shapes(manager.item_metadata(step)['params'])
  wanted = shapes(state.params)
  for name in sorted(stored.keys() | wanted.keys()):
    if stored.get(name) != wanted.get(name):
      raise UserError(
          f'{manager.directory} belongs to another network: {name} has shape '
          f'{stored.get(name)} there and {wanted.get(name)} in this config. '
          'Use another --workdir or the config of that run.')
