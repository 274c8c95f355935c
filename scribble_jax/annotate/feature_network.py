"""Loads the pretrained network whose features the masks are made from."""

import hashlib
import json

import jax
import jax.numpy as jnp

from scribble_jax import config_files
from scribble_jax import models
from scribble_jax.annotate import training_set
from scribble_jax.files import storage
from scribble_jax.weights import pretrained
from scribble_jax.weights import trained


def load(backbone, checkpoint=None):
  """Returns a backbone, its variables, and a digest of their source.

  Args:
    backbone: Name in `models.backbones.BACKBONES`; its published weights are
      loaded.
    checkpoint: Workdir of a training run whose backbone is used instead, or
      None.

  Raises:
    UserError: There is no such backbone, or its weights can't be loaded.
  """
  if checkpoint:
    config = config_files.of_run(checkpoint)
    network, variables, step = trained.load(config.model, checkpoint)
    source = [str(storage.absolute(checkpoint)), step]
    found = network.backbone
    variables = {kind: tree['backbone'] for kind, tree in variables.items()
                 if 'backbone' in tree}
  else:
    config = config_files.load(training_set.CONFIG)
    config.stage1.model.backbone = backbone
    found = models.make_backbone(config.stage1.model)
    variables = pretrained.read_backbone('imagenet', found)
    source = [backbone]
  found = found.clone(dtype=jnp.float32)
  digest = hashlib.sha256(json.dumps(source).encode()).hexdigest()[:12]
  return found, jax.device_put(variables), digest
