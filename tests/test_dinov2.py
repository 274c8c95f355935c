"""DINOv2 against the library transformers, and what trains on its tokens."""

import functools
import re

import huggingface_hub
import jax
from jax.flatten_util import ravel_pytree
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy

from configs import demo
from scribble_jax import config_check
from scribble_jax import errors
from scribble_jax import inference
from scribble_jax import losses
from scribble_jax import models
from scribble_jax import resize
from scribble_jax.models import deeplab
from scribble_jax.models import lorm
from scribble_jax.models.backbones import BACKBONES
from scribble_jax.models.backbones import dinov2
from scribble_jax.pseudo_labels import classification
from scribble_jax.training import train_state
from scribble_jax.weights import checkpoint
from scribble_jax.weights import pretrained
from scribble_jax.weights import trained
from scribble_jax.weights import weight_files
from tests import test_train_step
from tests.peers import torch
from tests.peers import transformers
from tests.twins import model_config
from tests.twins import random_variables
from tests.twins import relative_error
from tests.twins import smooth_images

WIDTH = 4  # 24 channels for 'small'.
ONE_LAYER = [name for name in BACKBONES
             if name.startswith('dinov2') and 'last' not in name]


def peer(registers, **sizes):
  """The library's network, its weights drawn so that all of them matter."""
  config, network = (
      (transformers.Dinov2WithRegistersConfig,
       transformers.Dinov2WithRegistersModel) if registers else
      (transformers.Dinov2Config, transformers.Dinov2Model))
  sizes = {'hidden_size': 6 * WIDTH, 'num_hidden_layers': 12,
           'num_attention_heads': 6} | sizes
  network = network(config(image_size=518, patch_size=14, **sizes)).eval()
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for name, value in network.named_parameters():
      if value.device.type == 'meta':
        continue
      value.normal_(generator=generator)
      if name.endswith(('norm1.weight', 'norm2.weight', 'layernorm.weight',
                        'lambda1')):
        value.mul_(0.1).add_(1)
      elif value.ndim > 1 and name.endswith('.weight'):
        value.mul_(value[0].numel() ** -0.5)
      else:
        value.mul_(0.5)
  return network


@functools.cache
def small_peer(registers):
  return peer(registers)


def file_of(network, folder):
  network.save_pretrained(folder)
  return folder / 'model.safetensors'


@functools.cache
def tiny(registers=False, last_blocks=1, width=WIDTH, **options):
  return dinov2.DINOv2('small', registers, last_blocks, width, **options)


@pytest.mark.parametrize('registers', [False, True])
@pytest.mark.parametrize('size', [
    (56, 56), (57, 44), (15, 29), (14, 560)])
