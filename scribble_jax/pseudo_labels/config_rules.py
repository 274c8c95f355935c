"""Stage 1's config: made of stage 2's, and what it may say."""

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
  """Returns stage 1's whole config out of stage 2's.

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
  # Stage 1 has no use for distance maps: its records serve every lambda.
  stage1.data.lambda_s = stage1.data.lambda_c = 0.0
  return stage1


def check(config, num_devices, section='config.'):
  """Raises UserError for values that stage 1 can't run with.

  Args:
    config: ConfigDict as in configs/pseudo_labels.py.
    num_devices: That share a batch.
    section: What the user's config calls it.
  """
  config_keys.check(config, config_keys.STAGE1)
  rules = config_check.Rules(section)
  config_check.add_run_rules(rules, config, num_devices)
  values = flatten_dict(config.to_dict(), sep='.')
  for key, choices in _CHOICES.items():
    rules.require(values[key] in choices, key, values[key],
                  f'one of: {", ".join(choices)}')
  labels = config.labels
  with_segmentation = config.supervision == 'classes+scribbles'
  source = SOURCES.get(labels.source)
  rules.require(with_segmentation or labels.branch == 'cam'
                or not (source and source.needs_network), 'labels.branch',
                labels.branch, f"'cam' if {section}supervision is 'classes'")
  rules.require(0 <= labels.threshold < 1, 'labels.threshold', labels.threshold,
                'from 0 to below 1')
  rules.require(0 <= labels.undecided < 1, 'labels.undecided', labels.undecided,
                'from 0 to below 1')
  rules.require(with_segmentation or labels.unnamed == 'background',
                'labels.unnamed', labels.unnamed,
                f"'background' if {section}supervision is 'classes'")
  rules.require(labels.calibration_images >= 1, 'labels.calibration_images',
                labels.calibration_images, 'at least 1')
  refinement.add_rules(rules, config.refinement, 'refinement')
  rules.enforce()
  models.build_classifier(config.model, with_segmentation)
