"""Batches are a function of (records, seed, step), whoever reads them."""

import itertools
import pathlib
import re

import jax
import numpy as np
import pytest

from scribble_jax.data import distance_maps
from scribble_jax.data import input_pipeline
from scribble_jax.data import ordering
from scribble_jax.data import record_reader
from scribble_jax.data import records
from scribble_jax.data import shards
from scribble_jax.errors import UserError


@pytest.fixture
def dataset(config):
  return records.prepare(config.data)


def batches(dataset, config, count, *, start_step=0, index=0, hosts=1, seed=3,
            buffer=100):
  return list(itertools.islice(input_pipeline.train_batches(
      dataset, input_pipeline.TRAIN_MASKS,
      augmentation=config.data.augmentation.to_dict() | {
          'crop_size': 33, 'distance_fill': 'official'},
      batch_size=4, shuffle_buffer=buffer, seed=seed, start_step=start_step,
      rows=np.arange(4).reshape(hosts, -1)[index]), count))


def assert_equal(actual, expected):
  for one, other in zip(actual, expected, strict=True):
    for name in expected[0]:
      np.testing.assert_array_equal(one[name], other[name])


def test_hosts_share_the_global_batch(dataset, config):
  whole = batches(dataset, config, 6)
  first, second = (batches(dataset, config, 6, index=i, hosts=2)
                   for i in range(2))
  joined = [{name: np.concatenate([a[name], b[name]]) for name in a}
            for a, b in zip(first, second, strict=True)]
  assert_equal(joined, whole)


def test_skipping_to_a_step_equals_reading_up_to_it(dataset, config):
  assert_equal(batches(dataset, config, 2, start_step=5),
               batches(dataset, config, 7)[5:])


def test_seed_changes_order_and_augmentation(dataset, config):
  one, other = (batches(dataset, config, 1, seed=seed)[0] for seed in (3, 4))
  assert not np.array_equal(one['image'], other['image'])


def test_an_epoch_shows_every_image_once(dataset, config):
  config.data.augmentation = {
      'scale': (1.0, 1.0), 'rotate_probability': 0.0, 'rotate_degrees': 0.0,
      'blur_probability': 0.0, 'flip_probability': 0.0}
  images = [image for batch in batches(dataset, config, 5)
            for image in batch['image']]
  assert len({image.tobytes() for image in images[:10]}) == 10


def test_whole_examples_are_what_the_folder_holds(dataset, config, root):
  from PIL import Image
  ids = (root / config.data.train_list).read_text().split()
  examples = list(input_pipeline.whole_examples(dataset, 'train'))
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


def test_limit(dataset):
  assert len(list(input_pipeline.whole_examples(dataset, 'val', limit=2))) == 2


def test_chosen_examples_come_in_their_order(dataset):
  ids = [example['id']
         for example in input_pipeline.whole_examples(dataset, 'train')]
  chosen = np.zeros(len(ids), bool)
  chosen[[1, 4, 9]] = True
  assert [example['id'] for example in input_pipeline.whole_examples(
      dataset, 'train', chosen=chosen)] == [ids[1], ids[4], ids[9]]


def spoil(dataset, record, shards='train'):
  """Changes a bit in the middle of a record."""
  shards = dataset.shards[shards]
  path, index = shards.place(record)
  begin = shards.ends[record - 1] if index else 0
  middle = (int(begin) + int(shards.ends[record])) // 2
  content = bytearray(pathlib.Path(path).read_bytes())
  content[middle] ^= 1
  pathlib.Path(path).write_bytes(content)


def make_undecodable(dataset, record, monkeypatch):
  """Lets a record be whole, yet its image none."""
  read = shards.Shards.read

  def broken(self, number):
    content = read(self, number)
    if self is dataset.shards['train'] and number == record:
      content = content.replace(b'\xff\xd8\xff', b'\xff\xd8\x00')
    return content

  monkeypatch.setattr(shards.Shards, 'read', broken)


def plain(config):
  config.data.augmentation = {
      'scale': (1.0, 1.0), 'rotate_probability': 0.0, 'rotate_degrees': 0.0,
      'blur_probability': 0.0, 'flip_probability': 0.0}
  return config


