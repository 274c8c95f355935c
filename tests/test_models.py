"""The networks against PyTorch, with the same weights."""

import functools
import re

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import torch

from scribble_jax import errors
from scribble_jax import models
from scribble_jax.models import resnet
from tests.oracles import torch_networks

# Our names -> PyTorch's (METHOD 4's layouts).
RENAME = [
    (r'^backbone/', ''), (r'(layer\d)_(\d+)', r'\1/\2'),
    (r'downsample_', 'downsample/'),
    (r'^lorm/', 'layer_lorm/'),
    (r'^decoder/aspp/', 'layer_pred0/'),
    (r'^decoder/conv1', 'layer_pred0/conv1'),
    (r'^decoder/bn1', 'layer_pred0/bn1'),
    (r'global_avg_pool/conv', 'global_avg_pool/1'),
    (r'global_avg_pool/bn', 'global_avg_pool/2'),
    (r'(aspp\d)/conv', r'\1/atrous_conv'),
    (r'^decoder/project/conv', 'layer_pred0/prject/0'),
    (r'^decoder/project/bn', 'layer_pred0/prject/1'),
    (r'^decoder/reduce/conv', 'reduce/0'), (r'^decoder/reduce/bn', 'reduce/1'),
    (r'^decoder/fuse1/conv', 'fuse/0'), (r'^decoder/fuse1/bn', 'fuse/1'),
    (r'^decoder/fuse2/conv', 'fuse/3'), (r'^decoder/fuse2/bn', 'fuse/4'),
    (r'^decoder/classifier', 'classifier'),
    (r'/(kernel|scale)$', '/weight'), (r'/mean$', '/running_mean'),
    (r'/var$', '/running_var'), ('/', '.'),
]


def model_config(**changes):
  return ml_collections.ConfigDict({
      'num_classes': 21, 'backbone': 'resnet50', 'head': 'deeplabv3plus',
      'width': 64, 'head_width': 256, 'dropout': 0.0, 'dtype': 'float32',
  } | changes)


def to_torch(variables, network):
  """Copies the variables into the oracle; every tensor must find its place."""
  template = network.state_dict()
  state_dict = {name: value for name, value in template.items()
                if name.endswith('num_batches_tracked')}
  lorm = 'layer_lorm' if 'classifier.weight' in template else 'layer_camatt'
  for tree in variables.values():
    for path, value in jax.tree_util.tree_leaves_with_path(tree):
      name = jax.tree_util.keystr(path, simple=True, separator='/')
      for pattern, replacement in RENAME:
        name = re.sub(pattern, replacement, name)
      name = name.replace('layer_lorm', lorm)
      value = np.asarray(value)
      if value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
      elif value.ndim == 2:
        value = value.T
      state_dict[name] = torch.tensor(value).reshape(template[name].shape)
  network.load_state_dict(state_dict, strict=True)
  return network


def random_variables(model, images):
  """Variables with statistics that differ from their initial values."""
  variables = jax.jit(model.init)(jax.random.key(0), images)
  leaves, structure = jax.tree.flatten(variables)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  return jax.tree.unflatten(structure, [
      leaf * jax.random.uniform(k, leaf.shape, minval=0.8, maxval=1.2)
      for leaf, k in zip(leaves, keys, strict=True)])


def relative_error(actual, expected):
  return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize('head, depth', [
    ('deeplabv2', 50), ('deeplabv3plus', 18)])
def test_network_equals_pytorch(head, depth):
  sizes = {'num_classes': 5, 'width': 8, 'head_width': 16}
  model = models.build(model_config(
      backbone=f'resnet{depth}', head=head, **sizes))
  images = np.random.default_rng(0).normal(size=(2, 75, 98, 3)).astype('f')
  variables = random_variables(model, images)
  oracle = to_torch(variables, torch_networks.DeepLab(depth, head, **sizes))
  for module in oracle.modules():
    if isinstance(module, torch.nn.Dropout):
      module.p = 0.0
  torch_images = torch.tensor(images).permute(0, 3, 1, 2)

  for train, tolerance in ((False, 1e-5), (True, 1e-4)):
    (logits, features), updated = jax.jit(
        functools.partial(model.apply, train=train, mutable=['batch_stats'])
    )(variables, images)
    with torch.no_grad():
      expected = [x.permute(0, 2, 3, 1).numpy()
                  for x in oracle.train(train)(torch_images)]
    assert logits.dtype == features.dtype == jnp.float32
    assert relative_error(logits, expected[0]) < tolerance
    assert relative_error(features, expected[1]) < tolerance
  running = to_torch(variables | updated, torch_networks.DeepLab(
      depth, head, **sizes)).state_dict()
  for name, value in oracle.state_dict().items():
    if 'running' in name:
      np.testing.assert_allclose(running[name], value, rtol=1e-3, atol=1e-5,
                                 err_msg=name)


@pytest.mark.parametrize('head, backbone, count', [
    # Of the authors' checkpoints: METHOD 4's layouts.
    ('deeplabv2', 'resnet50', 33_150_426),
    ('deeplabv3plus', 'resnet50', 48_744_886),
])
def test_published_networks_have_the_published_size(head, backbone, count):
  model = models.build(model_config(head=head, backbone=backbone))
  images = jax.ShapeDtypeStruct((2, 465, 465, 3), jnp.float32)
  (logits, features), variables = jax.eval_shape(
      model.init_with_output, jax.random.key(0), images)
  assert sum(x.size for x in jax.tree.leaves(variables['params'])) == count
  stride = {'deeplabv2': 59, 'deeplabv3plus': 117}[head]
  assert logits.shape == (2, stride, stride, 21)
  assert features.shape == (2, 59, 59, 2048)


@pytest.mark.parametrize('size', [(233, 117), (8, 5), (7, 6)])
def test_max_pool_rounds_up_like_pytorch(size):
  x = np.random.default_rng(0).normal(size=(1, *size, 2)).astype('f')
  expected = torch.nn.functional.max_pool2d(
      torch.tensor(x).permute(0, 3, 1, 2), 3, 2, 1, ceil_mode=True)
  np.testing.assert_array_equal(
      resnet.max_pool_ceil(x), expected.permute(0, 2, 3, 1))


@pytest.mark.parametrize('size', [33, 64, 113, 465])
def test_feature_size(size):
  model = models.build(model_config(backbone='resnet18', width=4))
  _, features = jax.eval_shape(
      lambda x: model.init_with_output(jax.random.key(0), x)[0],
      jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
  assert features.shape[1] == resnet.feature_size(size)


def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32():
  model = models.build(model_config(
      backbone='resnet18', width=4, head_width=8, dtype='bfloat16'))
  images = jnp.zeros([2, 33, 33, 3])
  variables = jax.eval_shape(model.init, jax.random.key(0), images)
  assert {x.dtype for x in jax.tree.leaves(variables)} == {
      jnp.dtype('float32')}
  logits, features = jax.eval_shape(model.apply, variables, images)
  assert logits.dtype == jnp.float32
  assert features.dtype == jnp.bfloat16


def test_convolutions_start_from_fan_out():
  kernel = resnet.kaiming_fan_out(jax.random.key(0), (3, 3, 16, 64))
  np.testing.assert_allclose(
      np.std(kernel), np.sqrt(2 / (3 * 3 * 64)), rtol=0.03)


@pytest.mark.parametrize('key', ['backbone', 'head', 'dtype'])
def test_unknown_name_is_an_error_that_lists_the_choices(key):
  with pytest.raises(errors.UserError, match=rf'model\.{key}.*Choose one of'):
    models.build(model_config(**{key: 'vgg'}))
