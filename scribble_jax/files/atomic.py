"""Files and folders that are there whole or not at all.

In a bucket a file appears when all of it has arrived, but there are no
folders, renames and locks. What is written there is gathered on a disk first.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile

from absl import logging

from scribble_jax.files import storage


@contextlib.contextmanager
def whole_file(path):
  """Yields a path to write; it replaces `path` when the block ends well.

  Args:
    path: File to make or replace, on a disk or gs://.
  """
  if storage.is_remote(path):
    with tempfile.TemporaryDirectory() as folder:
      partial = os.path.join(folder, os.path.basename(path))
      yield partial
      storage.upload(partial, path)
    return
  partial = f'{path}.partial'
  try:
    yield partial
    os.replace(partial, path)
  finally:  # KeyboardInterrupt too leaves nothing.
    pathlib.Path(partial).unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path):
  """Yields an empty folder; it replaces `path` when the block ends well.

  In a bucket the files of both mix for the time of the upload. A mark beside
  them, .NAME.partial, tells that; `discard_unfinished` goes by it.

  Args:
    path: Folder to make or replace, with all that it holds.
  """
  if storage.is_remote(path):
    with tempfile.TemporaryDirectory() as folder:
      folder = pathlib.Path(folder)
      yield folder
      _replace_remote(storage.path(path), folder)
    return
  # Siblings, so that renaming stays within one file system.
  path = storage.resolve(path)
  partial = _mark(path)
  old = path.with_name(f'.{path.name}.old')
  _tidy(path, partial, old)  # What a killed run left.
  try:
    partial.mkdir(parents=True)
    yield partial
    if path.exists():
      path.rename(old)
    partial.rename(path)
  finally:  # KeyboardInterrupt too leaves nothing.
    _tidy(path, partial, old)


def _mark(path):
  return path.with_name(f'.{path.name}.partial')


def _tidy(path, partial, old):
  if old.exists() and not path.exists():
    old.rename(path)
  for leftover in (partial, old):
    shutil.rmtree(leftover, ignore_errors=True)


def _replace_remote(path, folder):
  """Puts a local folder's files into a bucket and deletes all others there."""
  with storage.os_errors():
    with whole_file(_mark(path)) as mark:
      pathlib.Path(mark).touch()
    written = storage.upload_folder(folder, path)
    for other in set(storage.files_below(path)) - {
        path / name for name in written}:
      other.unlink(missing_ok=True)
    _mark(path).unlink(missing_ok=True)


def discard_unfinished(path):
  """Deletes a folder whose upload was killed; disks never hold such.

  Args:
    path: As of `whole_folder`.
  """
  if not storage.is_remote(path):
    return
  path = storage.path(path)
  if _mark(path).exists():
    logging.warning('Deleting %s, whose upload was not finished.', path)
    storage.remove_folder(path)
    _mark(path).unlink(missing_ok=True)


@contextlib.contextmanager
def only_one_process(path, *, wait=True):
  """Lets a second process wait until the first one has made `path`.

  Buckets have no locks that end with their process: there nobody waits, and
  what is made last stays.

  Args:
    path: File or folder to make; the lock is a file beside it.
    wait: Whether to wait for a process that makes it.

  Yields:
    Whether no other process makes it; always True after waiting.
  """
  if storage.is_remote(path):
    yield True
    return
  path = storage.resolve(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  name = path.with_name(f'.{path.name}.lock')
  while True:
    with open(name, 'w') as lock:
      try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        if not wait:
          yield False
          return
        logging.info('Waiting for another process that makes %s.', path)
        fcntl.flock(lock, fcntl.LOCK_EX)
      if is_same(lock, name):  # Else somebody has tidied it away.
        yield True
        return


def is_same(file, path):
  """Whether an open file is the one that is at a path of this machine now."""
  try:
    return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
  except FileNotFoundError:
    return False
