"""Micro-batches and averages: exact, on any mesh, resumed, against PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scribble_jax import loss_terms
from scribble_jax import losses
from scribble_jax import sharding
from scribble_jax import train
from scribble_jax.models import classifier
from scribble_jax.models.backbones import resnet
from scribble_jax.pseudo_labels import classification
from scribble_jax.training import gradients
from scribble_jax.training import optimizer
from scribble_jax.training import train_state
from scribble_jax.training import train_step
from scribble_jax.weights import trained
from tests.benchmarks import hlo
from tests.peers import torch
from tests.test_fine_tuning import Numbered
from tests.test_fine_tuning import expected_rate
from tests.test_train import assert_same_state
from tests.test_train import train_until_it_dies
from tests.test_train_step import ALL_TERMS
from tests.test_train_step import CLASSES
from tests.test_train_step import SETTINGS
from tests.test_train_step import initial_variables
from tests.test_train_step import network
from tests.test_train_step import random_batch
from tests.twins import random_variables
from tests.twins import relative_error

BATCH = 8


class Inferring:
  """A network whose BatchNorms and dropout stay as in inference."""

  def __init__(self, model):
    self._model, self.backbone = model, model.backbone

  def apply(self, variables, *args, **kwargs):
    if 'method' in kwargs:
      return self._model.apply(variables, *args, **kwargs)
    return self._model.apply(variables, *args), variables


def uneven_batch():
  """Images of few and of many strokes, so that means of means are wrong."""
  batch = random_batch(BATCH)
  share = np.linspace(0.02, 1.0, BATCH)[:, None, None]
  hidden = np.random.default_rng(1).random(batch['scribble'].shape) > share
  return batch | {
      'scribble': np.where(hidden, 255, batch['scribble']),
      'pseudo_label': np.where(hidden, 255, batch['pseudo_label']),
      'scribble_distance': np.where(hidden, 0, batch['scribble_distance'])}


def stage2(settings):
  model = Inferring(network())
  learning = {'settings': settings, 'enabled': tuple(ALL_TERMS)}
  return initial_variables(), uneven_batch(), [
      functools.partial(f, model, **learning)
      for f in (loss_terms.compute, loss_terms.count)], ALL_TERMS


def stage1():
  model = classifier.ClassificationNetwork(
      CLASSES, resnet.ResNet(18, 4, output_stride=16), 'deeplabv2',
      head_width=8, dropout=0.0)
  batch = uneven_batch()
  batch['scribbled_classes'] = np.random.default_rng(2).random(
      (BATCH, 256)) < 0.5
  weights = {'classification': 1.0, 'scribble': 0.5}
  return random_variables(model), batch, [
      functools.partial(f, Inferring(model), enabled=tuple(weights))
      for f in (classification.loss_terms, classification.loss_counts)], weights


PROBLEMS = {
    'official': functools.partial(stage2, SETTINGS),
    'corrected': functools.partial(
        stage2, dict.fromkeys(SETTINGS, 'corrected') | {
            'label_smoothing': 0.1}),
    'stage 1': stage1}


@functools.cache
def computed(name, parts, num_devices):
  """Returns the results of `gradients` on a mesh, and the program's text."""
  variables, batch, (terms, counts), weights = PROBLEMS[name]()
  mesh = sharding.make_mesh(devices=jax.devices()[:num_devices])
  compute = gradients.of_batch(terms, weights)
  if parts > 1:
    compute = gradients.in_parts(compute, counts, parts)

  def run(params, batch_stats, batch, rng):
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      return compute(params, batch_stats, batch, rng)

  replicated = sharding.replicated(mesh)
  arguments = (*jax.device_put((variables['params'], variables['batch_stats']),
                               replicated),
               sharding.shard_batch(batch, mesh),
               jax.device_put(jax.random.key(0), replicated))
  program = jax.jit(run).lower(*arguments).compile()
  return jax.device_get(program(*arguments)), program.as_text()


@pytest.mark.parametrize('parts, num_devices', [(2, 1), (4, 1), (2, 4)])
@pytest.mark.parametrize('name', PROBLEMS)
def test_parts_add_up_to_the_batch(name, parts, num_devices):
  ((whole, (terms, _)), expected), program = computed(name, 1, 1)
  ((total, (part_terms, _)), actual), in_parts = computed(
      name, parts, num_devices)
  np.testing.assert_allclose(total, whole, rtol=1e-6)
  for term, value in terms.items():
    np.testing.assert_allclose(part_terms[term], value, rtol=1e-6)
  norm = optax.tree.norm(expected)
  difference = optax.tree.norm(jax.tree.map(jnp.subtract, actual, expected))
  assert difference < 1e-6 * norm
  # Only official normalisers count what a forward pass says.
  assert (in_parts.count(' convolution(') > program.count(' convolution(')) == (
      name == 'official')


