"""The values that a config may have, checked before any work starts."""

import dataclasses
import itertools
import math
import operator
import re

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from scribble_jax import config_keys
from scribble_jax import models
from scribble_jax import switches
from scribble_jax.data.dataset_files import NO_PSEUDO_LABELS
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.labels import meanings
from scribble_jax.loss_terms import TERMS
from scribble_jax.windows import BLENDS
from scribble_jax.windows import Protocol

OPTIMIZERS = ('sgd', 'adamw')
WINDOWS = ('crop', 'whole')  # Values of `evaluation.window`.
_MOST_MEGAPIXELS = 178  # TensorFlow decodes less than 2**29 bytes.
_MIN_FEATURE_SIZE = 2  # Side of layer4's map; corners can't align over one.

# Rules: what a value must be, as a text and as a function of the value.
AT_LEAST_0 = 'at least 0', lambda value: value >= 0
AT_LEAST_1 = 'at least 1', lambda value: value >= 1
ABOVE_0 = 'above 0', lambda value: value > 0
SHARE = 'from 0 to 1', lambda value: 0 <= value <= 1
BELOW_1 = 'from 0 to below 1', lambda value: 0 <= value < 1


def one_of(values):
  """Returns the rule that a value is one of these texts."""
  text = (' or '.join(map(repr, values)) if len(values) == 2 else
          f'one of: {", ".join(values)}')
  return text, lambda value: value in values


def _count_or_none(unit):
  return f'at least 1 ({unit}), or None', lambda value: (
      value is None or (isinstance(value, int) and value >= 1))


def _is_range(ends):
  return not ends or (
      len(ends) == 2 and all(isinstance(end, (int, float)) for end in ends)
      and ends[0] < ends[1])


_DATA_RULES = {
    'data.image_range': (
        'two numbers, the smaller first, or () for the whole range of 16 bits',
        _is_range),
    'data.max_megapixels': (
        f'above 0 and at most {_MOST_MEGAPIXELS}, what TensorFlow decodes; cut '
        'larger images into tiles',
        lambda value: 0 < value <= _MOST_MEGAPIXELS),
    'data.lambda_s': AT_LEAST_0,
    'data.lambda_c': AT_LEAST_0,
    'data.scribble_shrink': SHARE,
    'data.scribble_drop': SHARE,
    'data.scribble_seed': AT_LEAST_0,
}
_INFERENCE_RULES = _DATA_RULES | {
    'evaluation.batch_size': _count_or_none('windows'),
    'evaluation.long_side': _count_or_none('pixels'),
    'evaluation.window': one_of(WINDOWS),
    'evaluation.blend': one_of(BLENDS),
    'evaluation.scales': ('one or more factors above 0',
                          lambda scales: scales and min(scales) > 0),
}
_RUN_RULES = _INFERENCE_RULES | {
    'seed': AT_LEAST_0,
    'num_steps': AT_LEAST_1,
    'log_every': AT_LEAST_1,
    'checkpoint_every': AT_LEAST_1,
    'keep_checkpoints': AT_LEAST_1,
    'num_panels': AT_LEAST_1,
    'profile': ("'' or 'START:STOP', two steps in order",
                lambda text: profiled_steps(text) is not None),
    'data.shuffle_buffer': AT_LEAST_1,
    'data.augmentation.scale': (
        'two factors above 0, the smaller first',
        lambda scale: len(scale) == 2 and 0 < scale[0] <= scale[1]),
    'model.dropout': BELOW_1,
    'optim.name': one_of(OPTIMIZERS),
    'optim.lr': ABOVE_0,
    'optim.backbone_lr_factor': (
        "above 0; config.model.freeze_backbone is 'all' for no updates",
        lambda factor: factor > 0),
    'optim.layer_decay': ('above 0 and at most 1',
                          lambda decay: 0 < decay <= 1),
    'optim.ema_decay': BELOW_1,
}
_REFINEMENT_RULES = {
    'strides': (
        'pixels from coarse to fine, each dividing the one before, the last 1',
        lambda strides: strides and strides[-1] == 1 and all(
            small >= 1 and large % small == 0 and large > small
            for large, small in itertools.pairwise(strides))),
    'dilations': ('one or more distances of at least 1 pixel',
                  lambda dilations: dilations and min(dilations) >= 1),
    'iterations': AT_LEAST_1,
    'contrast': ABOVE_0,
    'restart': SHARE,
}


