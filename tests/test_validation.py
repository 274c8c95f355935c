"""Validation's figures, its memory, and data without dense ground truth."""

import csv
import json
import pickle
import shutil
import types

import jax
import numpy as np
import pytest

from scribble_jax import evaluate
from scribble_jax import hosts
from scribble_jax import metrics
from scribble_jax import panels
from scribble_jax import train
from scribble_jax.data import dataset_files
from scribble_jax.data import loading
from scribble_jax.errors import UserError
from scribble_jax.files import masks
from scribble_jax.report.writer import write_report
from scribble_jax.validation import Validation
from scribble_jax.weights import checkpoint
from tests.reported import rows_of

NUM_CLASSES = 171


def made_up_images(count):
  """Examples with predictions, of which the first has no ground truth."""
  rng = np.random.default_rng(0)
  for record in range(count):
    truth = rng.integers(0, NUM_CLASSES, [20, 20]).astype(np.uint8)
    prediction = np.where(rng.random(truth.shape) < 0.1 * (record % 10), truth,
                          rng.integers(0, NUM_CLASSES, truth.shape))
    yield {'id': f'image_{record}', 'record': record,
           'image': np.zeros([20, 20, 3], np.uint8),
           'ground_truth': truth if record else np.full_like(truth, 255),
           'prediction': prediction.astype(np.uint8)}


def validation_of(config, images, monkeypatch):
  config = config.copy_and_resolve_references()
  config.model.num_classes = NUM_CLASSES
  dataset = types.SimpleNamespace(
      shards={'train': None, 'val': None}, num_examples=lambda split: 30,
      class_names=[f'class_{label}' for label in range(NUM_CLASSES)])
  validation = Validation(config, model=None, dataset=dataset)
  monkeypatch.setattr(validation, '_examples', lambda *args, **kwargs: images)
  monkeypatch.setattr(validation, 'draw_panels', lambda state: {})
  monkeypatch.setattr(jax, 'device_get', lambda tree: tree)
  return validation


STATE = types.SimpleNamespace(step=1, variables={})


def test_no_image_keeps_a_matrix(config, monkeypatch):
  images, sizes, gather = [*made_up_images(30)], [], hosts.gather
  monkeypatch.setattr(hosts, 'gather', lambda value: sizes.append(
      len(pickle.dumps(value))) or gather(value))
  figures, _ = validation_of(config, images, monkeypatch)(STATE)
  matrix = 8 * NUM_CLASSES**2
  assert max(sizes) < matrix + 30 * 200  # Bytes: one of all, and some an image.

  truth, prediction = (
      np.concatenate([image[name].ravel() for image in images[1:]])
      for name in ('ground_truth', 'prediction'))
  assert figures['pixel_accuracy'] == np.mean(truth == prediction)
  counts = np.zeros([NUM_CLASSES, NUM_CLASSES], int)
  np.add.at(counts, (truth, prediction), 1)
  assert figures['confusion'] == counts.tolist()
  assert figures['miou'] == pytest.approx(
      np.mean(metrics.iou_per_class(counts)))


def test_the_counts_of_all_processes_are_summed(config, monkeypatch):
  images = [*made_up_images(30)]
  alone = validation_of(config, images, monkeypatch)
  expected, _ = alone(STATE)
  halves = [validation_of(config, half, monkeypatch)._count_own_images()
            for half in (images[:12], images[12:])]
  monkeypatch.setattr(hosts, 'gather', lambda value: halves)
  together = validation_of(config, images[:12], monkeypatch)
  assert together(STATE)[0] == expected
  columns, rows = together.image_figures(STATE)
  assert (columns, rows) == alone.image_figures(STATE)
  assert columns == ('id', 'miou', 'pixel_accuracy')
  assert len(rows) == 29 and 'image_0' not in dict(row[:2] for row in rows)
  name, miou, accuracy = rows[0]
  worst = next(image for image in images if image['id'] == name)
  assert accuracy == np.mean(worst['ground_truth'] == worst['prediction'])
  assert miou == min(row[1] for row in rows)


# Without dense ground truth


