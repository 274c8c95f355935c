"""Sweeps: many runs, some of which fail or are interrupted."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import ml_collections
import pytest

from configs import ablation
from configs import demo
from configs import lambdas
from configs import loss_weights
from configs import own_data
from configs import recipe
from configs import robustness
from configs import scribblesup
from scribble_jax.data import record_folders
from scribble_jax.errors import UserError
from scribble_jax.sweep import process
from scribble_jax.sweep import runner
from scribble_jax.sweep import sweep_points
from scribble_jax.sweep.sweep_points import Point

REPOSITORY = pathlib.Path(__file__).parent.parent
# Stands for training: notes its start, then fails, waits or finishes.
FAKE_RUN = """
import json, os, pathlib, sys, time
_, _, module, *flags = sys.argv
values = dict(flag.lstrip('-').split('=', 1) for flag in flags)
workdir = pathlib.Path(values['workdir'])
workdir.mkdir(parents=True, exist_ok=True)
with open(workdir.parent.parent / 'started.txt', 'a') as f:
  f.write(f'{workdir.parent.name} {workdir.name.removeprefix("seed_")}'
          + ' evaluated' * (module == 'scribble_jax.evaluate') + '\\n')
if module == 'scribble_jax.main':
  assert values['config.seed'] == workdir.name.removeprefix('seed_')
  records = pathlib.Path(values['config.data.records'])
  records.mkdir(parents=True, exist_ok=True)
else:  # Knows its config by the folder.
  assert [*values] == ['workdir']
if values.get('config.mode') == 'fail':
  print('Training: 1%\\rTraining: 2%', file=sys.stderr)
  sys.exit('error: no such file. Add it.')
if values.get('config.mode') == 'hang':
  time.sleep(600)
if values.get('config.mode') == 'killed':
  os.kill(os.getpid(), 9)
if module == 'scribble_jax.evaluate':
  (workdir / 'evaluation').mkdir()
  (workdir / 'evaluation/metrics.json').write_text('{}')
  sys.exit()
(workdir / 'cores').write_text(json.dumps(sorted(os.sched_getaffinity(0))))
(workdir / 'metrics.json').write_text(
    values.get('config.figures', '{"miou": 0.5}'))
"""


def make_config(*sweep_points, seeds=(0, 1), flags=()):
  config = ml_collections.ConfigDict()
  config.update({
      'title': 'Test', 'question': 'Does it work?', 'base': 'configs/demo.py',
      'seeds': seeds, 'flags': flags, 'points': tuple(sweep_points),
      'axis_labels': {}, 'log_axes': ()})
  return config


@pytest.fixture
def fake_runs(monkeypatch, tmp_path):
  """Lets sweeps run FAKE_RUN; returns the sweep's folder."""
  script = tmp_path / 'fake_python'
  script.write_text(f'#!{sys.executable}\n{FAKE_RUN}')
  script.chmod(0o755)
  monkeypatch.setattr(sys, 'executable', str(script))
  return tmp_path / 'sweep'


def started(folder):
  path = folder / 'started.txt'
  return path.read_text().splitlines() if path.exists() else []


def run(config, folder, *, only=None, parallel=1, **options):
  sweep = runner.Sweep(config, folder, **options)
  return sweep.run(sweep_points.choose(config.points, only), parallel)


GOOD, OTHER = Point('good', 'good'), Point('other', 'other', {'optim.lr': 0.1})
BAD = Point('bad', 'bad', {'mode': 'fail'})


def test_every_point_runs_with_every_seed_once(fake_runs):
  config = make_config(GOOD, OTHER)
  assert run(config, fake_runs)
  # All points before the next seed: half a sweep shows whole curves.
  assert started(fake_runs) == ['good 0', 'other 0', 'good 1', 'other 1']
  assert run(config, fake_runs)
  assert len(started(fake_runs)) == 4
  assert run(make_config(GOOD, OTHER, seeds=(0, 1, 2)), fake_runs)
  assert started(fake_runs)[4:] == ['good 2', 'other 2']


