"""Turns the errors of a full or unwritable disk, from any library, into a line.

Such errors are recognised by their error number and the path in them, not by
their text. Without a number, writing a file shows whether the disk is writable.
"""

import contextlib
import errno
import os
import pathlib
import re
import sys
import uuid

from absl import logging

from scribble_jax.errors import UnwritableError
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import storage

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # Never occur in reading.
_REFUSED = {*_FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
            errno.ESTALE}
# In the ValueErrors of tensorstore, which writes checkpoints.
_TENSORSTORE_ERRNO = re.compile(r"\[.*\bos_error_code='(\d+)'.*\]")
# Values of `tf.errors.OpError.error_code`.
_OF_TENSORFLOW = {7: errno.EACCES, 8: errno.ENOSPC}
_OF_READING = {3, 11, 15}  # Invalid argument, out of range, data loss.
_ROOM = 2**26  # Bytes. A disk with less space counts as full.


def probe(folder, num_bytes=0):
  """Writes a file into a folder and deletes it again.

  Args:
    folder: From `storage.path`.
    num_bytes: Size of the file.

  Raises:
    OSError: The folder cannot be written.
  """
  file = folder / f'.{uuid.uuid4().hex}'
  with storage.os_errors():
    with atomic.whole_file(file) as partial:
      pathlib.Path(partial).write_bytes(bytes(num_bytes))
    file.unlink()


def reason(error, folder):
  """Returns why a folder cannot be written, if that has caused an error.

  Args:
    error: Exception.
    folder: Text or path.

  Returns:
    Text such as 'No space left on device'; None for errors of other kinds.
  """
  chain = []
  while error is not None:
    chain.append(error)
    error = error.__cause__
  # Errors of writing to an open file do not name the file.
  unnamed = [error for error in chain if isinstance(error, storage.errors())
             and getattr(error, 'filename', None) is None
             and getattr(error, 'error_code', None) not in _OF_READING]
  naming = [error for error in chain if _names(error, folder)]
  for number in (*({*map(_number, naming)} & _REFUSED),
                 *({*map(_errno, unnamed)} & _FULL)):
    return os.strerror(number)
  return _refusal(storage.path(folder)) if naming or unnamed else None


def _errno(error):
  return getattr(error, 'errno', None)


def _number(error):
  """Returns the `errno` of an error of any library, or None."""
  if found := _TENSORSTORE_ERRNO.search(str(error)):
    return int(found[1])
  return _OF_TENSORFLOW.get(getattr(error, 'error_code', None), _errno(error))


def _names(error, folder):
  """Whether an error names a path in a folder, as `filename` or in its text."""
  folders = {f'{os.fspath(folder)}/', f'{os.path.realpath(folder)}/'}
  filename = getattr(error, 'filename', None)
  if isinstance(filename, str | bytes):
    path = f'{os.path.realpath(os.fsdecode(filename))}/'
    return path.startswith(tuple(folders))
  return any(place in str(error) for place in folders)


def _refusal(folder):
  """Returns why a folder cannot be written now; None if it can."""
  try:
    probe(folder, 0 if storage.is_remote(folder) else _ROOM)
  except OSError as error:
    return error.strerror or str(error)
  return None


@contextlib.contextmanager
def of_output(path, remedy, kinds=(OSError,)):
  """Turns errors of writing an output into one line.

  Args:
    path: Path of the output.
    remedy: Sentence that says what to do.
    kinds: Tuple of the classes of exceptions that writing may raise.

  Raises:
    UserError: The output could not be written.
  """
  try:
    yield
  except kinds as error:
    why = reason(error, storage.path(path).parent)
    if why is None:
      raise
    raise UserError(f'Cannot write {path}: {why}. {remedy}') from error


@contextlib.contextmanager
def named(workdir):
  """Turns errors of writing, also in the threads of libraries, into one line.

  Libraries log the errors that they also raise, with tracebacks and in each of
  their threads. Such log records are held back until the block ends, and are
  dropped if it ends with that line.

  Args:
    workdir: Folder to write to, which the line names.

  Raises:
    UnwritableError: The folder could not be written.
  """
  handler, waiting = logging.get_absl_handler(), []
  unraisable, hook = [], sys.unraisablehook

  def passes(record):
    """Holds back log records of errors of this kind."""
    is_echo = bool(record.exc_info and reason(record.exc_info[1], workdir))
    if is_echo:
      waiting.append(record)
    return not is_echo

  handler.addFilter(passes)
  # TensorStore's threads may find asyncio's loop closed, and print that.
  sys.unraisablehook = lambda details: unraisable.append(
      (details, details.exc_value))
  try:
    yield
  except UnwritableError:
    waiting.clear()
    unraisable.clear()
    raise
  except UserError:
    raise
  except Exception as error:  # Each library has its own class.
    why = reason(error, workdir)
    if why is None:
      raise
    waiting.clear()
    unraisable.clear()
    raise UnwritableError(
        f'Cannot write to {workdir}: {why}. Make room, or see who may write '
        'there; the same command goes on from what is complete.') from error
  finally:
    handler.removeFilter(passes)
    sys.unraisablehook = hook
    for details, _ in unraisable:
      hook(details)
    for record in waiting:
      handler.handle(record)
