"""Folders of records beside each other: made, held, listed, removed."""

import re
import shutil
import subprocess
import sys
import threading

import numpy as np
from PIL import Image
import pytest

from scribble_jax import config_check
from scribble_jax import prepare
from scribble_jax.data import input_pipeline
from scribble_jax.data import record_folders
from scribble_jax.data import record_making
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.pseudo_labels import config_rules
from tests.conftest import record_folders as folders_in


def changed(config, **values):
  config = config.copy_and_resolve_references()
  config.data.update(values)
  return config


def distances(dataset):
  return [example['pseudo_label_distance'].tobytes()
          for example in input_pipeline.whole_examples(dataset, 'train')]


def test_records_of_another_lambda_leave_those_in_use_alone(config):
  first = records.prepare(config.data)
  before = distances(first)
  second = records.prepare(changed(config, lambda_c=5.0).data)
  assert first.folder.parent == second.folder.parent
  assert distances(first) == before != distances(second)
  # Back to the first: nothing is made again.
  made = (first.folder / 'index.npz').stat().st_mtime_ns
  again = records.prepare(config.data)
  assert again.folder == first.folder
  assert (again.folder / 'index.npz').stat().st_mtime_ns == made


def test_the_stages_share_one_place_and_nothing_else(config, root):
  stage1 = config_rules.stage1_config(config)
  assert stage1.data.records == config.data.records
  one = records.prepare(stage1.data, False, ('train',))
  both = records.prepare(config.data)
  none = records.prepare(config_check.with_pseudo_labels(config, 'none').data)
  assert len(folders_in(root / 'records')) == 3
  other_lambda = config_rules.stage1_config(changed(config, lambda_s=9.0))
  assert records.prepare(other_lambda.data, False, ('train',)).folder == (
      one.folder)
  assert both.num_examples('val') == none.num_examples('val') == 3


def test_who_wants_the_same_records_waits_and_others_do_not(
    config, monkeypatch, caplog):
  """One process builds; one wants the same, one wants others."""
  building, go_on = threading.Event(), threading.Event()
  build, built = record_making.build, []

  def slow_build(directory, *args):
    built.append(directory.name)
    if len(built) == 1:
      building.set()
      assert go_on.wait(60)
    build(directory, *args)

  monkeypatch.setattr(record_making, 'build', slow_build)
  found = {}
  same = [threading.Thread(target=lambda i=i: found.update(
      {i: records.prepare(config.data)})) for i in range(2)]
  same[0].start()
  assert building.wait(60)
  same[1].start()
  other = records.prepare(changed(config, lambda_s=9.0).data)  # Not blocked.
  assert other.num_examples('train') == 10 and not found
  go_on.set()
  for thread in same:
    thread.join(60)
  assert found[0].folder == found[1].folder
  assert built == [found[0].folder.name, other.folder.name]
  assert 'Waiting for another process that makes' in caplog.text


def test_records_that_are_read_are_not_removed(config, root):
  dataset = records.prepare(config.data)
  [found] = record_folders.find(root / 'records')
  assert found.is_read() and found.num_images == 13
  assert found.size == sum(
      path.stat().st_size for path in dataset.folder.glob('*tfrecord*'))
  removed, kept = record_folders.remove_unused(root / 'records')
  assert not removed and kept == [found]
  assert len(distances(dataset)) == 10
  del dataset
  assert not found.is_read()
  removed, kept = record_folders.remove_unused(root / 'records')
  assert removed == [found] and not kept
  assert not [*(root / 'records').iterdir()]  # Locks neither.


def test_another_process_holds_them_until_it_is_killed(config, root):
  folder = records.prepare(config.data).folder
  process = subprocess.Popen(
      [sys.executable, '-c', 'import pathlib, sys, time\n'
       'from scribble_jax.data import record_folders\n'
       'held = record_folders.hold(pathlib.Path(sys.argv[1]))\n'
       'print(held is not None, flush=True)\ntime.sleep(600)', str(folder)],
      stdout=subprocess.PIPE, text=True)
  try:
    assert process.stdout.readline() == 'True\n'
    assert not record_folders.remove_unused(root / 'records')[0]
  finally:
    process.kill()
    process.communicate()
  assert record_folders.remove_unused(root / 'records')[0]


def test_what_killed_processes_left_is_removed(config, root):
  folder = records.prepare(config.data).folder
  parent = folder.parent
  for name in ('.aaaaaaaaaaaa.partial', '.bbbbbbbbbbbb.removed',
               '.cccccccccccc.partial', 'dddddddddddd'):
    (parent / name).mkdir()
  (parent / 'mine').mkdir()
  with atomic.only_one_process(parent / 'cccccccccccc'):
    record_folders.remove_unused(parent, [folder])
  assert folders_in(parent) == [
      parent / '.cccccccccccc.partial', folder, parent / 'mine']