def test_a_failure_is_reported_and_the_rest_goes_on(fake_runs, capsys):
  config = make_config(GOOD, BAD, OTHER, seeds=(3,))
  assert not run(config, fake_runs)
  assert started(fake_runs) == ['good 3', 'bad 3', 'other 3']
  failure = json.loads((fake_runs / 'bad/seed_3.failed.json').read_text())
  assert failure == {
      'message': 'no such file. Add it.',
      'log': str(fake_runs / 'bad/seed_3.log')}
  output = capsys.readouterr().out
  assert '2 of 3 runs are finished, 1 failed' in output
  assert 'bad, seed 3: no such file. Add it.' in output
  # Tried again the next time, alone.
  assert not run(config, fake_runs)
  assert started(fake_runs)[3:] == ['bad 3']


@pytest.mark.parametrize('figures, line', [
    ('{"miou": 0.5}', '50.00 % mIoU after 0.'),
    ('{"stroke_accuracy": 0.25}', '25.00 % stroke accuracy after 0.'),
    ('{"step": 4}', 'finished after 0.')])
def test_a_run_is_told_by_its_figures(fake_runs, capsys, figures, line):
  assert run(make_config(Point('a', 'a', {'figures': figures}), seeds=(3,)),
             fake_runs)
  assert f'a, seed 3: {line}' in capsys.readouterr().out


def test_only_some_points(fake_runs):
  config = make_config(GOOD, OTHER)
  assert run(config, fake_runs, only=['other'])
  assert started(fake_runs) == ['other 0', 'other 1']
  with pytest.raises(UserError, match="'better', which is no point.*good, oth"):
    sweep_points.choose(config.points, ['better'])


def test_points_need_names_of_their_own():
  with pytest.raises(UserError, match="'good' twice"):
    sweep_points.choose((GOOD, OTHER, GOOD), None)
  with pytest.raises(UserError, match='empty'):
    sweep_points.choose((), None)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason='needs two cores')
def test_runs_side_by_side_share_the_cores(fake_runs):
  assert run(make_config(GOOD, OTHER), fake_runs, parallel=2)
  assert sorted(started(fake_runs)) == [
      'good 0', 'good 1', 'other 0', 'other 1']
  cores = [json.loads(path.read_text()) for path in fake_runs.rglob('cores')]
  available = sorted(os.sched_getaffinity(0))
  half = len(available) // 2
  assert all(share in (available[:half], available[half:2 * half])
             for share in cores)


def test_another_sweep_in_the_folder_is_refused(fake_runs):
  run(make_config(GOOD, OTHER), fake_runs)
  changed = OTHER._replace(overrides={'optim.lr': 0.2})
  with pytest.raises(UserError, match='point other was.*0.1.*is now.*0.2'):
    run(make_config(GOOD, changed), fake_runs)
  with pytest.raises(UserError, match='flags was'):
    run(make_config(GOOD, OTHER), fake_runs, changes=['batch_size=2'])
  new = Point('new', 'new')
  assert run(make_config(GOOD, new, OTHER), fake_runs)
  assert started(fake_runs)[4:] == ['new 0', 'new 1']


def test_runs_of_another_sweep_need_not_be_repeated(fake_runs, tmp_path):
  renamed = GOOD._replace(name='reference', axes={'shrink': 0.0})
  changed = OTHER._replace(overrides={'optim.lr': 0.2})
  assert run(make_config(GOOD, OTHER), fake_runs)
  second = tmp_path / 'second'
  config = make_config(renamed, changed)
  assert run(config, second, reused=[fake_runs])
  assert started(second) == ['other 0', 'other 1']
  assert (second / 'reference/seed_1/metrics.json').samefile(
      fake_runs / 'good/seed_1/metrics.json')
  assert run(config, second, reused=[fake_runs])  # Nothing is linked twice.
  third = tmp_path / 'third'
  assert run(config, third, changes=['num_steps=5'], reused=[fake_runs])
  assert len(started(third)) == 4  # Other flags, other runs.
  with pytest.raises(UserError, match='is no sweep'):
    run(config, tmp_path / 'fourth', reused=[tmp_path])


