"""The keys of the configs, section by section: a typo is found at once."""

import numbers

from flax.traverse_util import flatten_dict
from flax.traverse_util import unflatten_dict

from scribble_jax import sharding
from scribble_jax.errors import raise_problems
from scribble_jax.loss_terms import TERMS

_RUN = {
    'seed', 'num_steps', 'batch_size', 'data', 'model', 'optim', 'loss_weights',
    'evaluation', 'backbone_weights', 'log_every', 'checkpoint_every',
    'keep_checkpoints', 'num_panels', 'mesh', 'profile'}
_SHARED = {
    'mesh': set(sharding.AXES),
    'data': {'root', 'images', 'scribbles', 'pseudo_labels', 'ground_truth',
             'train_list', 'val_list', 'records', 'skip_corrupt',
             'image_range', 'max_megapixels', 'unlabelled_index', 'label_map',
             'shuffle_buffer', 'stage1', 'classes', 'embedded', 'unpacked',
             'tfds', 'lambda_s', 'lambda_c', 'scribble_shrink', 'scribble_drop',
             'scribble_seed', 'crop_size', 'augmentation'},
    'data.augmentation': {'scale', 'rotate_probability', 'rotate_degrees',
                          'blur_probability', 'flip_probability'},
    'model': {'num_classes', 'backbone', 'output_stride', 'head', 'width',
              'head_width', 'dropout', 'dtype', 'remat', 'freeze_backbone'},
    'optim': {'name', 'lr', 'warmup_steps', 'momentum', 'weight_decay',
              'backbone_lr_factor', 'layer_decay', 'ema_decay', 'accumulate'},
    'evaluation': {'scales', 'long_side', 'flip', 'window', 'blend',
                   'batch_size'},
}
STAGE1 = _SHARED | {
    '': _RUN | {'supervision', 'labels', 'refinement'},
    'loss_weights': {'classification', 'scribble'},
    'labels': {'source', 'branch', 'refine', 'calibration', 'threshold',
               'calibration_images', 'undecided', 'unnamed'},
    'refinement': {'strides', 'dilations', 'iterations', 'contrast', 'restart'},
}
STAGE2 = _SHARED | {
    '': _RUN | {'init_from', 'method', 'label_smoothing', 'eval_every',
                'stage1'},
    'method': {'pseudo_ignore', 'distance_fill', 'lorm_background',
               'lorm_foreground', 'normaliser'},
    'loss_weights': set(TERMS),
    'evaluation': _SHARED['evaluation'] | {'refine'},
}

# Keys that runs of older versions do not have, and what those runs did: a run
# without them is one with these values.
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
_NEVER_IN_STAGE1 = {'evaluation.refine'}

_MAY_BE_NONE = {'data.image_range', 'model.num_classes',
                'evaluation.long_side', 'evaluation.batch_size'}
_NO_NUMBERS = {'data.classes'}  # Of those that hold several values.


def check(config, sections):
  """Raises UserError for keys that are unknown or missing, or of no use.

  Args:
    config: ConfigDict.
    sections: STAGE1 or STAGE2.
  """
  raise_problems(
      [f'config.{section}{"." if section else ""}{key} is {what}'
       for section, keys in sections.items()
       for what, names in _differences(config, section, keys)
       for key in sorted(names)],
      'Mend the config file; configs/scribblesup.py and pseudo_labels.py have '
      'every key.')
  values = flatten_dict(config.to_dict(), sep='.')
  raise_problems(
      [f'config.{key} is {value!r}; it must be {rule}'
       for key, value in values.items()
       for rule in [_broken_rule(key.removeprefix('stage1.'), value)] if rule],
      'Change the config or the flags.')


def with_added(values):
  """Returns {key: value} of a run with the keys of ADDED that it lacks.

  Args:
    values: Of a config of either stage, flattened, its keys joined by dots.
  """
  sections = {key.rpartition('.')[0] for key in values}
  of_stage1 = {f'stage1.{key}': value for key, value in ADDED.items()
               if key not in _NEVER_IN_STAGE1}
  own = {key: value for key, value in ADDED.items()
         if 'supervision' not in values or key not in _NEVER_IN_STAGE1}
  added = {key: value for key, value in (own | of_stage1).items()
           if key.rpartition('.')[0] in sections}
  return added | values


def without_added(config):
  """Returns stage 1's nested dict without keys that are as in ADDED.

  So it equals that of an older version that does the same.
  """
  return unflatten_dict(
      {key: value for key, value in flatten_dict(
          config, keep_empty_nodes=True, sep='.').items()
       if key not in ADDED.keys() - _ALWAYS_IN_STAGE1
       or value != ADDED[key]}, sep='.')


def _broken_rule(key, value):
  """Returns what a value must be, if it is not; None for the usual case."""
  if value is None and key not in _MAY_BE_NONE:
    return 'given'
  if (isinstance(value, tuple | list) and key not in _NO_NUMBERS
      and not all(isinstance(x, numbers.Real) for x in value)):
    return 'numbers'
  return None


def _differences(config, section, keys):
  for part in filter(None, section.split('.')):
    config = config.get(part, {})
  found = set(config.keys())
  return ('unknown', found - keys), ('missing', keys - found)
