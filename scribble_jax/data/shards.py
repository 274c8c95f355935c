"""The shards of a split: files of records, read one record at a time."""

import concurrent.futures
import dataclasses
import os

import numpy as np

from scribble_jax.data import tfrecords
from scribble_jax.files import storage

_THREADS = 16  # Files looked at side by side; a bucket answers slowly.


@dataclasses.dataclass(frozen=True)
class Shards:
  """Where each record of a split lies.

  Attributes:
    paths: [S] files.
    lengths: [S] int64, records of each.
    ends: [N] uint32, where each record ends in its file, in bytes. 4 bytes a
      record are all that a process holds of it.
  """
  paths: tuple[str, ...]
  lengths: np.ndarray
  ends: np.ndarray

  def __post_init__(self):
    object.__setattr__(self, '_lasts', np.cumsum(self.lengths))

  @property
  def size(self):
    """Bytes of all files."""
    return int(self.ends[self._lasts - 1].sum(dtype=np.int64))

  def place(self, record):
    """Returns a record's file, and which of its records it is."""
    shard = int(np.searchsorted(self._lasts, record, side='right'))
    return self.paths[shard], int(
        record - self._lasts[shard] + self.lengths[shard])

  def read(self, record):
    """Returns the content of a record.

    Args:
      record: Counted through all shards.

    Raises:
      tfrecords.DamagedError: It is not as it was written.
      OSError: Its file is missing or can't be read.
    """
    path, index = self.place(record)
    begin = int(self.ends[record - 1]) if index else 0
    with (storage.path(path).open('rb') if storage.is_remote(path)
          # Of a file in the page cache only the record is copied.
          else open(path, 'rb', buffering=0)) as file:
      return tfrecords.read(file, begin, int(self.ends[record]))

  def problems(self):
    """Returns a line for each file that is missing or has another size."""
    sizes = self.ends[self._lasts - 1]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
      found = pool.map(_size, self.paths)
      return [
          f'{path} is missing or truncated: it should hold {length} records'
          for path, length, size, actual in zip(
              self.paths, self.lengths, sizes, found, strict=True)
          if size != actual]


def _size(path):
  """Returns a file's bytes, -1 without one."""
  try:
    return (storage.path(path).stat().length if storage.is_remote(path)
            else os.path.getsize(path))
  except OSError:
    return -1