def test_records_stay_until_no_run_needs_them(fake_runs):
  poor = {'data.scribble_drop': 0.5}
  config = make_config(
      GOOD, OTHER, Point('poor', 'poor', poor), BAD._replace(
          overrides={'mode': 'fail', **poor}), seeds=(0,))
  assert run(config, fake_runs, only=['good']) is not None
  assert [path.name for path in (fake_runs / 'records').iterdir()] == ['base']
  assert not run(config, fake_runs)
  # Those of `bad`, which is not finished.
  assert [path.name for path in (fake_runs / 'records').iterdir()] == [
      'scribble_drop=0.5']


def test_records_that_another_process_reads_stay(fake_runs):
  folder = fake_runs / 'records/base/records/0123456789ab'
  folder.mkdir(parents=True)
  for name in ('metadata.json', 'dataset_info.json', 'index.npz'):
    (folder / name).write_text('{"splits": []}')
  held = record_folders.hold(folder)
  assert run(make_config(GOOD, seeds=(0,)), fake_runs)
  assert folder.exists()
  del held
  assert run(make_config(GOOD, OTHER, seeds=(0,)), fake_runs)
  assert not [*(fake_runs / 'records').iterdir()]


def test_an_interrupted_sweep_stops_its_runs(fake_runs):
  config = make_config(GOOD, Point('hang', 'hang', {'mode': 'hang'}), OTHER,
                       seeds=(0,))
  hanging = []

  def interrupt():
    """Presses Ctrl-C once the second run is under way."""
    while 'hang 0' not in started(fake_runs):
      time.sleep(0.05)
    hanging.extend(subprocess.run(
        ['pgrep', '-f', f'{fake_runs}/hang'], capture_output=True,
        check=True).stdout.split())
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

  threading.Thread(target=interrupt).start()
  with pytest.raises(KeyboardInterrupt):
    run(config, fake_runs)
  assert hanging and not any(
      pathlib.Path(f'/proc/{int(pid)}').exists() for pid in hanging)
  assert started(fake_runs) == ['good 0', 'hang 0']
  assert not (fake_runs / 'hang/seed_0.failed.json').exists()
  # Started again, it goes on.
  (fake_runs / 'hang/seed_0').mkdir(exist_ok=True)
  (fake_runs / 'hang/seed_0/metrics.json').write_text('{"miou": 0.1}')
  assert run(config, fake_runs)
  assert started(fake_runs) == ['good 0', 'hang 0', 'other 0']


def test_a_run_of_another_process_is_left_alone(fake_runs, capsys):
  config = make_config(GOOD, OTHER, seeds=(0,))
  (fake_runs / 'good').mkdir(parents=True)
  with process.alone(fake_runs / 'good/seed_0.lock'):
    assert not run(config, fake_runs)
  assert started(fake_runs) == ['other 0']
  assert '1 of 2 runs are finished, 0 failed' in capsys.readouterr().out
  assert run(config, fake_runs)


def test_a_run_keeps_its_place_when_the_sweep_is_killed(tmp_path):
  with process.alone(tmp_path / 'lock') as lock:
    heir = subprocess.Popen(['sleep', '60'], pass_fds=[lock])
  with process.alone(tmp_path / 'lock') as lock:
    assert lock is None
  heir.kill()
  heir.wait()
  with process.alone(tmp_path / 'lock') as lock:
    assert lock is not None


