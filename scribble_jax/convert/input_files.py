"""Opens the user's source, finds photographs, and creates the target folder."""

import contextlib
import lzma
import os
import pathlib
import re
import shutil
import tempfile
import zipfile

from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import archives
from scribble_jax.files import atomic
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.files import write_errors

# A zip may unpack to _MAX_BYTES and _MAX_RATIO times its own size.
_MAX_BYTES, _MAX_RATIO = 2**30, 100
_ABSOLUTE = re.compile(r'[/\\]|[a-zA-Z]:')
LINK, SYMLINK, COPY = 'link', 'symlink', 'copy'


@contextlib.contextmanager
def opened(name):
  """Yields the path of a file or folder; a zip is unpacked for the block.

  If a folder holds nothing but a folder, the inner one is yielded.

  Raises:
    UserError: The path does not exist, or the zip is damaged, would take too
      much room or holds paths that lead out of it.
  """
  path = storage.path(name)
  if not path.exists():
    raise UserError(f'{path} does not exist. Name a file or folder.')
  if not path.is_file() or path.suffix.lower() != '.zip':
    yield _inner(path)
    return
  with tempfile.TemporaryDirectory() as folder:
    try:
      _unpack(path, pathlib.Path(folder))
      yield _inner(pathlib.Path(folder))
    except UserError as error:
      raise UserError(str(error).replace(folder, str(path))) from error


def _inner(path):
  while path.is_dir():
    inside = [one for one in path.iterdir() if not listings.is_junk(one.name)]
    if len(inside) != 1 or not inside[0].is_dir():
      break
    (path,) = inside
  return path


def _unpack(path, folder):
  """Unpacks a zip into an empty folder."""
  try:
    with zipfile.ZipFile(storage.readable(path)) as archive:
      members = [member for member in archive.infolist()
                 if not member.is_dir()]
      packed = min(storage.path(path).stat().st_size,
                   sum(member.compress_size for member in members))
      total = sum(member.file_size for member in members)
      if total > _MAX_BYTES + _MAX_RATIO * packed:
        raise UserError(f'{path} would take {total / 2**30:.1f} GB, far more '
                        'than its own size. Unpack it and name the folder.')
      archives.refuse_overlaps(archive)
      for member in members:
        name = listings.path_below(member.filename)
        if '..' in name.split('/') or _ABSOLUTE.match(member.filename):
          raise UserError(f'{path} holds {member.filename!r}, which leads out '
                          'of the folder that it is unpacked to. Unpack it '
                          'yourself if you trust it, and name the folder.')
        if listings.is_junk(name):
          continue
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as inside, open(file, 'xb') as f:
          shutil.copyfileobj(inside, f)  # At most member.file_size bytes.
  except (*masks.DAMAGED, zipfile.BadZipFile, lzma.LZMAError, RuntimeError,
          MemoryError) as error:
    raise_problems([f'{path} is no complete zip file ({error})'],
                   'Copy it again, or unpack it and name the folder.')


class Photographs:
  """Finds photographs by their path, with or without suffix.

  Either of the two paths may lack outer folders that the other one has.
  """

  def __init__(self, folder, own=()):
    """Lists a folder.

    Args:
      folder: From `storage.path`; for a file, the folder of the file is used.
      own: Paths of image files that are not photographs.
    """
    folder = folder if folder.is_dir() else folder.parent
    self._files = {}  # {end of a path: [(path, the path below the folder)]}.
    for name in storage.names_below(folder):
      path = folder / name
      if (not name.lower().endswith(listings.IMAGE_SUFFIXES)
          or listings.is_junk(name) or path in own):
        continue
      name = listings.path_below(name)
      for whole in (name, os.path.splitext(name)[0]):
        for end in _ends(whole):
          self._files.setdefault(end, []).append((path, whole))

  def find(self, names):
    """Returns the path of the first of several names that exists, or None.

    Raises:
      ValueError: Several photographs have that name.
    """
    names = [listings.path_below(name) for name in names]
    for name in (*names, *(os.path.splitext(name)[0] for name in names)):
      for end in _ends(name):
        found = [path for path, whole in self._files.get(end, [])
                 if end in (name, whole)]
        if len(found) == 1:
          return found[0]
        if found:
          raise ValueError(f'several photographs are named {end}, such as '
                           f'{found[0]} and {found[1]}')
    return None


def _ends(name):
  """Yields a path, then the path without its outermost folder, and so on."""
  while name:
    yield name
    name = name.partition('/')[2]


def place_photograph(source, target, how):
  """Links or copies a photograph to a new path.

  Args:
    source: From `storage.path`.
    target: pathlib.Path that does not exist.
    how: COPY, SYMLINK, or LINK: a hard link, or a copy if that is impossible.
  """
  target.parent.mkdir(parents=True, exist_ok=True)
  if how == SYMLINK:
    target.symlink_to(storage.resolve(source))
    return
  if how == LINK and not storage.is_remote(source):
    with contextlib.suppress(OSError):
      os.link(storage.resolve(source), target)
      return
  target.write_bytes(storage.read_bytes(source))


@contextlib.contextmanager
def whole_target(name):
  """Yields an empty folder that becomes `name` if the block succeeds.

  Raises:
    UserError: The folder exists and is not empty, or cannot be written.
  """
  path = storage.path(name)
  with write_errors.of_output(path, 'Name another folder.'):
    atomic.discard_unfinished(path)
    with atomic.only_one_process(path):
      if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f'{path} exists. Name a new folder.')
      with atomic.whole_folder(path) as folder:
        yield folder
