"""What a full or unwritable disk raises in any library, as one line.

Whether an error is of that kind is decided by its error number and the path
that it names, and where it has none, by writing a file: not by its words.
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

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # Of writing alone.
_REFUSED = {*_FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
            errno.ESTALE}
# Of tensorstore, which writes checkpoints and raises ValueError.
_TENSORSTORE_ERRNO = re.compile(r"\[.*\bos_error_code='(\d+)'.*\]")
# What became of them as `tf.errors.OpError.error_code`.
_OF_TENSORFLOW = {7: errno.EACCES, 8: errno.ENOSPC}
_OF_READING = {3, 11, 15}  # Invalid argument, out of range, data loss.
_ROOM = 2**26  # Bytes. A disk with less is full.


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
  # Errors in writing to a file that is open already do not name it.
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
  """Returns the `errno` that an error has in one way or another, or None."""
  if found := _TENSORSTORE_ERRNO.search(str(error)):
    return int(found[1])
  return _OF_TENSORFLOW.get(getattr(error, 'error_code', None), _errno(error))


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
def of_output(path, remedy, kinds=(OSError,)):
  """Turns what keeps an output from being written into one line.

  Args:
    path: Of the output.
    remedy: Sentence that says what to do.
    kinds: Tuple of classes of errors that writing may raise.

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
  unraisable, hook = [], sys.unraisablehook

  def passes(record):
    """Keeps back what is logged of errors of this kind."""
    is_echo = bool(record.exc_info) and bool(
        reason(record.exc_info[1], workdir))
    if is_echo:
      waiting.append(record)
    return not is_echo

  handler.addFilter(passes)
  # TensorStore's threads may come upon asyncio's loop when it is closed.
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
  except Exception as error:  # Whatever class a library has for it.
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
