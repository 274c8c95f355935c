"""Files and folders that are there whole or not at all."""

import contextlib
import fcntl
import os
import pathlib
import shutil

from absl import logging


@contextlib.contextmanager
def whole_file(path):
  """Yields a path to write; it replaces `path` when the block ends well.

  Args:
    path: File to make or replace.
  """
  partial = f'{path}.partial'
  try:
    yield partial
    os.replace(partial, path)
  finally:  # KeyboardInterrupt too leaves nothing.
    pathlib.Path(partial).unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path):
  """Yields an empty folder; it replaces `path` when the block ends well.

  Args:
    path: Folder to make or replace, with all that it holds.
  """
  # Siblings, so that renaming stays within one file system.
  path = pathlib.Path(os.path.realpath(path))
  partial = path.with_name(f'.{path.name}.partial')
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


def _tidy(path, partial, old):
  if old.exists() and not path.exists():
    old.rename(path)
  for leftover in (partial, old):
    shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def only_one_process(path):
  """Lets a second process wait until the first one has made `path`.

  Args:
    path: File or folder to make; the lock is a file beside it.
  """
  path = pathlib.Path(os.path.realpath(path))
  path.parent.mkdir(parents=True, exist_ok=True)
  with open(path.with_name(f'.{path.name}.lock'), 'w') as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      logging.warning('Waiting for another process that makes %s.', path)
      fcntl.flock(lock, fcntl.LOCK_EX)
    yield
