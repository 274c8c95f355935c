"""Exported networks give what the network itself gives."""

import runpy
import sys

import jax
import numpy as np
from PIL import Image
from PIL import ImageOps
import pytest

from scribble_jax import inference
from scribble_jax import models
from scribble_jax import sharding
from scribble_jax.deployment import exporting
from scribble_jax.deployment import primitives
from scribble_jax.deployment import stablehlo
from scribble_jax.errors import UserError
from scribble_jax.files.images import READING
from scribble_jax.windows import Protocol
from tests import twins

WINDOW = 65
NETWORKS = {
    'v2': {'backbone': 'resnet18', 'head': 'deeplabv2'},
    'v3plus': {'backbone': 'resnet18', 'head': 'deeplabv3plus'},
    'lite0': {'backbone': 'efficientnet_lite0', 'head': 'deeplabv3plus'},
    'dinov2': {'backbone': 'dinov2_small', 'head': 'linear'}}


def network(name):
  model = models.build(twins.model_config(**NETWORKS[name]))
  return model, twins.random_variables(model)


@pytest.fixture(name='photograph', scope='module')
def make_photograph(tmp_path_factory):
  """A textured picture of 150 x 100 pixels, stored lying on its side."""
  path = tmp_path_factory.mktemp('photograph') / 'photo.png'
  rng = np.random.default_rng(0)
  coarse = Image.fromarray(rng.integers(0, 256, [7, 9, 3], np.uint8))
  exif = Image.Exif()
  exif[0x0112] = 6
  coarse.resize((100, 150), Image.Resampling.BICUBIC).save(path, exif=exif)
  return path


def export(file_format, path, name, photograph):
  model, variables = network(name)
  return exporting.write(
      file_format, str(path), model, variables, WINDOW, photograph, READING,
      lambda module, checked: f'card of {checked.picture}')


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('file_format', exporting.FORMATS)
def test_probabilities_are_those_of_the_network(
    file_format, name, photograph, tmp_path):
  path = tmp_path / f'net{exporting.FORMATS[file_format].SUFFIX}'
  checked = export(file_format, path, name, photograph)
  assert checked.difference < 1e-4
  assert checked.num_windows == 3  # Every other of six.

  # Not of the check itself, and not of windows of a photograph.
  pixels = np.random.default_rng(1).uniform(
      0, 255, [1, WINDOW, WINDOW, 3]).astype(np.float32)
  model, variables = network(name)
  expected = jax.jit(lambda x: inference.class_probabilities(
      model, variables, x))(pixels)
  found = exporting.FORMATS[file_format].read(path)(pixels)
  np.testing.assert_allclose(found, expected, atol=1e-4)
  assert np.ptp(expected) > 0.1  # Of something that can differ.
  assert sorted(file.name for file in tmp_path.iterdir()) == [
      path.name, f'{path.name}.md', 'run_network.py']


@pytest.mark.parametrize('file_format', exporting.FORMATS)
def test_script_predicts_what_the_program_predicts(
    file_format, photograph, tmp_path, monkeypatch):
  path = tmp_path / f'net{exporting.FORMATS[file_format].SUFFIX}'
  export(file_format, path, 'lite0', photograph)
  small = tmp_path / 'small.png'
  Image.open(photograph).resize((50, 90)).save(small)
  model, variables = network('lite0')
  for picture in (photograph, small):
    monkeypatch.setattr(sys, 'argv', [
        'run_network.py', str(path), str(picture), str(tmp_path / 'mask.png')])
    runpy.run_path(str(tmp_path / 'run_network.py'))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(picture)))
    expected = inference.multi_scale_probabilities(
        model, variables, upright, Protocol(WINDOW, (1.0,), None, False),
        mesh=sharding.local_mesh())
    mask = np.asarray(Image.open(tmp_path / 'mask.png'))
    np.testing.assert_array_equal(mask, np.argmax(expected, -1))


def test_max_pool_pads_with_what_is_never_largest():
  """As PyTorch's ceil mode, by hand: zeros would win over negative values."""
  from scribble_jax.models.backbones.resnet import max_pool_ceil

  x = -np.arange(1, 26, dtype=np.float32).reshape(1, 5, 5, 1)
  found = primitives.simplified(
      max_pool_ceil, jax.ShapeDtypeStruct(x.shape, x.dtype))(x)
  np.testing.assert_array_equal(found[0, ..., 0], [
      [-1, -2, -4], [-6, -7, -9], [-16, -17, -19]])


def test_what_differs_is_not_written(photograph, tmp_path, monkeypatch):
  read = stablehlo.read
  monkeypatch.setattr(stablehlo, 'read', lambda path: lambda pixels: (
      read(path)(pixels) + np.float32(2e-4)))
  with pytest.raises(UserError, match=r'differ .* by 0\.0002.*Nothing was'):
    export('stablehlo', tmp_path / 'net.stablehlo', 'lite0', photograph)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('file_format', 'output', 'words'), [
    ('onnx', 'net.stablehlo', r'end in \.onnx for --format=onnx'),
    ('stablehlo', 'net.hlo', r'end in \.stablehlo for --format=stablehlo')])
def test_other_suffixes_are_refused(file_format, output, words):
  with pytest.raises(UserError, match=words):
    exporting.check(file_format, output)


@pytest.mark.parametrize('lacking', ['onnx', 'onnxruntime', 'jax2onnx'])
def test_missing_packages_are_named(lacking, monkeypatch):
  monkeypatch.setitem(sys.modules, lacking, None)
  with pytest.raises(UserError, match=f'{lacking}.* Run: pip install'):
    exporting.check('onnx', 'net.onnx')


@pytest.mark.parametrize('content', [None, b'no picture'])
def test_unreadable_picture_is_named(content, tmp_path):
  picture = tmp_path / 'photo.jpg'
  if content is not None:
    picture.write_bytes(content)
  with pytest.raises(UserError, match=f'--picture={picture}: '):
    export('stablehlo', tmp_path / 'out/net.stablehlo', 'lite0', picture)
  assert not (tmp_path / 'out').exists()
