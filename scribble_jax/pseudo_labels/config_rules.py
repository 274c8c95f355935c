"""Stage 1's config: how it follows from stage 2's, and its valid values."""

import copy

from flax.traverse_util import flatten_dict

from scribble_jax import config_check
from scribble_jax import config_keys
from scribble_jax import models
from scribble_jax.data import dataset_files
from scribble_jax.pseudo_labels import refinement
from scribble_jax.pseudo_labels.scores import SOURCES

_CHOICES = {
    'supervision': ('classes', 'classes+scribbles'),
    'labels.source': tuple(SOURCES),
    'labels.branch': ('cam', 'segmentation', 'both'),
    'labels.calibration': ('global', 'per_class', 'none'),
    'labels.unnamed': ('background', 'undecided'),
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
  rules = config_check.Rules(section)
  config_check.add_run_rules(rules, config, num_devices)
  values = flatten_dict(config.to_dict(), sep='.')
  for key, choices in _CHOICES.items():
    rules.require(values[key] in choices, key, values[key],
                  f'one of: {", ".join(choices)}')
  labels = config.labels
  if config.supervision == 'classes':  # There is no segmentation branch.
    source, hint = SOURCES.get(labels.source), (
        f"if {section}supervision is 'classes'")
    rules.require(not (source and source.needs_network)
                  or labels.branch == 'cam', 'labels.branch', labels.branch,
                  f"'cam' {hint}")
    rules.require(labels.unnamed == 'background', 'labels.unnamed',
                  labels.unnamed, f"'background' {hint}")
  for key in ('threshold', 'undecided'):
    rules.require(0 <= labels[key] < 1, f'labels.{key}', labels[key],
                  'from 0 to below 1')
  rules.require(labels.calibration_images >= 1, 'labels.calibration_images',
                labels.calibration_images, 'at least 1')
  refinement.add_rules(rules, config.refinement, 'refinement')
  rules.enforce()
  models.build_classifier(
      config.model, config.supervision == 'classes+scribbles')
