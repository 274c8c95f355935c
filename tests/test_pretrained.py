"""Weights of PyTorch's naming: exact round trips and errors that name."""

import functools
import json
import re
import sys
import zipfile

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from scribble_jax import models
from scribble_jax.errors import UserError
from scribble_jax.models.backbones import resnet
from scribble_jax.weights import pretrained
from scribble_jax.weights import pth_files
from scribble_jax.weights import weight_files
from tests.oracles import torch_networks
from tests.peers import torch
from tests.twins import SMALL
from tests.twins import model_config
from tests.twins import relative_error


def random_state_dict(head='deeplabv3plus', depth=18, **sizes):
  """An oracle's state dict, every number of it drawn anew."""
  rng = np.random.default_rng(0)
  network = torch_networks.DeepLab(depth, head, **(SMALL | sizes))
  return {  # Positive, as variances must be.
      name: np.array(7) if name.endswith('num_batches_tracked')
      else rng.uniform(0.1, 0.3, value.shape).astype(np.float32)
      for name, value in network.state_dict().items()}


@functools.cache
def small_state_dict():
  return random_state_dict()


def assert_same(actual, expected):
  assert actual.keys() == expected.keys()
  for name, value in expected.items():
    assert actual[name].dtype == value.dtype, name
    np.testing.assert_array_equal(actual[name], value, err_msg=name)


@pytest.mark.parametrize('head', ['deeplabv2', 'deeplabv3plus'])
@pytest.mark.parametrize('depth', [18, 34, 50, 101])
def test_round_trip_is_exact(head, depth):
  state_dict = random_state_dict(head, depth, num_classes=3)
  variables = pretrained.from_pytorch(
      {f'module.{name}': value for name, value in state_dict.items()})
  assert_same(pretrained.to_pytorch(variables, num_batches_tracked=7),
              state_dict)

  # And they are what the network takes.
  network = pretrained.network_of(state_dict)
  assert (network['head'], network['backbone'], network['num_classes']) == (
      head, f'resnet{depth}', 3)
  model = models.build(model_config(**network))
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), jnp.zeros([1, 33, 33, 3]))
  assert jax.tree.map(np.shape, variables) == jax.tree.map(
      lambda leaf: leaf.shape, shapes)


@pytest.mark.parametrize('spoil, message', [
    (lambda d: d.pop('layer2.0.bn1.bias'), r'layer2\.0\.bn1\.bias .* missing'),
    (lambda d: d.pop('layer_lorm.gamma'), r'layer_lorm\.gamma .* missing'),
    (lambda d: d.update({'extra.weight': np.zeros(1)}), 'extra.weight is surp'),
    (lambda d: d.update({'reduce.0.weight': np.zeros([2, 2])}),
     r'reduce\.0\.weight has shape \(2, 2\), not \(48, 8, 1, 1\)'),
    (lambda d: d.pop('conv1.weight'), r'has no tensor conv1\.weight'),
    (lambda d: d.update({'layer2.2.conv1.weight': np.zeros(1)}),
     r'\(2, 3, 2, 2\) basic blocks, like no ResNet'),
])
def test_wrong_tensor_is_named(spoil, message):
  state_dict = dict(small_state_dict())
  spoil(state_dict)
  with pytest.raises(UserError, match=message):
    pretrained.from_pytorch(state_dict)


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_written_files_read_the_same(tmp_path, suffix):
  path = tmp_path / f'weights{suffix}'
  weight_files.write_state_dict(path, small_state_dict())
  assert_same(weight_files.read_state_dict(path), small_state_dict())
  assert [file.name for file in tmp_path.iterdir()] == [path.name]
  if suffix == '.pth':  # As the authors' files are.
    content = torch.load(path, weights_only=True)
    network = torch_networks.DeepLab(18, 'deeplabv3plus', **SMALL)
    network.load_state_dict(content['state_dict'], strict=True)


def test_bare_and_half_precision_state_dicts_are_read(tmp_path):
  tensor = torch.tensor([1.5, -2.25], dtype=torch.bfloat16)
  torch.save({'weight': torch.nn.Parameter(tensor)}, tmp_path / 'bare.pth')
  safetensors_torch = pytest.importorskip('safetensors.torch')
  safetensors_torch.save_file({'weight': tensor}, tmp_path / 'half.safetensors')
  for name in ('bare.pth', 'half.safetensors'):
    (value,) = weight_files.read_state_dict(tmp_path / name).values()
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, [1.5, -2.25])


