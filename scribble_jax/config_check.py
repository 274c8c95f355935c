"""What a config may say: wrong values get one line before any work starts."""

import dataclasses
import json
import math
import re

from absl import logging
from flax.traverse_util import flatten_dict

from scribble_jax import config_keys
from scribble_jax import models
from scribble_jax import switches
from scribble_jax.data.dataset_files import NO_PSEUDO_LABELS
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import storage
from scribble_jax.labels import meanings
from scribble_jax.loss_terms import TERMS
from scribble_jax.windows import BLENDS
from scribble_jax.windows import Protocol

OPTIMIZERS = ('sgd', 'adamw')
WINDOWS = ('crop', 'whole')  # Of evaluation.
_MOST_MEGAPIXELS = 178  # TensorFlow decodes less than 2**29 bytes.
_MIN_FEATURE_SIZE = 2  # Side of layer4's map; corners can't align over one.


def check_training(config, num_devices):
  """Raises UserError for values that stage 2 can't run with.

  Args:
    config: The whole ConfigDict.
    num_devices: That share a batch.
  """
  config_keys.check(config, config_keys.STAGE2)
  rules = Rules()
  add_run_rules(rules, config, num_devices)
  rules.require(config.eval_every >= 1, 'eval_every', config.eval_every,
                'at least 1')
  for key, value in config.method.items():
    rules.require(value in switches.VALUES, f'method.{key}', value,
                  "'official' or 'corrected'")
  rules.require(0 <= config.label_smoothing < 1, 'label_smoothing',
                config.label_smoothing, 'from 0 to below 1')
  rules.require(any(loss_weights(config).values()), 'loss_weights',
                config.loss_weights.to_dict(), 'above 0 somewhere')
  rules.enforce()
  models.build(config.model)  # Knows the names of the networks.


def add_run_rules(rules, config, num_devices):
  """Adds what a run of either stage asks for.

  Args:
    rules: Rules.
    config: ConfigDict of the stage.
    num_devices: That share a batch.
  """
  _add_inference_rules(rules, config)
  for key, value in flatten_dict(config.to_dict(), sep='.').items():
    rules.require(not isinstance(value, float) or math.isfinite(value), key,
                  value, 'a finite number')
  rules.require(config.seed >= 0, 'seed', config.seed, 'at least 0')
  for key in ('num_steps', 'log_every', 'checkpoint_every', 'keep_checkpoints',
              'num_panels'):
    rules.require(config[key] >= 1, key, config[key], 'at least 1')
  _add_optim_rules(rules, config, num_devices)
  rules.require(config.batch_size >= 2 and config.batch_size % num_devices == 0,
                'batch_size', config.batch_size,
                f'at least 2 and a multiple of the {num_devices} device(s)')
  rules.require(profiled_steps(config.profile) is not None, 'profile',
                config.profile, "'' or 'START:STOP', two steps in order")
  meanings(config.data.unlabelled_index, config.data.label_map)
  rules.require(config.data.shuffle_buffer >= 1, 'data.shuffle_buffer',
                config.data.shuffle_buffer, 'at least 1')
  scale = config.data.augmentation.scale
  rules.require(len(scale) == 2 and 0 < scale[0] <= scale[1],
                'data.augmentation.scale', scale,
                'two factors above 0, the smaller first')
  rules.require(0 <= config.model.dropout < 1, 'model.dropout',
                config.model.dropout, 'from 0 to below 1')
  for key, value in config.loss_weights.items():
    rules.require(value >= 0, f'loss_weights.{key}', value, 'at least 0')


