"""A run's config and its training data, stored in its workdir.

A resumed run must have the same ones. Data is compared by its contents, not by
its place or its files' times: a data set may be moved or copied.
"""

import json

from absl import logging
from flax.traverse_util import flatten_dict

from scribble_jax import config_files
from scribble_jax import config_keys
from scribble_jax import hosts
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import formats
from scribble_jax.files import storage

_LEARNED_FROM = 'learned_from.json'
OTHER_DATA = 'resume_with_other_data'  # The flag that allows other data.
# A resumed run may differ in these keys: how long and how fast it trains, and
# where its files are.
_KEYS_MAY_DIFFER = (
    'num_steps', 'optim.', 'evaluation.', 'backbone_weights', 'init_from',
    'log_every', 'eval_every', 'checkpoint_every', 'keep_checkpoints',
    'num_panels', 'data.root', 'data.max_megapixels', 'data.records',
    'data.skip_corrupt', 'data.stage1', 'data.images', 'data.scribbles',
    'data.pseudo_labels', 'data.ground_truth', 'data.train_list',
    'data.val_list', 'data.unpacked', 'labels.', 'refinement.', 'stage1.',
    'model.remat', 'mesh.', 'profile')
# Parts of the data that nothing is learned from.
_DATA_MAY_DIFFER = ('val list', 'val images', 'ground truth')


def keep(workdir, config, learned_from, *, resuming, other_data):
  """Writes config and data to the workdir; a resumed run must have the same.

  Args:
    workdir: Absolute path of the run.
    config: The whole ConfigDict.
    learned_from: As of `check`.
    resuming: Whether the workdir holds a run.
    other_data: As of `check`.

  Raises:
    UserError: The run in the workdir learned from something else.
  """
  path = workdir / config_files.OF_RUN
  description = json.loads(config.to_json())
  # Absolute, because the config is read from any folder.
  description['data']['root'] = str(storage.absolute(config.data.root))
  if resuming:
    stored = formats.read_json(path)
    if not isinstance(stored, dict):
      problem = 'is damaged' if path.exists() else 'is missing'
      raise UserError(f'{path} {problem}, and {workdir} holds checkpoints. '
                      'Restore it, or name another --workdir.')
    compare(description, stored, workdir)
    check(workdir, learned_from, other_data)
  if hosts.is_first():
    formats.write_json(path, description)
    if learned_from:
      formats.write_json(workdir / _LEARNED_FROM, learned_from)
      formats.write_json(
          workdir / config_files.CLASSES, learned_from['class list'])


def compare(wanted, stored, workdir):
  """Checks that a config can resume the run of a workdir.

  Args:
    wanted: The config as nested dicts, as written to JSON.
    stored: The run's config, likewise.
    workdir: For the message.

  Raises:
    UserError: They differ in what the network learns from or how.
  """
  wanted = flatten_dict(wanted, sep='.')
  stored = config_keys.with_added(flatten_dict(stored, sep='.'))
  changed = [key for key in sorted(wanted.keys() | stored.keys())
             if wanted.get(key) != stored.get(key)]
  raise_problems(
      [f'config.{key} was {stored.get(key)!r} and is now {wanted.get(key)!r}'
       for key in changed if not key.startswith(_KEYS_MAY_DIFFER)],
      f'{workdir} holds a run with another config. Use another --workdir or '
      'the config of that run.')
  if changed:
    logging.warning('Going on with a changed config: %s.', ', '.join(changed))


def check(workdir, learned_from, other_data):
  """Checks that the run of a workdir resumes with the data it learned from.

  Args:
    workdir: Absolute path of the run.
    learned_from: {part: value}, as of `Records.learned_from`, ready for JSON;
      a value may be a dict. Parts that the run has not stored are not compared.
    other_data: Whether a difference is only a warning.

  Raises:
    UserError: It has learned from other data.
  """
  path = workdir / _LEARNED_FROM
  stored = formats.read_json(path)
  if path.exists() and not isinstance(stored, dict):
    raise UserError(f'{path} is damaged. Restore it, or delete it: nothing is '
                    'compared then.')
  if stored is None and learned_from:
    logging.warning('%s does not say what its run learned from: an older '
                    'version made it. Going on; nothing is compared.', workdir)
  changed = differences(stored or {}, learned_from)
  serious = [line for line in changed if line not in _DATA_MAY_DIFFER]
  if serious and not other_data:
    raise UserError(refusal(workdir, serious))
  if changed:
    logging.warning('Going on with other data: %s.', ', '.join(changed))


def refusal(workdir, changed):
  """Returns the error message for a run that would resume with other data.

  Args:
    workdir: The run's.
    changed: From `differences`.
  """
  return (f'{workdir} holds a run that learned from other data. Changed: '
          f'{", ".join(changed)}. Give it the data and settings of that run, '
          f'name another --workdir, or go on all the same with --{OTHER_DATA}.')


def differences(stored, wanted):
  """Returns a text for each part that is in both and differs.

  Args:
    stored: {part: value}; values may be dicts.
    wanted: Likewise.
  """
  stored = flatten_dict(stored, sep='.')
  wanted = flatten_dict(wanted, sep='.')
  changed = [part for part in wanted
             if part in stored and stored[part] != wanted[part]]
  if 'train list' in changed:  # It changes these too.
    changed = [part for part in changed if part not in (
        'images', 'scribbles', 'pseudo-labels')]
  return [f'{part} (was {stored[part]!r}, is {wanted[part]!r})'
          if part.startswith('config.') else part for part in changed]
