"""Our reading of TFRecord files beside TensorFlow's writing of them."""

import io

import numpy as np
import pytest
import tensorflow as tf

from scribble_jax.data import shards
from scribble_jax.data import tfrecords

CONTENTS = [b'', b'one', bytes(range(256)) * 300, b'last']


def write(path, contents):
  with tf.io.TFRecordWriter(str(path)) as writer:
    for content in contents:
      writer.write(content)
  return str(path)


def test_contents_are_what_tensorflow_wrote(tmp_path):
  path = write(tmp_path / 'file', CONTENTS)
  # 8 bytes of length and two checksums of 4 bytes go with each.
  ends = np.cumsum([16 + len(content) for content in CONTENTS])
  with open(path, 'rb') as file:
    assert [tfrecords.read(file, begin, end) for begin, end in zip(
        [0, *ends], ends, strict=False)] == CONTENTS


def test_any_changed_bit_and_any_lost_byte_is_found(tmp_path):
  write(tmp_path / 'file', [b'content'])
  record = (tmp_path / 'file').read_bytes()
  read = lambda content: tfrecords.read(
      io.BytesIO(b'before' + content + b'behind'), 6, 6 + len(content))
  assert read(record) == b'content'
  for i in range(len(record)):
    for bit in range(8):
      changed = bytearray(record)
      changed[i] ^= 1 << bit
      with pytest.raises(tfrecords.DamagedError):
        read(changed)
    with pytest.raises(tfrecords.DamagedError):
      read(record[:i])
    with pytest.raises(tfrecords.DamagedError):
      tfrecords.read(io.BytesIO(record[:i]), 0, len(record))
  with pytest.raises(tfrecords.DamagedError):
    read(record + b'x')


@pytest.fixture
def three(tmp_path):
  """Three shards of records that name themselves."""
  contents = [[b'record 0', b'record 1', b'record 2'], [b'record 3' * 2],
              [b'record 4' * 3, b'record 5' * 3]]
  paths = [write(tmp_path / f'shard{i}', shard)
           for i, shard in enumerate(contents)]
  ends = [np.cumsum([16 + len(content) for content in shard])
          for shard in contents]
  return shards.Shards(tuple(paths), np.array([3, 1, 2]),
                       np.concatenate(ends).astype(np.uint32))


def test_each_record_is_found_by_its_number(three, tmp_path):
  assert [three.read(i) for i in range(6)] == [
      b'record 0', b'record 1', b'record 2', b'record 3' * 2, b'record 4' * 3,
      b'record 5' * 3]
  assert three.place(2) == (str(tmp_path / 'shard0'), 2)
  assert three.place(3) == (str(tmp_path / 'shard1'), 0)
  assert three.place(5) == (str(tmp_path / 'shard2'), 1)


def test_files_of_another_size_are_problems(three, tmp_path):
  assert not three.problems()
  (tmp_path / 'shard0').write_bytes(b'')
  (tmp_path / 'shard2').unlink()
  first, second = three.problems()
  assert 'shard0 is missing or truncated: it should hold 3' in first
  assert 'shard2 is missing or truncated: it should hold 2' in second
