"""Every record once an epoch, in an order that only chance knows."""

import itertools

import numpy as np
import pytest

from scribble_jax.data import ordering

LENGTHS = (7, 1, 12, 5, 9, 6)  # 40 records.
SHARD_OF = np.repeat(np.arange(len(LENGTHS)), LENGTHS)


def epochs(buffer, *, seed=5, count=1, lengths=LENGTHS):
  order = ordering.Order(lengths, seed, buffer)
  total = sum(lengths)
  return np.array([[order.record(epoch * total + rank) for rank in range(total)]
                   for epoch in range(count)])


@pytest.mark.parametrize('buffer', [1, 3, 10, 39, 40, 1000])
def test_an_epoch_has_every_record_once(buffer):
  for epoch in epochs(buffer, count=3):
    np.testing.assert_array_equal(np.sort(epoch), np.arange(40))


def test_epochs_and_seeds_differ():
  for buffer in (10, 40):
    orders = [*epochs(buffer, count=3), *epochs(buffer, seed=6)]
    for one, other in itertools.combinations(orders, 2):
      assert not np.array_equal(one, other)


def test_blocks_are_stretches_of_the_shards_in_a_random_order():
  epoch, = epochs(10)
  blocks = epoch.reshape(4, 10)
  assert all((np.diff(block) < 0).any() for block in blocks)

  def explains(row):
    """Whether each block has just what stands there, shards being in a row."""
    stretches = np.concatenate(
        [np.flatnonzero(shard == SHARD_OF) for shard in row]).reshape(4, 10)
    return np.array_equal(np.sort(blocks), np.sort(stretches))

  rows = [*filter(explains, itertools.permutations(range(len(LENGTHS))))]
  assert rows and tuple(range(len(LENGTHS))) not in rows


def test_no_block_is_a_mere_rest():
  # 21 records do not fit into blocks of 20: 10 and 11 rather than 20 and 1.
  epoch, = epochs(20, lengths=(10, 11))
  assert {frozenset(epoch[:10]), frozenset(epoch[10:])} in (
      {frozenset(range(10)), frozenset(range(10, 21))},
      {frozenset(range(10, 20)), frozenset([20, *range(10)])})


def test_a_buffer_of_all_shuffles_evenly():
  # Chi-squared of 10 records at 10 positions over 2,000 epochs.
  lengths, count = (4, 6), 2_000
  found = np.zeros([10, 10])
  for epoch in epochs(10, count=count, lengths=lengths):
    found[np.arange(10), epoch] += 1
  statistic = np.sum((found - count / 10)**2) / (count / 10)
  assert statistic < 81 + 4 * np.sqrt(2 * 81)  # 81 degrees of freedom.


def test_positions_may_be_asked_in_any_order():
  order = ordering.Order(LENGTHS, 5, 10)
  positions = np.random.default_rng(0).permutation(120)
  expected = epochs(10, count=3).reshape(-1)
  assert [order.record(int(p)) for p in positions] == expected[
      positions].tolist()


def test_ten_million_records_take_little_memory():
  import tracemalloc
  tracemalloc.start()
  order = ordering.Order([2_500] * 4_000, 0, 20_000)
  for position in (0, 5_000_000, 10_000_001, 123_456_789):
    order.record(position)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 4e6  # Bytes; the numbers of all records would take 80e6.
