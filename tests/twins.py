"""A network of the product and its PyTorch twin with the same weights."""

import jax
import ml_collections
import numpy as np

from scribble_jax import models
from scribble_jax.weights import pretrained
from tests.oracles import torch_networks
from tests.peers import torch

SMALL = {'num_classes': 5, 'width': 8, 'head_width': 16}
FULL = {'num_classes': 21, 'width': 64, 'head_width': 256}


def model_config(**changes):
  return ml_collections.ConfigDict(FULL | {
      'backbone': 'resnet50', 'head': 'deeplabv3plus', 'dropout': 0.0,
      'dtype': 'float32', 'remat': 'none',
      'output_stride': 8, 'freeze_backbone': 'none'} | changes)


def make_twins(head, depth, sizes, dtype=torch.float32):
  """Returns (model, variables, oracle network without dropout)."""
  model = models.build(
      model_config(backbone=f'resnet{depth}', head=head, **sizes))
  variables = random_variables(model)
  oracle = torch_networks.DeepLab(depth, head, **sizes)
  load_into(oracle, variables)
  for module in oracle.modules():
    if isinstance(module, torch.nn.Dropout):
      module.p = 0.0
  return model, variables, oracle.to(dtype)


def random_variables(model):
  """Variables none of which has its initial value, made without compiling."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), np.zeros([1, 65, 65, 3], np.float32))

  def draw(path, leaf):
    if leaf.ndim > 1:  # Kernels: METHOD 4's deviation.
      fan_out = np.prod(leaf.shape) / leaf.shape[-2]
      values = rng.normal(0, np.sqrt(2 / fan_out), leaf.shape)
    elif path[-1].key in ('bias', 'mean'):
      values = rng.normal(0, 0.1, leaf.shape)
    else:
      values = rng.uniform(0.8, 1.2, leaf.shape)
    if path[-1].key == 'scale' and path[-2].key in ('bn2', 'bn3'):
      # Residual branches add little, as in trained networks. At full strength
      # rounding alone grows to 3e-4 in ResNet-101's train mode, in PyTorch too.
      values *= 0.3
    return np.asarray(values, np.float32)

  return jax.tree_util.tree_map_with_path(draw, shapes)


def smooth_images(count, height, width):
  """[count, height, width, 3] float32 that vary as normalised photographs do.

  White noise averages out in the deep layers, whose BatchNorms then magnify
  the last bits of nearly constant channels.
  """
  rng = np.random.default_rng(1)
  coarse = torch.tensor(rng.normal(size=(count, 3, 5, 5)))
  images = torch.nn.functional.interpolate(
      coarse, size=(height, width), mode='bicubic')
  return images.permute(0, 2, 3, 1).float().numpy()


def load_into(oracle, variables):
  """Loads variables into an oracle; every tensor must find its place."""
  oracle.load_state_dict({
      name: torch.tensor(value)
      for name, value in pretrained.to_pytorch(variables).items()}, strict=True)


def relative_error(actual, expected):
  actual, expected = np.asarray(actual), np.asarray(expected)
  return np.linalg.norm(actual - expected) / np.linalg.norm(expected)
