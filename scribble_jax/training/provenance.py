"""What a run is, kept in its workdir: its config, and what it learns from.

Started again, a run must go on with the same. Data counts by what it holds, not
by its place or its files' times: a data set may be moved or copied.
"""

from absl import logging
from flax.traverse_util import flatten_dict

from scribble_jax import config_check
from scribble_jax import config_files
from scribble_jax import hosts
from scribble_jax.errors import UserError
from scribble_jax.files import formats

_LEARNED_FROM = 'learned_from.json'
OTHER_DATA = 'resume_with_other_data'  # The flag that goes on all the same.
# Nothing is learned from these.
_MAY_DIFFER = ('val list', 'val images', 'ground truth')


def keep(workdir, config, learned_from, *, resuming, other_data):
  """Leaves config and data in the workdir; a resumed run must have the same.

  Args:
    workdir: Absolute path of the run.
    config: The whole ConfigDict.
    learned_from: As of `check`.
    resuming: Whether the workdir holds a run.
    other_data: As of `check`.

  Raises:
    UserError: The run in the workdir differs in what it learns.
  """
  path = workdir / config_files.OF_RUN
  if resuming:
    stored = formats.read_json(path)
    if not isinstance(stored, dict):
      problem = 'is damaged' if path.exists() else 'is missing'
      raise UserError(f'{path} {problem}, and {workdir} holds checkpoints. '
                      'Restore it, or name another --workdir.')
    config_check.compare(config, stored, workdir)
  if resuming:
    check(workdir, learned_from, other_data)
  if hosts.is_first():
    formats.write_json(path, config_check.described(config))
    if learned_from:
      formats.write_json(workdir / _LEARNED_FROM, learned_from)
      formats.write_json(
          workdir / config_files.CLASSES, learned_from['class list'])


def check(workdir, learned_from, other_data):
  """Checks that the run of a workdir goes on with what it has learned from.

  Args:
    workdir: Absolute path of the run.
    learned_from: {part: value}, as of `Records.learned_from`, ready for JSON;
      a value may be a dict. Parts that the run does not know are not compared.
    other_data: Whether a difference is a warning only.

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
  serious = [line for line in changed if line not in _MAY_DIFFER]
  if serious and not other_data:
    raise UserError(refusal(workdir, serious))
  if changed:
    logging.warning('Going on with other data: %s.', ', '.join(changed))


def refusal(workdir, changed):
  """Returns the line for a run that would go on with other data.

  Args:
    workdir: Of the run.
    changed: From `differences`.
  """
  return (f'{workdir} holds a run that learned from other data. Changed: '
          f'{", ".join(changed)}. Give it the data and settings of that run, '
          f'name another --workdir, or go on all the same with --{OTHER_DATA}.')


def differences(stored, wanted):
  """Returns a text for each part that both have and in which they differ.

  Args:
    stored: {part: value}; values may be dicts.
    wanted: Likewise.
  """
  stored = flatten_dict(stored, sep='.')
  wanted = flatten_dict(wanted, sep='.')
  changed = [part for part in wanted
             if part in stored and stored[part] != wanted[part]]
  if 'train list' in changed:  # Other images, and so on, follow from it.
    changed = [part for part in changed if part not in (
        'images', 'scribbles', 'pseudo-labels')]
  return [f'{part} (was {stored[part]!r}, is {wanted[part]!r})'
          if part.startswith('config.') else part for part in changed]
