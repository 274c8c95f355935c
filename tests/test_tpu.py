"""What the TPU compiler says of tiny programs; it needs no TPU."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from scribble_jax import models
from tests import twins
from tests.benchmarks import hlo

SCRIPT = pathlib.Path(__file__).parent / 'benchmarks/tpu.py'
pytestmark = pytest.mark.skipif(
    not pathlib.Path(sys.prefix, 'libtpu').exists(),
    reason='The TPU compiler is not there. launch/setup.sh cpu test brings it '
    'on Linux.')


@pytest.fixture(scope='module')
def programs(tmp_path_factory):
  """{title of a row: figures of a chip}, of a v5e with four chips."""
  path = tmp_path_factory.mktemp('tpu') / 'tpu.json'
  subprocess.run(
      [sys.executable, SCRIPT, '--smoke', '--rows=^step|^predict',
       f'--json={path}'], check=True)
  return json.loads(path.read_text())['programs']


def test_nothing_waits_for_the_host_and_all_fits(programs):
  assert len(programs) == 3
  for figures in programs.values():
    assert not figures['host transfers']
    assert figures['bytes'] < 0.05 * 16e9


def test_prediction_needs_no_other_chip(programs):
  predict = programs['predict, v5e:2x2']
  for name in ('count', 'count in loops'):
    assert not any(predict[name].values()), name


def test_a_layer_of_batchnorm_meets_once_forward_and_once_backward(programs):
  model = models.build(twins.model_config(
      backbone='resnet18', width=8, head_width=16))
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), np.zeros([1, 65, 65, 3], np.float32))
  num_layers = len(jax.tree.leaves(shapes['batch_stats'])) // 2
  step = programs['step, v5e:2x2, batch 8']
  assert not any(step['count in loops'][kind] for kind in hlo.COLLECTIVES)
  total = sum(step['count'][kind] for kind in hlo.COLLECTIVES)
  # Besides: the losses, LoRM's sums, the gradients.
  assert 0 <= total - 2 * num_layers <= 6


def test_fsdp_splits_the_state(programs):
  whole, split = (programs[f'step, v5e:2x2, batch 8{mesh}']['argument bytes']
                  for mesh in ('', ', mesh.model=4'))
  assert split < 0.5 * whole
