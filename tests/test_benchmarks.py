"""The benchmarks run; what they measure at this size means nothing."""

import json
import pathlib
import subprocess
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).parent / 'benchmarks'


def figures_of(name, tmp_path):
  path = tmp_path / 'figures.json'
  subprocess.run(
      [sys.executable, SCRIPTS / f'{name}.py', '--smoke', '--repeats=1',
       '--device=cpu', f'--json={path}'], cwd=tmp_path, check=True)
  figures = json.loads(path.read_text())
  assert figures['smoke'] and figures['rows']
  return figures


@pytest.mark.parametrize('name', ['input_pipeline', 'prepare', 'inference'])
def test_benchmark_runs_anywhere_and_writes_its_figures(name, tmp_path):
  figures_of(name, tmp_path)


def test_lorm_benchmark_compares_what_is_equal(tmp_path):
  errors = figures_of('lorm', tmp_path)['relative_error_to_float64']
  assert all(pair['ours'] < 1e-5 for pair in errors.values())


def test_train_step_benchmark_compares_what_is_equal(tmp_path):
  ours, theirs = figures_of('train_step', tmp_path)['rows']
  assert ours['first loss'] == pytest.approx(theirs['first loss'], rel=1e-4)
