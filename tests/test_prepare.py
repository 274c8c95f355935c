"""Records by Beam, and the command that prepares them."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from scribble_jax import config_check
from scribble_jax import prepare
from scribble_jax.data import input_pipeline
from scribble_jax.data import record_writer
from scribble_jax.data import records
from scribble_jax.errors import UserError
from tests.conftest import record_folders

LOCAL = ['--runner=DirectRunner', '--direct_running_mode=multi_processing',
         '--direct_num_workers=2']


@pytest.fixture
def small_shards(monkeypatch):
  monkeypatch.setattr(record_writer, 'SHARD_BYTES', 20_000)  # Some images each.


def files(folder):
  return {path.name: path.read_bytes()
          for path in pathlib.Path(folder).iterdir()}


def test_beam_makes_the_same_records(config, root, small_shards):
  pytest.importorskip('apache_beam')
  here = records.prepare(config.data)
  assert len(here.shards['train'].paths) > 1
  config.data.records = 'by_beam'
  there = records.prepare(config.data, pipeline_options=LOCAL)
  for split in ('train', 'val'):
    for one, other in zip(
        input_pipeline.whole_examples(here, split),
        input_pipeline.whole_examples(there, split), strict=True):
      assert one['id'] == other['id']
    for record in range(here.num_examples(split)):
      assert here.shards[split].read(record) == there.shards[split].read(record)
  # Not only the same examples, but the same files.
  by_beam = files(there.builder.data_dir)
  assert files(here.builder.data_dir).keys() == by_beam.keys()
  for name, content in by_beam.items():
    if 'tfrecord' in name:
      assert content == files(here.builder.data_dir)[name]
  # Shards are written in any order; what they hold together is the same.
  assert here.learned_from(True) == there.learned_from(True)


def test_problems_of_all_of_beams_workers_are_listed(
    config, root, small_shards):
  pytest.importorskip('apache_beam')
  ids = (root / config.data.train_list).read_text().split()
  for name in (ids[0], ids[-1]):
    (root / f'scribbles/{name}.png').write_text('no picture')
  with pytest.raises(UserError, match='2 problems') as error:
    records.prepare(config.data, pipeline_options=[
        '--runner=DirectRunner', '--direct_running_mode=multi_threading',
        '--direct_num_workers=2'])
  assert ids[0] in str(error.value) and ids[-1] in str(error.value)
  assert not record_folders(root / 'records')


def test_without_beam_its_options_are_an_error(config, root, monkeypatch):
  monkeypatch.setitem(sys.modules, 'apache_beam', None)
  with pytest.raises(UserError, match='pip install apache-beam'):
    records.prepare(config.data, pipeline_options=LOCAL)
  assert not record_folders(root / 'records')


def test_shards_share_the_records_evenly_in_order(config, small_shards):
  source = records.prepare(config.data)
  lengths = source.shards['train'].lengths
  assert lengths.sum() == 10 and lengths.max() - lengths.min() <= 1
  # Any program reads them as it reads other sets of tensorflow-datasets.
  ids = [example['id'].decode() for example in tfds.as_numpy(
      tfds.builder_from_directory(source.builder.data_dir).as_dataset(
          split='train', shuffle_files=False))]
  assert ids == [example['id'] for example in input_pipeline.whole_examples(
      source, 'train')]


@pytest.mark.parametrize('text, expected', [
    ('', None),
    ('--runner=DirectRunner', ['--runner=DirectRunner']),
    ('--runner=X,--project=p --experiments=a,b',
     ['--runner=X', '--project=p', '--experiments=a,b']),
    (' --a=1\n  --b ', ['--a=1', '--b']),
])
def test_pipeline_options(text, expected):
  assert prepare.parse_options(text) == expected


def test_pipeline_options_are_flags():
  with pytest.raises(UserError, match='--NAME=VALUE'):
    prepare.parse_options('DirectRunner')


def test_small_sets_stay_in_this_process(config):
  assert prepare.local_options(config.data, ('train', 'val'), None) is None
  assert '--direct_num_workers=3' in prepare.local_options(
      config.data, ('train', 'val'), 3)


def run_command(*flags):
  return subprocess.run(
      [sys.executable, '-m', 'scribble_jax.prepare', *flags],
      cwd=pathlib.Path(__file__).parents[1], capture_output=True, text=True,
      check=False)


def test_command_prepares_what_training_takes(root, config, caplog):
  done = run_command(
      '--config=configs/own_data.py', f'--config.data.root={root}')
  assert done.returncode == 0, done.stderr
  assert re.match(r'13 images in 2 shards, 0\.\d\d GB, \d+ s, [\d.]+ images/s: '
                  + re.escape(str(root / 'records')) + '/[0-9a-f]{12}$',
                  done.stdout)
  used = records.prepare(config.data)
  assert 'Preparing' not in caplog.text  # Nothing left to make.
  config.data.lambda_s = 9.0
  other = records.prepare(config.data).folder
  done = run_command('--config=configs/own_data.py', '--remove_unused',
                     f'--config.data.root={root}', '--list')
  assert done.returncode == 0, done.stderr
  assert f'Removed {other}: 13 images' in done.stdout
  assert f'1 folders of records in {root}/records, ' in done.stdout
  assert record_folders(root / 'records') == [used.folder]


def test_command_prepares_what_is_listed(root):
  shutil.rmtree(root / 'SegmentationClassAug')
  flags = '--config=configs/own_data.py', f'--config.data.root={root}'
  done = run_command(*flags)
  assert done.returncode == 1
  last = done.stderr.strip().splitlines()[-1]
  assert last.startswith('error: ') and 'data.val_list=none trains' in last
  done = run_command(*flags, '--config.data.val_list=none')
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('10 images in 1 shards')
  assert "config.data.val_list is 'none'" in done.stderr


def test_command_prepares_stage_1_where_labels_are_generated(root):
  done = run_command(
      '--config=configs/own_data.py', f'--config.data.root={root}',
      '--config.data.pseudo_labels=generate')
  assert done.returncode == 0, done.stderr
  assert 'records of stage 1' in done.stdout
  [folder] = record_folders(root / 'records')
  spec = json.loads((folder / 'metadata.json').read_text())
  assert spec['splits'] == ['train'] and spec['lambda_s'] == 0


def test_values_that_no_file_can_be_read_with(config):
  config.data.image_range = (5.0, 2.0)
  config.data.max_megapixels = 500.0
  with pytest.raises(UserError) as error:
    config_check.check_data(config)
  lines = str(error.value)
  assert 'image_range is (5.0, 2.0); it must be two numbers' in lines
  assert 'max_megapixels is 500.0; it must be above 0 and at' in lines
