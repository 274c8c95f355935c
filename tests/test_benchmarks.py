"""The benchmarks run; what they measure at this size means nothing."""

import json
import pathlib
import subprocess
import sys

import pytest
import torch

from tests.oracles import torch_networks

SCRIPTS = pathlib.Path(__file__).parent / 'benchmarks'


def figures_of(name, tmp_path):
  path = tmp_path / 'figures.json'
  subprocess.run(
      [sys.executable, SCRIPTS / f'{name}.py', '--smoke', '--repeats=1',
       '--device=cpu', f'--json={path}'], cwd=tmp_path, check=True)
  figures = json.loads(path.read_text())
  assert figures['smoke'] and figures['rows']
  return figures


@pytest.mark.parametrize('name', [
    'input_pipeline', 'prepare', 'inference', 'checkpoint'])
def test_benchmark_runs_anywhere_and_writes_its_figures(name, tmp_path):
  figures_of(name, tmp_path)


def test_lorm_benchmark_compares_what_is_equal(tmp_path):
  errors = figures_of('lorm', tmp_path)['relative_error_to_float64']
  assert all(pair['ours'] < 1e-5 for pair in errors.values())


def test_train_step_benchmark_compares_what_is_equal(tmp_path):
  ours, theirs = figures_of('train_step', tmp_path)['rows']
  assert ours['first loss'] == pytest.approx(theirs['first loss'], rel=1e-4)


def test_scaling_reduces_each_gradient_once(tmp_path, monkeypatch):
  monkeypatch.setenv('JAX_NUM_CPU_DEVICES', '2')
  figures = figures_of('scaling', tmp_path)
  with torch.device('meta'):
    network = torch_networks.DeepLab(18, 'deeplabv3plus', 21, 8, 16)
  gradients = 4e-6 * sum(x.numel() for x in network.parameters())
  # BatchNorm's sums and LoRM's come on top.
  assert gradients < figures['all_reduce_megabytes'] < 1.1 * gradients
  efficiency = [row['efficiency'] for row in figures['rows']]
  assert efficiency[0] == 1 and efficiency == sorted(efficiency, reverse=True)