def test_tokens_equal_the_librarys(tmp_path, registers, size):
  network = small_peer(registers)
  variables = pretrained.read_backbone(
      file_of(network, tmp_path), tiny(registers))
  height, width = size
  images = smooth_images(2, height, width)
  low_level, features = jax.jit(
      lambda images: tiny(registers, 4).apply(variables, images, train=False)
  )(images)
  assert low_level is None
  rows, columns = -(-height // 14), -(-width // 14)
  assert features.shape == (2, rows, columns, 4 * 24)
  padded = np.zeros([2, 3, 14 * rows, 14 * columns], np.float32)
  padded[:, :, :height, :width] = images.transpose(0, 3, 1, 2)
  with torch.no_grad():
    states = network(torch.tensor(padded),
                     output_hidden_states=True).hidden_states[-4:]
    expected = torch.cat([network.layernorm(x) for x in states], -1)
  expected = expected[:, 1 + 4 * registers:].reshape(features.shape)
  assert relative_error(features, expected) < 1e-5


@pytest.mark.parametrize('registers', [False, True])
@pytest.mark.parametrize('size', [(518, 518), (532, 504), (42, 1036)])
def test_embeddings_equal_the_librarys(registers, size):
  network = small_peer(registers)
  params = variables_of(network, tiny(registers))['params']['embeddings']
  images = smooth_images(1, *size)
  embeddings = dinov2.Embeddings(24, registers, jnp.float32)
  with torch.no_grad():
    expected = network.embeddings(torch.tensor(images).permute(0, 3, 1, 2))
  assert relative_error(
      embeddings.apply({'params': params}, images), expected) < 1e-5


def test_features_of_one_layer_are_the_last_of_four():
  variables = variables_of(small_peer(False), tiny())
  images = smooth_images(1, 28, 28)
  one, four = (tiny(last_blocks=count).apply(variables, images, train=False)[1]
               for count in (1, 4))
  np.testing.assert_array_equal(one, four[..., -24:])


def variables_of(network, backbone):
  """Those of the library's network in memory."""
  names = {name: value.detach().numpy()
           for name, value in network.state_dict().items()
           if 'mask_token' not in name}
  return pretrained._fill(
      pretrained.variable_shapes(backbone), names, backbone.namings[1])


@pytest.mark.parametrize('name', ONE_LAYER)
def test_published_networks_have_the_librarys_tensors(name):
  """Those of the library's network in memory, which has names of its own."""
  registers = name.endswith('_reg')
  channels, heads, depth = dinov2.SIZES[name.split('_')[1]]
  with torch.device('meta'):
    network = peer(registers, hidden_size=channels, num_attention_heads=heads,
                   num_hidden_layers=depth)
  expected = {name: tuple(value.shape)
              for name, value in network.state_dict().items()}
  assert expected.pop('embeddings.mask_token') == (1, channels)
  backbone = BACKBONES[name](64)
  shapes = pretrained.variable_shapes(backbone)
  assert expected == {
      pretrained._torch_name(path, backbone.namings[1]):
          pretrained._torch_shape(path, shape)
      for path, shape in shapes.items()}
  # That is, in the files' names:
  recognised = type(backbone).recognise({
      pretrained._torch_name(path, backbone.namings[0]): shape
      for path, shape in shapes.items()})
  assert recognised == {'backbone': name, 'width': 64}


def test_the_librarys_names_in_memory_are_read_too(tmp_path):
  network = small_peer(True)
  torch.save(network.state_dict(), tmp_path / 'a.pth')
  jax.tree.map(
      np.testing.assert_array_equal,
      pretrained.read_backbone(tmp_path / 'a.pth', tiny(True)),
      pretrained.read_backbone(file_of(network, tmp_path / 'b'), tiny(True)))


@pytest.mark.parametrize('backbone, repository', [
    ('dinov2_small', 'facebook/dinov2-small'),
    ('dinov2_large_last4', 'facebook/dinov2-large'),
    ('dinov2_base_reg', 'facebook/dinov2-with-registers-base')])
def test_published_weights_come_from_the_hub(monkeypatch, backbone, repository):
  def download(*args):
    raise ConnectionError(args)

  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
  with pytest.raises(errors.UserError, match=(
      rf"Cannot fetch {repository} .*'{repository}', 'model.safetensors'")):
    pretrained.read_backbone('imagenet', BACKBONES[backbone](64))


@pytest.mark.parametrize('registers, backbone, message', [
    (True, tiny(False), 'is no dinov2_small of width 4: tensor '
     'embeddings.register_tokens is surplus. '),
    (False, tiny(True), 'is no dinov2_small_reg of width 4: tensor '
     'embeddings.register_tokens (1, 4, 24) is missing. '),
    (False, tiny(False, width=8), 'is no dinov2_small of width 8: tensor '
     'embeddings.cls_token has shape (1, 1, 24), not (1, 1, 48) (221 more). '),
    (False, dinov2.DINOv2('large', False, 1, 2), 'is no dinov2_large of width '
     '2: tensor embeddings.cls_token has shape (1, 1, 24), not (1, 1, 32) ')])
def test_file_of_another_network(tmp_path, registers, backbone, message):
  path = file_of(small_peer(registers), tmp_path)
  with pytest.raises(errors.UserError) as error:
    pretrained.read_backbone(path, backbone)
  text = str(error.value)
  assert text.startswith(f'{path} {message}')
  assert text.endswith('Set --config.backbone_weights to another file.')
  assert '\n' not in text


def test_no_file_and_a_resnets(tmp_path):
  with pytest.raises(errors.UserError, match='does not exist. Name'):
    pretrained.read_backbone(tmp_path / 'a.safetensors', tiny())
  path = tmp_path / 'b.safetensors'
  safetensors.numpy.save_file(
      {'conv1.weight': np.zeros([4, 3, 7, 7], np.float32)}, path)
  with pytest.raises(errors.UserError, match=(
      'no dinov2_small of width 4: tensor embeddings.cls_token .* missing')):
    pretrained.read_backbone(path, tiny())


# Where tokens lie on the image.


@pytest.mark.parametrize('size', [(28, 42), (15, 29), (1, 20), (43, 57)])
def test_logits_are_resized_by_the_patches_not_by_the_padded_image(size):
  """The same as enlarging the padded image's map and cutting it."""
  height, width = size
  rows, columns = -(-height // 14), -(-width // 14)
  logits = np.random.default_rng(0).normal(
      size=(2, rows, columns, 3)).astype(np.float32)
  expected = torch.nn.functional.interpolate(
      torch.tensor(logits, dtype=torch.float64).permute(0, 3, 1, 2),
      scale_factor=14, mode='bilinear', align_corners=False)
  expected = expected.permute(0, 2, 3, 1)[:, :height, :width]
  actual = resize.to_pixels(logits, size, 14)
  np.testing.assert_allclose(actual, expected, atol=1e-5)

  # The losses resize by strips.
  labels = np.random.default_rng(1).integers(0, 3, (2, *size))
  sums = losses.sums_over_pixels(logits, {'scribble': labels}, {
      'scribble': lambda log_probs, maps: losses.partial_cross_entropy(
          log_probs, maps['scribble'])}, patch=14)
  assert float(losses.mean(*sums['scribble'])) == pytest.approx(
      torch.nn.functional.cross_entropy(
          expected.permute(0, 3, 1, 2), torch.tensor(labels)).item(), rel=1e-5)


@pytest.mark.parametrize('mode', ['official', 'corrected'])
def test_lorm_asks_the_middle_of_each_patch(mode):
  """Also of a crop whose last patches are padding for the most part."""
  size = 15, 33  # 2 x 3 patches, whose middles are 6.5, 20.5 and 34.5.
  for row, column, patches in [
      (6, 6, [[0, 0]]), (6, 20, [[0, 1]]), (6, 32, [[0, 2]]),
      (14, 6, [[1, 0]]), (14, 32, [[1, 2]]), (13, 6, []), (6, 9, [])]:
    labels = np.zeros([1, *size], np.uint8)
    labels[0, row, column] = 2
    mask = lorm.foreground_mask(labels, (2, 3), mode, 14)
    assert np.argwhere(mask[0]).tolist() == patches, (row, column)
  # Half-way between two pixels, either counts, or the even one.
  labels = np.zeros([1, *size], np.uint8)
  labels[0, 7, 21] = 2
  mask = lorm.foreground_mask(labels, (2, 3), mode, 14)
  assert np.argwhere(mask[0]).tolist() == (
      [[0, 1]] if mode == 'official' else [])


def network_config(head='linear', **changes):
  return model_config(**({
      'backbone': 'dinov2_small', 'head': head, 'width': 2, 'num_classes': 4,
      'head_width': 8} | changes))


def network_and_variables(head='linear', **changes):
  model = models.build(network_config(head, **changes))
  return model, random_variables(model)


@pytest.fixture
def shallow(monkeypatch):
  """Two blocks instead of twelve, which compile sooner."""
  monkeypatch.setitem(
      dinov2.SIZES, 'small', dinov2.SIZES['small']._replace(depth=2))


@pytest.mark.usefixtures('shallow')
def test_predictions_lie_where_the_image_is():
  """The same image in a larger frame of zeros has the same probabilities."""
  model, variables = network_and_variables()
  pixels = np.tile(np.float32([123.675, 116.28, 103.53]), (1, 28, 42, 1))
  pixels[0, :15, :30] = np.random.default_rng(0).uniform(0, 255, (15, 30, 3))
  expected = inference.class_probabilities(model, variables, pixels)
  actual = inference.class_probabilities(
      model, variables, pixels[:, :15, :30])
  np.testing.assert_allclose(actual, expected[:, :15, :30], atol=1e-4)


@pytest.mark.usefixtures('shallow')
def test_class_activations_lie_there_too():
  model = models.build_classifier(
      network_config(output_stride=16), with_segmentation=True)
  variables = random_variables(model)
  pixels = np.random.default_rng(0).uniform(0, 255, (1, 15, 30, 3))
  activations, logits = model.apply(
      variables, model.backbone.normalize(pixels))
  expected = torch.nn.functional.interpolate(
      torch.tensor(np.concatenate(
          [jax.nn.relu(activations), logits], -1)).permute(0, 3, 1, 2),
      scale_factor=14, mode='bilinear')[:, :, :15, :30]
  expected[:, 3:] = expected[:, 3:].softmax(1)
  np.testing.assert_allclose(
      classification.class_maps(model, variables, pixels),
      expected.permute(0, 2, 3, 1), atol=1e-4)


@pytest.mark.parametrize('side', [1, 14, 15, 518, 519])
def test_feature_size(side):
  _, features = jax.eval_shape(
      lambda x: tiny().init_with_output(jax.random.key(0), x, False)[0],
      jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32))
  assert features.shape == (1, *[tiny().feature_size(side)] * 2, 24)


def test_crops_need_not_be_multiples_of_14():
  config = demo.get_config()
  config.model.backbone = 'dinov2_small'
  config.model.head = 'linear'
  for crop_size in (15, 28, 33):
    config.data.crop_size = crop_size
    config_check.check_training(config, num_devices=1)
  config.data.crop_size = 14
  with pytest.raises(errors.UserError, match='must be at least 15 pixels'):
    config_check.check_training(config, num_devices=1)


# Heads and training.


def test_linear_head_equals_pytorch():
  features = np.random.default_rng(0).normal(
      3, 2, (2, 5, 6, 16)).astype(jnp.bfloat16)
  head = deeplab.Linear(7)
  variables = random_variables_of_head(head, features)
  norm, conv = torch.nn.BatchNorm2d(16), torch.nn.Conv2d(16, 7, 1)
  with torch.no_grad():
    for part, name, ours in ((norm, 'weight', 'bn/scale'),
                             (norm, 'bias', 'bn/bias'),
                             (conv, 'bias', 'classifier/bias')):
      module, leaf = ours.split('/')
      getattr(part, name).copy_(
          torch.tensor(variables['params'][module][leaf]))
    conv.weight.copy_(torch.tensor(
        variables['params']['classifier']['kernel']).permute(3, 2, 0, 1))
    expected = conv(norm(torch.tensor(
        features.astype(np.float32)).permute(0, 3, 1, 2)))
  logits, updated = head.apply(
      variables, None, features, True, mutable=['batch_stats'])
  assert logits.dtype == jnp.float32
  assert relative_error(logits, expected.permute(0, 2, 3, 1)) < 1e-5
  logits = head.apply(variables | updated, None, features, False)
  expected = conv(norm.eval()(torch.tensor(
      features.astype(np.float32)).permute(0, 3, 1, 2)))
  # PyTorch's running statistics began at 0 and 1, ours at random.
  for name in ('mean', 'var'):
    before = variables['batch_stats']['bn'][name]
    start = 0 if name == 'mean' else 1
    np.testing.assert_allclose(
        updated['batch_stats']['bn'][name] - 0.9 * (before - start),
        getattr(norm, f'running_{name}'), rtol=1e-5)


def random_variables_of_head(head, features):
  rng = np.random.default_rng(0)
  return jax.tree.map(
      lambda leaf: rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32),
      jax.eval_shape(lambda x: head.init(jax.random.key(0), None, x, False),
                     features))