@pytest.mark.parametrize('evaluate', [False, True])
def test_evaluation_follows_where_it_is_wanted(fake_runs, evaluate):
  config = make_config(GOOD, seeds=(0,))
  assert run(config, fake_runs)
  assert run(config, fake_runs, evaluate=evaluate)
  assert started(fake_runs) == ['good 0', *['good 0 evaluated'] * evaluate]


def test_strange_ends_of_a_run(fake_runs, capsys):
  killed = Point('killed', 'killed', {'mode': 'killed'})
  config = make_config(killed, BAD, GOOD, seeds=(0,))
  (fake_runs / 'bad/seed_0.log').mkdir(parents=True)  # Can't be written.
  assert not run(config, fake_runs)
  output = capsys.readouterr().out
  assert 'killed, seed 0: killed by SIGKILL, perhaps out of memory' in output
  assert started(fake_runs) == ['killed 0', 'good 0']


def test_an_edited_base_makes_another_sweep(fake_runs, tmp_path):
  base = tmp_path / 'base.py'
  text = 'from configs import demo\n\ndef get_config():\n'
  base.write_text(text + '  return demo.get_config()\n')
  config = make_config(GOOD, seeds=(0,))
  config.base = str(base)
  assert run(config, fake_runs)
  base.write_text(f'{text}  config = demo.get_config()\n'
                  '  config.model.width = 5\n  return config\n')
  with pytest.raises(UserError, match='config.model.width of .* is now 5'):
    run(config, fake_runs)
  second = tmp_path / 'second'
  assert run(config, second, reused=[fake_runs])
  assert started(second) == ['good 0']


@pytest.mark.parametrize(('spoil', 'message'), [
    (lambda config, _: config.update(base='configs/none.py'), 'no config file'),
    (lambda config, _: delattr(config, 'points'), 'needs points'),
    (lambda _, folder: (folder / 'sweep.json').write_text('[]'), 'is no sweep'),
    (lambda _, folder: (folder / 'sweep.json').write_text('{"points": []}'),
     'not written by this program'),
])
def test_a_sweep_that_cannot_be(tmp_path, spoil, message):
  config = make_config(GOOD)
  spoil(config, tmp_path)
  with pytest.raises(UserError, match=message):
    runner.Sweep(config, tmp_path)


@pytest.mark.parametrize(('change', 'message'), [
    ('num_steps', 'has no value'), ('seed=3', 'is set by the sweep itself'),
    ('data.records=x', 'is set by the sweep itself')])
def test_changes_that_cannot_be(tmp_path, change, message):
  with pytest.raises(UserError, match=message):
    runner.Sweep(make_config(GOOD), tmp_path, [change])


def test_commands_are_those_a_person_would_type(tmp_path):
  point = Point('p', 'p', {'data.lambda_s': 1.0}, 'scribble_only')
  config = make_config(point, flags=('--config.num_steps=5',))
  config.base = 'configs/scribblesup.py:deeplabv2_resnet50'
  sweep = runner.Sweep(config, tmp_path, ['data.root=VOC2012'])
  assert sweep._run_flags(runner.Run(tmp_path, point, 4)) == [
      '--config=configs/scribblesup.py:deeplabv2_resnet50,scribble_only',
      f'--workdir={tmp_path}/p/seed_4',
      f'--config.data.records={tmp_path}/records/lambda_s=1.0/records',
      '--config.num_steps=5', '--config.data.root=VOC2012',
      '--config.data.lambda_s=1.0', '--config.seed=4']
  assert sweep_points.config_flag('configs/demo.py', 'x') == (
      '--config=configs/demo.py:x')


TWO_POINTS = """
from configs import sweeps
from scribble_jax.sweep.sweep_points import Point


def get_config():
  return sweeps.sweep('Two', 'Which?', 'demo', [
      sweeps.reference({}), Point('spots', 'spots alone', {
          'data.scribble_shrink': 1.0})], seeds=(7,))
"""


