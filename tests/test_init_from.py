"""--config.init_from: a new run that starts from a trained network."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from scribble_jax import models
from scribble_jax import train
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.files import formats
from scribble_jax.models.backbones import resnet
from scribble_jax.training import loop
from scribble_jax.training import provenance
from scribble_jax.weights import checkpoint
from scribble_jax.weights import pretrained
from scribble_jax.weights import trained
from scribble_jax.weights import weight_files
from tests import test_pretrained
from tests.peers import torch
from tests.twins import SMALL
from tests.twins import model_config
from tests.twins import random_variables

HEADS = ('deeplabv2', 'deeplabv3plus')
# The arrays whose shape depends on the number of classes.
ANEW = {
    'deeplabv3plus': {'params/decoder/classifier/kernel',
                      'params/decoder/classifier/bias'},
    'deeplabv2': None}  # All of the head.


def small_config(head='deeplabv3plus', **changes):
  return model_config(**(
      SMALL | {'backbone': 'resnet18', 'head': head} | changes))


def workdir_of(path, config, variables):
  """A run that ended after 3 updates."""
  path.mkdir()
  (path / 'config.json').write_text(json.dumps({'model': config.to_dict()}))
  state = jax.device_put(variables | {'step': np.int32(3)})
  with checkpoint.open_manager(path / 'checkpoints', intervals=[1], keep=1,
                               last_step=9) as manager:
    checkpoint.save(manager, 3, state, {})
  return path


def file_of(path, config, variables):
  del config
  if path.suffix == '.pth':
    pytest.importorskip('torch')
  weight_files.write_state_dict(path, pretrained.to_pytorch(variables))
  return path


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('make, name', [
    (workdir_of, 'run'), (file_of, 'a.safetensors'), (file_of, 'a.pth')])
def test_everything_is_taken_over(tmp_path, caplog, head, make, name):
  config = small_config(head)
  variables = random_variables(models.build(config))
  path = make(tmp_path / name, config, variables)
  found = trained.initial_variables(config, str(path))
  jax.tree.map(np.testing.assert_array_equal, found, variables)
  assert 'start anew' not in caplog.text


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('make, name', [
    (workdir_of, 'run'), (file_of, 'a.safetensors')])
def test_what_depends_on_the_classes_starts_anew_and_is_listed(
    tmp_path, caplog, head, make, name):
  old = small_config(head)
  variables = random_variables(models.build(old))
  path = make(tmp_path / name, old, variables)
  new = small_config(head, num_classes=9)
  found = flat(trained.initial_variables(new, path))
  expected, wanted = flat(variables), flat(
      random_variables(models.build(new)))
  anew = {name for name in wanted if wanted[name].shape != expected[name].shape}
  assert anew == (ANEW[head] or {
      name for name in wanted if '/decoder/' in name})
  assert found.keys() == wanted.keys() - anew
  for key, value in found.items():
    np.testing.assert_array_equal(value, expected[key])
  (line,) = [record.getMessage() for record in caplog.records
             if 'start anew' in record.getMessage()]
  assert line.startswith(f'{path} has 5 classes and this run 9, so these start')
  assert all(name in line for name in anew)


def flat(variables):
  return {jax.tree_util.keystr(path, simple=True, separator='/'): leaf
          for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}


@pytest.mark.parametrize('changes, message', [
    ({'head': 'deeplabv2'}, "head 'deeplabv3plus', but config.model.head is"),
    ({'backbone': 'resnet34'}, "backbone 'resnet18', but config.model.back"),
    ({'width': 4}, 'width 8, but config.model.width is 4'),
    ({'head_width': 8}, 'head_width 16, but config.model.head_width is 8')])
def test_another_network_is_an_error(tmp_path, changes, message):
  config = small_config()
  variables = random_variables(models.build(config))
  for path in (workdir_of(tmp_path / 'run', config, variables),
               file_of(tmp_path / 'a.safetensors', config, variables)):
    with pytest.raises(UserError, match=message):
      trained.initial_variables(small_config(**changes), path)


def test_the_workdir_of_stage_1_is_another_network(tmp_path):
  """It has the same backbone and head, and no LoRM."""
  config = small_config(output_stride=8)
  classifier = models.build_classifier(config, with_segmentation=True)
  path = workdir_of(tmp_path / 'run', config, random_variables(classifier))
  with pytest.raises(UserError) as error:
    trained.initial_variables(config, path)
  text = str(error.value)
  assert (f'{path}: params/classifier/kernel has shape (1, 1, 64, 4) there and '
          'None in this config') in text
  assert 'params/lorm/gamma has shape None there and () in this' in text


def test_no_network_there(tmp_path):
  config = small_config()
  with pytest.raises(UserError, match='/nowhere does not exist. Name a'):
    trained.initial_variables(config, '/nowhere')
  with pytest.raises(UserError, match='is no workdir of a training run'):
    trained.initial_variables(config, tmp_path)
  (tmp_path / 'config.json').write_text('{"model": {}}')
  with pytest.raises(UserError, match='holds no checkpoint yet'):
    trained.initial_variables(config, tmp_path)


def test_a_backbone_is_for_another_key_and_so_is_a_network(tmp_path):
  backbone, network = tmp_path / 'b.safetensors', tmp_path / 'n.safetensors'
  test_pretrained.imagenet_file(backbone)
  with pytest.raises(UserError, match=(
      f'^{backbone}: The file holds a backbone alone.*'
      '--config.backbone_weights=FILE')):
    trained.initial_variables(small_config(), backbone)
  config = small_config()
  variables = random_variables(models.build(config))
  file_of(network, config, variables)
  with pytest.raises(UserError, match=(
      f'more than a backbone.*--config.init_from={network}')):
    pretrained.read_backbone(str(network), resnet.ResNet(18, 8))
  workdir = workdir_of(tmp_path / 'run', config, variables)
  with pytest.raises(UserError, match=(
      f'^{workdir} is a folder.*--config.init_from={workdir}')):
    pretrained.read_backbone(str(workdir), resnet.ResNet(18, 8))


# Names of other programs.


@pytest.mark.parametrize('prefix', [
    'module.', 'backbone.', 'encoder.', 'model.', 'net.', 'module.encoder.',
    'model.module.backbone.'])
def test_prefixes_are_left_out_everywhere(tmp_path, prefix):
  config = small_config()
  variables = random_variables(models.build(config))
  path = tmp_path / 'a.safetensors'
  safetensors.numpy.save_file(
      {prefix + name: value
       for name, value in pretrained.to_pytorch(variables).items()}, path)
  for found in (trained.initial_variables(config, path),
                trained.load(config, path)[1]):
    jax.tree.map(np.testing.assert_array_equal, found, variables)

  bare = tmp_path / 'b.safetensors'
  test_pretrained.imagenet_file(bare)
  safetensors.numpy.save_file({
      prefix + name: value for name, value in
      safetensors.numpy.load_file(bare).items()}, path)
  jax.tree.map(np.testing.assert_array_equal, *(
      pretrained.read_backbone(str(file), resnet.ResNet(18, 8))
      for file in (path, bare)))


def test_two_networks_in_a_file_are_never_mixed():
  state_dict = test_pretrained.small_state_dict()
  both = {f'{prefix}.{name}': value for name, value in state_dict.items()
          for prefix in ('module', 'encoder')}
  with pytest.raises(UserError, match=(
      r'tensors module\.conv1\.weight and encoder\.conv1\.weight are both ')):
    pretrained.from_pytorch(both)


@pytest.mark.parametrize('keys', [
    ('state_dict',), ('model',), ('model_state_dict',), ('net',),
    ('state_dict', 'model')])
def test_a_state_dict_is_found_in_its_file(tmp_path, keys):
  content = {'weight': torch.ones(2)}
  for key in reversed(keys):
    content = {'epoch': 3, key: content}
  torch.save(content, tmp_path / 'a.pth')
  (name,) = weight_files.read_state_dict(tmp_path / 'a.pth')
  assert name == 'weight'


# Training.


def test_a_run_starts_from_a_network_and_goes_on_without_it(
    config, tmp_path, caplog, monkeypatch):
  donor = config.model.copy_and_resolve_references()
  donor.num_classes = 7
  variables = random_variables(models.build(donor))
  path = workdir_of(tmp_path / 'donor', donor, variables)
  config.init_from = str(path)
  config.backbone_weights = 'imagenet'  # Not asked for.
  monkeypatch.setattr(pretrained, 'read_backbone', None)
  config.num_steps, config.optim.warmup_steps, config.optim.lr = 1, 0, 1e-12
  config.optim.weight_decay = 0.0
  state = train.train(config, str(tmp_path / 'run'))
  assert caplog.text.count('start anew') == 1
  start = flat(variables)
  for name, value in flat({'params': state.params}).items():
    if 'classifier' not in name:
      np.testing.assert_allclose(value, start[name], atol=1e-6, err_msg=name)
  config.init_from = '/gone'  # Nobody looks for it any more.
  assert loop.read_initial(config, tmp_path / 'run', model=None) is None


def test_it_may_differ_when_a_run_goes_on(config):
  stored = json.loads(config.to_json())
  del stored['init_from']  # Of a run of before there was one.
  config.init_from = '/gone'
  provenance.compare(json.loads(config.to_json()), stored, 'run')


def test_a_missing_data_set_is_told_before_weights_are_asked_for(
    config, root, tmp_path, monkeypatch):
  def too_early(*args, **kwargs):
    raise AssertionError

  monkeypatch.setattr(loop, 'read_initial', too_early)
  monkeypatch.setattr(records, 'prepare', too_early)
  config.backbone_weights = 'imagenet'
  (root / config.data.classes).rename(root / 'names.txt')
  with pytest.raises(UserError, match='classes.txt does not exist'):
    train.train(config, str(tmp_path / 'run'))
  (root / config.data.train_list).unlink()
  with pytest.raises(UserError, match=r'train\.txt does not exist\. It lists'):
    train.train(config, str(tmp_path / 'run'))
  config.data.root = '/nowhere/at/all'
  with pytest.raises(UserError, match=r'/nowhere/at/all does not exist\. Set'):
    train.train(config, str(tmp_path / 'run'))


def test_other_classes_of_the_same_number_are_told(tmp_path, caplog):
  formats.write_json(tmp_path / 'classes.json', ['background', 'cat', 'dog'])
  train._warn_of_other_classes(tmp_path, ['background', 'cat', 'dog'])
  train._warn_of_other_classes(tmp_path, ['background', 'cow'])  # Anew anyway.
  assert not caplog.text
  train._warn_of_other_classes(tmp_path, ['background', 'cow', 'dog'])
  assert 'cat (cow here)' in caplog.text
