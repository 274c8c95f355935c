"""METHOD 8's switches, from the config to what a step learns from."""

import functools

import jax
import numpy as np
import pytest
import tensorflow as tf

from scribble_jax import losses
from scribble_jax import models
from scribble_jax import train
from scribble_jax.data import augment
from tests import test_parity
from tests.conftest import tiny_config
from tests.oracles import torch_protocol
from tests.oracles import torch_training
from tests.peers import torch
from tests.twins import make_twins

# Which terms of the loss a switch changes here.
CHANGED = {'pseudo_ignore': {'pseudo_label'}, 'lorm_background': {'lorm'},
           'lorm_foreground': {'lorm'}, 'normaliser': {'lorm'}}


@functools.cache
def twins():
  return make_twins('deeplabv2', 18, test_parity.SMALL)


@functools.cache
def outputs():
  """Logits and features, [B, h, w, ...], of PyTorch's network."""
  images = torch.tensor(test_parity.batches()[0]['image']).permute(0, 3, 1, 2)
  with torch.no_grad():
    outputs = twins()[2].train()(torch_protocol.normalise(images.float()))
  return tuple(x.permute(0, 2, 3, 1).numpy() for x in outputs)


def task_of(root, switch, value='corrected'):
  """The train loop's task of a config with one switch that is not official."""
  config = tiny_config(root)
  config.method.update(dict.fromkeys(config.method, 'official'))
  if switch:
    config.method[switch] = value
  return train._make_task(config, twins()[0], None, None)


def terms_of(monkeypatch, root, switch, contrast=1):
  """The terms of one batch, without computing the network once more."""
  logits, features = outputs()
  monkeypatch.setattr(models, 'apply_in_training', lambda *args: (
      (contrast * logits, features), None))
  terms, _ = task_of(root, switch).loss_terms(
      twins()[1], test_parity.batches()[0], jax.random.key(0))
  return {name: float(value) for name, value in terms.items()}


@pytest.mark.parametrize('switch', CHANGED)
def test_a_switch_of_the_config_changes_its_terms_as_in_pytorch(
    drawn_root, monkeypatch, switch):
  official = terms_of(monkeypatch, drawn_root, None)
  terms = terms_of(monkeypatch, drawn_root, switch)
  expected = torch_training.loss_terms(
      twins()[2].train(), test_parity.batches()[0],
      test_parity.OFFICIAL | {switch: 'corrected'})
  assert terms == pytest.approx(
      {name: value.item() for name, value in expected.items()}, rel=1e-4)
  assert {name for name in terms
          if terms[name] != pytest.approx(official[name], rel=1e-3)
          } == CHANGED[switch]


def test_the_normaliser_reaches_the_entropies(drawn_root, monkeypatch):
  """Where a network is sure the entropy is 0, which counts if corrected."""
  official, corrected = (
      terms_of(monkeypatch, drawn_root, switch, contrast=1_000)
      for switch in (None, 'normaliser'))
  for name in ('scribble', 'pseudo_label'):
    assert 0 < corrected[f'distance_entropy_{name}'] < 0.9 * official[
        f'distance_entropy_{name}']


def augmented(task):
  """A small example with padding around it."""
  small = np.full([3, 3], 77, np.uint8)
  return augment.augment(
      lambda window: np.stack([small] * 3, -1),
      {'scribble': small, 'scribble_distance': small}, tf.constant([0, 1]),
      **task.augmentation)


@pytest.mark.parametrize('switch, fill', [(None, 255), ('distance_fill', 0)])
def test_the_distance_fill_reaches_the_augmentation(drawn_root, switch, fill):
  maps = augmented(task_of(drawn_root, switch))
  assert set(np.unique(maps['scribble'])) == {77, 255}
  assert set(np.unique(maps['scribble_distance'])) == {77, fill}


@pytest.mark.parametrize('switch', [*CHANGED, 'distance_fill'])
def test_a_switch_that_is_neither_raises(drawn_root, monkeypatch, switch):
  monkeypatch.setattr(models, 'apply_in_training', lambda *args: (
      outputs(), None))
  task = task_of(drawn_root, switch, 'Offical')
  with pytest.raises(ValueError, match="A switch is 'Offical'; it must be one"):
    if switch == 'distance_fill':
      augmented(task)
    else:
      task.loss_terms(twins()[1], test_parity.batches()[0], jax.random.key(0))


@pytest.mark.parametrize('normaliser', ['Official', '', None])
def test_an_entropy_without_a_normaliser_raises(normaliser):
  with pytest.raises(ValueError, match='A switch is'):
    losses.distance_entropy(np.zeros([1, 2]), np.zeros([1]), normaliser)
