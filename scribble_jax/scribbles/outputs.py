"""Output folders, written completely or not at all, never over other files."""

import contextlib
import json

from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import formats
from scribble_jax.files import listings
from scribble_jax.files import storage
from scribble_jax.files import write_errors

DESCRIPTION = 'scribbles.json'  # Records how a folder was made.
# Increases when the commands draw something else from the same input.
VERSION = 2


@contextlib.contextmanager
def whole_output(path, overwrite, description):
  """Yields an empty folder that replaces `path` if the block succeeds.

  Another process that makes the same folder waits until this one is done.

  Args:
    path: Folder to make.
    overwrite: Whether the output of an earlier run may be replaced.
    description: Dict for DESCRIPTION: how the files are made, and from what.

  Raises:
    UserError: `path` contains something else or can't be written.
  """
  path = storage.path(path)
  with write_errors.of_output(path, 'Name another folder.'):
    _check(path, overwrite)  # Before any waiting, too.
    with atomic.only_one_process(path):
      _check(path, overwrite)
      with atomic.whole_folder(path) as folder:
        yield folder
        written = {'version': VERSION, **description,
                   'files': len(_files(folder))}
        (folder / DESCRIPTION).write_text(json.dumps(written, indent=2) + '\n')


def _check(path, overwrite):
  """Raises UserError if a path must not be replaced."""
  atomic.discard_unfinished(path)
  if path.exists() and not path.is_dir():
    raise UserError(f'{path} is a file. Name a new folder.')
  if not path.is_dir() or not any(path.iterdir()):
    return
  files = _files(path)
  strange = next((file for file in files if file.suffix != '.png'), None)
  if strange or len(files) != _count_written(path):
    raise UserError(f'{path} holds other files than an earlier output of this '
                    f'command{f", such as {strange.name}" if strange else ""}. '
                    'Name a new folder.')
  if not overwrite:
    raise UserError(f'{path} holds an earlier output. Name a new folder or '
                    'replace it with --overwrite.')


def _files(folder):
  return [folder / name for name in storage.names_below(folder)
          if name != DESCRIPTION and not listings.is_junk(name)]


def _count_written(folder):
  """Returns the number of files of an earlier run; None without one."""
  try:
    return formats.parse_json((folder / DESCRIPTION).read_text())['files']
  except (OSError, ValueError, KeyError, TypeError):
    return None
