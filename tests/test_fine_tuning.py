"""Rates by layer, AdamW and frozen backbones, against PyTorch's groups."""

import functools

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scribble_jax import models
from scribble_jax.errors import UserError
from scribble_jax.models import deeplab
from scribble_jax.models.backbones import family
from scribble_jax.models.backbones import resnet
from scribble_jax.training import optimizer
from tests.peers import torch
from tests.test_optimizer import expected_rate
from tests.test_train_step import ALL_TERMS
from tests.test_train_step import CLASSES
from tests.test_train_step import SIZE
from tests.test_train_step import initial_variables
from tests.test_train_step import make_loss
from tests.test_train_step import network
from tests.test_train_step import random_batch
from tests.twins import model_config
from tests.twins import relative_error

RATES = {'lr': 0.1, 'warmup_steps': 2, 'momentum': 0.9, 'weight_decay': 0.05}
NUM_STEPS = 8


class Numbered(family.Backbone):
  """Three blocks between an embedding and a final normalisation."""
  num_layers = 3
  last_layer = 'norm/'
  name_in_config = 'numbered'


# {a parameter: how many layers are behind its own}.
DEPTHS = {
    ('backbone', 'embed', 'kernel'): 3,
    ('backbone', 'blocks_0', 'conv', 'kernel'): 2,
    ('backbone', 'blocks_1', 'bn', 'scale'): 1,
    ('backbone', 'blocks_2', 'conv', 'kernel'): 0,
    ('backbone', 'norm', 'bias'): 0,
    ('decoder', 'classifier', 'kernel'): None,
    ('lorm', 'gamma'): None,
}


@pytest.mark.parametrize('name', ['sgd', 'adamw'])
@pytest.mark.parametrize(
    ('frozen', 'factor', 'layer_decay'),
    [(0, 1.0, 1.0), (0, 0.1, 1.0), (0, 0.5, 0.7), (2, 0.5, 0.7), (4, 1.0, 1.0)])
def test_updates_agree_with_parameter_groups(
    name, frozen, factor, layer_decay):
  rng = np.random.default_rng(0)
  draw = lambda: traverse_util.unflatten_dict(
      {path: rng.normal(size=(4, 3)).astype(np.float32) for path in DEPTHS})
  params, *gradients = [draw() for _ in range(1 + NUM_STEPS)]
  tensors = {path: torch.tensor(value, dtype=torch.float64)
             for path, value in traverse_util.flatten_dict(params).items()}
  rates = {path: RATES['lr'] * (1.0 if depth is None else
                                factor * layer_decay**depth)
           for path, depth in DEPTHS.items()}
  trained = [path for path, depth in DEPTHS.items()
             if depth is None or 3 - depth >= frozen]
  make = {'sgd': functools.partial(torch.optim.SGD, momentum=0.9),
          'adamw': torch.optim.AdamW}[name]
  oracle = make([{'params': [tensors[path]], 'lr': rates[path]}
                 for path in trained], weight_decay=RATES['weight_decay'])
  schedule = torch.optim.lr_scheduler.LambdaLR(oracle, lambda step: (
      expected_rate(step, NUM_STEPS, 1.0, RATES['warmup_steps'])))

  tx = optimizer.make_optimizer(
      NUM_STEPS, Numbered(frozen=frozen), name=name, layer_decay=layer_decay,
      backbone_lr_factor=factor, **RATES)
  actual, state = params, tx.init(params)
  update = jax.jit(tx.update)
  for gradient in gradients:
    updates, state = update(gradient, state, actual)
    actual = optax.apply_updates(actual, updates)
    for path, value in traverse_util.flatten_dict(gradient).items():
      tensors[path].grad = torch.tensor(value, dtype=torch.float64)
    oracle.step()
    schedule.step()
    for path, value in traverse_util.flatten_dict(actual).items():
      assert relative_error(value, tensors[path]) < 1e-5, path
  before, after = map(traverse_util.flatten_dict, (params, actual))
  for path in DEPTHS:
    assert (relative_error(after[path], before[path]) > 1e-3) == (
        path in trained)
    if path not in trained:
      np.testing.assert_array_equal(after[path], before[path])
  assert len(jax.tree.leaves(state)) - (
      2 if name == 'adamw' else 1) == len(trained) * (
          2 if name == 'adamw' else 1)  # Nothing is kept for frozen ones.