def test_images_stay_on_their_devices():
  program = computed('official', 2, 4)[1]
  assert 'all-to-all' not in program and 'collective-permute' not in program
  assert not [x for x in hlo.parse(program).collectives if 'u8[' in x.text]


def test_parts_take_the_memory_of_a_part():
  def temporary(parts):
    variables, batch, (terms, counts), weights = stage2(SETTINGS)
    compute = gradients.of_batch(terms, weights)
    if parts > 1:
      compute = gradients.in_parts(compute, counts, parts)
    return jax.jit(compute).lower(
        variables['params'], variables['batch_stats'], batch,
        jax.random.key(0)).compile().memory_analysis().temp_size_in_bytes

  assert temporary(4) < temporary(1) / 2


def dense_terms(variables, batch, rng, counts=None):
  """Cross-entropy of two dense layers, and one running statistic."""
  del rng
  x = batch['image'].astype(jnp.float32) / 128 - 1
  params = variables['params']
  x = jnp.tanh(x @ params['backbone']['blocks_0']['kernel'])
  hidden = jnp.tanh(x @ params['backbone']['blocks_2']['kernel'])
  logits = hidden @ params['decoder']['kernel']
  sums = {'scribble': losses.masked_sum(*losses.partial_cross_entropy(
      jax.nn.log_softmax(logits), batch['scribble']))}
  mean = variables['batch_stats']['mean']
  mean += 0.1 * (jnp.mean(hidden, axis=(0, 1, 2)) - mean)
  return losses.means(sums, counts), {'mean': mean}


def dense_counts(variables, batch, rng):
  del variables, rng
  return {'scribble': jnp.sum(batch['scribble'] != 255, dtype=jnp.float32)}


class TorchDense(torch.nn.Module):
  """The same in PyTorch."""

  def __init__(self, params, mean):
    super().__init__()
    kernels = (params['backbone']['blocks_0'], params['backbone']['blocks_2'],
               params['decoder'])
    self.kernels = torch.nn.ParameterList(
        [torch.tensor(kernel['kernel'], dtype=torch.float64)
         for kernel in kernels])
    self.register_buffer('mean', torch.tensor(mean, dtype=torch.float64))

  def forward(self, images):
    x = images / 128 - 1
    for kernel in self.kernels[:2]:
      x = torch.tanh(x @ kernel)
    with torch.no_grad():
      self.mean += 0.1 * (x.mean((0, 1, 2)) - self.mean)
    return x @ self.kernels[2]


@pytest.mark.parametrize('name, mesh, accumulate', [
    ('sgd', (1, 1), 1), ('adamw', (1, 1), 1), ('adamw', (2, 1), 2),
    ('adamw', (1, 4), 2)])