@pytest.mark.usefixtures('shallow')
@pytest.mark.parametrize('head', deeplab.HEADS)
def test_one_update_with_all_losses(head):
  """LoRM on tokens; crops of 33 pixels, the last 9 of 42 are padding."""
  model, variables = network_and_variables(head, backbone='dinov2_small_reg')
  terms = test_train_step.ALL_TERMS

  @functools.partial(jax.value_and_grad, has_aux=True)
  def loss(params, batch):
    values, _ = test_train_step.make_loss(terms, model)(
        variables | {'params': params}, batch, jax.random.key(0))
    return sum(values.values()), values

  (_, values), gradients = jax.jit(loss)(
      variables['params'], test_train_step.random_batch(2))
  assert values.keys() == terms.keys()
  assert all(np.isfinite(value) and value > 0 for value in values.values())
  for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.all(np.isfinite(gradient)), path
    # A softmax does not see what is added to all keys.
    assert np.any(gradient) or 'key' in str(path), path


@pytest.mark.usefixtures('shallow')
def test_deeplabv3plus_without_a_low_level_map_stays_at_the_features_stride():
  model, variables = network_and_variables('deeplabv3plus')
  assert 'reduce' not in variables['params']['decoder']
  logits, features = model.apply(variables, smooth_images(1, 33, 47))
  assert logits.shape == (1, 3, 4, 4)
  assert features.shape == (1, 3, 4, 12)


