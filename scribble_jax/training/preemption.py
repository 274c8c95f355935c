"""Notices that a run shall save and stop."""

import contextlib
import signal
import threading

import jax


@contextlib.contextmanager
def watch(manager):
  """Turns SIGTERM into a question that the train loop asks after an update.

  Args:
    manager: Of the run's checkpoints. With several hosts Orbax asks JAX's
      preemption service, which no stable module of JAX shows.

  Yields:
    A function from the number of updates in this process, 1, 2, ..., to whether
    to save and stop now. All hosts get the same answer.
  """
  if jax.process_count() > 1:
    yield manager.reached_preemption
    return
  # A lone host needs no agreement, whose sync point a fast loop can overtake.
  received = threading.Event()
  previous = signal.signal(signal.SIGTERM, lambda *_: received.set())
  try:
    yield lambda updates: received.is_set()
  finally:
    signal.signal(signal.SIGTERM, previous)
