"""Paths in buckets: the same files, guarantees and results as on disks."""

import json
import os
import pathlib
import subprocess
import sys
import zipfile

import jax
import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from scribble_jax import evaluate
from scribble_jax import predict
from scribble_jax import prepare
from scribble_jax import train
from scribble_jax.data import dataset_files
from scribble_jax.data import drawn_dataset
from scribble_jax.data import loading
from scribble_jax.data import record_folders
from scribble_jax.data import record_making
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.pseudo_labels import generation
from scribble_jax.report import writer
from scribble_jax.scribbles import __main__ as command
from scribble_jax.sweep import runner
from scribble_jax.training import loop
from scribble_jax.weak_labels import annotations
from scribble_jax.weights import checkpoint
from scribble_jax.weights import weight_files
from tests import cloud as cloud_lib
from tests.conftest import tiny_config
from tests.test_dataset_files import xml

REPOSITORY = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope='module')
def served(tmp_path_factory):
  """The bucket gs://bucket on this machine."""
  with (cloud_lib.serve(tmp_path_factory.mktemp('cloud'), 'bucket') as
        (cloud, environment), cloud_lib.variables(environment)):
    cloud.environment = environment
    yield cloud


@pytest.fixture
def cloud(served):
  """The bucket, emptied."""
  served.objects.clear()
  served.requests.clear()
  yield served
  served.refused.clear()


def put(cloud, folder, name):
  """Copies a folder of this machine into the bucket."""
  for path in sorted(folder.rglob('*')):
    if path.is_file():
      cloud.put('bucket', f'{name}/{path.relative_to(folder).as_posix()}',
                path.read_bytes(), {})


def contents(cloud, name):
  """Returns {name below a folder: bytes}."""
  return {path.removeprefix(f'bucket/{name}/'):
          cloud.objects[tuple(path.split('/', 1))][0]
          for path in cloud.names(f'bucket/{name}/') if path[-1] != '/'}


def local_contents(folder):
  return {path.relative_to(folder).as_posix(): path.read_bytes()
          for path in folder.rglob('*') if path.is_file()}


# Paths


@pytest.mark.parametrize('parts, expected', [
    (['data', 'images'], 'data/images'),
    (['data', '/images'], '/images'),
    (['gs://bucket/data', 'images'], 'gs://bucket/data/images'),
    (['gs://bucket/data/', './images/'], 'gs://bucket/data/images'),
    (['gs://bucket/data', '/images'], '/images'),
    (['data', 'gs://bucket/images', 'a'], 'gs://bucket/images/a'),
])
def test_the_last_absolute_part_begins_anew(cloud, parts, expected):
  found = storage.path(*parts)
  assert str(found) == os.fspath(found) == expected
  assert isinstance(found, pathlib.Path) == (not expected.startswith('gs://'))


def test_only_paths_of_disks_are_made_absolute(cloud, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'link').symlink_to('real')
  for name, absolute, resolved in (
      ('link/a', tmp_path / 'link/a', tmp_path.resolve() / 'real/a'),
      ('gs://bucket/a', 'gs://bucket/a', 'gs://bucket/a')):
    assert str(storage.absolute(name)) == str(absolute)
    assert str(storage.resolve(name)) == str(resolved)


def test_other_schemes_are_refused():
  with pytest.raises(UserError, match='s3://b is of no known kind. Name'):
    storage.path('s3://b', 'a')


def test_without_credentials_a_bucket_is_one_line(served, tmp_path):
  done = subprocess.run(
      [sys.executable, '-m', 'scribble_jax.report', 'gs://elsewhere/run'],
      cwd=REPOSITORY, capture_output=True, text=True, check=False,
      env={name: value for name, value in os.environ.items()
           if name not in served.environment} | {  # Nobody listens there.
          'NO_GCE_CHECK': 'true', 'HTTPS_PROXY': 'http://127.0.0.1:9',
          'CLOUDSDK_CONFIG': str(tmp_path), 'HOME': str(tmp_path)})
  assert done.returncode == 1
  last = done.stderr.splitlines()[-1]
  assert last.startswith('error: Cannot use gs://elsewhere: ')
  assert 'gcloud auth application-default login' in last
  assert 'Traceback' not in done.stderr


def test_a_network_that_is_down_is_one_line(cloud, monkeypatch):
  def exists(path):
    raise tf.errors.UnavailableError(None, None, f'All retries for {path}\n')

  monkeypatch.setattr(tf.io.gfile, 'exists', exists)
  with pytest.raises(UserError, match='Cannot use gs://afar: All .*network'):
    storage.path('gs://afar/a')


def test_a_bucket_of_somebody_else_is_one_line(cloud):
  cloud.refused.add('GET')
  with pytest.raises(UserError, match='Cannot use gs://theirs: .*403'):
    storage.path('gs://theirs/a')


