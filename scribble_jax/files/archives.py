"""Reads untrusted tar and zip archives without unpacking them."""

import lzma
import re
import stat
import tarfile
import tempfile
import zipfile

from scribble_jax.errors import UserError
from scribble_jax.files import listings
from scribble_jax.files import masks

_MAX_BYTES = 2**25  # Of a file: a small archive may expand to terabytes.
_DAMAGED = (*masks.DAMAGED, tarfile.TarError, zipfile.BadZipFile,
            lzma.LZMAError, RuntimeError)


def read_files(path, pattern, ids=None):
  """Yields the files of an archive whose path matches.

  Args:
    path: pathlib.Path of a zip or tar file; a tar may be compressed.
    pattern: Regular expression to search for in paths; its first group is the
      file's id.
    ids: Set of the ids to read; None: all.

  Yields:
    (id, path in the archive, content as bytes), in the archive's order,
    without hidden files and those that archivers add (__MACOSX).

  Raises:
    UserError: The file is no complete archive, a path leads out of it, or a
      file to read is a link or larger than _MAX_BYTES.
  """
  try:
    members = _in_tar if tarfile.is_tarfile(path) else _in_zip
    for name, is_file, size, read in members(path):
      if name.startswith(('/', '\\')) or '..' in re.split(r'[/\\]', name):
        raise _refusal(path, name, 'leads out of the archive')
      name = listings.path_below(name)
      found = re.search(pattern, name)
      if not found or listings.is_junk(name):
        continue
      if ids is not None and found[1] not in ids:
        continue
      if not is_file or size > _MAX_BYTES:
        raise _refusal(path, name, 'is a link or larger than '
                       f'{_MAX_BYTES // 2**20} MB')
      yield found[1], name, read()
  except _DAMAGED as error:
    raise UserError(
        f'{path} is no complete tar or zip file ({error}). Delete it; the same '
        'command downloads it again, or put a whole one there.') from error


def _refusal(path, name, why):
  return UserError(f'{path} holds {name}, which {why}. Use the original '
                   'archive.')


def _in_tar(path):
  """Yields (name, whether it is a file, size, function that reads it)."""
  with (tarfile.open(path) as archive,
        tempfile.TemporaryDirectory() as empty):
    for member in archive:
      if member.isdir():
        continue
      try:  # Checks it for a folder that has no links.
        tarfile.data_filter(member, empty)
      except tarfile.FilterError as error:
        raise _refusal(path, member.name, f'is refused: {error}') from error
      yield (member.name, member.isfile(), member.size,
             lambda member=member: archive.extractfile(member).read())


def _in_zip(path):
  """As `_in_tar`."""
  with zipfile.ZipFile(path) as archive:
    refuse_overlaps(archive)
    for member in archive.infolist():
      if member.is_dir():
        continue
      is_link = stat.S_ISLNK(member.external_attr >> 16)
      yield (member.filename, not is_link, member.file_size,
             lambda member=member: read_member(archive, member))


def refuse_overlaps(archive):
  """Raises BadZipFile if files in a ZipFile share bytes, as in a zip bomb."""
  places = [member.header_offset for member in archive.infolist()]
  if len({*places}) < len(places):
    raise zipfile.BadZipFile('its files overlap')


def read_member(archive, member):
  """Returns the bytes of a file, at most as many as the archive's list says."""
  with archive.open(member) as file:  # All at once would unpack any number.
    return file.read(member.file_size + 1)
