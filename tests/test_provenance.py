"""A run goes on with what it has learned from, wherever that lies now."""

import json
import os
import shutil

import numpy as np
from PIL import Image
import pytest

from scribble_jax import config_files
from scribble_jax import config_keys
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.files import masks
from scribble_jax.pseudo_labels import config_rules
from scribble_jax.training import provenance
from scribble_jax.weak_labels import annotations


def keep(config, workdir, *, resuming=True, other_data=False):
  """Starts a run of a config without training."""
  learned_from = records.prepare(config.data).learned_from(True)
  provenance.keep(workdir, config, learned_from, resuming=resuming,
                  other_data=other_data)
  return learned_from


@pytest.fixture
def workdir(config, tmp_path):
  """Of a run of the config."""
  folder = tmp_path / 'run'
  folder.mkdir()
  keep(config, folder, resuming=False)
  return folder


def first_id(root):
  return (root / 'ImageSets/SegmentationAug/train.txt').read_text().split()[0]


def to_points(config, root):
  ids = (root / 'ImageSets/SegmentationAug/train.txt').read_text().split()
  (root / 'points.json').write_text(json.dumps({
      name: [{'x': 3, 'y': 4, 'cls': 1}] for name in ids}))
  config.data.scribbles = 'points.json'


def shorten_list(config, root):
  ids = (root / 'ImageSets/SegmentationAug/train.txt').read_text().split()
  (root / 'short.txt').write_text('\n'.join(ids[1:]))
  config.data.train_list = 'short.txt'


def reverse_list(config, root):
  ids = (root / 'ImageSets/SegmentationAug/train.txt').read_text().split()
  (root / 'reversed.txt').write_text('\n'.join(reversed(ids)))
  config.data.train_list = 'reversed.txt'


def change_pixel(folder):
  def change(config, root):
    del config
    path = root / folder / f'{first_id(root)}.png'
    mask = masks.read_mask(path).copy()
    mask[5, 6] = (mask[5, 6] != 1)
    masks.write_mask(path, mask)
  return change


def change_image(config, root):
  path = root / f'JPEGImages/{first_id(root)}.jpg'
  Image.new('RGB', (48, 48)).save(path)


def rename_class(config, root):
  path = root / 'classes.txt'
  names = path.read_text().split()
  path.write_text('\n'.join([*names[:-1], 'another']))


def generated_elsewhere(config, root):
  """The same folder's name, other labels."""
  shutil.rmtree(root / 'pseudo_labels')
  shutil.copytree(root / 'SegmentationClassAug', root / 'pseudo_labels')


@pytest.mark.parametrize('change, parts', [
    (to_points, 'scribbles'), (shorten_list, 'train list'),
    (reverse_list, 'train list'), (change_pixel('scribbles'), 'scribbles'),
    (change_pixel('pseudo_labels'), 'pseudo-labels'),
    (generated_elsewhere, 'pseudo-labels'),
    (change_image, 'images'), (rename_class, 'class list')])
def test_other_data_is_refused_unless_asked_for(
    config, root, workdir, caplog, change, parts):
  before = {path: path.read_bytes() for path in workdir.iterdir()}
  change(config, root)
  with pytest.raises(UserError) as error:
    keep(config, workdir)
  assert str(error.value) == (
      f'{workdir} holds a run that learned from other data. Changed: {parts}. '
      'Give it the data and settings of that run, name another --workdir, or '
      'go on all the same with --resume_with_other_data.')
  assert before == {path: path.read_bytes() for path in workdir.iterdir()}
  caplog.clear()
  keep(config, workdir, other_data=True)
  assert f'Going on with other data: {parts}.' in caplog.text
  caplog.clear()
  keep(config, workdir)  # From now on these are the run's data.
  assert 'Going on with other data' not in caplog.text


@pytest.mark.parametrize('ground_truth', [False, True])
def test_what_is_only_measured_on_may_change(
    config, root, workdir, caplog, ground_truth):
  path = root / 'ImageSets/SegmentationAug/val.txt'
  ids = path.read_text().split()
  if ground_truth:
    masks.write_mask(root / f'SegmentationClassAug/{ids[0]}.png',
                     np.zeros([48, 48], np.uint8))
    parts = 'ground truth'
  else:
    path.write_text('\n'.join(ids[1:]))
    parts = 'val list, val images, ground truth'
  keep(config, workdir)
  assert f'Going on with other data: {parts}.' in caplog.text


def test_a_copied_data_set_goes_on_without_a_word(
    config, root, tmp_path, workdir, caplog):
  """Other place, other times, and the strokes in another format."""
  copy = tmp_path / 'copy'
  shutil.copytree(root, copy, ignore=shutil.ignore_patterns('records'))
  for path in copy.rglob('*'):
    os.utime(path, (1e9, 1e9))
  before = json.loads((workdir / 'learned_from.json').read_text())
  config.data.root = str(copy)
  config.data.pseudo_labels = str(root / 'pseudo_labels')
  caplog.clear()
  assert keep(config, workdir) == before
  assert 'other data' not in caplog.text


