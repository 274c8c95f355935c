"""Runs one command at a time in a folder, with its output in a log."""

import contextlib
import fcntl
import os
import pathlib
import signal
import subprocess
import sys

_STOP_SECONDS = 120  # A run that is told to stop saves a checkpoint first.


@contextlib.contextmanager
def alone(path):
  """Yields a lock's file descriptor, or None if another process holds it.

  Processes that inherit the descriptor keep the lock, even if this one dies.

  Args:
    path: Path of the lock file.
  """
  with open(path, 'w') as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      yield None
    else:
      yield lock.fileno()


def run(module, flags, log, lock, cores, stopping):
  """Runs `python -m MODULE FLAGS` to its end.

  Args:
    module: Name of the module, such as 'scribble_jax.main'.
    flags: List of command-line flags.
    log: File to which the output is appended.
    lock: File descriptor from `alone`.
    cores: Set of CPU cores that the process may use; None for all.
    stopping: threading.Event that makes the process stop.

  Returns:
    None, or one line that says why the process failed.
  """
  with open(log, 'a') as output:
    start = output.tell()
    process = subprocess.Popen(
        [sys.executable, '-m', module, *flags], stdout=output,
        stderr=subprocess.STDOUT, pass_fds=[lock],
        process_group=0)  # Ctrl-C reaches it through `stopping`.
    try:
      if cores:
        os.sched_setaffinity(process.pid, cores)
      while process.poll() is None:
        if stopping.wait(timeout=0.5):
          break
    finally:
      _end(process)
  if process.returncode > 0:
    return _last_line(log, start)
  if process.returncode < 0:
    name = signal.Signals(-process.returncode).name
    return (f'killed by {name}' + (
        ', perhaps out of memory' if name == 'SIGKILL' else ''))
  return None


def _end(process):
  """Ends a process if it still runs."""
  if process.poll() is None:
    process.terminate()
    try:
      process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
      process.kill()
      process.wait()


def shared_cores(slot, parallel):
  """Returns the set of cores of one of `parallel` slots; None for all."""
  if parallel == 1 or not hasattr(os, 'sched_getaffinity'):
    return None
  available = sorted(os.sched_getaffinity(0))
  share = max(1, len(available) // parallel)
  first = slot * share % len(available)
  return set(available[first:first + share])


def _last_line(log, start):
  """Returns the error line in a run's output, or else its last line."""
  text = pathlib.Path(log).read_bytes()[start:].decode(errors='replace')
  lines = [line for line in text.replace('\r', '\n').splitlines()
           if line.strip()]
  errors = [line for line in lines if line.startswith('error: ')]
  return [*(errors or lines or ['no output'])][-1].removeprefix('error: ')
