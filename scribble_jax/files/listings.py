"""Reads lists of image ids, and finds files named by id in folders.

An id is an image's path below the folder of images, without suffix: `p00`, or
`city/p00` in a subfolder. Ids are in Unicode's composed form (NFC); lists and
file names may be in any form, as macOS decomposes accents.
"""

import collections
import os
import re
import unicodedata

from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import storage

IMAGE_SUFFIXES = (
    '.jpg', '.jpeg', '.png', '.tif', '.tiff', '.bmp', '.webp')
MASK_SUFFIXES = ('.png', '.tif', '.tiff')
# Files and folders that file managers create, in lower case.
_JUNK = ('__macosx', 'thumbs.db', 'ehthumbs.db', 'desktop.ini', 'icon\r',
         '@eadir', '$recycle.bin', 'system volume information')
# Suffixes of files in a list of ids.
_LISTED_SUFFIXES = (*IMAGE_SUFFIXES, '.xml')
_SEPARATOR = re.compile(r'\s*[,;]\s*|\s+')  # Between two paths in one line.
_MAX_LINE = 2_000  # Characters: two paths.
_QUOTED = re.compile(r'"([^"]+)"|\'([^\']+)\'')


def is_junk(name):
  """Whether a file is hidden, or created by a file manager or an archiver.

  Args:
    name: Path below the folder that is read, with / between folders.
  """
  return any(part.startswith('.') or part.lower() in _JUNK
             for part in name.split('/'))


def nfc(text):
  """Returns a text in Unicode's form NFC, in which names are compared."""
  return unicodedata.normalize('NFC', text)


def path_below(name):
  """Returns a path in the form of ids: NFC, with / between folders."""
  parts = nfc(name).replace('\\', '/').split('/')
  return '/'.join(part for part in parts if part not in ('', '.'))


def image_id(name):
  """Returns the id of an image's path, with or without suffix.

  Only the suffix of an image or annotation is removed: `photo.v2` is an id.

  Raises:
    ValueError: The path leads out of the folder of images, or is no path.
  """
  found = _without_suffix(path_below(name))
  if (not found or '..' in found.split('/') or '\0' in found
      or not _is_text(found)):
    raise ValueError(f'{name!r} is no path below the folder of images')
  return found


def _without_suffix(name):
  return (os.path.splitext(name)[0] if name.lower().endswith(_LISTED_SUFFIXES)
          else name)


def decoded(path, content):
  """Returns the text in a file's bytes, without a byte order mark.

  Raises:
    UserError: The file is no UTF-8 text.
  """
  looks_like = 'Windows-1252 or Latin-1'
  if content.startswith((b'\xff\xfe', b'\xfe\xff')) or b'\0' in content:
    looks_like = 'UTF-16, which Windows calls Unicode'
  else:
    try:
      return content.decode('utf-8-sig')
    except UnicodeDecodeError:
      pass
  raise UserError(f'{path} is not UTF-8 text; it looks like {looks_like}. Save '
                  'it as UTF-8.')


def read_lines(path, content):
  """Returns the lines of a text file that are not blank, stripped, in NFC.

  Args:
    path: From `storage.path`.
    content: Sentence on the expected content, for the message.

  Raises:
    UserError: The file is missing, cannot be read or is no UTF-8 text.
  """
  if not path.is_file():
    problem = 'is a folder' if path.is_dir() else 'does not exist'
    raise UserError(f'{path} {problem}. {content}')
  try:
    with storage.os_errors():
      text = decoded(path, path.read_bytes())
  except OSError as error:
    raise UserError(f'Cannot read {path}: {error}. {content}') from error
  lines = [line.strip('\ufeff').strip() for line in nfc(text).splitlines()]
  return [line for line in lines if line]


def raise_repeated(path, names, remedy):
  """Raises UserError if a name occurs twice in a file."""
  raise_problems(
      [f'{path}: {name} is listed {count} times'
       for name, count in collections.Counter(names).items() if count > 1],
      remedy)