def test_updates_and_averages_agree_with_pytorch(name, mesh, accumulate):
  num_steps, decay = 15, 0.5
  optim = {'lr': 0.02, 'warmup_steps': 2, 'weight_decay': 0.05,
           'momentum': 0.9}
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.normal(0, 0.3, shape).astype(np.float32)
  params = {'backbone': {'blocks_0': {'kernel': draw(3, 32)},
                         'blocks_2': {'kernel': draw(32, 32)}},
            'decoder': {'kernel': draw(32, CLASSES)}}
  oracle = TorchDense(params, np.zeros(32))
  make = {'sgd': functools.partial(torch.optim.SGD, momentum=0.9),
          'adamw': torch.optim.AdamW}[name]
  rates = [0.1 * 0.7**2, 0.1, 1.0]
  torch_optimizer = make(
      [{'params': [kernel], 'lr': optim['lr'] * rate}
       for kernel, rate in zip(oracle.kernels, rates, strict=True)],
      weight_decay=optim['weight_decay'])
  schedule = torch.optim.lr_scheduler.LambdaLR(
      torch_optimizer, lambda step: expected_rate(step, num_steps, 1.0, 2))
  averages = torch.optim.swa_utils.AveragedModel(
      oracle, use_buffers=True, avg_fn=lambda old, new, count: (
          old + (1 - min(decay, (1 + count) / (10 + count))) * (new - old)))
  averages.update_parameters(oracle)  # A copy; the next one has count 1.

  tx = optimizer.make_optimizer(
      num_steps, Numbered(), name=name, backbone_lr_factor=0.1, layer_decay=0.7,
      **optim)
  variables = {'params': params, 'batch_stats': {'mean': np.zeros(32)}}
  state = train_state.AveragingState(
      step=jnp.int32(1), opt_state=tx.init(params), averaged=variables,
      **variables)
  mesh = sharding.make_mesh(dict(zip(sharding.AXES, mesh, strict=True)),
                            jax.devices()[:mesh[0] * mesh[1]])
  layout = sharding.of_state(mesh, state)
  copy = jax.jit(lambda *args: jax.tree.map(jnp.copy, args),
                 out_shardings=(layout, sharding.replicated(mesh)))
  state, key = copy(state, jax.random.key(0))
  step = train_step.make_train_step(
      dense_terms, tx, optax.constant_schedule(0.0), {'scribble': 1.0}, mesh,
      layout, ema_decay=decay, accumulate=accumulate, loss_counts=dense_counts)
  for number in range(num_steps - 1):
    batch = random_batch(8, seed=number)
    batch = {name: batch[name] for name in ('image', 'scribble')}
    state, _ = step(state, sharding.shard_batch(batch, mesh), key)
    torch_optimizer.zero_grad()
    logits = oracle(torch.tensor(batch['image'], dtype=torch.float64))
    torch.nn.functional.cross_entropy(
        logits.permute(0, 3, 1, 2), torch.tensor(batch['scribble']).long(),
        ignore_index=255).backward()
    torch_optimizer.step()
    schedule.step()
    averages.update_parameters(oracle)
  pairs = [(state.params, oracle)]
  if accumulate == 1:  # Or the running statistics are those of parts.
    assert relative_error(state.batch_stats['mean'], oracle.mean) < 1e-5
    assert relative_error(
        state.averaged['batch_stats']['mean'], averages.module.mean) < 1e-5
  pairs.append((state.averaged['params'], averages.module))
  for tree, expected in pairs:
    for kernel, value in zip(
        (tree['backbone']['blocks_0'], tree['backbone']['blocks_2'],
         tree['decoder']), expected.kernels, strict=True):
      assert relative_error(kernel['kernel'], value.detach()) < 1e-5
  for kernel in (state.averaged['params'], state.opt_state):
    largest = max(jax.tree.leaves(kernel), key=lambda x: x.size)
    assert largest.addressable_shards[0].data.size == (
        largest.size // mesh.shape['model'])


def test_the_average_warms_up():
  old, new = {'a': jnp.array([0.0, 3.0])}, {'a': jnp.array([1.0, 3.0])}
  for step, decay in ((0, 0.1), (8, 0.5), (10**6, 0.9)):
    averaged = train_state.update_averages(old, new, jnp.int32(step), 0.9)
    np.testing.assert_allclose(averaged['a'], [1 - decay, 3.0], rtol=1e-6)
  # What never changes, such as frozen parameters, stays as it is.
  assert averaged['a'][1] == 3.0


@pytest.fixture
def tuned(config):
  """The tiny config with all that is not the default."""
  config.optim.name = 'adamw'
  config.optim.lr = 1e-3
  config.optim.backbone_lr_factor = 0.5
  config.optim.layer_decay = 0.8
  config.optim.ema_decay = 0.9
  config.optim.accumulate = 2
  config.batch_size = 8
  config.mesh.data = 2
  config.mesh.model = 2
  config.model.freeze_backbone = 'stages'
  return config


def test_a_tuned_run_resumes_bit_for_bit_and_infers_with_averages(
    tuned, tmp_path, monkeypatch):
  expected = train.train(tuned, str(tmp_path / 'straight'))
  train_until_it_dies(tuned, tmp_path / 'resumed', monkeypatch)
  state = train.train(tuned, str(tmp_path / 'resumed'))
  assert_same_state(state, expected)
  assert state.variables is state.averaged
  assert np.any(state.averaged['params']['decoder']['classifier']['kernel']
                != state.params['decoder']['classifier']['kernel'])
  np.testing.assert_array_equal(
      state.averaged['params']['backbone']['conv1']['kernel'],
      state.params['backbone']['conv1']['kernel'])

  _, variables, step = trained.load(tuned.model, tmp_path / 'resumed')
  assert step == tuned.num_steps
  assert_same_state(variables, jax.device_get(state.averaged))
  tuned.model.num_classes = CLASSES
  initial = trained.initial_variables(tuned.model, tmp_path / 'resumed')
  assert_same_state(initial, jax.device_get(state.averaged))