def test_what_is_not_installed_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'google.cloud.storage', None)
  with pytest.raises(UserError, match='pip install google-cloud-storage'):
    storage.path('gs://nowhere/a')


# Whole or not at all


def test_a_file_appears_when_its_block_ends_well(cloud):
  path = storage.path('gs://bucket/folder/a.txt')
  for text in ('first', 'second'):
    before = contents(cloud, 'folder')
    with atomic.whole_file(path) as partial:
      pathlib.Path(partial).write_text(text)
      assert contents(cloud, 'folder') == before
    assert contents(cloud, 'folder') == {'a.txt': text.encode()}
  with pytest.raises(KeyboardInterrupt), atomic.whole_file(path) as partial:
    pathlib.Path(partial).write_text('third')
    raise KeyboardInterrupt
  assert contents(cloud, 'folder') == {'a.txt': b'second'}


def write_folder(path, names):
  with atomic.whole_folder(path) as folder:
    for name in names:
      (folder / name).parent.mkdir(exist_ok=True)
      (folder / name).write_text(name)


def test_a_folder_replaces_all_that_was_there(cloud):
  for names in (['a', 'sub/b'], ['sub/c', 'a']):
    write_folder('gs://bucket/folder', names)
    assert contents(cloud, 'folder') == {
        name: name.encode() for name in names}
  assert not cloud.names('bucket/.')
  with (pytest.raises(KeyboardInterrupt),
        atomic.whole_folder('gs://bucket/folder') as folder):
    (folder / 'd').write_text('')
    raise KeyboardInterrupt
  assert set(contents(cloud, 'folder')) == {'sub/c', 'a'}


def test_a_killed_upload_is_known_and_discarded(cloud, monkeypatch):
  write_folder('gs://bucket/folder', ['old'])
  upload = storage.upload

  def killed(source, target):
    upload(source, target)
    if target.name == 'new':
      raise KeyboardInterrupt

  monkeypatch.setattr(storage, 'upload', killed)
  with pytest.raises(KeyboardInterrupt):
    write_folder('gs://bucket/folder', ['new'])
  assert set(contents(cloud, 'folder')) == {'old', 'new'}
  atomic.discard_unfinished('gs://bucket/folder')
  assert not cloud.names('bucket/folder/') and not cloud.names('bucket/.')


def test_a_finished_folder_is_not_discarded(cloud):
  write_folder('gs://bucket/folder', ['a'])
  atomic.discard_unfinished('gs://bucket/folder')
  assert set(contents(cloud, 'folder')) == {'a'}


def test_a_bucket_that_may_only_be_read_is_one_line(cloud):
  cloud.put('bucket', 'old/run.json', b'{}', {})
  cloud.refused.add('POST')
  for name in ('run', 'old'):
    with pytest.raises(UserError, match='Cannot write to the workdir gs://'):
      loop.open_workdir(f'gs://bucket/{name}')
  with pytest.raises(UserError, match='Cannot write gs://bucket/a.safetensors'):
    weight_files.write_state_dict(
        'gs://bucket/a.safetensors', {'a': np.zeros(1)})


# Sources


def without_ends(examples):
  """Returns examples with paths as texts from the data set's folder on."""
  return [[str(getattr(example, part)).partition('/data/')[2] for part in (
      'image', 'scribble', 'pseudo_label', 'ground_truth')]
          for listed in examples.values() for example in listed]


def test_a_bucket_is_read_as_a_disk_is(cloud, config, root):
  put(cloud, root, 'data')
  local = dataset_files.list_examples(config.data, True)
  config.data.root = 'gs://bucket/data'
  remote = dataset_files.list_examples(config.data, True)
  assert without_ends(remote) == without_ends(local)
  names = [str(number) for number in range(4)]
  for ours, theirs in zip(remote['train'], local['train'], strict=True):
    (ours, problems), (theirs, _) = (
        loading.load(example, names) for example in (ours, theirs))
    assert not problems
    jax.tree.map(np.testing.assert_array_equal, vars(ours), vars(theirs))


def test_a_fingerprint_takes_few_requests_and_sees_every_write(
    cloud, config, root):
  put(cloud, root, 'data')
  config.data.root = 'gs://bucket/data'
  examples = dataset_files.list_examples(config.data, True)
  cloud.requests.clear()
  before = dataset_files.fingerprint(examples)
  assert len(cloud.requests) <= 4 * 2  # Folders, and the access to the bucket.
  assert dataset_files.fingerprint(examples) == before
  name = examples['train'][3].scribble.name
  cloud.put('bucket', f'data/scribbles/{name}',  # The very same bytes.
            (root / 'scribbles' / name).read_bytes(), {})
  after = dataset_files.fingerprint(examples)
  assert {part for part in before if after[part] != before[part]} == {
      'scribbles'}