def _add_optim_rules(rules, config, num_devices):
  """Adds what `config.optim` must be; arguments as of `add_run_rules`."""
  optim = config.optim
  rules.require(optim.name in OPTIMIZERS, 'optim.name', optim.name,
                ' or '.join(map(repr, OPTIMIZERS)))
  rules.require(optim.lr > 0, 'optim.lr', optim.lr, 'above 0')
  rules.require(0 <= optim.warmup_steps < config.num_steps,
                'optim.warmup_steps', optim.warmup_steps,
                f'from 0 to below num_steps, {config.num_steps}')
  rules.require(optim.backbone_lr_factor > 0, 'optim.backbone_lr_factor',
                optim.backbone_lr_factor,
                "above 0; config.model.freeze_backbone is 'all' for no updates")
  rules.require(0 < optim.layer_decay <= 1, 'optim.layer_decay',
                optim.layer_decay, 'above 0 and at most 1')
  rules.require(0 <= optim.ema_decay < 1, 'optim.ema_decay', optim.ema_decay,
                'from 0 to below 1')
  parts = optim.accumulate
  rules.require(
      parts == 1 or (parts > 1 and config.batch_size // parts >= 2
                     and config.batch_size % (parts * num_devices) == 0),
      'optim.accumulate', parts,
      f'1, or a number of parts of at least 2 images whose product with the '
      f'{num_devices} device(s) divides batch_size, {config.batch_size}')


def check_inference(config):
  """Raises UserError for values that prediction can't run with."""
  config_keys.check(config, config_keys.STAGE2)
  rules = Rules()
  _add_inference_rules(rules, config)
  rules.enforce()
  models.build(config.model)


def check_data(config):
  """Raises UserError for values that files can't be read with."""
  rules = Rules()
  _add_data_rules(rules, config)
  rules.enforce()


def _add_data_rules(rules, config):
  ends = config.data.image_range or (0, 1)
  rules.require(
      len(ends) == 2 and all(isinstance(end, (int, float)) for end in ends)
      and ends[0] < ends[1], 'data.image_range', ends,
      'two numbers, the smaller first, or () for the whole range of 16 bits')
  rules.require(0 < config.data.max_megapixels <= _MOST_MEGAPIXELS,
                'data.max_megapixels', config.data.max_megapixels,
                f'above 0 and at most {_MOST_MEGAPIXELS}, what TensorFlow '
                'decodes; cut larger images into tiles')
  for key in ('lambda_s', 'lambda_c'):
    rules.require(config.data[key] >= 0, f'data.{key}', config.data[key],
                  'at least 0')
  for key in ('scribble_shrink', 'scribble_drop'):
    rules.require(0 <= config.data[key] <= 1, f'data.{key}', config.data[key],
                  'from 0 to 1')
  rules.require(config.data.scribble_seed >= 0, 'data.scribble_seed',
                config.data.scribble_seed, 'at least 0')


def _add_inference_rules(rules, config):
  _add_data_rules(rules, config)
  evaluation = config.evaluation
  for key, unit in (('batch_size', 'windows'), ('long_side', 'pixels')):
    value = evaluation[key]
    rules.require(value is None or (isinstance(value, int) and value >= 1),
                  f'evaluation.{key}', value, f'at least 1 ({unit}), or None')
  for key, values in (('window', WINDOWS), ('blend', BLENDS)):
    rules.require(evaluation[key] in values, f'evaluation.{key}',
                  evaluation[key], ' or '.join(map(repr, values)))
  rules.require(evaluation.scales and min(evaluation.scales) > 0,
                'evaluation.scales', evaluation.scales,
                'one or more factors above 0')
  backbone = models.make_backbone(config.model)
  smallest = next(size for size in range(1, 100)
                  if backbone.feature_size(size) >= _MIN_FEATURE_SIZE)
  rules.require(config.data.crop_size >= smallest, 'data.crop_size',
                config.data.crop_size,
                f'at least {smallest} pixels, the smallest the network can '
                'take')


class Rules:
  """Collects the values that break a rule."""

  def __init__(self, section='config.'):
    """Args: what the user's config calls the section."""
    self._section = section
    self._problems = []

  def require(self, condition, key, value, rule):
    """Notes that a key's value breaks a rule unless the condition holds."""
    if not condition:
      self._problems.append(
          f'{self._section}{key} is {value!r}; it must be {rule}')

  def enforce(self):
    """Raises a UserError that lists what was noted."""
    raise_problems(self._problems, 'Change the config or the flags.')


