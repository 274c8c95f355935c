"""The shards of a split: files of records that are read by record number."""

import concurrent.futures
import dataclasses
import os

import numpy as np

from scribble_jax.data import tfrecords
from scribble_jax.files import storage

_THREADS = 16  # Parallel requests for file sizes; a bucket answers slowly.


@dataclasses.dataclass(frozen=True)
class Shards:
  """The position of each record of a split.

  A process holds no more than 4 bytes per record.

  Attributes:
    paths: [S] paths of the files.
    lengths: [S] int64, number of records of each file.
    ends: [N] uint32, end of each record in its file, in bytes.
  """
  paths: tuple[str, ...]
  lengths: np.ndarray
  ends: np.ndarray

  def __post_init__(self):
    object.__setattr__(self, '_lasts', np.cumsum(self.lengths))

  @property
  def size(self):
    """Size of all files in bytes."""
    return int(self.ends[self._lasts - 1].sum(dtype=np.int64))

  def place(self, record):
    """Returns a record's file, and the record's index in that file."""
    shard = int(np.searchsorted(self._lasts, record, side='right'))
    return self.paths[shard], int(
        record - self._lasts[shard] + self.lengths[shard])

  def read(self, record):
    """Returns the content of a record.

    Args:
      record: Index of the record, counted through all shards.

    Raises:
      tfrecords.DamagedError: The record has changed since it was written.
      OSError: The file is missing or cannot be read.
    """
    path, index = self.place(record)
    begin = int(self.ends[record - 1]) if index else 0
    with (storage.path(path).open('rb') if storage.is_remote(path)
          # Without a buffer, only the record is copied from the page cache.
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
  """Returns the size of a file in bytes; -1 if it does not exist."""
  try:
    return (storage.path(path).stat().length if storage.is_remote(path)
            else os.path.getsize(path))
  except OSError:
    return -1
