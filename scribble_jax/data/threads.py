"""Work for several threads, whose results come in order."""

import collections
import concurrent.futures
import itertools


def map_in_order(function, items, threads=4, ahead=4):
  """`map` over threads, with a bounded number of results waiting.

  Threads suffice where the work releases Python's lock, as reading files,
  decoding, encoding and NumPy do.

  Args:
    function: Of one item.
    items: Iterable, perhaps endless; used up one by one.
    threads: How many.
    ahead: Items begun before their turn at most.

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
  finally:  # Who stops early waits for what has begun alone.
    pool.shutdown(cancel_futures=True)
