"""Runs one task for each image on all cores, with a progress bar."""

import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import signal

from tqdm import tqdm

from scribble_jax.errors import UserError

# Tasks that are sent to a process at a time: few enough for a smooth bar,
# enough to make the cost of sending them small.
_CHUNK = 8


def map_tasks(function, tasks, processes, description):
  """Does `map(function, tasks)` in several processes.

  Args:
    function: Function of one task; it, the tasks and the results must pickle.
    tasks: List.
    processes: Number of processes; None for the number of cores. With one, the
      work is done in this process.
    description: Text before the progress bar.

  Yields:
    The results, in the tasks' order.

  Raises:
    UserError: A process was killed.
  """
  processes = min(processes or os.cpu_count(), -(-len(tasks) // _CHUNK))
  with_progress = functools.partial(
      tqdm, total=len(tasks), desc=description, unit='image',
      dynamic_ncols=True)
  if processes < 2:
    yield from with_progress(map(function, tasks))
    return
  # Forking could copy a lock that another thread holds.
  pool = concurrent.futures.ProcessPoolExecutor(
      processes, multiprocessing.get_context('spawn'))
  try:
    with _without_interrupts():
      results = pool.map(function, tasks, chunksize=_CHUNK)
    yield from with_progress(results)
  except concurrent.futures.BrokenExecutor as error:
    raise UserError('A process was killed, perhaps out of memory. Use '
                    'fewer processes: --processes=N.') from error
  finally:  # Ctrl-C too waits until no process writes any more.
    pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _without_interrupts():
  """Makes processes that are started in the block ignore Ctrl-C."""
  try:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  except ValueError:  # Only the main thread can change signal handlers.
    yield
    return
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, before)