def test_from_sweep_to_report_by_command(drawn_root, tmp_path):
  (tmp_path / 'two.py').write_text(TWO_POINTS)
  changes = [
      'num_steps=1', 'optim.warmup_steps=0', 'eval_every=1', 'batch_size=4',
      'model.width=4', 'model.head_width=8', 'num_panels=2',
      'data.crop_size=33', f'data.root={drawn_root}',
      'data.pseudo_labels=pseudo_labels', 'data.embedded.num_train=10',
      'data.embedded.num_val=3', 'data.embedded.image_size=48']
  folder = tmp_path / 'sweep'
  (folder / 'records').mkdir(parents=True)
  (folder / 'records/base').write_text('in the way')
  done = subprocess.run(
      [sys.executable, '-m', 'scribble_jax.sweep',
       f'--config={tmp_path}/two.py', f'--workdir={folder}',
       *(f'--set={change}' for change in changes)],
      cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
  assert done.returncode == 1, done.stderr
  assert '1 of 2 runs are finished, 1 failed' in done.stdout
  assert 'full, seed 7: Cannot write' in done.stdout
  finished = folder / 'spots/seed_7'
  config = json.loads((finished / 'config.json').read_text())
  assert config['data']['scribble_shrink'] == config['num_steps'] == 1
  assert '--config.seed=7' in (finished / 'run.json').read_text()
  page = (folder / 'report/report.html').read_text()
  assert 'spots alone' in page and 'Cannot write' in page


# The configs


@pytest.mark.parametrize('base', ['scribblesup', 'own_data', 'demo',
                                  'scribblesup:deeplabv2_resnet50'])
@pytest.mark.parametrize(
    'module', [robustness, ablation, lambdas, loss_weights, recipe])
def test_points_change_what_their_base_has(module, base):
  config = module.get_config(base)
  data_set, _, variant = base.partition(':')
  assert config.base == f'configs/{data_set}.py' + (variant and f':{variant}')
  names = [point.name for point in sweep_points.choose(config.points, None)]
  assert names[0] == 'best' if module is recipe else 'full' in names
  known = demo.get_config()
  for point in config.points:
    for key, value in point.overrides.items():
      section, _, name = key.rpartition('.')
      assert name in known[section]
      assert type(value) is type(known[section][name])
    assert set(point.axes) <= set(config.axis_labels)


def test_the_recipe_is_compared_with_the_paper_at_equal_labels():
  config = recipe.get_config()
  assert config.base == 'configs/own_data.py:small'
  runs = {}
  for point in config.points:
    runs[point.name] = own_data.get_config(f'small,{point.variant}')
    runs[point.name].update_from_flattened_dict(point.overrides)
  paper = scribblesup.get_config()
  assert runs['paper'].method == paper.method
  assert runs['paper'].loss_weights == paper.loss_weights
  assert runs['paper'].evaluation.refine == 0
  assert len({run.stage1.to_json_best_effort() for run in runs.values()}) == 1
  assert len({(run.num_steps, run.batch_size) for run in runs.values()}) == 1


def test_each_axis_has_every_value_once():
  swept = loss_weights.get_config('demo').points
  for term, current in demo.get_config().loss_weights.items():
    values = [point.axes[term] for point in swept if term in point.axes]
    assert sorted(values) == [0.0, 0.1, 0.5, 1.0, 2.0] and values[0] == current
  for axis in ('lambda_s', 'lambda_c'):
    values = sorted(point.axes[axis] for point in lambdas.get_config().points
                    if axis in point.axes)
    assert values == pytest.approx([2.718281828**k for k in range(8)])
  swept = robustness.get_config().points
  for series in ('full method', 'scribbles alone'):
    for axis, ratios in (('shrink', [0, 0.2, 0.5, 0.8, 1]),
                         ('drop', [0, 0.1, 0.2, 0.3, 0.4, 0.5])):
      assert ratios == [point.axes[axis] for point in swept
                        if axis in point.axes and point.series == series]
