"""The update: the same on any number of devices, switches as METHOD 8 says."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scribble_jax import loss_terms
from scribble_jax import sharding
from scribble_jax.models import deeplab
from scribble_jax.models import lorm
from scribble_jax.models.backbones import resnet
from scribble_jax.training import train_state
from scribble_jax.training import train_step
from tests.benchmarks import hlo

SIZE, CLASSES = 33, 4
OFFICIAL = dict.fromkeys(
    ('pseudo_ignore', 'lorm_background', 'lorm_foreground', 'normaliser'),
    'official')
SETTINGS = OFFICIAL | {'label_smoothing': 0.1}
ALL_TERMS = dict.fromkeys(loss_terms.TERMS, 1.0)


@functools.cache
def network():
  return deeplab.SegmentationNetwork(
      CLASSES, resnet.ResNet(18, 4), 'deeplabv3plus', head_width=8,
      dropout=0.5)


def random_batch(size, seed=0):
  rng = np.random.default_rng(seed)
  shape = (size, SIZE, SIZE)
  maps = lambda values: rng.choice(values, shape).astype(np.uint8)
  return {
      'image': rng.integers(0, 256, (*shape, 3), np.uint8),
      'scribble': maps([0, 1, 2, 3, 255]),
      'pseudo_label': maps([0, 1, 2, 3, 255]),
      'scribble_distance': maps(range(256)),
      'pseudo_label_distance': maps(range(256)),
  }


def make_loss(enabled, model=None):
  return functools.partial(
      loss_terms.compute, model or network(), settings=SETTINGS,
      enabled=tuple(enabled))


@functools.cache
def initial_variables():
  return jax.jit(network().init)(
      jax.random.key(0), jnp.zeros([1, SIZE, SIZE, 3]))


@functools.cache
def _terms(switches):
  variables = initial_variables()

  @jax.jit
  def evaluate(batch):
    return loss_terms.compute(
        network(), variables, batch, jax.random.key(0),
        settings=SETTINGS | dict(switches), enabled=tuple(loss_terms.TERMS))[0]
  return evaluate


def terms(batch, **switches):
  values = _terms(tuple(switches.items()))(batch)
  return {name: float(value) for name, value in values.items()}


@functools.cache
def two_updates(data, model=1):
  """Returns the state, the last metrics and the compiled program's text."""
  mesh = sharding.make_mesh(
      {'data': data, 'model': model}, jax.devices()[:data * model])
  tx = optax.sgd(0.01, momentum=0.9)
  state = train_state.create(network(), tx, jax.random.key(0),
                             image_shape=(SIZE, SIZE, 3))
  layout = sharding.of_state(mesh, state)
  state, rng = jax.device_put(
      (state, jax.random.key(1)), (layout, sharding.replicated(mesh)))
  batches = [sharding.shard_batch(random_batch(4, seed), mesh)
             for seed in range(2)]
  step = train_step.make_train_step(
      make_loss(ALL_TERMS), tx, optax.constant_schedule(0.01), ALL_TERMS, mesh,
      layout).lower(state, batches[0], rng).compile()
  with jax.transfer_guard('disallow'):
    for batch in batches:
      state, metrics = step(state, batch, rng)
  assert int(state.step) == 2
  kernel = state.params['lorm']['key_conv']['kernel']
  assert len(kernel.sharding.device_set) == data * model
  assert kernel.addressable_shards[0].data.size == kernel.size // model
  return *jax.device_get((state, metrics)), step.as_text()


@pytest.mark.parametrize('mesh', [(2, 1), (4, 1), (1, 4)])
def test_state_is_independent_of_the_mesh(mesh):
  # Includes batch_stats: BatchNorm must average over all devices; and dropout,
  # whose mask must not depend on the layout.
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
      two_updates(*mesh)[:2], two_updates(1)[:2])


def test_devices_wait_for_one_another_once_a_layer_and_direction():
  state, _, program = two_updates(4)
  found = [(x.opcode, re.search('op_name="([^"]*)"', x.text)[1])
           for x in hlo.parse(program).collectives]
  # Two running statistics a BatchNorm layer.
  num_layers = len(jax.tree.leaves(state.batch_stats)) // 2
  forward = [name for kind, name in found if kind == 'all-gather']
  assert len(forward) == num_layers == 29
  # XLA may join those of parallel branches, but no others.
  backward = [name for _, name in found
              if re.search(r'transpose.*\bbn\d?/', name)]
  assert 20 <= len(backward) <= num_layers
  # The losses', and LoRM's with the gradients'.
  assert len(found) - len(forward) - len(backward) <= 3
  assert 'while/body' in program
  assert not [name for _, name in found if 'while/body' in name]