def test_the_defaults_are_the_sgd_of_before():
  """Its state too: a checkpoint has the same names."""
  params = {'backbone': {'conv1': {'kernel': jnp.ones([2, 2])}}}
  tx = optimizer.make_optimizer(NUM_STEPS, resnet.ResNet(18, 4), **RATES)
  before = optax.chain(
      optax.add_decayed_weights(RATES['weight_decay']),
      optax.sgd(optimizer.learning_rate(
          NUM_STEPS, lr=RATES['lr'], warmup_steps=RATES['warmup_steps']),
                momentum=RATES['momentum']))
  assert jax.tree.structure(tx.init(params)) == jax.tree.structure(
      before.init(params))


def test_a_resnet_counts_its_stages():
  backbone = resnet.ResNet(18, 4)
  found = {path: backbone.layer_of(path) for path in (
      'conv1/kernel', 'bn1/scale', 'layer1_0/conv1/kernel',
      'layer3_22/bn1/bias', 'layer4_0/downsample_0/kernel')}
  assert [*found.values()] == [0, 0, 1, 3, 4]
  assert backbone.num_layers == 4
  assert [backbone.num_frozen(freeze) for freeze in family.FREEZES] == [0, 4, 5]


def test_half_of_the_numbered_layers_can_be_frozen():
  assert [Numbered().num_frozen(freeze) for freeze in family.FREEZES] == [
      0, 2, 4]


def test_a_backbone_without_layers_has_none_to_freeze():
  class Whole(family.Backbone):
    name_in_config = 'whole'

  assert Whole().num_frozen('all') == 1
  with pytest.raises(UserError, match='whole counts no layers. Choose'):
    Whole().num_frozen('stages')


def convolutions(jaxpr):
  return str(jaxpr).count('conv_general_dilated[')


@pytest.mark.parametrize('remat', [False, True])
@pytest.mark.parametrize('freeze', ['stages', 'all'])
def test_frozen_layers_get_no_gradients_and_keep_their_statistics(
    freeze, remat):
  backbone = resnet.ResNet(18, 4, remat=remat)
  frozen = network().clone(
      backbone=backbone.clone(frozen=backbone.num_frozen(freeze)))
  variables, batch = initial_variables(), random_batch(4)
  rng = jax.random.key(1)

  def loss(params, model):
    terms, batch_stats = make_loss(ALL_TERMS, model)(
        variables | {'params': params}, batch, rng)
    return sum(terms.values()), batch_stats

  gradient = jax.value_and_grad(loss, has_aux=True)
  (_, batch_stats), gradients = jax.jit(gradient, static_argnums=1)(
      variables['params'], frozen)
  held = ('conv1', 'bn1', 'layer1', 'layer2', 'layer3') + (
      ('layer4',) if freeze == 'all' else ())
  for tree, old in ((gradients, None),
                    (batch_stats, variables['batch_stats'])):
    old = old and traverse_util.flatten_dict(old)
    for path, value in traverse_util.flatten_dict(tree).items():
      still = path[0] == 'backbone' and path[1].startswith(held)
      changed = np.any(value != (old[path] if old else 0.0))
      assert changed != still, path

  # Convolutions of the backward pass: those of frozen layers are not there.
  forward, both = (convolutions(jax.make_jaxpr(f, static_argnums=1)(
      variables['params'], frozen)) for f in (loss, gradient))
  full = convolutions(jax.make_jaxpr(gradient, static_argnums=1)(
      variables['params'], network()))
  assert both - forward < (full - forward) / (2 if freeze == 'stages' else 3)


def test_frozen_features_are_those_of_inference():
  backbone = resnet.ResNet(18, 4, frozen=5)
  variables = initial_variables()
  model = deeplab.SegmentationNetwork(
      CLASSES, backbone, 'deeplabv3plus', head_width=8, dropout=0.0)
  images = np.random.default_rng(0).normal(
      size=(2, SIZE, SIZE, 3)).astype(np.float32)
  (_, training), _ = model.apply(
      variables, images, train=True, mutable=['batch_stats'])
  np.testing.assert_array_equal(training, model.apply(variables, images)[1])


def test_the_config_says_what_is_frozen():
  for freeze, frozen in zip(family.FREEZES, (0, 4, 5), strict=True):
    config = model_config(backbone='resnet18', freeze_backbone=freeze)
    assert models.build(config).backbone.frozen == frozen
  with pytest.raises(UserError, match='freeze_backbone .* none, stages, all'):
    models.build(model_config(freeze_backbone='half'))