def test_a_lock_that_was_tidied_away_is_made_anew(tmp_path):
  """Two that wait for a lock must not both get it, if its file goes."""
  lock, entered, inside = tmp_path / '.x.lock', [], threading.Lock()

  def enter():
    with atomic.only_one_process(tmp_path / 'x'):
      assert inside.acquire(blocking=False)
      entered.append(1)
      inside.release()

  threads = [threading.Thread(target=enter) for _ in range(4)]
  with atomic.only_one_process(tmp_path / 'x'):
    for thread in threads[:2]:
      thread.start()
    lock.unlink()
    for thread in threads[2:]:
      thread.start()
    while len(entered) < 2:  # They found no lock.
      pass
  for thread in threads:
    thread.join(60)
  assert len(entered) == 4


def test_a_start_says_what_several_folders_take(config, root, caplog):
  one = records.prepare(config.data)
  record_folders.warn_of_several(root / 'records', [one.folder])
  two = records.prepare(changed(config, lambda_s=9.0).data)
  record_folders.warn_of_several(root / 'records', [one.folder, two.folder])
  assert 'folders of records' not in caplog.text
  record_folders.warn_of_several(root / 'records', [two.folder])
  assert re.search(
      r'records holds 2 folders of records, 0\.00 GB together; this start does '
      r'not use 1 of them\. .*prepare --list .*--remove_unused', caplog.text)


def test_records_of_an_older_version_are_left_alone_and_named(
    config, root, caplog):
  dataset = records.prepare(config.data)
  for place in ('records', 'records_stage1'):  # As they were.
    (root / place).mkdir(exist_ok=True)
    for path in dataset.folder.iterdir():
      shutil.copy(path, root / place)
  before = sorted((root / 'records').glob('[!.]*.*'))
  record_folders.warn_of_several(root / 'records', [dataset.folder])
  for place in ('records', 'records_stage1'):
    assert f'The files in {root / place} are records of an older' in caplog.text
  again = records.prepare(config.data)
  assert again.folder == dataset.folder
  record_folders.remove_unused(root / 'records')
  assert sorted((root / 'records').glob('[!.]*.*')) == before
  assert (root / 'records_stage1/dataset_info.json').exists()


def test_the_command_lists_and_removes_what_a_config_does_not_use(
    config, root):
  stage1 = records.prepare(
      config_rules.stage1_config(config).data, False, ('train',)).folder
  used = records.prepare(config.data).folder
  other = records.prepare(
      changed(config, lambda_c=5.0, scribbles='scribbles').data).folder
  parent = root / 'records'
  rows = {line.split()[0]: line for line in record_folders.describe(
      parent, prepare.find_used(config)).splitlines()}
  for folder, who, lambda_c in (
      (stage1, 'this config', '0'), (used, 'this config', '403.4'),
      (other, 'nobody', '5')):
    assert rows[folder.name].endswith(who)
    assert f' {lambda_c} ' in rows[folder.name]
    assert 'scribbles' in rows[folder.name]
  assert rows['3'].startswith(f'3 folders of records in {parent}, ')
  live = records.prepare(changed(config, lambda_c=6.0).data)
  said = prepare.remove_unused(config, parent)
  assert f'Removed {other}: 13 images, 0.00 GB.' in said
  assert '0.00 GB freed; 3 folders of records stay' in said
  assert set(folders_in(parent)) == {stage1, used, live.folder}
  assert 'a running process' in record_folders.describe(
      parent, prepare.find_used(config))


def test_what_is_used_cannot_be_told_of_a_data_set_with_mistakes(config, root):
  folder = records.prepare(config.data).folder
  next((root / 'JPEGImages').iterdir()).unlink()
  with pytest.raises(UserError, match='nothing for the listed id'):
    prepare.remove_unused(config, root / 'records')
  assert folder.exists()


def test_digests_are_of_what_files_hold(config, root):
  """Not of names, times, encodings and shards."""
  parts = records.prepare(config.data).learned_from(True)
  for folder in ('scribbles', 'pseudo_labels', 'SegmentationClassAug'):
    for path in (root / folder).iterdir():  # Grey instead of a palette.
      with Image.open(path) as image:
        values = np.asarray(image)
      Image.fromarray(values).save(path, 'PNG', compress_level=0)
  assert records.prepare(config.data).learned_from(True) == parts
  path = next((root / 'pseudo_labels').iterdir())
  with Image.open(path) as image:
    values = np.array(image)
  values[0, 0] = 255 if values[0, 0] != 255 else 0  # One pixel.
  Image.fromarray(values).save(path)
  now = records.prepare(config.data).learned_from(True)
  assert {part for part in parts if parts[part] != now[part]} == {
      'pseudo-labels'}
  assert records.prepare(
      config.data).learned_from(False)['pseudo-labels'] is None
