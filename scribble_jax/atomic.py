"""Files and folders that are there whole or not at all."""

import contextlib
import os
import pathlib
import shutil


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
    path: Folder to make or replace.
  """
  path = pathlib.Path(os.path.abspath(path))
  # A sibling, so that the rename stays within one file system.
  partial = path.with_name(f'.{path.name}.partial')
  shutil.rmtree(partial, ignore_errors=True)  # A killed run's leftover.
  try:
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(path, ignore_errors=True)
    os.replace(partial, path)
  finally:  # KeyboardInterrupt too leaves nothing.
    shutil.rmtree(partial, ignore_errors=True)
