"""Public sets of dense masks, as they are unpacked, to what training reads."""

import importlib
import json
import shutil

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from configs import tfds as tfds_config
from scribble_jax import dataset_classes
from scribble_jax import labels
from scribble_jax import published_results
from scribble_jax import train
from scribble_jax.data import dataset_files
from scribble_jax.data import dense_sets
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.files import class_list
from scribble_jax.files import masks
from scribble_jax.report import comparison
from scribble_jax.report.writer import write_report
from tests.reported import rows_of
from tests.reported import write_run

SETS = ('cityscapes', 'ade20k', 'coco')
SIZE = 48


def config_of(name):
  return importlib.import_module(f'configs.{name}').get_config()


def unpacked(name, tmp_path):
  """The config of a public set, and two files a split in its folders."""
  config = config_of(name)
  settings = config.data.unpacked
  settings.source = str(tmp_path / 'unpacked')
  config.data.root = str(tmp_path / 'data')
  meaning = labels.meanings(255, config.data.label_map)['ground_truth']
  for split in dense_sets.SPLITS:
    for image_id in ('one/a_1', 'one/b_2'):
      for pattern in (settings.images, settings.masks):
        path = tmp_path / 'unpacked' / pattern.format(
            split=settings[split], id=image_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.full([SIZE, SIZE], np.flatnonzero(meaning == 1)[0])
        values[10:30, 10:40] = np.flatnonzero(meaning == 3)[0]
        values[:5] = np.flatnonzero(meaning == 255)[0]
        image = values if pattern == settings.masks else np.random.default_rng(
            0).integers(0, 255, [SIZE, SIZE, 3])
        Image.fromarray(image.astype(np.uint8)).save(path)
  return config


def shrink(config):
  """Makes a config train in seconds, on the strokes alone."""
  config.backbone_weights = 'none'
  config.data.pseudo_labels = 'none'
  config.data.crop_size = 33
  config.batch_size, config.num_steps = 4, 2
  config.model.backbone = 'resnet18'
  config.model.width, config.model.head_width = 4, 8
  config.optim.warmup_steps = 1
  config.log_every = config.eval_every = config.checkpoint_every = 2
  config.num_panels = 1
  return config


@pytest.mark.parametrize('name', SETS)
def test_unpacked_set_becomes_what_training_reads(name, tmp_path):
  config = unpacked(name, tmp_path)
  dense_sets.prepare(config.data)
  dense_sets.prepare(config.data)  # Does nothing.
  config.data.pseudo_labels = 'none'
  examples = dataset_files.list_examples(config.data, False)
  for split, found in examples.items():
    assert [one.id for one in found] == [
        f'{config.data.unpacked[split]}/one/{last}' for last in ('a_1', 'b_2')]
    assert all(one.image.is_symlink() for one in found)
  meaning = labels.meanings(255, config.data.label_map)['scribbles']
  for one in examples['train']:
    strokes = labels.translate(masks.read_mask(one.scribble), meaning)
    truth = labels.translate(masks.read_mask(one.ground_truth), meaning)
    assert {*np.unique(strokes)} == {1, 3, 255} == {*np.unique(truth)}
    np.testing.assert_array_equal(
        strokes[strokes != 255], truth[strokes != 255])
    assert 0 < np.mean(strokes != 255) < 0.3
  assert examples['val'][0].scribble is None
  records.prepare(config.data)

  config.data.label_map += ',254:255'
  with pytest.raises(UserError, match='was made with other settings'):
    dense_sets.prepare(config.data)


def test_network_trains_on_an_unpacked_set(tmp_path):
  config = shrink(unpacked('cityscapes', tmp_path))
  train.train(config, str(tmp_path / 'run'))
  metrics = json.loads((tmp_path / 'run/metrics.json').read_text())
  assert [*metrics['iou']] == [*dataset_classes.CITYSCAPES_CLASSES]


def test_what_is_missing_is_named(tmp_path):
  config = unpacked('ade20k', tmp_path)
  folder = tmp_path / 'unpacked/annotations/validation/one'
  (folder / 'b_2.png').unlink()
  with pytest.raises(UserError, match='for the id one/b_2'):
    dense_sets.prepare(config.data)
  shutil.rmtree(folder)
  with pytest.raises(UserError, match=(
      r'holds no annotations/validation/\{id\}\.png')):
    dense_sets.prepare(config.data)
  shutil.rmtree(folder.parent)
  with pytest.raises(UserError, match='annotations/validation does not exist'):
    dense_sets.prepare(config.data)
  config.data.unpacked.source = str(tmp_path / 'nowhere')
  with pytest.raises(UserError, match='--config.data.unpacked.source'):
    dense_sets.prepare(config.data)
  assert not (tmp_path / 'data').exists()


def test_values_that_the_label_map_lacks_and_roots_of_others(tmp_path):
  config = unpacked('ade20k', tmp_path)
  path = tmp_path / 'unpacked/annotations/training/one/a_1.png'
  Image.new('L', (SIZE, SIZE), 200).save(path)
  with pytest.raises(UserError, match=(
      'the mask of training/one/a_1: holds the value 200')):
    dense_sets.prepare(config.data)
  (tmp_path / 'data').mkdir()
  (tmp_path / 'data/mine').touch()
  with pytest.raises(UserError, match='holds something else'):
    dense_sets.prepare(config.data)
  config.data.label_map = f'ground_truth={config.data.label_map}'
  config.data.root = str(tmp_path / 'other')
  with pytest.raises(UserError, match='must say the same of scribbles'):
    dense_sets.prepare(config.data)
  config.data.label_map = '0:0,255:1'
  with pytest.raises(UserError, match='unlabelled_index=254'):
    dense_sets.prepare(config.data)
  config.data.unpacked.masks = 'annotations/{split}/gt_{id}.png'
  config.data.unlabelled_index = 254
  with pytest.raises(UserError, match='Write one {id} at the start'):
    dense_sets.prepare(config.data)


# The classes that a value stands for, from the sets' own documentation.
@pytest.mark.parametrize('name, number, classes', [
    ('cityscapes', 19, {
        7: 'road', 8: 'sidewalk', 11: 'building', 13: 'fence', 17: 'pole',
        19: 'traffic light', 23: 'sky', 28: 'bus', 31: 'train', 33: 'bicycle',
        0: None, 10: None, 14: None, 18: None, 30: None, 255: None}),
    ('ade20k', 150, {0: None, 1: 'wall', 13: 'person', 21: 'car', 127: 'animal',
                     150: 'flag'}),
    ('coco', 81, {0: 'person', 9: 'traffic light', 10: 'fire hydrant',
                  12: 'stop sign', 26: 'backpack', 30: 'handbag',
                  43: 'bottle', 45: 'wine glass', 64: 'bed',
                  66: 'dining table', 69: 'toilet', 71: 'tv',
                  81: 'refrigerator', 83: 'book', 89: 'toothbrush',
                  91: 'background', 181: 'background', 255: None}),
    ('pascal_context', 60, {0: 'background', 1: 'aeroplane', 59: 'wood'})])
def test_classes_of_the_public_sets(name, number, classes):
  data = config_of(name).data
  class_list.check(name, data.classes)
  assert len(set(data.classes)) == len(data.classes) == number
  meaning = labels.meanings(
      data.unlabelled_index, data.label_map, number)['ground_truth']
  for value, expected in classes.items():
    label = value if meaning is None else meaning[value]
    assert (None if label == 255 else data.classes[label]) == expected
  if name != 'pascal_context':
    assert {*meaning} >= {*range(number)}


def test_report_shows_the_figures_of_the_same_classes(tmp_path):
  write_run(tmp_path / 'run',
            dict.fromkeys(dataset_classes.CITYSCAPES_CLASSES, 0.7))
  text, path = write_report([tmp_path / 'run'])
  assert 'Published figures are on Cityscapes val; differences hold' in text
  rows = rows_of(path.parent, 'published.csv')
  assert ['TEL', 'SegFormer-B4', '64.40', 'published', '+5.60'] in rows
  assert not [row for row in rows if row[0].startswith('CDSP')]
  assert comparison.benchmark_of([]) is published_results.BENCHMARKS[0]


# tensorflow-datasets


def pets(split, **_):
  """Trimaps as Oxford's: 1 pet, 2 background, 3 neither."""
  def rows():
    for number in range(3 if split == 'train' else 2):
      mask = np.full([SIZE, SIZE, 1], 2, np.uint8)
      mask[10:30, 10:40], mask[10:12, 10:40] = 1, 3
      yield {'image': np.full([SIZE, SIZE, 3], 60 * number, np.uint8),
             'segmentation_mask': mask, 'label': number}
  return tf.data.Dataset.from_generator(rows, output_signature={
      'image': tf.TensorSpec([SIZE, SIZE, 3], tf.uint8),
      'segmentation_mask': tf.TensorSpec([SIZE, SIZE, 1], tf.uint8),
      'label': tf.TensorSpec([], tf.int64)})


def tfds_data(tmp_path, label_map='1:1,2:0,3:255'):
  config = tfds_config.get_config()
  config.data.root = str(tmp_path / 'data')
  config.data.label_map = label_map
  return config


def test_network_trains_on_a_set_of_tensorflow_datasets(tmp_path):
  config = shrink(tfds_data(tmp_path))
  with tfds.testing.mock_data(as_dataset_fn=lambda self, *args, **options: pets(
      **options)):
    dense_sets.prepare(config.data)
  train.train(config, str(tmp_path / 'run'))  # Records are tfds' own, too.
  lists = tmp_path / 'data/ImageSets/SegmentationAug'
  assert len((lists / 'train.txt').read_text().split()) == 3
  assert len((lists / 'val.txt').read_text().split()) == 2
  assert (tmp_path / 'data/classes.txt').read_text().split('\n') == [
      'background', 'class 1', '']
  strokes = masks.read_mask(tmp_path / 'data/scribbles/train_000001.png')
  assert {*np.unique(strokes)} == {1, 2, 255}
  image = np.asarray(Image.open(tmp_path / 'data/JPEGImages/train_000002.png'))
  assert (image == 120).all()
  metrics = json.loads((tmp_path / 'run/metrics.json').read_text())
  assert [*metrics['iou']] == ['background', 'class 1']


def test_their_own_random_examples_are_refused_by_name(tmp_path):
  """Mock images and masks have sizes and values of their own."""
  config = tfds_data(tmp_path, '0-127:0,128-254:1')
  with tfds.testing.mock_data(num_examples=2):
    dense_sets.prepare(config.data)
  assert len([*(tmp_path / 'data/JPEGImages').iterdir()]) == 4
  config.data.pseudo_labels = 'none'
  with pytest.raises(UserError, match=r'train_000000\.png: is .* its image'):
    records.prepare(config.data)
  config = tfds_data(tmp_path / 'mapped')
  with tfds.testing.mock_data(num_examples=1), pytest.raises(
      UserError, match='the mask of train_000000: .*which the label map lacks'):
    dense_sets.prepare(config.data)


@pytest.mark.parametrize('name, message', [
    ('no_such_set', 'no_such_set.*tensorflow.org/datasets/catalog'),
    ('mnist', r"has the images \[\] and the masks \['image'\]"),
    ('lvis', r"the masks \[\]")])
def test_sets_that_will_not_do(tmp_path, name, message):
  config = tfds_data(tmp_path)
  config.data.tfds = name
  with tfds.testing.mock_data(), pytest.raises(UserError, match=message):
    dense_sets.prepare(config.data)
  assert not (tmp_path / 'data').exists()