# What may differ when a run goes on: how long, how fast, and where things are.
_MAY_DIFFER = (
    'num_steps', 'optim.', 'evaluation.', 'backbone_weights', 'init_from',
    'log_every', 'eval_every', 'checkpoint_every', 'keep_checkpoints',
    'num_panels', 'data.root', 'data.max_megapixels', 'data.records',
    'data.skip_corrupt', 'data.stage1', 'data.images', 'data.scribbles',
    'data.pseudo_labels', 'data.ground_truth', 'data.train_list',
    'data.val_list', 'data.unpacked', 'labels.', 'refinement.', 'stage1.',
    'model.remat', 'mesh.', 'profile')


def described(config):
  """Returns a config as nested dicts, ready for JSON, as a workdir keeps it.

  `data.root` is absolute there: a workdir is read from anywhere.
  """
  description = json.loads(config.to_json())
  description['data']['root'] = str(storage.absolute(config.data.root))
  return description


def compare(config, stored, workdir):
  """Checks that `config` goes on with the run of a workdir.

  Args:
    config: The whole ConfigDict.
    stored: The run's config, nested dicts as read from JSON.
    workdir: For the message.

  Raises:
    UserError: They differ in what the network learns from or how.
  """
  wanted = flatten_dict(described(config), sep='.')
  stored = config_keys.with_added(flatten_dict(stored, sep='.'))
  changed = [key for key in sorted(wanted.keys() | stored.keys())
             if wanted.get(key) != stored.get(key)]
  problems = [f'config.{key} was {stored.get(key)!r} and is now '
              f'{wanted.get(key)!r}'
              for key in changed if not key.startswith(_MAY_DIFFER)]
  raise_problems(problems, f'{workdir} holds a run with another config. Use '
                 'another --workdir or the config of that run.')
  if changed:
    logging.warning('Going on with a changed config: %s.', ', '.join(changed))


def profiled_steps(text):
  """Returns the range that 'START:STOP' names, STOP left out; None if bad."""
  if not text:
    return range(0)
  match = re.fullmatch(r'(\d+):(\d+)', text)
  steps = range(*map(int, match.groups())) if match else range(0)
  return steps or None


def needs_pseudo_labels(config):
  """Whether a term of the loss that learns from pseudo-labels has weight."""
  return any(loss_weights(config)[name] for name, term in TERMS.items()
             if term.labels == 'pseudo_label')


def loss_weights(config):
  """Returns {term: weight}; without pseudo-labels their terms weigh 0."""
  weights = config.loss_weights.to_dict()
  if config.data.pseudo_labels == NO_PSEUDO_LABELS:
    weights |= {name: 0.0 for name, term in TERMS.items()
                if term.labels == 'pseudo_label'}
  return weights


def with_pseudo_labels(config, place):
  """Returns the config with another `data.pseudo_labels`."""
  config = config.copy_and_resolve_references()
  config.data.pseudo_labels = place
  return config


def evaluation_protocol(config):
  """Returns how evaluate.py, predict.py and stage 1 see an image."""
  evaluation = config.evaluation
  crop_size = config.data.crop_size
  return Protocol(window=crop_size if evaluation.window == 'crop' else None,
                  scales=tuple(evaluation.scales),
                  long_side=evaluation.long_side, flip=evaluation.flip,
                  blend=evaluation.blend)


def validation_protocol(config):
  """Returns how validation sees an image: once, at its own size."""
  return dataclasses.replace(evaluation_protocol(config), scales=(1.0,),
                             long_side=None, flip=False)


def with_classes(config, class_names):
  """Returns the config with `model.num_classes` set from the class list.

  Raises:
    UserError: It is set already, to another number.
  """
  num_classes = config.model.num_classes
  if num_classes is not None and num_classes != len(class_names):
    raise UserError(
        f'config.model.num_classes is {num_classes}, but the data set has '
        f'{len(class_names)} classes. Leave it None or make them agree.')
  config = config.copy_and_resolve_references()
  config.model.num_classes = len(class_names)
  return config
