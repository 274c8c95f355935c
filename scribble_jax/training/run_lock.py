"""One live run in a workdir, and a sign of life for whoever watches it."""

import contextlib
import fcntl
import os
import socket
import threading
import time

from absl import logging

from scribble_jax.errors import PassingError
from scribble_jax.files import formats
from scribble_jax.files import storage

_LOCK, _HEARTBEAT = '.lock', 'heartbeat.json'
_INTERVAL = 15.0  # Seconds between heartbeats.
_PATIENCE = 60.0  # Seconds without one, after which a run is taken for dead.


class Heartbeat:
  """Writes host, process and step to the workdir every few seconds."""

  def __init__(self, path):
    self._path = path
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._beat, daemon=True)
    self._step = None

  def __enter__(self):
    self._write()
    self._thread.start()
    return self

  def __exit__(self, *error):
    self._ended.set()
    self._thread.join()
    self._path.unlink(missing_ok=True)

  def at(self, step):
    """Takes the number of completed updates for the next heartbeat."""
    self._step = step

  def _beat(self):
    while not self._ended.wait(_INTERVAL):
      with contextlib.suppress(*storage.errors()):  # The next may arrive.
        self._write()

  def _write(self):
    formats.write_json(self._path, {
        'host': socket.gethostname(), 'process': os.getpid(),
        'time': time.time(), 'step': self._step})


@contextlib.contextmanager
def only_run(workdir):
  """Yields a Heartbeat while no other run is in the workdir.

  On one machine's disks a lock tells, which goes with its process. Elsewhere
  the heartbeat does: a run whose heartbeat stands still is dead.

  Args:
    workdir: Absolute path of a folder that exists.

  Raises:
    PassingError: Another run is there.
  """
  with _locked(workdir):
    _await_end_elsewhere(workdir)
    with Heartbeat(workdir / _HEARTBEAT) as heartbeat:
      yield heartbeat


@contextlib.contextmanager
def _locked(workdir):
  """Holds the workdir's lock; buckets have none."""
  if storage.is_remote(workdir):
    yield
    return
  with open(workdir / _LOCK, 'w') as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise _occupied(workdir, _read(workdir / _HEARTBEAT)) from error
    yield


def _await_end_elsewhere(workdir):
  """Returns when no run that the lock can't tell of shows signs of life."""
  first = _read(workdir / _HEARTBEAT)
  if not first or (first['host'] == socket.gethostname()
                   and not storage.is_remote(workdir)):
    return
  logging.info(
      '%s was used by %s, process %d. Waiting %.0f s for a sign of life.',
      workdir, first['host'], first['process'], _PATIENCE)
  end = time.monotonic() + _PATIENCE
  while time.monotonic() < end:
    time.sleep(1.0)
    now = _read(workdir / _HEARTBEAT)
    if now is None:
      return
    if now != first:
      raise _occupied(workdir, now)


def _read(path):
  with contextlib.suppress(*storage.errors()):
    return formats.read_json(path)
  return None


def _occupied(workdir, heartbeat):
  whose = heartbeat and (
      f' (host {heartbeat["host"]}, process {heartbeat["process"]})')
  return PassingError(
      f'Another run is going on in {workdir}{whose or ""}. Wait for it, stop '
      'it, or name another --workdir.')