def test_listings_go_on_over_pages(cloud, tmp_path):
  for number in range(120):  # The bucket gives 50 names at a time.
    cloud.put('bucket', f'many/{number:03}.png', b'', {})
  folder = storage.path('gs://bucket/many')
  assert storage.names_below(folder) == [
      f'{number:03}.png' for number in range(120)]
  assert len({*map(storage.make_stamp(), folder.iterdir())}) == 120


@pytest.mark.parametrize('kind', ['folder', 'zip', 'json'])
def test_annotations_of_all_kinds(cloud, tmp_path, kind):
  content = xml([('background', [(1, 1), (5, 5)])], width=48, height=48)
  path = tmp_path / f'scribbles.{kind}'
  if kind == 'folder':
    path.mkdir()
    (path / 'a.xml').write_bytes(content)
    (path / 'b.xml').write_bytes(content)
    put(cloud, path, path.name)
  else:
    if kind == 'zip':
      with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('deep/a.xml', content)
    else:
      path.write_text(json.dumps({'a': [{'x': 1, 'y': 2, 'cls': 1}]}))
    cloud.put('bucket', path.name, path.read_bytes(), {})
  local, remote = (
      {name: (one.kind, one.content) for name, one in
       annotations.scribbles_by_id(storage.path(folder, path.name), '').items()}
      for folder in (tmp_path, 'gs://bucket'))
  assert remote == local and local


# What commands write


def scribbles(*arguments):
  options = command.make_parser().parse_args(
      [*map(str, arguments), '--processes=1'])
  options.run(options)


def test_scribbles_commands(cloud, drawn_root, tmp_path, capsys):
  put(cloud, drawn_root, 'data')
  results = []
  for data, output in ((drawn_root, tmp_path),
                       ('gs://bucket/data', 'gs://bucket/out')):
    scribbles('simulate', f'{data}/SegmentationClassAug', f'{output}/strokes',
              '--panels=1', f'--images={data}/JPEGImages')
    scribbles('shrink', f'{output}/strokes', f'{output}/shrunk', '--ratio=0.5',
              f'--list={data}/ImageSets/SegmentationAug/train.txt')
    scribbles('stats', f'{output}/shrunk', f'--csv={output}/stats.csv')
    results.append(capsys.readouterr().out.replace(str(output), 'OUTPUT'))
  assert results[0] == results[1]
  wanted, found = local_contents(tmp_path), contents(cloud, 'out')
  assert {name: content for name, content in found.items()
          if not name.endswith('.json')} == {
      name: content for name, content in wanted.items()
      if not name.endswith(('.json', '.lock'))}
  with pytest.raises(UserError, match='holds an earlier output'):
    scribbles('shrink', 'gs://bucket/out/strokes', 'gs://bucket/out/shrunk',
              '--ratio=0.5')


def test_a_drawn_data_set(cloud, tmp_path):
  size = {'num_train': 2, 'num_val': 1, 'image_size': 32, 'seed': 0}
  for root in (tmp_path / 'data', 'gs://bucket/data'):
    drawn_dataset.write_dataset(root, **size)
  assert contents(cloud, 'data') == local_contents(tmp_path / 'data')
  cloud.requests.clear()
  drawn_dataset.write_dataset('gs://bucket/data', **size)
  assert not [request for request in cloud.requests
              if not request.startswith('GET')]


@pytest.mark.parametrize('suffix', ['safetensors', 'pth'])
def test_weights(cloud, suffix):
  if suffix == 'pth':
    pytest.importorskip('torch')
  name = f'gs://bucket/a.{suffix}'
  weight_files.write_state_dict(name, {'a': np.arange(3, dtype=np.float32)})
  np.testing.assert_array_equal(
      weight_files.read_state_dict(name)['a'], [0, 1, 2])


def test_weights_that_are_not_there(cloud):
  with pytest.raises(UserError, match='gs://bucket/b.pth does not exist'):
    weight_files.read_state_dict('gs://bucket/b.pth')