class Trap:
  """Would leave a file behind if it were unpickled."""

  def __init__(self, path):
    self.path = str(path)

  def __reduce__(self):
    return open, (self.path, 'w')


def test_a_pickle_is_never_run(tmp_path):
  torch.save({'state_dict': {'weight': Trap(tmp_path / 'sprung')}},
             tmp_path / 'trap.pth')
  with pytest.raises(UserError, match='trap.pth holds more than tensors'):
    weight_files.read_state_dict(tmp_path / 'trap.pth')
  assert not (tmp_path / 'sprung').exists()


@pytest.mark.parametrize('name, content, message', [
    ('missing.pth', None, r'missing\.pth does not exist'),
    ('weights.npz', b'', r'name must end in \.safetensors, \.pth'),
    ('broken.safetensors', b'12345678abc', 'no complete safetensors file'),
    ('broken.pth', b'PK\x03\x04 and no more', 'no complete PyTorch file'),
    ('empty.pth', b'', 'no complete PyTorch file'),
    ('page.pth', b'<!doctype html><title>Warning', 'no complete PyTorch file'),
    ('zeros.pth', bytes(999), 'no complete PyTorch file'),
])
def test_unreadable_file(tmp_path, name, content, message):
  if content is not None:
    (tmp_path / name).write_bytes(content)
  with pytest.raises(UserError, match=message) as error:
    weight_files.read_state_dict(tmp_path / name)
  assert name in str(error.value) and '\n' not in str(error.value)


def test_file_without_a_state_dict(tmp_path):
  torch.save([torch.zeros(2)], tmp_path / 'list.pth')
  with pytest.raises(UserError, match='list.pth holds no state_dict'):
    weight_files.read_state_dict(tmp_path / 'list.pth')


@pytest.mark.parametrize('is_zip', [True, False])
def test_pth_files_are_read_as_torch_reads_them(tmp_path, is_zip):
  kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16,
           torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
           torch.bool, torch.complex64]
  base = torch.arange(24).reshape(2, 3, 4)
  shared = torch.randn(5, 6)
  content = {
      'epoch': 3, 'name': 'net', 'sizes': [torch.Size([2, 3]), (1, None)],
      'kinds': {str(kind): base.to(kind) for kind in kinds},
      'views': {'rows': shared[1:3], 'columns': shared[:, ::2],
                'turned': base.permute(2, 0, 1), 'all': shared,
                'scalar': torch.tensor(2.5), 'none': torch.zeros(0, 3),
                'repeated': torch.ones(1).expand(10)},
      'state_dict': torch.nn.BatchNorm2d(4).state_dict(),
      'parameter': torch.nn.Parameter(torch.randn(3))}
  torch.save(content, tmp_path / 'a.pth',
             _use_new_zipfile_serialization=is_zip)
  found = pth_files.read(tmp_path / 'a.pth')
  assert (found['epoch'], found['name']) == (3, 'net')
  assert found['sizes'] == [[2, 3], [1, None]]
  for part in ('kinds', 'views', 'state_dict'):
    assert [*found[part]] == [*content[part]]
    for name, tensor in content[part].items():
      value = found[part][name]
      assert (value.shape, str(value.dtype)) == (
          tensor.shape, str(tensor.dtype).removeprefix('torch.'))
      np.testing.assert_array_equal(
          value.astype(complex), tensor.to(torch.complex128))
  np.testing.assert_array_equal(
      found['parameter'], content['parameter'].detach())


@pytest.mark.parametrize('order, read', [
    (None, True), (b'little', True), (b'big', False)])
def test_files_of_older_versions_do_not_name_their_byte_order(
    tmp_path, order, read):
  torch.save({'weight': torch.arange(3.0)}, tmp_path / 'new.pth')
  with (zipfile.ZipFile(tmp_path / 'new.pth') as new,
        zipfile.ZipFile(tmp_path / 'old.pth', 'w') as old):
    for name in new.namelist():
      content = order if name.endswith('/byteorder') else new.read(name)
      if content is not None:
        old.writestr(name, content)
  if read:
    (weight,) = weight_files.read_state_dict(tmp_path / 'old.pth').values()
    np.testing.assert_array_equal(weight, [0, 1, 2])
  else:
    with pytest.raises(UserError, match='no complete PyTorch file'):
      weight_files.read_state_dict(tmp_path / 'old.pth')


