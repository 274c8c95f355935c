"""What a full or unwritable disk raises in any library, as one line.

Whether an error is of that kind is decided by its error number and the path
that it names, and where it has none, by writing a file: not by its words.
"""

import contextlib
import errno
import os
import pathlib
import re
import uuid

from absl import logging

from scribble_jax.errors import UnwritableError
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import storage

_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES,
            errno.EPERM, errno.EIO, errno.ESTALE}
# Of tensorstore, which writes checkpoints and raises ValueError.
_TENSORSTORE_ERRNO = re.compile(r"\[.*\bos_error_code='(\d+)'.*\]")
_ROOM = 2**26  # Bytes. A disk with less is full: so checkpoints do not fit.


def probe(folder, num_bytes=0):
  """Writes a file into a folder and deletes it again.

  Args:
    folder: From `storage.path`.
    num_bytes: Size of the file.

  Raises:
    OSError: The folder can't be written.
  """
  file = folder / f'.{uuid.uuid4().hex}'
  with storage.os_errors():
    with atomic.whole_file(file) as partial:
      pathlib.Path(partial).write_bytes(bytes(num_bytes))
    file.unlink()


def reason(error, folder):
  """Returns why a folder can't be written, if an error comes of that.

  Args:
    error: Exception.
    folder: Text or path.

  Returns:
    'No space left on device', say; None if the error is of another kind.
  """
  chain = []
  while error is not None:
    chain.append(error)
    error = error.__cause__
  for error in chain:
    if _number(error) in _REFUSED and _names(error, folder):
      return os.strerror(_number(error))
  # Files that are open already have no name in errors of writing.
  if any(_names(error, folder) or (
      isinstance(error, storage.errors())
      and getattr(error, 'filename', None) is None) for error in chain):
    return _refusal(storage.path(folder))
  return None


def _number(error):
  """Returns the `errno` of an error, None if it has none."""
  found = _TENSORSTORE_ERRNO.search(str(error))
  return int(found[1]) if found else getattr(error, 'errno', None)


def _names(error, folder):
  """Whether an error names a path in a folder, as its file or in its text."""
  folders = {f'{os.fspath(folder)}/', f'{os.path.realpath(folder)}/'}
  filename = getattr(error, 'filename', None)
  if isinstance(filename, str | bytes):
    path = f'{os.path.realpath(os.fsdecode(filename))}/'
    return path.startswith(tuple(folders))
  return any(place in str(error) for place in folders)


def _refusal(folder):
  """Returns why a folder can't be written now, None if it can."""
  try:
    probe(folder, 0 if storage.is_remote(folder) else _ROOM)
  except OSError as error:
    return error.strerror or str(error)
  return None


@contextlib.contextmanager
def named(workdir):
  """Turns what can't be written, now or behind the scenes, into one line.

  Libraries log the error that they also raise, at length and in each of their
  threads. Such records wait until the block ends, and are dropped if it ends
  with that line.

  Args:
    workdir: What to name.

  Raises:
    UnwritableError: Something could not be written.
  """
  handler, waiting = logging.get_absl_handler(), []

  def passes(record):
    """Keeps back what is logged of errors of this kind."""
    is_echo = bool(record.exc_info) and bool(
        reason(record.exc_info[1], workdir))
    if is_echo:
      waiting.append(record)
    return not is_echo

  handler.addFilter(passes)
  try:
    yield
  except UnwritableError:
    waiting.clear()
    raise
  except UserError:
    raise
  except Exception as error:  # Whatever class a library has for it.
    why = reason(error, workdir)
    if why is None:
      raise
    waiting.clear()
    raise UnwritableError(
        f'Cannot write to {workdir}: {why}. Make room, or see who may write '
        'there; the same command goes on from what is complete.') from error
  finally:
    handler.removeFilter(passes)
    for record in waiting:
      handler.handle(record)
