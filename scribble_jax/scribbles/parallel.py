"""One image a task, over all cores, with a progress bar."""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import os
import signal

from tqdm import tqdm

from scribble_jax.errors import UserError

# Tasks that a process takes at a time: few enough for a smooth bar, enough to
# make little of the cost of passing them on.
_CHUNK = 8


def map_tasks(function, tasks, processes, description):
  """`map` over several processes, in the tasks' order.

  Args:
    function: Of one task; like the tasks and results it must pickle.
    tasks: List.
    processes: How many; None: as many as there are cores. One does all the
      work in this process.
    description: Heads the progress bar.

  Yields:
    The results.

  Raises:
    UserError: A process was killed.
  """
  processes = min(processes or os.cpu_count(), -(-len(tasks) // _CHUNK))
  with tqdm(total=len(tasks), desc=description, unit='image',
            dynamic_ncols=True) as progress:
    if processes < 2:
      results = map(function, tasks)
      for result in results:
        progress.update()
        yield result
      return
    # Forking could copy a lock that another thread holds.
    pool = concurrent.futures.ProcessPoolExecutor(
        processes, multiprocessing.get_context('spawn'))
    try:
      with _without_interrupts():
        chunks = collections.deque(
            pool.submit(_run_chunk, function, tasks[i:i + _CHUNK])
            for i in range(0, len(tasks), _CHUNK))
      while chunks:
        for result in chunks.popleft().result():
          progress.update()
          yield result
    except concurrent.futures.BrokenExecutor as error:
      raise UserError('A process was killed, perhaps for want of memory. Try '
                      'fewer of them by --processes.') from error
    finally:  # Ctrl-C too waits until nobody writes any more.
      pool.shutdown(cancel_futures=True)


def _run_chunk(function, tasks):
  return [function(task) for task in tasks]


@contextlib.contextmanager
def _without_interrupts():
  """Lets processes that start here leave Ctrl-C to this one."""
  try:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  except ValueError:  # Not the main thread, which alone gets signals.
    yield
    return
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, before)
