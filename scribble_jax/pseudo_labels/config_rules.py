"""Stage 1's config: how it follows from stage 2's, and its valid values."""

import copy

from scribble_jax import config_check
from scribble_jax import config_keys
from scribble_jax import models
from scribble_jax.data import dataset_files
from scribble_jax.pseudo_labels.scores import SOURCES

_RULES = {
    'supervision': config_check.one_of(('classes', 'classes+scribbles')),
    'labels.source': config_check.one_of(tuple(SOURCES)),
    'labels.branch': config_check.one_of(('cam', 'segmentation', 'both')),
    'labels.calibration': config_check.one_of(('global', 'per_class', 'none')),
    'labels.unnamed': config_check.one_of(('background', 'undecided')),
    'labels.threshold': config_check.BELOW_1,
    'labels.undecided': config_check.BELOW_1,
    'labels.calibration_images': config_check.AT_LEAST_1,
}


def stage1_config(config):
  """Returns stage 1's config from stage 2's.

  Args:
    config: ConfigDict as in configs/scribblesup.py: its `stage1`, `data` and
      `mesh`.
  """
  stage1 = copy.deepcopy(config.stage1)  # Placeholders stay placeholders.
  with stage1.unlocked():
    stage1.data = copy.deepcopy(config.data)
    stage1.mesh = copy.deepcopy(config.mesh)
    stage1.profile = ''
  stage1.data.pseudo_labels = dataset_files.NO_PSEUDO_LABELS
  # Stage 1 needs no distance maps, so one set of records serves every lambda.
  stage1.data.lambda_s = stage1.data.lambda_c = 0.0
  return stage1


def check(config, num_devices, section='config.'):
  """Raises UserError for invalid values.

  Args:
    config: ConfigDict as in configs/pseudo_labels.py.
    num_devices: Number of devices that share a batch.
    section: Prefix of the keys in the user's config.
  """
  config_keys.check(config, config_keys.STAGE1)
  rules = config_check.Rules(config, section)
  config_check.add_run_rules(rules, config, num_devices)
  rules.apply(_RULES)
  config_check.add_refinement_rules(rules, 'refinement')
  labels = config.labels
  with_segmentation = config.supervision == 'classes+scribbles'
  source = SOURCES.get(labels.source)
  rules.require('labels.branch', f"'cam' if {section}supervision is 'classes'",
                with_segmentation or labels.branch == 'cam'
                or not (source and source.needs_network))
  rules.require('labels.unnamed',
                f"'background' if {section}supervision is 'classes'",
                with_segmentation or labels.unnamed == 'background')
  rules.enforce()
  models.build_classifier(config.model, with_segmentation)
