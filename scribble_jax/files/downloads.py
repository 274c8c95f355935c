"""Downloads large files; an interrupted download is resumed."""

import contextlib
import hashlib
import http
import http.client
import os
import pathlib
import time
import urllib.error
import urllib.request

from absl import logging
from tqdm import tqdm

from scribble_jax.errors import UserError
from scribble_jax.files import atomic

_PAUSES = (0, 1, 5, 15)  # Seconds before each attempt.
_TIMEOUT = 60  # Seconds without receiving a byte.
_CHUNK = 2**16  # Bytes.


class _BrokenError(Exception):
  """The connection failed, not the disk. Another attempt may succeed."""


def fetch(url, path, md5, remedy):
  """Downloads a file unless it exists already, and checks it.

  The file is PATH.partial until it is complete.

  Args:
    url: http:// or https://.
    path: pathlib.Path of the file; its folder is made.
    md5: Expected hex digest of the file; None: no check.
    remedy: Sentence on what else to do if the download fails.

  Raises:
    UserError: The server does not answer, refuses or breaks off several times,
      or the digest differs: then the file is renamed to PATH.wrong.
    OSError: The disk cannot be written.
  """
  if not path.is_file():
    with atomic.only_one_process(path):
      if not path.is_file():  # No other process has downloaded it meanwhile.
        partial = pathlib.Path(f'{path}.partial')
        _download(url, partial, remedy)
        os.replace(partial, path)
  if md5 is None:
    return
  with open(path, 'rb') as file:
    found = hashlib.file_digest(file, 'md5').hexdigest()
  if found != md5:
    os.replace(path, f'{path}.wrong')
    raise UserError(
        f'{path} is not the file that it should be: its md5 is {found}, not '
        f'{md5}. It is renamed to {path.name}.wrong. Start the same command '
        f'again to download it anew. {remedy}')


def _download(url, partial, remedy):
  """Completes a partial file, in several attempts."""
  for pause in _PAUSES:
    time.sleep(pause)
    try:
      _receive(url, partial)
      return
    except urllib.error.HTTPError as error:
      error.close()
      reason = error
      if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return  # The file is complete.
      if error.code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
        break  # Another attempt would not help.
    except _BrokenError as error:
      reason = error
    logging.warning('%s: %s', url, reason)
  raise UserError(f'Cannot download {url}: {reason}. Start the same command '
                  f'again to go on from what has come. {remedy}')


def _receive(url, partial):
  """Appends the rest of the download to a partial file.

  Raises:
    urllib.error.HTTPError: The server refuses.
    _BrokenError: The connection fails or ends early.
  """
  start = partial.stat().st_size if partial.exists() else 0
  headers = {'User-Agent': 'scribble_jax'}
  if start:
    headers['Range'] = f'bytes={start}-'
  with contextlib.ExitStack() as stack:
    with _network():
      response = stack.enter_context(urllib.request.urlopen(
          urllib.request.Request(url, headers=headers), timeout=_TIMEOUT))
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
      start = 0  # The server ignores the range and sends the whole file.
    length = response.headers.get('Content-Length')
    total = start + int(length) if length else None
    file = stack.enter_context(open(partial, 'ab' if start else 'wb'))
    progress = stack.enter_context(tqdm(
        total=total, initial=start, unit='B', unit_scale=True,
        desc=partial.stem))
    while True:
      with _network():
        chunk = response.read(_CHUNK)
      if not chunk:
        break
      file.write(chunk)
      progress.update(len(chunk))
    if total is not None and file.tell() < total:
      raise _BrokenError('the connection ended too early')


@contextlib.contextmanager
def _network():
  """Turns errors of the network, which are OSErrors, into _BrokenErrors."""
  try:
    yield
  except urllib.error.HTTPError:
    raise
  except (OSError, http.client.HTTPException) as error:
    raise _BrokenError(getattr(error, 'reason', None) or error) from error
