"""Manages folders of records, RECORDS/FINGERPRINT.

The fingerprint depends on the settings and the data, so that runs that differ
in these use different folders. On a disk, complete records appear by renaming
their folder, and processes that read them hold a shared lock on metadata.json.
Buckets have neither renames nor locks: there a file marks incomplete records.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
import re
import shutil

from absl import logging

from scribble_jax import tables
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import formats
from scribble_jax.files import storage

METADATA = 'metadata.json'  # The spec, and what tensorflow-datasets reads.
INDEX = 'index.npz'  # The end of each record.
STARTED = 'incomplete'  # Marks a folder in a bucket until it is complete.
_INFO = 'dataset_info.json'  # Splits and sizes, of tensorflow-datasets.
_FINGERPRINT = re.compile('[0-9a-f]{12}')
# Names of a folder, its lock, and the leftovers of a killed process.
_ANY_NAME = re.compile(r'\.?([0-9a-f]{12})(?:\.(?:lock|partial|old|removed))?')
_OLD_SIBLINGS = ('_stage1', '_scribbles')  # Folders of older versions.


def fingerprint(spec):
  """Returns the name of the folder for a spec: a dict that JSON can hold."""
  text = json.dumps(spec, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_place(parent):
  """Raises UserError if a folder holds other files than records."""
  names = [path.name for path in _visible(parent)]
  if names and _INFO not in names and not any(map(
      _FINGERPRINT.fullmatch, names)):
    raise UserError(f'{parent} holds other files than records. Set '
                    '--config.data.records to a new folder.')


def _visible(parent):
  return [path for path in sorted(parent.iterdir())
          if not path.name.startswith('.')] if parent.is_dir() else []


def is_complete(folder):
  """Whether a folder holds complete records."""
  return (all((folder / name).exists() for name in (METADATA, INDEX, _INFO))
          and not (folder / STARTED).exists())


class Hold:
  """Keeps records from being removed as long as the object exists."""

  def __init__(self, file):
    """Args: file: The locked file of the records, or None in a bucket."""
    self.file = file

  def __del__(self):
    if self.file:
      self.file.close()


def hold(folder):
  """Returns a Hold on complete records; None if they do not exist."""
  if not is_complete(folder):
    return None
  if storage.is_remote(folder):
    return Hold(None)
  path = folder / METADATA
  try:
    found = Hold(open(path, 'rb'))  # noqa: SIM115, the Hold closes it.
  except FileNotFoundError:  # Removed by another process just now.
    return None
  fcntl.flock(found.file, fcntl.LOCK_SH)
  if not atomic.is_same(found.file, path):  # Removed while this one waited.
    return None
  with contextlib.suppress(OSError):  # The file belongs to another user.
    os.utime(path)  # Stores the time of the last use.
  return found


@contextlib.contextmanager
def _alone_with(folder):
  """Yields whether no process reads the records, and locks them if so."""
  if storage.is_remote(folder):
    yield True
    return
  with open(folder / METADATA, 'r+b') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      yield False
    else:
      yield True


@dataclasses.dataclass(frozen=True)
class Found:
  """Complete records.

  Attributes:
    folder: Path of their folder.
    spec: Settings and sources that they were made from; 'made_from' describes
      the sources.
    num_images: Number of images of all splits.
    size: Size of all shards in bytes.
  """
  folder: os.PathLike
  spec: dict
  num_images: int
  size: int

  def is_read(self):
    """Whether a process of this machine reads them."""
    with _alone_with(self.folder) as alone:
      return not alone


def find(parent):
  """Returns a list of Found, the complete records in a folder."""
  found = []
  for folder in _visible(parent):
    if _FINGERPRINT.fullmatch(folder.name) and is_complete(folder):
      spec, info = (formats.read_json(folder / name)
                    for name in (METADATA, _INFO))
      if spec and info:  # Otherwise they were removed just now.
        splits = info.get('splits', ())
        found.append(Found(
            folder, spec,
            sum(int(length) for split in splits
                for length in split['shardLengths']),
            sum(int(split['numBytes']) for split in splits)))
  return found


def why(parent, spec):
  """Returns a text for the user: why records of a spec must be made."""
  differences = [
      ([key for key in spec if found.spec.get(key) != spec[key]], found.folder)
      for found in find(parent) if found.spec['splits'] == spec['splits']]
  if not differences:
    return 'no records of this kind yet'
  changed, folder = min(differences, key=lambda pair: len(pair[0]))
  return (f'those in {folder.name} differ in {", ".join(changed)}' if changed
          else 'the records there are not complete')


def warn_of_several(parent, used):
  """Logs the size of all records, if there are more than this start uses.

  Args:
    parent: Folder of records.
    used: Paths of the records that this start reads.
  """
  found = find(parent)
  others = sum(each.folder not in used for each in found)
  if others:
    logging.info(
        '%s holds %d folders of records, %s together; this start does not use '
        '%d of them. python -m scribble_jax.prepare --list with the same '
        'config shows them, --remove_unused removes what it does not use.',
        parent, len(found), gigabytes(sum(each.size for each in found)), others)
  for line in old_lines(parent):
    logging.warning('%s', line)


def old_lines(parent):
  """Returns a line for each folder that holds records of an older version."""
  folders = [parent, *(parent.with_name(parent.name + suffix)
                       for suffix in _OLD_SIBLINGS)]
  return [f'The files in {folder} are records of an older version, which '
          'nothing reads now. Delete them to make room.'
          for folder in folders if (folder / _INFO).exists()]


def gigabytes(size):
  """Returns a size in bytes as text."""
  return f'{size / 1e9:.2f} GB'


def describe(parent, wanted):
  """Returns a table of the records in a folder, their size, and warnings.

  Args:
    parent: Folder of records.
    wanted: Paths of the records that the user's config uses.
  """
  rows, size = [], 0
  for found in find(parent):
    size += found.size
    made_from = found.spec['made_from']
    users = (['this config'] * (found.folder in wanted)
             + ['a running process'] * found.is_read())
    rows.append((
        found.folder.name, str(found.num_images), gigabytes(found.size),
        _time_of(found.folder / INDEX), _time_of(found.folder / METADATA),
        f'{found.spec["lambda_s"]:.4g}', f'{found.spec["lambda_c"]:.4g}',
        made_from['scribbles'], made_from['pseudo_labels'],
        ' and '.join(users) or 'nobody'))
  columns = ('folder', 'images', 'size', 'made', 'last used', 'lambda_s',
             'lambda_c', 'scribbles', 'pseudo_labels', 'used by')
  return '\n'.join([
      *([tables.Table(columns, tuple(rows)).text()] if rows else []),
      f'{len(rows)} folders of records in {parent}, {gigabytes(size)}.',
      *old_lines(parent)])


def _time_of(path):
  """Returns the time of the last change of a file; '-' in a bucket."""
  if storage.is_remote(path):
    return '-'
  return datetime.datetime.fromtimestamp(path.stat().st_mtime).isoformat(
      ' ', 'minutes')


def remove_unused(parent, wanted=()):
  """Removes unused records, and the leftovers of killed processes.

  Args:
    parent: Folder of records.
    wanted: Paths of the records to keep. Records that a process of this
      machine reads are kept as well; in buckets this is unknown.

  Returns:
    Lists of Found: the removed records and the kept ones.
  """
  removed, kept = [], []
  for found in find(parent):
    is_removed = found.folder not in wanted and _remove(found.folder)
    (removed if is_removed else kept).append(found)
  _tidy(parent, wanted)
  return removed, kept


def _tidy(parent, wanted):
  """Deletes leftovers of killed processes, and locks that nobody holds."""
  paths = parent.iterdir() if parent.is_dir() else ()
  for name in {match[1] for path in paths
               if (match := _ANY_NAME.fullmatch(path.name))}:
    folder = parent / name
    with atomic.only_one_process(folder, wait=False) as alone:
      if not alone:
        continue
      if (folder.exists() and not is_complete(folder)
          and folder not in wanted):
        storage.remove_folder(folder)
      if not storage.is_remote(folder):
        for suffix in ('partial', 'old', 'removed'):
          shutil.rmtree(parent / f'.{name}.{suffix}', ignore_errors=True)
        (parent / f'.{name}.lock').unlink(missing_ok=True)


def _remove(folder):
  """Deletes records unless a process reads them; returns whether it did."""
  with _alone_with(folder) as alone:
    if alone and storage.is_remote(folder):
      storage.remove_folder(folder)
    elif alone:  # Renamed first, so that other processes never see a part.
      gone = folder.with_name(f'.{folder.name}.removed')
      shutil.rmtree(gone, ignore_errors=True)
      folder.rename(gone)
      shutil.rmtree(gone, ignore_errors=True)
    return alone