def _larger(size, stride):
  """A pickled tensor of 4 numbers that claims other sizes and strides."""
  tensor = torch.arange(4.0)

  class Claims:
    def __reduce__(self):
      return torch._utils._rebuild_tensor_v2, (
          tensor._typed_storage(), 0, size, stride, False, {})
  return Claims()


@pytest.mark.parametrize('size, stride', [
    ((5,), (1,)), ((2, 2), (3, 1)), ((2,), (-1,)), ((10**12,), (0,)),
    ((-2,), (1,))])
def test_tensors_larger_than_their_storage_are_refused(tmp_path, size, stride):
  torch.save({'weight': _larger(size, stride)}, tmp_path / 'a.pth')
  with pytest.raises(UserError, match='no complete PyTorch file'):
    weight_files.read_state_dict(tmp_path / 'a.pth')


_STORAGE = (b'(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0'
            b'0X\x03\0\0\0cpuK\x04tQ')
_FUNCTION = b'ctorch._utils\n_rebuild_tensor_v2\n'
_TENSOR = _FUNCTION + b'(' + _STORAGE + b'K\0K\x04\x85K\x01\x85\x89}tR'
_ATTRIBUTE = b'}X\x05\0\0\0countK\x40sb.'
# Opcodes of pickles: what a file may try with names that it is allowed.
_CHANGES = {'tensor': _TENSOR + _ATTRIBUTE, 'storage': _STORAGE + _ATTRIBUTE,
            'function': _FUNCTION + _ATTRIBUTE}


@pytest.mark.parametrize('name', _CHANGES)
def test_a_pickle_changes_nothing_that_it_names(tmp_path, name):
  with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
    archive.writestr('a/data.pkl', b'\x80\x02' + _CHANGES[name])
    archive.writestr('a/data/0', bytes(16))
  with pytest.raises(UserError, match='holds more than tensors'):
    weight_files.read_state_dict(tmp_path / 'a.pth')


@pytest.mark.parametrize('pickled', [
    b'ctorch\nFloatStorage\n' + _ATTRIBUTE,  # Of a type.
    b'ctorch\nFloatStorage\n(tR.',  # A call of it.
    _STORAGE.replace(b'ctorch\nFloatStorage\n', b'X\x01\0\0\0O') + b'.'])
def test_a_pickle_gets_no_type(tmp_path, pickled):
  with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
    archive.writestr('a/data.pkl', b'\x80\x02' + pickled)
    archive.writestr('a/data/0', bytes(16))
  with pytest.raises(UserError, match='no complete PyTorch file'):
    weight_files.read_state_dict(tmp_path / 'a.pth')


def test_only_writing_pth_files_takes_torch(tmp_path, monkeypatch):
  tensors = small_state_dict()
  torch.save({name: torch.tensor(value) for name, value in tensors.items()},
             tmp_path / 'weights.pth')
  monkeypatch.setitem(sys.modules, 'torch', None)
  assert_same(weight_files.read_state_dict(tmp_path / 'weights.pth'), tensors)
  with pytest.raises(UserError, match='pip install torch'):
    weight_files.write_state_dict(tmp_path / 'written.pth', tensors)
  # Safetensors need none.
  path = tmp_path / 'weights.safetensors'
  weight_files.write_state_dict(path, tensors)
  assert_same(weight_files.read_state_dict(path), tensors)


# ImageNet.


def imagenet_file(path, width=8):
  """Writes a ResNet-18 in torchvision's naming; returns its state dict."""
  state_dict = {
      name: value for name, value in random_state_dict(width=width).items()
      if re.match(r'(conv1|bn1|layer\d)\.', name)}
  classifier = {'fc.weight': np.ones([10, 8 * width], np.float32),
                'fc.bias': np.ones(10, np.float32)}
  safetensors.numpy.save_file(state_dict | classifier, path)
  return state_dict


