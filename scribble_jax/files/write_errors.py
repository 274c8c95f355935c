"""What a full or unwritable disk raises in any library, as one line."""

import contextlib
import re

from absl import logging
from clu import asynclib

from scribble_jax.errors import UnwritableError
from scribble_jax.errors import UserError
from scribble_jax.files import storage

# Of tensorstore, which orbax hands on as ValueError, and of TensorBoard files.
_COMPLAINTS = re.compile('Error writing|Failed to flush|events (file|writer)')


@contextlib.contextmanager
def named(workdir):
  """Turns what can't be written, now or behind the scenes, into one line.

  Meanwhile, what libraries log of errors that they also raise is left out: one
  full disk leaves dozens of tracebacks.

  Args:
    workdir: What to name.

  Raises:
    UnwritableError: Something could not be written.
  """
  handler = logging.get_absl_handler()
  handler.addFilter(_is_no_echo)
  try:
    yield
  except UserError:
    raise
  except Exception as error:  # Whatever class a library has for it.
    cause = error.__cause__ if isinstance(
        error, asynclib.AsyncError) else error
    if not _is_of_a_disk(cause):
      raise
    raise UnwritableError(
        f'Cannot write to {workdir}: {_reason(cause)}. Make room, or see who '
        'may write there; the same command goes on from the last complete '
        'checkpoint.') from error
  finally:
    handler.removeFilter(_is_no_echo)


def _is_of_a_disk(error):
  """Whether an error says that something could not be written."""
  if isinstance(error, TimeoutError) and error.errno is None:
    return False  # Orbax waits for the other processes, in vain.
  return isinstance(error, storage.errors()) or bool(
      _COMPLAINTS.search(str(error)))


def _is_no_echo(record):
  """Whether a log record is more than an exception on its way to us."""
  return not record.exc_info


def _reason(error):
  """Returns the last words of what a library says: 'File too large'."""
  if getattr(error, 'strerror', None):
    return error.strerror
  first_line = str(error).strip().partition('\n')[0]
  return re.split('[:;] ', first_line.partition(' [')[0])[-1].rstrip('.')
