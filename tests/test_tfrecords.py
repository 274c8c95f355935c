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


def ends(path):
  with open(path, 'rb') as file:
    return tfrecords.ends(file)


def test_ends_and_contents_are_what_tensorflow_wrote(tmp_path):
  path = write(tmp_path / 'file', CONTENTS)
  found = ends(path)
  # 8 bytes of length and two checksums of 4 bytes go with each.
  np.testing.assert_array_equal(
      found, np.cumsum([16 + len(content) for content in CONTENTS]))
  with open(path, 'rb') as file:
    assert [tfrecords.read(file, begin, end) for begin, end in zip(
        [0, *found], found, strict=False)] == CONTENTS


def test_an_empty_file_has_no_records(tmp_path):
  assert not len(ends(write(tmp_path / 'file', [])))


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


@pytest.mark.parametrize('lost', [1, 5, 14])  # In content and header.
def test_a_file_that_ends_within_a_record_has_no_ends(tmp_path, lost):
  path = tmp_path / 'file'
  write(path, [b'12345', b'67890'])
  path.write_bytes(path.read_bytes()[:-lost])
  with pytest.raises(tfrecords.DamagedError, match='ends within'):
    ends(path)


def test_a_changed_length_is_no_header(tmp_path):
  path = tmp_path / 'file'
  write(path, [b'12345'])
  content = bytearray(path.read_bytes())
  content[0] ^= 1
  path.write_bytes(content)
  with pytest.raises(tfrecords.DamagedError, match='length'):
    ends(path)


@pytest.fixture
def three(tmp_path):
  """Three shards of records that name themselves."""
  lengths = (3, 1, 2)
  names = iter(range(6))
  paths = [write(tmp_path / f'shard{i}', [
      b'record %d' % next(names) * (i + 1) for _ in range(length)])
           for i, length in enumerate(lengths)]
  return shards.find(paths, lengths)


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