def read_ids(path):
  """Returns the path in each line of an image list.

  Args:
    path: Path of a text file, from `storage.path`.

  Returns:
    Paths without suffix, with / between folders. `listed_ids` converts them to
    ids.

  Raises:
    UserError: The file is missing, empty, no UTF-8 text or no list.
  """
  lines = read_lines(path, 'It lists the images, one per line: ID, or '
                     '/JPEGImages/ID.jpg /SegmentationClassAug/ID.png.')
  longest = max(lines, key=len, default='')
  if len(longest) > _MAX_LINE:
    raise UserError(f'{path}: the line that begins with {longest[:40]!r} has '
                    f'{len(longest)} characters. List one image per line.')
  names = [path_below(_first_path(line)) for line in lines]
  names = [_without_suffix(name) for name in names
           if name and not is_junk(name.rpartition('/')[2])]
  if not names:
    raise UserError(f'{path} lists no image. Add ids, one per line.')
  return names


def _first_path(line):
  """Returns the first path of a line; paths may contain blanks.

  A blank or comma separates two paths if both end in a suffix, or if both have
  folders and the line has no suffix at all.
  """
  quoted = _QUOTED.match(line)
  if quoted:
    return quoted[1] or quoted[2]
  line = line.partition('\t')[0]
  has_folder = lambda text: '/' in text or '\\' in text
  has_suffix = lambda text: any(
      part.lower().endswith(_LISTED_SUFFIXES)
      for part in _SEPARATOR.split(text))
  for gap in _SEPARATOR.finditer(line):
    first, rest = line[:gap.start()], line[gap.end():]
    if first.lower().endswith(_LISTED_SUFFIXES):
      if has_folder(rest) or has_suffix(rest):
        return first
    elif (has_folder(first) and has_folder(rest) and not has_suffix(line)
          and first.startswith('/') == rest.startswith('/')):
      return first
  return line


def listed_ids(path, folder, files):
  """Returns the ids in an image list.

  Lines may hold paths relative to any folder: the id is the longest ending of
  the path that is the id of a file, or else the part behind the folder's name.

  Args:
    path: Path of a text file, from `storage.path`.
    folder: Folder of the files, from `storage.path`.
    files: {id: file}.

  Raises:
    UserError: The list cannot be used, has an image twice, or has one outside
      of the folder.
  """
  ids, problems = [], []
  for name in read_ids(path):
    parts = name.split('/')
    if '..' in parts:
      parts = parts[len(parts) - parts[::-1].index('..'):]
      if folder.name not in parts[:-1]:
        problems.append(f'{path}: {name} leads out of {folder}')
        continue
    endings = ['/'.join(parts[start:]) for start in range(len(parts))]
    start = (len(parts) - parts[::-1].index(folder.name, 1)
             if folder.name in parts[:-1] else 0)
    ids.append(next((one for one in endings if one in files), endings[start]))
  raise_problems(problems, 'List paths below that folder.')
  raise_repeated(path, ids, 'List every image once.')
  return ids


def files_by_id(folder, suffixes, remedy='Create it or name another folder.'):
  """Returns {id: path} of the files with one of the suffixes, sorted.

  Args:
    folder: From `storage.path`; its subfolders are searched as well.
    suffixes: In lower case, such as ('.png',).
    remedy: Sentence on what to do if the folder is missing.

  Raises:
    UserError: The folder is missing or cannot be read, two files have the same
      id, or a file name cannot be an id.
  """
  if not folder.is_dir():
    raise UserError(f'{folder} does not exist. {remedy}')
  try:
    with storage.os_errors():
      names = storage.names_below(folder)
  except OSError as error:
    raise UserError(f'Cannot read {folder}: {error}. {remedy}') from error
  files, problems = {}, []
  for name in names:
    found, suffix = os.path.splitext(path_below(name))
    if suffix.lower() in suffixes and not is_junk(name):
      if not _is_text(name):
        problems.append(f'{str(folder / name)!a}: the name is not UTF-8')
      if '..' in found.split('/'):  # On Linux, a file name may contain \.
        problems.append(f'{folder / name}: the name leads out of the folder')
      if found in files:
        problems.append(f'{folder / name}: {files[found].name} has the same id')
      files[found] = folder / name
  raise_problems(problems, 'Keep one file per id, with a name in UTF-8 and '
                 'without .. in it.')
  return files


def _is_text(name):
  try:
    return bool(name.encode())
  except UnicodeEncodeError:  # Surrogates: the name on disk is not UTF-8.
    return False


def new_file(folder, name, suffix='.png'):
  """Returns the path for writing the file of an id, and makes its subfolder.

  Args:
    folder: From `storage.path`; it must exist.
    name: An id.
    suffix: Suffix of the file.
  """
  path = folder / f'{name}{suffix}'
  if '/' in name:
    path.parent.mkdir(parents=True, exist_ok=True)
  return path