def test_every_step_draws_another_dropout_mask():
  """With a rate of 0 the state stays, so that only the mask can differ."""
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  weights, tx = {'scribble': 1.0}, optax.sgd(0.0)
  state = train_state.create(network(), tx, jax.random.key(0),
                             image_shape=(SIZE, SIZE, 3))
  step = train_step.make_train_step(
      make_loss(weights), tx, optax.constant_schedule(0.0), weights, mesh)
  losses = []
  for number in (0, 1, 0):
    _, metrics = step(
        jax.tree.map(jnp.copy, state).replace(step=jnp.int32(number)),
        random_batch(2), jax.random.key(1))
    losses.append(float(metrics['loss/total']))
  assert losses[0] == losses[2] != losses[1]


def test_metrics_name_every_term_and_sum_to_the_total():
  _, metrics, _ = two_updates(1)
  parts = [metrics[f'loss/{name}'] for name in loss_terms.TERMS]
  np.testing.assert_allclose(metrics['loss/total'], sum(parts), rtol=1e-5)
  assert metrics['learning_rate'] == np.float32(0.01)
  assert metrics['grad_norm'] > 0


@pytest.mark.parametrize('term', ['scribble', 'lorm'])
def test_terms_of_weight_zero_are_not_computed(term):
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  weights = {term: 1.0}
  tx = optax.sgd(0.1)
  state = train_state.create(network(), tx, jax.random.key(0),
                          image_shape=(SIZE, SIZE, 3))
  step = train_step.make_train_step(
      make_loss(weights), tx, optax.constant_schedule(0.1), weights, mesh)
  _, metrics = jax.eval_shape(step, state, random_batch(2), jax.random.key(0))
  assert sorted(name for name in metrics if name.startswith('loss/')) == [
      f'loss/{term}', 'loss/total']


def test_pseudo_ignore_turns_ignored_pixels_into_background():
  batch = random_batch(2)
  background = batch | {'pseudo_label': np.where(
      batch['pseudo_label'] == 255, 0, batch['pseudo_label']).astype(np.uint8)}
  official = terms(batch)['pseudo_label']
  corrected = terms(batch, pseudo_ignore='corrected')['pseudo_label']
  assert official == pytest.approx(terms(background)['pseudo_label'], rel=1e-6)
  assert corrected != pytest.approx(official, rel=1e-3)
  # LoRM sees background there either way.
  assert terms(batch, pseudo_ignore='corrected')['lorm'] == pytest.approx(
      terms(batch)['lorm'], rel=1e-6)


def test_lorm_background_leaves_only_the_foreground():
  batch = random_batch(2) | {
      'pseudo_label': np.zeros([2, SIZE, SIZE], np.uint8)}
  assert terms(batch)['lorm'] > 0.01  # Features pulled to zero.
  assert terms(batch, lorm_background='corrected')['lorm'] == 0


def test_lorm_foreground_dilates_unless_nearest():
  pseudo_label = np.zeros([1, 30, 30], np.int32)
  pseudo_label[0, 9, 9] = 1
  masks = {mode: np.asarray(lorm.foreground_mask(pseudo_label, (7, 7), mode))
           for mode in ('official', 'corrected')}
  # Samples lie 29 / 6 pixels apart: one at 9.67, nearest to 10.
  assert np.argwhere(masks['official']).tolist() == [[0, 2, 2]]
  assert not masks['corrected'].any()


def test_normaliser_counts_positions_instead_of_nonzero_values():
  batch = random_batch(2)
  official, corrected = terms(batch), terms(batch, normaliser='corrected')
  # ReLU features are exactly 0 in places, where background squares vanish.
  assert official['lorm'] > corrected['lorm']


def test_rematerialisation_changes_no_number():
  batch, rng = random_batch(4), jax.random.key(1)
  results, programs = [], []
  for model in (network(), network().clone(
      backbone=resnet.ResNet(18, 4, remat=True))):
    def loss(params, model=model):
      terms, batch_stats = make_loss(ALL_TERMS, model)(
          initial_variables() | {'params': params}, batch, rng)
      return sum(terms.values()), batch_stats

    gradient = jax.value_and_grad(loss, has_aux=True)
    params = initial_variables()['params']
    programs.append(str(jax.make_jaxpr(gradient)(params)))
    results.append(jax.jit(gradient)(params))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-4, atol=1e-5 * np.max(np.abs(a))), *results)
  # 8 blocks; each convolution of theirs is there once more.
  convolutions = [text.count('conv_general_dilated[') for text in programs]
  assert convolutions[1] >= convolutions[0] + 8