@pytest.mark.parametrize('kind', ['checksum', 'undecodable'])
def test_a_damaged_record_gives_its_place_to_the_next(
    config, monkeypatch, caplog, kind):
  config.data.skip_corrupt = True
  dataset = records.prepare(plain(config).data)
  whole = [image for batch in batches(dataset, config, 5)
           for image in batch['image']]
  order = ordering.Order(dataset.shards['train'].lengths, 3, 100)
  bad = order.record(6)
  if kind == 'checksum':
    spoil(dataset, bad)
  else:
    make_undecodable(dataset, bad, monkeypatch)
  caplog.clear()
  # Two hosts, which do not see each other's records, agree.
  for hosts in (1, 2):
    joined = zip(*(batches(dataset, config, 5, index=i, hosts=hosts)
                   for i in range(hosts)), strict=True)
    images = [image for parts in joined for part in parts
              for image in part['image']]
    for position, image in enumerate(images):
      same = np.array_equal(image, whole[position])
      # Crops depend on the position, so those of a replaced record differ.
      assert same == (order.record(position) != bad), position
  path, index = dataset.shards['train'].place(bad)
  assert f'Skipping damaged records, first {path}, record {index}: ' in (
      caplog.text)


@pytest.mark.parametrize('kind', ['checksum', 'undecodable'])
def test_a_damaged_record_ends_training_and_says_which(
    config, monkeypatch, kind):
  dataset = records.prepare(config.data)
  if kind == 'checksum':
    spoil(dataset, 4)
  else:
    make_undecodable(dataset, 4, monkeypatch)
  path, index = dataset.shards['train'].place(4)
  for read in (lambda: batches(dataset, config, 5),
               lambda: [*input_pipeline.whole_examples(dataset, 'train')]):
    with pytest.raises(UserError, match=(
        re.escape(f'{path}, record {index}: ')
        + '.*Delete .*skip_corrupt=True')) as error:
      read()
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('kind', ['checksum', 'undecodable'])
def test_damaged_examples_are_left_out(config, monkeypatch, caplog, kind):
  config.data.skip_corrupt = True
  dataset = records.prepare(config.data)
  ids = [example['id']
         for example in input_pipeline.whole_examples(dataset, 'train')]
  spoil(dataset, 1)
  if kind == 'checksum':
    spoil(dataset, 4)
  else:
    make_undecodable(dataset, 4, monkeypatch)
  assert [example['id'] for example in input_pipeline.whole_examples(
      dataset, 'train')] == [ids[i] for i in (0, 2, 3, 5, 6, 7, 8, 9)]
  assert '2 damaged records were skipped' in caplog.text


def test_nothing_that_is_skipped_or_another_hosts_is_read(
    config, monkeypatch):
  dataset = records.prepare(config.data)
  order = ordering.Order(dataset.shards['train'].lengths, 3, 100)
  expected = {order.record(position) for position in range(4 * 5 + 2, 4 * 6)}
  monkeypatch.setattr(record_reader, '_THREADS', 1)
  seen, read = [], shards.Shards.read
  monkeypatch.setattr(shards.Shards, 'read', lambda self, record: (
      seen.append(record), read(self, record))[1])
  batches(dataset, config, 1, start_step=5, index=1, hosts=2)
  assert set(seen[:2]) == expected  # Later ones are read ahead.


@pytest.mark.parametrize('hosts', [1, 2, 3, 7])
def test_hosts_share_whole_examples(dataset, hosts, monkeypatch):
  ids = [example['id']
         for example in input_pipeline.whole_examples(dataset, 'val')]
  shares = []
  monkeypatch.setattr(jax, 'process_count', lambda: hosts)
  for index in range(hosts):
    monkeypatch.setattr(jax, 'process_index', lambda index=index: index)
    shares.append([example['id'] for example in input_pipeline.whole_examples(
        dataset, 'val', shared=True)])
  assert [name for share in shares for name in share] == ids
  assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_vanished_shard_is_skipped_at_the_start(config, caplog):
  config.data.skip_corrupt = True
  dataset = records.prepare(config.data)
  pathlib.Path(dataset.shards['val'].paths[0]).unlink()
  dataset = records.prepare(config.data)
  assert 'is missing or truncated' in caplog.text
  with pytest.raises(UserError, match='No record can be read'):
    list(input_pipeline.whole_examples(dataset, 'val'))
  assert len(list(input_pipeline.whole_examples(dataset, 'train'))) == 10
