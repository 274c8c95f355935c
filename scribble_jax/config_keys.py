"""The keys of the configs: a misspelled or a missing one is an error.

The known keys are those of configs/scribblesup.py.
"""

import numbers

from flax.traverse_util import flatten_dict
from flax.traverse_util import unflatten_dict

from scribble_jax.configs import scribblesup
from scribble_jax.errors import raise_problems

# Sections that may hold any keys.
_FREE = ('data.embedded', 'data.unpacked')


def _keys(config, sections):
  """Returns the keys of a config, joined by dots.

  Args:
    config: ConfigDict.
    sections: Names of sections that count as one key, whatever they hold.
  """
  return flatten_dict(
      config.to_dict(), sep='.', keep_empty_nodes=True,
      is_leaf=lambda path, _: '.'.join(path) in sections).keys()


_ALL = _keys(scribblesup.get_config(), _FREE)
# Stage 1's config is the section `stage1` with three parts of stage 2's.
STAGE1 = {key.removeprefix('stage1.') for key in _ALL
          if key.startswith(('stage1.', 'data.', 'mesh.', 'profile'))}
# The section `stage1` is checked when stage 1 runs.
STAGE2 = {key for key in _ALL if not key.startswith('stage1.')} | {'stage1'}

# Keys that runs of older versions do not have: {key: the value that has the
# same effect}.
ADDED = {
    'data.tfds': '',
    'model.freeze_backbone': 'none',
    'model.output_stride': 8,
    'optim.name': 'sgd',
    'optim.backbone_lr_factor': 1.0,
    'optim.layer_decay': 1.0,
    'optim.ema_decay': 0.0,
    'optim.accumulate': 1,
    'evaluation.refine': 0.0,
}
_ALWAYS_IN_STAGE1 = {'model.output_stride'}

_MAY_BE_NONE = {'data.image_range', 'model.num_classes',
                'evaluation.long_side', 'evaluation.batch_size'}


def check(config, known):
  """Raises UserError for unknown and missing keys, and for unusable values.

  Args:
    config: ConfigDict.
    known: STAGE1 or STAGE2.
  """
  found = _keys(config, (*_FREE, 'stage1'))
  raise_problems(
      [f'config.{key} is {what}'
       for what, keys in (('unknown', found - known),
                          ('missing', known - found))
       for key in sorted(keys)],
      'Correct the config file; configs/scribblesup.py and pseudo_labels.py '
      'have every key.')
  values = flatten_dict(config.to_dict(), sep='.')
  raise_problems(
      [f'config.{key} is {value!r}; it must be {rule}'
       for key, value in values.items()
       for rule in [_broken_rule(key.removeprefix('stage1.'), value)] if rule],
      'Change the config or the flags.')


def _broken_rule(key, value):
  """Returns the rule that a value breaks; None if it breaks none."""
  if value is None and key not in _MAY_BE_NONE:
    return 'given'
  if (isinstance(value, tuple | list) and key != 'data.classes'
      and not all(isinstance(x, numbers.Real) for x in value)):
    return 'numbers'
  return None


def with_added(values):
  """Returns the values of a run with the keys of ADDED that it lacks.

  Args:
    values: {key: value} of a config of either stage, flattened, its keys joined
      by dots.
  """
  sections = {key.rpartition('.')[0] for key in values}
  added = {key: ADDED[key.removeprefix('stage1.')]
           for key in (STAGE1 if 'supervision' in values else _ALL)
           if key.removeprefix('stage1.') in ADDED
           and key.rpartition('.')[0] in sections}
  return added | values


def without_added(config):
  """Returns stage 1's nested dict without the keys whose value is as in ADDED.

  It equals the dict of an older version that does the same.
  """
  return unflatten_dict(
      {key: value for key, value in flatten_dict(
          config, keep_empty_nodes=True, sep='.').items()
       if key not in ADDED.keys() - _ALWAYS_IN_STAGE1
       or value != ADDED[key]}, sep='.')