def test_strokes_count_however_they_are_stored(config, root, workdir, caplog):
  ids = (root / 'ImageSets/SegmentationAug/train.txt').read_text().split()
  names = (root / 'classes.txt').read_text().split()
  points = {name: [{'x': 3 + number, 'y': 4, 'cls': names[1]}]
            for number, name in enumerate(ids)}
  (root / 'points.json').write_text(json.dumps(points))
  config.data.scribbles = 'points.json'
  keep(config, workdir, other_data=True)
  drawn = annotations.scribbles_by_id(root / 'points.json', '')
  (root / 'drawn').mkdir()
  for name, annotation in drawn.items():
    masks.write_mask(root / f'drawn/{name}.png',
                     annotations.read(annotation, (48, 48), names))
  config.data.scribbles = 'drawn'
  caplog.clear()
  keep(config, workdir)
  assert 'other data' not in caplog.text


def test_a_run_of_an_older_version_goes_on_with_a_warning(
    config, root, workdir, caplog):
  (workdir / 'learned_from.json').unlink()
  change_image(config, root)
  keep(config, workdir)
  assert 'does not say what its run learned from' in caplog.text
  caplog.clear()
  keep(config, workdir)
  assert 'does not say' not in caplog.text


def test_keys_that_a_run_did_not_have_are_what_it_did(
    config, workdir, caplog):
  path = workdir / config_files.OF_RUN
  stored = json.loads(path.read_text())
  for part in (stored, stored['stage1']):
    for key in config_keys.ADDED:
      section, name = key.split('.')
      part.get(section, {}).pop(name, None)  # Some are of one stage alone.
  path.write_text(json.dumps(stored))
  keep(config, workdir)
  assert 'changed config' not in caplog.text
  path.write_text(json.dumps(stored))
  config.model.freeze_backbone = 'stages'
  with pytest.raises(UserError, match=(
      r"freeze_backbone was 'none' and is now 'stages'")):
    keep(config, workdir)


def test_an_unchanged_stage_1_goes_on_without_a_word(config, tmp_path, caplog):
  config = config_rules.stage1_config(config)
  folder = tmp_path / 'run'
  folder.mkdir()
  for resuming in (False, True):
    provenance.keep(folder, config, {}, resuming=resuming, other_data=False)
  assert 'changed config' not in caplog.text


def test_stage_1_counts_where_it_made_the_labels(tmp_path, caplog):
  learned_from = {'images': 'a', 'config.stage1': {
      'labels': {'threshold': 0.3, 'refine': True}, 'seed': 0}}
  (tmp_path / 'learned_from.json').write_text(json.dumps(
      learned_from | {'pseudo-labels': 'b'}))
  provenance.check(tmp_path, learned_from, False)
  learned_from['config.stage1']['labels']['threshold'] = 0.5
  with pytest.raises(UserError, match=(
      r'Changed: config\.stage1\.labels\.threshold \(was 0\.3, is 0\.5\)\.')):
    provenance.check(tmp_path, learned_from, False)
  # Taken from their folder, labels count by what they hold.
  provenance.check(tmp_path, {'images': 'a', 'pseudo-labels': 'b'}, False)


def test_a_damaged_config_of_a_run_is_one_line(config, workdir):
  path = workdir / 'config.json'
  path.write_bytes(path.read_bytes()[:-40])
  with pytest.raises(UserError, match=r'config\.json is damaged, and .* holds'):
    keep(config, workdir)


def test_pseudo_labels_that_come_or_go_are_other_data(config, workdir):
  without = records.prepare(config.data).learned_from(False)
  with pytest.raises(UserError, match='Changed: pseudo-labels'):
    provenance.check(workdir, without, False)


def test_a_run_without_its_config_is_not_gone_on_with(config, workdir):
  (workdir / 'config.json').unlink()
  with pytest.raises(UserError, match=r'config\.json is missing, and .* holds'):
    keep(config, workdir)


@pytest.mark.parametrize('content', ['[', '[1]'])
def test_what_a_run_learned_from_is_damaged(config, workdir, content):
  (workdir / 'learned_from.json').write_text(content)
  with pytest.raises(UserError, match=r'learned_from\.json is damaged'):
    keep(config, workdir)


def test_a_workdir_is_read_from_anywhere(config, root, tmp_path, monkeypatch):
  monkeypatch.chdir(root.parent)
  config.data.root = root.name
  keep(config, tmp_path, resuming=False)
  monkeypatch.chdir('/')
  assert config_files.of_run(tmp_path).data.root == str(root)