@pytest.mark.parametrize('head, backbone', [
    *((head, 'dinov2_small_last4') for head in deeplab.HEADS),
    ('linear', 'dinov2_small_reg'), ('deeplabv2', 'dinov2_large')])
def test_exported_networks_are_recognised_and_read(tmp_path, head, backbone):
  config = network_config(head, backbone=backbone)
  model, variables = network_and_variables(head, backbone=backbone)
  path = tmp_path / 'a.safetensors'
  state_dict = pretrained.to_pytorch(variables, 3, model.backbone)
  query = 'encoder.layer.0.attention.attention.query.weight'
  np.testing.assert_array_equal(
      state_dict[query],
      variables['params']['backbone']['layer_0']['attention']['query'][
          'kernel'].T)
  weight_files.write_state_dict(path, state_dict)
  network = pretrained.network_of({
      f'module.{name}': value for name, value in state_dict.items()})
  assert network == {
      'backbone': backbone, 'width': 2, 'head': head, 'num_classes': 4,
      'head_width': 8 * (head == 'deeplabv3plus')}
  jax.tree.map(np.testing.assert_array_equal,
               trained.initial_variables(config, path), variables)


@pytest.mark.usefixtures('shallow')
def test_linear_head_of_other_classes_starts_anew(tmp_path, caplog):
  model, variables = network_and_variables()
  path = tmp_path / 'a.safetensors'
  weight_files.write_state_dict(
      path, pretrained.to_pytorch(variables, 3, model.backbone))
  found = trained.initial_variables(network_config(num_classes=9), path)
  assert found['params']['decoder'].keys() == {'bn'}
  assert re.search('start anew: params/decoder/classifier/bias, '
                   'params/decoder/classifier/kernel', caplog.text)