def test_backbone_from_a_file(tmp_path):
  path = tmp_path / 'resnet18.safetensors'
  expected = imagenet_file(path)
  backbone = pretrained.read_backbone(str(path), resnet.ResNet(18, 8))
  images = np.random.default_rng(0).normal(size=(1, 33, 33, 3)).astype('f')
  _, features = resnet.ResNet(18, 8).apply(backbone, images, train=False)

  oracle = torch_networks.DeepLab(18, 'deeplabv2', **SMALL)
  oracle.load_state_dict(
      {name: torch.tensor(value) for name, value in expected.items()},
      strict=False)
  with torch.no_grad():
    _, want = oracle.eval()(torch.tensor(images).permute(0, 3, 1, 2))
  assert relative_error(features, want.permute(0, 2, 3, 1)) < 1e-5


def test_backbone_by_name_comes_from_the_hub(tmp_path, monkeypatch):
  path = tmp_path / 'model.safetensors'
  imagenet_file(path)
  asked = []

  def download(repository, name):
    asked.append((repository, name))
    return str(path)

  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
  backbone = pretrained.read_backbone('imagenet', resnet.ResNet(18, 8))
  assert asked == [('timm/resnet18.tv_in1k', 'model.safetensors')]
  assert backbone['params']['conv1']['kernel'].shape == (7, 7, 3, 8)


def test_hub_that_cannot_be_reached(monkeypatch):
  def download(repository, name):
    raise ConnectionError('no route to host\nand more')

  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
  with pytest.raises(UserError, match=(
      r'Cannot fetch timm/resnet50\.tv_in1k \(ConnectionError: no route to '
      r'host\)\. Download https://.*--config\.backbone_weights=FILE')) as error:
    pretrained.read_backbone('imagenet', resnet.ResNet(50, 64))
  assert '\n' not in str(error.value)


def test_hub_that_is_not_installed(monkeypatch):
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  with pytest.raises(UserError, match=(
      r'Fetching timm/resnet50\.tv_in1k takes huggingface_hub: pip install '
      r'huggingface_hub\..*--config\.backbone_weights=FILE')) as error:
    pretrained.read_backbone('imagenet', resnet.ResNet(50, 64))
  assert '\n' not in str(error.value)


def test_backbone_of_another_depth_or_width(tmp_path):
  path = tmp_path / 'resnet18.safetensors'
  imagenet_file(path)
  with pytest.raises(UserError, match=r'no resnet34 of width 8'):
    pretrained.read_backbone(str(path), resnet.ResNet(34, 8))
  with pytest.raises(UserError, match='no resnet18 of width 16') as error:
    pretrained.read_backbone(str(path), resnet.ResNet(18, 16))
  assert 'tensor bn1.running_mean has shape (8,), not (16,)' in str(error.value)


def safetensors_file(path, dtype, shape, data):
  header = json.dumps({'a': {
      'dtype': dtype, 'shape': shape, 'data_offsets': [0, len(data)]}}).encode()
  path.write_bytes(len(header).to_bytes(8, 'little') + header + data)
  return path


@pytest.mark.parametrize('dtype, shape, data, message', [
    *((kind, [4], bytes(4), 'holds numbers of a type that is not read .*Save')
      for kind in ('F8_E4M3', 'F8_E5M2', 'F8_E8M0')),
    ('F4', [8], bytes(4), 'holds numbers of a type that is not read'),
    ('C64', [1], bytes(8), 'tensor a has complex numbers'),
    ('F32', [1], b'\0\0\xc0\x7f', 'tensor a has values that are NaN or inf'),
    ('F64', [1], np.float64(1e300).tobytes(), 'that are NaN or infinite'),
    ('F32', [1] * 70, bytes(4), 'is no complete safetensors file'),
    ('F32', [2**40, 0], b'', None)])
def test_tensors_that_are_not_read(tmp_path, dtype, shape, data, message):
  path = safetensors_file(tmp_path / 'a.safetensors', dtype, shape, data)
  if message is None:
    assert weight_files.read_state_dict(path)['a'].shape == tuple(shape)
    return
  with pytest.raises(UserError, match=rf'a\.safetensors.*{message}'):
    weight_files.read_state_dict(path)