def test_records(cloud, config, drawn_root, monkeypatch):
  put(cloud, drawn_root, 'data')
  here, marks = records.prepare(config.data), []

  def write(folder, *_):  # TensorFlow's writer would wait for this process.
    marks.append(contents(cloud, f'data/records/{folder.name}').keys())
    put(cloud, here.folder, f'data/records/{folder.name}')

  monkeypatch.setattr(record_making, '_write', write)
  config.data.root = 'gs://bucket/data'
  there = records.prepare(config.data)
  name, parent = there.folder.name, there.folder.parent
  assert there.learned_from(True) == here.learned_from(True)
  assert 'incomplete' in marks[0]
  kept = contents(cloud, f'data/records/{name}')
  assert kept.keys() == {path.name for path in here.folder.iterdir()}
  records.prepare(config.data)
  assert len(marks) == 1  # Nothing is made again.
  # What a killed process left is completed; nothing is deleted meanwhile, for
  # it may live after all.
  cloud.put('bucket', f'data/records/{name}/incomplete', b'', {})
  records.prepare(config.data)
  assert marks[1] == {*kept, 'incomplete'}
  assert contents(cloud, f'data/records/{name}') == kept

  config.data.lambda_s = 9.0
  other = records.prepare(config.data)
  assert f'Removed {there.folder}: 13 images' in prepare.remove_unused(
      config, parent)
  assert other.folder.name in record_folders.describe(
      parent, prepare.find_used(config))
  assert not contents(cloud, f'data/records/{name}')
  assert contents(cloud, f'data/records/{other.folder.name}')


def test_stage1(cloud, config, tmp_path):
  config.stage1.labels.source = 'diffusion'  # Needs no network.
  put(cloud, pathlib.Path(config.data.root), 'data')
  config.data.records = str(tmp_path / 'records')
  config.data.pseudo_labels = 'generate'
  found = []
  for root in (config.data.root, 'gs://bucket/data'):
    config.data.root = root
    done = generation.with_pseudo_labels(config, generation.prepare(config))
    folder = storage.path(root, done.data.pseudo_labels)
    found.append({path.name: masks.read_mask(path)
                  for path in folder.iterdir()})
  assert len(found[0]) == 10
  jax.tree.map(np.testing.assert_array_equal, *found)


def test_a_sweep_wants_a_disk(cloud):
  with pytest.raises(UserError, match="A sweep's folder needs locks"):
    runner.Sweep(None, 'gs://bucket/sweep')


# The whole loop


def test_a_run_in_a_bucket_is_the_run_on_a_disk(
    cloud, drawn_root, tmp_path, monkeypatch):
  put(cloud, drawn_root, 'data')
  config = tiny_config(drawn_root)
  config.data.records = str(tmp_path / 'records')
  config.num_steps, config.eval_every, config.keep_checkpoints = 4, 4, 1
  expected = train.train(config, str(tmp_path / 'run'))

  # Dies in step 3; of a checkpoint of step 4 there is a part already.
  save = checkpoint.save

  def save_and_die(manager, step, *args):
    save(manager, step, *args)
    manager.wait_until_finished()
    cloud.put('bucket', 'runs/a/checkpoints/4/default/d/half', b'half', {})
    raise KeyboardInterrupt

  config.data.root = 'gs://bucket/data'
  config.data.records = str(tmp_path / 'records_of_bucket')
  monkeypatch.setattr(checkpoint, 'save', save_and_die)
  with pytest.raises(KeyboardInterrupt):
    train.train(config, 'gs://bucket/runs/a')
  monkeypatch.undo()
  state = train.train(config, 'gs://bucket/runs/a')
  jax.tree.map(np.testing.assert_array_equal, state, expected)

  found = contents(cloud, 'runs/a')
  assert {name for name in found if '/' not in name and 'events' not in name
          } == {path.name for path in (tmp_path / 'run').iterdir()
                if path.is_file() and 'events' not in path.name
                and path.name != '.lock'}
  assert {name.split('/')[1] for name in found if name.startswith(
      'checkpoints/')} == {'4'}
  assert json.loads(found['run.json'])['starts'] == 2
  _compare_what_follows(cloud, config, drawn_root, tmp_path)


def _compare_what_follows(cloud, config, drawn_root, tmp_path):
  """Evaluates, predicts and reports both runs."""
  config.evaluation.scales = (1.0,)
  picture = next((drawn_root / 'JPEGImages').iterdir()).name
  figures, images = [], []
  for data, run in (
      (str(drawn_root), str(tmp_path / 'run')),
      ('gs://bucket/data', 'gs://bucket/runs/a')):
    config.data.root = data
    figures.append(evaluate.evaluate(config, run, 'best', f'{run}/evaluation'))
    predict.predict(config, run, 'latest', [f'{data}/JPEGImages/{picture}'],
                    f'{run}/predictions', True)
    text, page = writer.write_report([run])
    images.append(storage.path(run, 'predictions', picture).with_suffix(
        '.png').read_bytes())
    assert str(page) == f'{run}/report/report.html' and page.is_file()
    assert 'measured here' in text
  assert figures[0] == figures[1] | {'checkpoint': str(tmp_path / 'run')}
  assert images[0] == images[1]
  assert set(contents(cloud, 'runs/a/report')) == set(
      local_contents(tmp_path / 'run/report'))
  with Image.open(storage.readable(storage.path(
      'gs://bucket/runs/a/report/curves.png'))) as curves:
    assert curves.format == 'PNG'
