"""The order in which training sees the records: known without reading any.

An epoch takes the shards in a random order, cuts that row of records into
blocks of at most `buffer`, which may begin and end within a shard, and shuffles
each block. With a buffer of all records it is shuffled whole.
"""

import functools

import numpy as np

_CACHED = 4  # Epochs and blocks: those before and after a border.


class Order:
  """Which record stands at each position of a run; several threads may ask.

  Holds an epoch's shards and a few blocks, not the records' numbers.
  """

  def __init__(self, shard_lengths, seed, buffer):
    """Makes no order yet.

    Args:
      shard_lengths: [S] number of records of each shard, none of them 0.
      seed: At least 0.
      buffer: Records of a block at most.
    """
    self._lengths = np.asarray(shard_lengths, np.int64)
    self._firsts = np.cumsum(self._lengths) - self._lengths
    self._total = int(self._lengths.sum())
    self._seed = seed
    num_blocks = -(-self._total // buffer)
    # Of equal size but for one record, so that no block is a mere rest.
    self._blocks = np.arange(num_blocks + 1) * self._total // num_blocks
    self._shards = functools.lru_cache(_CACHED)(self._make_shards)
    self._block = functools.lru_cache(_CACHED)(self._make_block)

  def record(self, position):
    """Returns which record, counted through all shards, an example is.

    Args:
      position: Examples before it in the run, of this and earlier epochs.
    """
    epoch, rank = divmod(position, self._total)
    block = int(np.searchsorted(self._blocks, rank, side='right')) - 1
    return int(self._block(epoch, block)[rank - self._blocks[block]])

  def _make_shards(self, epoch):
    """Returns an epoch's [S] shards, and where each ends in its row."""
    shards = np.random.default_rng([self._seed, epoch]).permutation(
        len(self._lengths))
    return shards, np.cumsum(self._lengths[shards])

  def _make_block(self, epoch, block):
    """Returns the records of a block in their order."""
    shards, ends = self._shards(epoch)
    places = np.arange(self._blocks[block], self._blocks[block + 1])
    row = np.searchsorted(ends, places, side='right')
    begins = ends[row] - self._lengths[shards[row]]
    records = self._firsts[shards[row]] + places - begins
    # The shards' generator has one number less behind the seed.
    return np.random.default_rng([self._seed, epoch, block]).permutation(
        records)
