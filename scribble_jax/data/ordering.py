"""The order in which training reads the records, computed without reading any.

An epoch concatenates the shards in a random order, cuts this sequence of
records into blocks of at most `buffer` records, and shuffles each block. Blocks
may begin and end within a shard. If all records fit into the buffer, the whole
epoch is shuffled.
"""

import functools

import numpy as np

_CACHED = 4  # Epochs and blocks that are kept, as reading crosses borders.


class Order:
  """The record at each position of a run.

  Holds the shards of an epoch and a few blocks in memory. Several threads may
  use it.
  """

  def __init__(self, shard_lengths, seed, buffer):
    """Stores the parameters.

    Args:
      shard_lengths: [S] number of records of each shard, none of them 0.
      seed: Non-negative integer.
      buffer: Largest number of records of a block.
    """
    self._lengths = np.asarray(shard_lengths, np.int64)
    self._firsts = np.cumsum(self._lengths) - self._lengths
    self._total = int(self._lengths.sum())
    self._seed = seed
    num_blocks = -(-self._total // buffer)
    # Block sizes differ by at most one record, so that no block is very small.
    self._blocks = np.arange(num_blocks + 1) * self._total // num_blocks
    self._shards = functools.lru_cache(_CACHED)(self._make_shards)
    self._block = functools.lru_cache(_CACHED)(self._make_block)

  def record(self, position):
    """Returns the index of a record, counted through all shards.

    Args:
      position: Number of examples before it in the run, in all epochs.
    """
    epoch, rank = divmod(position, self._total)
    block = int(np.searchsorted(self._blocks, rank, side='right')) - 1
    return int(self._block(epoch, block)[rank - self._blocks[block]])

  def _make_shards(self, epoch):
    """Returns the [S] shards of an epoch in order, and the end of each."""
    shards = np.random.default_rng([self._seed, epoch]).permutation(
        len(self._lengths))
    return shards, np.cumsum(self._lengths[shards])

  def _make_block(self, epoch, block):
    """Returns the records of a block in order."""
    shards, ends = self._shards(epoch)
    places = np.arange(self._blocks[block], self._blocks[block + 1])
    row = np.searchsorted(ends, places, side='right')
    begins = ends[row] - self._lengths[shards[row]]
    records = self._firsts[shards[row]] + places - begins
    # The generator of the shards' order has one seed number less.
    return np.random.default_rng([self._seed, epoch, block]).permutation(
        records)
