"""The benchmarks run; what they measure at this size means nothing."""

import json
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip('torch')

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
    'input_pipeline', 'prepare', 'inference', 'checkpoint', 'annotate'])
def test_benchmark_runs_anywhere_and_writes_its_figures(name, tmp_path):
  figures_of(name, tmp_path)


def test_lorm_benchmark_compares_what_is_equal(tmp_path):
  errors = figures_of('lorm', tmp_path)['relative_error_to_float64']
  assert all(pair['ours'] < 1e-5 for pair in errors.values())


def test_train_step_benchmark_compares_what_is_equal(tmp_path):
  ours, theirs = figures_of('train_step', tmp_path)['rows']
  assert ours['first loss'] == pytest.approx(theirs['first loss'], rel=1e-4)


def test_weak_scaling_by_hand(tmp_path):
  figures = {'milliseconds': 100.0, 'count': {
      'all-reduce': 6, 'all-gather': 4, 'reduce-scatter': 0,
      'collective-permute': 0, 'all-to-all': 0}, 'collective bytes': {
          'all-reduce': 0.6e9, 'all-gather': 0.4e9}}
  path = tmp_path / 'tpu.json'
  path.write_text(json.dumps({'programs': {'a step': figures}}))
  subprocess.run(
      [sys.executable, SCRIPTS / 'weak_scaling.py', f'--tpu={path}',
       '--row=a step', f'--json={tmp_path / "out.json"}', '--device=cpu'],
      cwd=tmp_path, check=True)
  rows = json.loads((tmp_path / 'out.json').read_text())['rows']
  # 4x4 chips: 3 + 3 hops there and back, 1 us each; 5 us to start; a ring moves
  # 15 sixteenths of the bytes twice, at 200 GB/s.
  (row,) = [row for row in rows if row['chips'] == '16']
  milliseconds = 10 * (5 + 12) / 1e3 + 2 * 15 / 16 * 1e9 / 200e9 * 1e3
  assert row['collectives (ms)'] == pytest.approx(milliseconds)
  assert row['images/s'] == pytest.approx(64 / (100 + milliseconds) * 1e3)
