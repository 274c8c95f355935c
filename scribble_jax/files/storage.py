"""Paths of users: on this machine's disks, or gs:// in a Cloud Storage bucket.

`path` makes them. Paths on disks are pathlib's: etils' `epath` would look up
the owner of each file, and drop the fractions of a second of its time. Paths in
buckets are epath's, which reads and writes them with TensorFlow; it is imported
only then. Both have pathlib's methods for reading, writing and listing; the
functions below handle the differences.
"""

import concurrent.futures
import contextlib
import functools
import io
import os
import pathlib
import re
import shutil
import sys
import tempfile

from scribble_jax.errors import UserError

_SCHEME = 'gs://'
_ANY_SCHEME = re.compile('[a-z][a-z0-9+.-]*://')
_REQUESTS = 32  # Parallel requests to a bucket; each waits for the network.


def path(*parts):
  """Joins parts to a path; parts before the last absolute one are dropped.

  Args:
    *parts: Texts or paths, as for pathlib.Path.

  Returns:
    A pathlib.Path, or epath.Path below gs://.

  Raises:
    UserError: The path is neither of them, or the bucket cannot be used here.
  """
  parts = [os.fspath(part) for part in parts]
  start = max((number for number, part in enumerate(parts)
               if os.path.isabs(part) or _ANY_SCHEME.match(part)), default=0)
  parts = parts[start:]
  if not _ANY_SCHEME.match(parts[0]):
    return pathlib.Path(*parts)
  if not parts[0].startswith(_SCHEME):
    raise UserError(f'{parts[0]} is of no known kind. Name a path of this '
                    'machine or gs://BUCKET/FOLDER.')
  from etils import epath
  found = epath.Path('/'.join(parts))
  _client(_bucket_and_name(found)[0])
  return found


def is_remote(name):
  """Whether a text or path is gs://."""
  return os.fspath(name).startswith(_SCHEME)


def absolute(name):
  """Returns the `path` as one that is independent of the current folder."""
  found = path(name)
  return found if is_remote(found) else found.absolute()


def resolve(name):
  """Returns the absolute `path` with links resolved; buckets have none."""
  found = path(name)
  return found if is_remote(found) else found.resolve()


@functools.cache
def _client(bucket):
  """Returns google-cloud-storage's client, if a bucket can be used here.

  Raises:
    UserError: A package is not installed, or the bucket cannot be reached.
  """
  # Other hosts write as well, so cached file sizes may be outdated.
  os.environ.setdefault('GCS_STAT_CACHE_MAX_AGE', '0')
  try:
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage import Client
    import tensorflow as tf
  except ImportError as error:
    raise UserError(f'gs://{bucket} takes google-cloud-storage '
                    f'({error}): pip install google-cloud-storage.') from error
  if 'gs' not in tf.io.gfile.get_registered_schemes():
    raise UserError(f'This TensorFlow, {tf.__version__}, was built without '
                    f'gs://{bucket}. Work on Linux, or copy the files.')
  try:
    client = Client()
    tf.io.gfile.exists(f'gs://{bucket}/-')  # Only tests the connection.
  except (GoogleAuthError, tf.errors.OpError) as error:
    raise UserError(
        f'Cannot use gs://{bucket}: {_line(error)}. Check the name, the '
        'network and your credentials; gcloud auth application-default login '
        'makes some.') from error
  return client


def _line(error):
  """Returns the message of an error as one line without a full stop."""
  return ' '.join(str(error).split()).rstrip('.')


def _bucket_and_name(name):
  """Returns ('BUCKET', 'FOLDER/FILE') of gs://BUCKET/FOLDER/FILE."""
  bucket, _, rest = os.fspath(name).removeprefix(_SCHEME).partition('/')
  return bucket, rest


def errors():
  """Returns the exceptions of reading and writing, as a tuple for `except`."""
  if 'google.cloud.storage' not in sys.modules:  # No bucket was named.
    return (OSError,)
  from google.api_core.exceptions import GoogleAPIError
  import tensorflow as tf
  return OSError, tf.errors.OpError, GoogleAPIError


@contextlib.contextmanager
def os_errors():
  """Turns the errors of a bucket into OSErrors."""
  try:
    yield
  except errors() as error:
    if isinstance(error, OSError):
      raise
    raise OSError(_line(error)) from error


