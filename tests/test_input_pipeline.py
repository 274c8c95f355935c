"""Batches are a function of (records, seed, step), whoever reads them."""

import itertools

import numpy as np
import pytest

from scribble_jax.data import distance_maps
from scribble_jax.data import input_pipeline
from scribble_jax.data import records


@pytest.fixture
def source(config):
  return records.prepare(config.data)


def batches(source, config, count, *, start_step=0, index=0, hosts=1, seed=3):
  return list(itertools.islice(input_pipeline.train_batches(
      source, input_pipeline.TRAIN_MASKS,
      augmentation=config.data.augmentation.to_dict() | {
          'crop_size': 33, 'distance_fill': 'official'},
      batch_size=4, seed=seed, start_step=start_step,
      process_index=index, process_count=hosts), count))


def assert_equal(actual, expected):
  for one, other in zip(actual, expected, strict=True):
    for name in expected[0]:
      np.testing.assert_array_equal(one[name], other[name])


def test_hosts_share_the_global_batch(source, config):
  whole = batches(source, config, 6)
  first, second = (batches(source, config, 6, index=i, hosts=2)
                   for i in range(2))
  joined = [{name: np.stack([a[name], b[name]], 1).reshape(w[name].shape)
             for name in w} for a, b, w in zip(
                first, second, whole, strict=True)]
  assert_equal(joined, whole)


def test_skipping_to_a_step_equals_reading_up_to_it(source, config):
  assert_equal(batches(source, config, 2, start_step=5),
               batches(source, config, 7)[5:])


def test_seed_changes_order_and_augmentation(source, config):
  one, other = (batches(source, config, 1, seed=seed)[0] for seed in (3, 4))
  assert not np.array_equal(one['image'], other['image'])


def test_an_epoch_shows_every_image_once(source, config):
  config.data.augmentation = {
      'scale': (1.0, 1.0), 'rotate_probability': 0.0, 'rotate_degrees': 0.0,
      'blur_probability': 0.0, 'flip_probability': 0.0}
  images = [image for batch in batches(source, config, 5)
            for image in batch['image']]
  assert len({image.tobytes() for image in images[:10]}) == 10


def test_whole_examples_are_what_the_folder_holds(source, config, root):
  from PIL import Image
  ids = (root / config.data.train_list).read_text().split()
  examples = list(input_pipeline.whole_examples(source, 'train'))
  assert [example['id'] for example in examples] == ids
  for example in examples[:3]:
    name = example['id']
    scribble = np.asarray(Image.open(root / f'scribbles/{name}.png'))
    pseudo_label = np.asarray(Image.open(root / f'pseudo_labels/{name}.png'))
    np.testing.assert_array_equal(
        example['image'], Image.open(root / f'JPEGImages/{name}.jpg'))
    np.testing.assert_array_equal(example['scribble'], scribble)
    np.testing.assert_array_equal(example['pseudo_label'], pseudo_label)
    np.testing.assert_array_equal(
        example['scribble_distance'],
        distance_maps.scribble_distance_map(scribble, config.data.lambda_s))
    np.testing.assert_array_equal(
        example['pseudo_label_distance'],
        distance_maps.pseudo_label_distance_map(
            pseudo_label, config.data.lambda_c))


def test_limit(source):
  assert len(list(input_pipeline.whole_examples(source, 'val', limit=2))) == 2


def test_chosen_examples_come_in_their_order(source):
  ids = [example['id']
         for example in input_pipeline.whole_examples(source, 'train')]
  chosen = np.zeros(len(ids), bool)
  chosen[[1, 4, 9]] = True
  assert [example['id'] for example in input_pipeline.whole_examples(
      source, 'train', chosen=chosen)] == [ids[1], ids[4], ids[9]]