def test_strokes_are_drawn_as_strokes_and_not_as_the_truth(
    config, monkeypatch):
  images, drawn = [*made_up_images(30)], []
  monkeypatch.setattr(panels, 'draw_panels', lambda rows, names: drawn.append(
      rows) or np.zeros([4, 4, 3], np.uint8))
  config.data.ground_truth, config.num_panels = 'none', 1
  validation = validation_of(config, images, monkeypatch)
  assert validation.draw_extremes(STATE).keys() == {'worst', 'best'}
  columns, ranked = validation.image_figures(STATE)
  assert columns == ('id', 'stroke_accuracy')
  for (row,), (name, accuracy) in zip(
      drawn, (ranked[0], ranked[-1]), strict=True):
    image = next(image for image in images if image['id'] == name)
    np.testing.assert_array_equal(row['scribble'], image['ground_truth'])
    assert np.all(row['ground_truth'] == 255)
    assert row['title'] == f'{name}: stroke accuracy {100 * accuracy:.1f} %'


@pytest.fixture
def short(config):
  """Two updates, each validated."""
  config.num_steps, config.optim.warmup_steps = 2, 0
  config.eval_every = config.checkpoint_every = config.log_every = 1
  config.keep_checkpoints = 1
  return config


def strict_json(path):
  def refuse(constant):
    raise AssertionError(f'{path} holds {constant}')
  return json.loads(path.read_text(), parse_constant=refuse)


def scribble_on_val(root, config, lacking=()):
  """Leaves one stroke a val image, and no dense mask at all."""
  strokes = {}
  for name in (root / config.data.val_list).read_text().split():
    truth = masks.read_mask(root / f'SegmentationClassAug/{name}.png')
    stroke = np.full_like(truth, 255)
    stroke[20:24] = truth[20:24]
    if name not in lacking:
      masks.write_mask(root / f'scribbles/{name}.png', stroke)
      strokes[name] = stroke
  shutil.rmtree(root / 'SegmentationClassAug')
  config.data.ground_truth = 'none'
  return strokes


def test_training_without_a_val_list(short, root, tmp_path, capsys, caplog):
  shutil.rmtree(root / 'SegmentationClassAug')
  short.data.val_list = 'none'
  train.train(short, tmp_path / 'run')
  assert "config.data.val_list is 'none': nothing is validated" in caplog.text
  assert 'SegmentationClassAug does not exist: nothing is comp' in caplog.text
  figures = strict_json(tmp_path / 'run/metrics.json')
  assert figures.keys() == {'step', 'images_per_second', 'best_step'}
  assert figures['step'] == figures['best_step'] == 2
  assert checkpoint.restore_variables(
      tmp_path / 'run/checkpoints', 'best')[1] == 2
  assert 'was validated: the best is the newest, step 2.' in caplog.text
  assert 'Step 2; nothing was validated.' in capsys.readouterr().out
  assert {path.name for path in (tmp_path / 'run').glob('*.*g')} == {
      'panels_train.png'}
  assert not (tmp_path / 'run/val_images.csv').exists()

  text, page = write_report([tmp_path / 'run'])
  assert 'mIoU' not in text
  assert rows_of(page.parent, 'results.csv') == [
      ['Run', 'Network', 'Steps', 'Measured by'],
      ['run', 'DeepLabV3+ ResNet-18', '2', '']]
  with pytest.raises(UserError, match='nothing to evaluate.*predict'):
    evaluate.evaluate(short, tmp_path / 'run', 'latest', tmp_path / 'out')


def test_a_run_may_go_on_without_its_val_list(short, tmp_path, capsys):
  train.train(short, tmp_path / 'run')
  before = strict_json(tmp_path / 'run/metrics.json')
  short.num_steps, short.data.val_list = 3, 'none'
  train.train(short, tmp_path / 'run')
  figures = strict_json(tmp_path / 'run/metrics.json')
  assert figures['step'] == 3 and 'miou' not in figures
  assert figures['best_step'] == before['best_step']
  assert figures['best_miou'] == before['best_miou']
  assert 'Step 3; the best was' in capsys.readouterr().out
  assert not (tmp_path / 'run/panels_val.png').exists()
  assert not (tmp_path / 'run/val_images.csv').exists()