def test_a_linear_head_on_a_resnet_is_recognised():
  config = model_config(backbone='resnet18', head='linear', width=4,
                        num_classes=4)
  variables = random_variables(models.build(config))
  state_dict = pretrained.to_pytorch(variables)
  assert {name: shape for name, value in state_dict.items()
          if name.startswith(('layer_pred0', 'classifier'))
          and (shape := value.shape)} == {
              'classifier.weight': (4, 32, 1, 1), 'classifier.bias': (4,),
              **{f'layer_pred0.bn.{name}': (32,) for name in (
                  'weight', 'bias', 'running_mean', 'running_var')}}
  jax.tree.map(np.testing.assert_array_equal,
               pretrained.from_pytorch(state_dict), variables)


def test_a_depth_that_no_network_has():
  model, variables = network_and_variables()
  state_dict = {
      name: value for name, value in pretrained.to_pytorch(
          variables, 0, model.backbone).items() if '.layer.11.' not in name}
  with pytest.raises(errors.UserError, match=(
      'has 11 blocks of 12 channels, like no DINOv2 of size small, base')):
    pretrained.network_of(state_dict)


def test_bfloat16_is_close_and_keeps_parameters_in_float32():
  variables = variables_of(
      peer(False, hidden_size=6 * 32), tiny(width=32))
  images = smooth_images(2, 70, 98)
  outputs = {}
  for dtype in (jnp.float32, jnp.bfloat16):
    backbone = tiny(width=32, dtype=dtype)
    shapes = jax.eval_shape(
        lambda backbone=backbone: backbone.init(
            jax.random.key(0), images, False))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {
        jnp.dtype('float32')}
    _, outputs[dtype] = jax.jit(functools.partial(
        backbone.apply, train=False))(variables, images)
    assert outputs[dtype].dtype == dtype
  error = relative_error(
      outputs[jnp.bfloat16].astype(jnp.float32), outputs[jnp.float32])
  assert 1e-4 < error < 3e-2