class Rules:
  """Collects the values of a config that break a rule."""

  def __init__(self, config, section='config.'):
    """Args: a ConfigDict, and what stands before its keys in the messages."""
    self._config = config
    self._section = section
    self._problems = []

  def require(self, key, rule, condition):
    """Records that a key's value breaks a rule unless the condition holds."""
    if not condition:
      value = operator.attrgetter(key)(self._config)
      value = value.to_dict() if isinstance(value, ConfigDict) else value
      self._problems.append(
          f'{self._section}{key} is {value!r}; it must be {rule}')

  def apply(self, rules):
    """Checks keys by {key: rule}; a rule is (text, function of the value)."""
    for key, (rule, holds) in rules.items():
      self.require(key, rule, holds(operator.attrgetter(key)(self._config)))

  def enforce(self):
    """Raises a UserError that lists the recorded problems."""
    raise_problems(self._problems, 'Change the config or the flags.')


def check_training(config, num_devices):
  """Raises UserError for values that stage 2 can't run with.

  Args:
    config: The whole ConfigDict.
    num_devices: Number of devices that share a batch.
  """
  config_keys.check(config, config_keys.STAGE2)
  rules = Rules(config)
  add_run_rules(rules, config, num_devices)
  _add_refine_rules(rules, config)
  rules.apply({'eval_every': AT_LEAST_1, 'label_smoothing': BELOW_1} | {
      f'method.{key}': one_of(switches.VALUES) for key in config.method})
  rules.require('loss_weights', 'above 0 somewhere',
                any(loss_weights(config).values()))
  rules.enforce()
  models.build(config.model)  # Checks the names of the networks.


def check_inference(config):
  """Raises UserError for values that prediction can't run with."""
  config_keys.check(config, config_keys.STAGE2)
  rules = Rules(config)
  rules.apply(_INFERENCE_RULES)
  _add_crop_rule(rules, config)
  _add_refine_rules(rules, config)
  rules.enforce()
  models.build(config.model)


def check_data(config):
  """Raises UserError for values that files can't be read with."""
  rules = Rules(config)
  rules.apply(_DATA_RULES)
  rules.enforce()


def add_run_rules(rules, config, num_devices):
  """Adds the rules for a training run of either stage.

  Args:
    rules: Rules of the config.
    config: ConfigDict of the stage.
    num_devices: Number of devices that share a batch.
  """
  rules.apply(_RUN_RULES | {
      f'loss_weights.{key}': AT_LEAST_0 for key in config.loss_weights})
  _add_crop_rule(rules, config)
  for key, value in flatten_dict(config.to_dict(), sep='.').items():
    rules.require(key, 'a finite number',
                  not isinstance(value, float) or math.isfinite(value))
  num_steps, size = config.num_steps, config.batch_size
  rules.require('optim.warmup_steps',
                f'from 0 to below num_steps, {num_steps}',
                0 <= config.optim.warmup_steps < num_steps)
  rules.require('batch_size',
                f'at least 2 and a multiple of the {num_devices} device(s)',
                size >= 2 and size % num_devices == 0)
  parts = config.optim.accumulate
  rules.require(
      'optim.accumulate',
      '1, or a number of parts of at least 2 images whose product with the '
      f'{num_devices} device(s) divides batch_size, {size}',
      parts == 1 or (parts > 1 and size // parts >= 2
                     and size % (parts * num_devices) == 0))
  meanings(config.data.unlabelled_index, config.data.label_map)


def add_refinement_rules(rules, section):
  """Adds the rules for a `refinement` section, named as in the config."""
  rules.apply({f'{section}.{key}': rule
               for key, rule in _REFINEMENT_RULES.items()})


def _add_refine_rules(rules, config):
  """Adds the rules for the refinement of predictions."""
  rules.apply({'evaluation.refine': ('from 0 (off) to 1', SHARE[1])})
  if config.evaluation.refine:
    add_refinement_rules(rules, 'stage1.refinement')


def _add_crop_rule(rules, config):
  """Adds the rule for the smallest crop that the network can take."""
  backbone = models.make_backbone(config.model)
  smallest = next(size for size in range(1, 100)
                  if backbone.feature_size(size) >= _MIN_FEATURE_SIZE)
  rules.require('data.crop_size',
                f'at least {smallest} pixels, the smallest the network can '
                'take', config.data.crop_size >= smallest)


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