def test_training_validates_on_strokes(short, root, tmp_path, capsys, caplog):
  strokes = scribble_on_val(root, short)
  train.train(short, tmp_path / 'run')
  assert "compared with the val images' strokes" in caplog.text
  figures = strict_json(tmp_path / 'run/metrics.json')
  assert not {'miou', 'iou', 'pixel_accuracy', 'best_miou'} & figures.keys()
  assert figures['best_stroke_accuracy'] >= figures['stroke_accuracy']
  assert np.sum(figures['confusion']) == 3 * 4 * 48
  table = capsys.readouterr().out
  assert 'accuracy on stroke pixels (%)' in table and 'IoU' not in table
  with open(tmp_path / 'run/val_images.csv') as f:
    rows = [*csv.DictReader(f)]
  assert {row['id'] for row in rows} == strokes.keys()
  assert rows[0].keys() == {'id', 'stroke_accuracy'}

  evaluated = evaluate.evaluate(
      short, tmp_path / 'run', 'latest', tmp_path / 'run/evaluation')
  right = [masks.read_mask(
      tmp_path / f'run/evaluation/predictions/{name}.png')[stroke != 255]
           == stroke[stroke != 255] for name, stroke in strokes.items()]
  assert evaluated['stroke_accuracy'] == np.mean(np.concatenate(right))

  text, page = write_report([tmp_path / 'run'])
  assert f'{100 * evaluated["stroke_accuracy"]:.2f}' in text
  assert 'mIoU' not in text and 'mIoU (%)' not in page.read_text()
  assert rows_of(page.parent, 'by_class.csv')[0] == [
      'Class', 'stroke accuracy (%)']

  for path in (root / 'scribbles').glob('val*'):
    path.unlink()
  figures = evaluate.evaluate(
      short, tmp_path / 'run', 'latest', tmp_path / 'out')
  assert 'stroke_accuracy' not in strict_json(tmp_path / 'out/metrics.json')
  assert figures['num_images'] == 3
  assert len([*(tmp_path / 'out/predictions').iterdir()]) == 3


def test_strokes_of_val_images_stand_in_for_masks(root, config, caplog):
  names = (root / config.data.val_list).read_text().split()
  strokes = scribble_on_val(root, config, lacking=names[:1])
  config.data.scribble_drop = 1.0  # What is learned, not what is measured.
  examples = dataset_files.list_examples(config.data, True)
  assert '1 of 3 val images have no strokes and do not count.' in caplog.text
  assert examples['val'][0].ground_truth is None
  for example in examples['val'][1:]:
    maps, _ = loading.load(example, ('a', 'b', 'c', 'd'))
    assert maps.scribble is None
    np.testing.assert_array_equal(maps.ground_truth, strokes[example.id])
  assert all(example.ground_truth is None for example in examples['train'])
  for name in names[1:]:
    (root / f'scribbles/{name}.png').unlink()
  with pytest.raises(UserError, match='no strokes of a val image.*'
                     'val_list=none'):
    dataset_files.list_examples(config.data, True)


def test_a_missing_ground_truth_names_the_ways_without(root, config):
  shutil.rmtree(root / 'SegmentationClassAug')
  with pytest.raises(UserError, match='SegmentationClassAug does not exist.*'
                     r'--config\.data\.ground_truth=none validates on the '
                     r'strokes .*--config\.data\.val_list=none trains'):
    dataset_files.list_examples(config.data, True)


def test_checkpoints_are_ranked_by_what_they_have():
  ranked = [
      {}, {'step': 1}, {'stroke_accuracy': None},
      {'stroke_accuracy': 0.0}, {'stroke_accuracy': 0.9}, {'miou': 0.0},
      {'miou': 0.3, 'stroke_accuracy': 0.1}]
  ranks = [*map(checkpoint.rank, ranked)]
  assert ranks == sorted(ranks)
  assert len(set(ranks[2:])) == 5 and len(set(ranks[:3])) == 1