@pytest.mark.usefixtures('shallow')
def test_rematerialisation_changes_no_number():
  model, variables = network_and_variables()
  batch = test_train_step.random_batch(2)
  results, programs = [], []
  for remat in (False, True):
    network = model.clone(backbone=model.backbone.clone(remat=remat))

    def loss(params, network=network):
      values, _ = test_train_step.make_loss(['scribble'], network)(
          variables | {'params': params}, batch, jax.random.key(0))
      return values['scribble']

    gradient = jax.value_and_grad(loss)
    programs.append(str(jax.make_jaxpr(gradient)(variables['params'])))
    results.append(jax.jit(gradient)(variables['params']))
  # All at once: the gradients of keys' biases are rounding alone.
  without, with_remat = (ravel_pytree(tree)[0] for tree in results)
  assert relative_error(with_remat, without) < 1e-5
  # Two blocks of eight matrix products each.
  products = [text.count('dot_general[') for text in programs]
  assert products[1] >= products[0] + 2 * 6


@pytest.mark.usefixtures('shallow')
def test_stage_1_of_classes_alone_has_no_batch_statistics(tmp_path):
  model = models.build_classifier(
      network_config(output_stride=16), with_segmentation=False)
  tx = optax.sgd(0.1)
  state = train_state.create(
      model, tx, jax.random.key(0), image_shape=(33, 33, 3))
  assert state.batch_stats == {}
  batch = test_train_step.random_batch(2)
  (activations, _), batch_stats = models.apply_in_training(
      model, state.variables, batch['image'], jax.random.key(0))
  assert activations.shape == (2, 3, 3, 3)
  assert batch_stats == {}
  with checkpoint.open_manager(tmp_path / 'checkpoints', intervals=[1], keep=1,
                               last_step=9) as manager:
    checkpoint.save(manager, 3, state, {})
  restored = checkpoint.restore_latest(
      tmp_path / 'checkpoints', jax.tree.map(jnp.zeros_like, state))
  jax.tree.map(np.testing.assert_array_equal, restored, state)
