"""The networks against PyTorch, with the same weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import errors
from scribble_jax import models
from scribble_jax.models import deeplab
from scribble_jax.models import layers
from scribble_jax.models.backbones import resnet
from scribble_jax.weights import pretrained
from tests.peers import torch
from tests.twins import FULL
from tests.twins import SMALL
from tests.twins import make_twins
from tests.twins import model_config
from tests.twins import relative_error
from tests.twins import smooth_images


@pytest.mark.parametrize('head, depth, sizes', [
    ('deeplabv2', 50, FULL), ('deeplabv2', 101, FULL),
    ('deeplabv3plus', 50, FULL), ('deeplabv3plus', 101, FULL),
    ('deeplabv3plus', 18, SMALL), ('deeplabv2', 34, SMALL)])
def test_network_equals_pytorch(head, depth, sizes):
  model, variables, oracle = make_twins(head, depth, sizes)
  images = smooth_images(3, 65, 74)
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
  running = pretrained.to_pytorch(variables | updated)
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
  assert features.shape[1] == resnet.ResNet(18, 8).feature_size(size)


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
  kernel = layers.kaiming_fan_out(jax.random.key(0), (3, 3, 16, 64))
  np.testing.assert_allclose(
      np.std(kernel), np.sqrt(2 / (3 * 3 * 64)), rtol=0.03)


@pytest.mark.parametrize('key', ['backbone', 'head', 'dtype', 'remat'])
def test_unknown_name_is_an_error_that_lists_the_choices(key):
  with pytest.raises(errors.UserError, match=rf'model\.{key}.*Choose one of'):
    models.build(model_config(**{key: 'vgg'}))


HEADS = {
    'deeplabv2': lambda: deeplab.DeepLabV2(5, jnp.bfloat16),
    'deeplabv3plus': lambda: deeplab.DeepLabV3Plus(5, 8, 0.0, jnp.bfloat16)}


@pytest.mark.parametrize('head', HEADS)
def test_bfloat16_features_become_float32_logits(head):
  """The last layer multiplies in float32 what bfloat16 layers hand it."""
  rng = np.random.default_rng(0)
  low_level = rng.normal(size=(2, 17, 17, 16)).astype(jnp.bfloat16)
  features = rng.normal(size=(2, 9, 9, 64)).astype(jnp.bfloat16)
  module = HEADS[head]()
  variables = module.init(jax.random.key(0), low_level, features, False)
  logits, layers = module.apply(
      variables, low_level, features, False, capture_intermediates=True,
      mutable=['intermediates'])
  layers, last = layers['intermediates'], {
      'deeplabv2': 'conv1', 'deeplabv3plus': 'classifier'}[head]
  before = layers['aspp' if head == 'deeplabv2' else 'fuse2']['__call__'][0]
  assert before.dtype == jnp.bfloat16
  params = variables['params'][last]
  expected = np.asarray(before, np.float64) @ np.asarray(
      params['kernel'][0, 0], np.float64) + np.asarray(params.get('bias', 0))
  actual = layers[last]['__call__'][0]
  assert relative_error(actual, expected) < 1e-6
  assert logits.dtype == jnp.float32
  # Few float32 numbers are bfloat16 numbers too.
  assert np.mean(logits == logits.astype(jnp.bfloat16)) < 0.01


@pytest.mark.parametrize('stride, side', [(8, 9), (16, 5)])
def test_stage_2_has_the_output_stride_of_its_config(stride, side):
  model = models.build(model_config(
      backbone='resnet18', width=4, head_width=8, output_stride=stride))
  (logits, features), _ = jax.eval_shape(
      lambda images: model.init_with_output(jax.random.key(0), images),
      jnp.zeros([1, 65, 65, 3]))
  assert features.shape == (1, side, side, 32)
  assert logits.shape[1:3] == (17, 17)  # Of the low-level map.


def test_stage_1_classifies_bfloat16_features_in_float32():
  model = models.build_classifier(model_config(
      backbone='resnet18', width=4, head_width=8, dtype='bfloat16',
      output_stride=16), with_segmentation=False)
  images = smooth_images(1, 33, 33)
  variables = model.init(jax.random.key(0), images)
  (activations, _), layers = model.apply(
      variables, images, capture_intermediates=True, mutable='intermediates')
  _, features = layers['intermediates']['backbone']['__call__'][0]
  assert features.dtype == jnp.bfloat16
  expected = np.asarray(features, np.float64) @ np.asarray(
      variables['params']['classifier']['kernel'][0, 0], np.float64)
  assert relative_error(activations, expected) < 1e-6