def read_bytes(name):
  """Returns the contents of a file.

  Raises:
    OSError: The file cannot be read.
  """
  with os_errors():
    return path(name).read_bytes()


def readable(name):
  """Returns an argument for zipfile: a path, or a bucket's file in memory.

  Raises:
    OSError: The file cannot be read.
  """
  return io.BytesIO(read_bytes(name)) if is_remote(name) else name


def map_files(function, files):
  """`map` of a function that reads one file, in parallel for a bucket."""
  if not any(map(is_remote, files)):
    yield from map(function, files)
    return
  with concurrent.futures.ThreadPoolExecutor(_REQUESTS) as pool:
    yield from pool.map(function, files)


@contextlib.contextmanager
def local_copy(name):
  """Yields a path on this machine: of a file, or of a copy from a bucket.

  Raises:
    OSError: The file cannot be copied.
  """
  if not is_remote(name):
    yield path(name)
    return
  with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder, path(name).name)
    with os_errors():
      path(name).copy(copy)
    yield copy


def upload(source, target):
  """Copies a file of this machine into a bucket, where it appears atomically.

  Raises:
    OSError: The bucket cannot be written.
  """
  import tensorflow as tf
  with os_errors():  # On errors, writing would retry for minutes; a copy fails.
    tf.io.gfile.copy(os.fspath(source), os.fspath(target), overwrite=True)


def upload_folder(source, target):
  """Copies a folder of this machine into a bucket, many files at a time.

  Returns:
    Names of the files, relative to the folder.

  Raises:
    OSError: The bucket cannot be written.
  """
  names = names_below(source)
  with concurrent.futures.ThreadPoolExecutor(_REQUESTS) as pool:
    [*pool.map(lambda name: upload(source / name, target / name), names)]
  return names


def remove_folder(folder):
  """Deletes a folder with its contents."""
  if is_remote(folder):
    with os_errors():
      folder.rmtree(missing_ok=True)
  else:
    shutil.rmtree(folder)


def names_below(folder, refused=None):
  """Returns the names of all files in a folder and its folders, sorted.

  Links to folders are followed, except those to a folder that they are in.

  Args:
    folder: From `path`.
    refused: Function that is called with the OSError of each subfolder that
      cannot be read; None: these are left out silently.

  Returns:
    Paths relative to the folder, with / between folders.

  Raises:
    OSError: The folder itself cannot be read.
  """
  if is_remote(folder):
    return sorted(_stamps(folder, delimiter=None))
  top = os.fspath(folder)

  def refuse(error):
    if error.filename == top:
      raise error
    if refused:
      refused(error)

  names = []
  for place, folders, files in os.walk(top, onerror=refuse, followlinks=True):
    folders[:] = [name for name in folders
                  if not _leads_up(os.path.join(place, name))]
    below = os.path.relpath(place, top)
    names += files if below == os.curdir else [
        f'{below}/{name}' for name in files]
  return sorted(names)


def _leads_up(name):
  """Whether a path is a link to a folder that it is in."""
  if not os.path.islink(name):
    return False
  target = os.path.realpath(name)
  return os.path.commonpath([target, os.path.realpath(
      os.path.dirname(name))]) == target


def make_stamp():
  """Returns a function that shows whether a file has changed.

  Returns:
    `path -> text`; the text differs after each write of the file. Folders of a
    bucket are listed once, instead of a request per file.
  """
  listed = functools.cache(_stamps)

  def stamp(file):
    """Returns size and time, or size and generation in a bucket."""
    if is_remote(file):
      return listed(file.parent)[file.name]
    status = file.stat()
    return f'{status.st_size} {status.st_mtime_ns}'

  return stamp


def _stamps(folder, delimiter='/'):
  """Returns {name: 'SIZE GENERATION'} of a bucket's folder."""
  bucket, name = _bucket_and_name(folder)
  prefix = f'{name}/' if name else ''
  blobs = _client(bucket).list_blobs(
      bucket, prefix=prefix, delimiter=delimiter,
      fields='items(name,size,generation),prefixes,nextPageToken')
  return {blob.name.removeprefix(prefix): f'{blob.size} {blob.generation}'
          for blob in blobs if not blob.name.endswith('/')}
