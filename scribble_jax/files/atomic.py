"""Writes files and folders atomically: whole or not at all.

In a bucket, a file appears atomically, but there are no folders, renames and
locks. Output for a bucket is first written to a local disk.
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
  """Yields a path to write to; it replaces `path` if the block succeeds.

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
  finally:  # Also after a KeyboardInterrupt.
    pathlib.Path(partial).unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path):
  """Yields an empty folder; it replaces `path` if the block succeeds.

  In a bucket, the old and new files mix during the upload. A file beside them,
  .NAME.partial, marks an unfinished upload for `discard_unfinished`.

  Args:
    path: Folder to make or replace, with all its contents.
  """
  if storage.is_remote(path):
    with tempfile.TemporaryDirectory() as folder:
      folder = pathlib.Path(folder)
      yield folder
      _replace_remote(storage.path(path), folder)
    return
  # In the same folder, as renaming does not work across file systems.
  path = storage.resolve(path)
  partial = _mark(path)
  old = path.with_name(f'.{path.name}.old')
  _tidy(path, partial, old)  # Leftovers of a killed run.
  try:
    partial.mkdir(parents=True)
    yield partial
    if path.exists():
      path.rename(old)
    partial.rename(path)
  finally:  # Also after a KeyboardInterrupt.
    _tidy(path, partial, old)


def _mark(path):
  return path.with_name(f'.{path.name}.partial')


def _tidy(path, partial, old):
  if old.exists() and not path.exists():
    old.rename(path)
  for leftover in (partial, old):
    shutil.rmtree(leftover, ignore_errors=True)


def _replace_remote(path, folder):
  """Replaces a folder of a bucket by a local folder."""
  with storage.os_errors():
    with whole_file(_mark(path)) as mark:
      pathlib.Path(mark).touch()
    written = storage.upload_folder(folder, path)
    for name in {*storage.names_below(path)} - {*written}:
      (path / name).unlink(missing_ok=True)
    _mark(path).unlink(missing_ok=True)


def discard_unfinished(path):
  """Deletes a folder in a bucket whose upload was interrupted.

  Args:
    path: As for `whole_folder`.
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
  """Ensures that only one process makes `path` at a time.

  Buckets have no locks that end with their process: there, no process waits,
  and the last one to write wins.

  Args:
    path: File or folder to make; the lock is a file in the same folder.
    wait: Whether to wait for another process that makes it.

  Yields:
    False if another process makes it and `wait` is False, else True.
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
      if is_same(lock, name):  # Otherwise another process has deleted it.
        yield True
        return


def is_same(file, path):
  """Whether an open file is still the one at a path on this machine."""
  try:
    return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
  except FileNotFoundError:
    return False
