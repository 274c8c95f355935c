"""Only one live run in a workdir, and a heartbeat file that shows it is alive.

On one machine's disks a file lock is enough; the system releases it when its
process ends. Machines that share a network disk or a bucket watch the heartbeat
instead: a run whose heartbeat no longer changes is dead.
"""

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
_PATIENCE = 60.0  # Seconds without a heartbeat after which a run is dead.


class Heartbeat:
  """Writes host, process and step to a file every few seconds."""

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
    """Sets the number of completed updates for the next heartbeat."""
    self._step = step

  def _beat(self):
    while not self._ended.wait(_INTERVAL):
      with contextlib.suppress(*storage.errors()):  # The next one may succeed.
        self._write()

  def _write(self):
    formats.write_json(self._path, {
        'host': socket.gethostname(), 'process': os.getpid(),
        'time': time.time(), 'step': self._step})


@contextlib.contextmanager
def only_run(workdir):
  """Yields a Heartbeat while no other run is in the workdir.

  Args:
    workdir: Absolute path of a folder that exists.

  Raises:
    PassingError: Another run is there.
  """
  path = workdir / _HEARTBEAT
  with contextlib.ExitStack() as stack:
    if not storage.is_remote(workdir):  # Buckets have no locks.
      lock = stack.enter_context(open(workdir / _LOCK, 'w'))
      try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError as error:
        raise _occupied(workdir, _read(path)) from error
    _watch_heartbeat(workdir, path)
    yield stack.enter_context(Heartbeat(path))


def _watch_heartbeat(workdir, path):
  """Returns if no run on another machine writes heartbeats to the path."""
  first = _read(path)
  if not first or (first['host'] == socket.gethostname()
                   and not storage.is_remote(workdir)):
    return
  logging.info(
      '%s was used by %s, process %d. Waiting %.0f s for a sign of life.',
      workdir, first['host'], first['process'], _PATIENCE)
  end = time.monotonic() + _PATIENCE
  while time.monotonic() < end:
    time.sleep(1.0)
    now = _read(path)
    if now is None:
      return
    if now != first:
      raise _occupied(workdir, now)


def _read(path):
  with contextlib.suppress(*storage.errors()):
    return formats.read_json(path)
  return None


def _occupied(workdir, heartbeat):
  owner = (f' (host {heartbeat["host"]}, process {heartbeat["process"]})'
           if heartbeat else '')
  return PassingError(
      f'Another run is going on in {workdir}{owner}. Wait for it, stop it, or '
      'name another --workdir.')
