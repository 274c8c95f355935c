"""`map` over several threads, with the results in order."""

import collections
import concurrent.futures
import itertools


def map_in_order(function, items, threads=4, ahead=4):
  """`map` over threads, with a bounded number of results waiting.

  Threads suffice if the work releases Python's lock, as reading files,
  decoding, encoding and NumPy do.

  Args:
    function: Function of one item.
    items: Iterable, possibly endless; it is consumed one by one.
    threads: Number of threads.
    ahead: Largest number of items that are started before their turn.

  Yields:
    The results.
  """
  items = iter(items)
  pool = concurrent.futures.ThreadPoolExecutor(threads)
  try:
    waiting = collections.deque(
        pool.submit(function, item) for item in itertools.islice(items, ahead))
    while waiting:
      yield waiting.popleft().result()
      waiting.extend(pool.submit(function, item)
                     for item in itertools.islice(items, 1))
  finally:  # A caller that stops early waits only for running items.
    pool.shutdown(cancel_futures=True)
