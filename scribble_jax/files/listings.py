"""Which images there are: lists of ids, and folders of files named by id."""

import collections
import pathlib

from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems

IMAGE_SUFFIXES = (
    '.jpg', '.jpeg', '.png', '.tif', '.tiff', '.bmp', '.webp')
MASK_SUFFIXES = ('.png', '.tif', '.tiff')


def read_lines(path, content):
  """Returns the lines of a text file that are not blank, stripped.

  Args:
    path: From `storage.path`.
    content: Sentence that says what belongs there, for the message.

  Raises:
    UserError: The file is missing or no UTF-8 text.
  """
  if not path.is_file():
    raise UserError(f'{path} does not exist. {content}')
  try:
    text = path.read_bytes().decode('utf-8-sig')
  except UnicodeDecodeError:
    raise UserError(f'{path} is not UTF-8 text. Save it as UTF-8.') from None
  return [line.strip() for line in text.splitlines() if line.strip()]


def raise_repeated(path, names, remedy):
  """Raises UserError if a file names something twice."""
  raise_problems(
      [f'{path}: {name} is listed {count} times'
       for name, count in collections.Counter(names).items() if count > 1],
      remedy)


def read_ids(path):
  """Returns the ids of an image list in either spelling (METHOD 9).

  Args:
    path: Of a text file, from `storage.path`.

  Raises:
    UserError: The file is missing or empty, or names an image twice.
  """
  lines = read_lines(path, 'It lists the images, one a line: ID, or '
                     '/JPEGImages/ID.jpg /SegmentationClassAug/ID.png.')
  ids = [pathlib.PurePosixPath(line.split()[0]).name for line in lines]
  ids = [name.removesuffix(pathlib.PurePosixPath(name).suffix)
         if name.lower().endswith(IMAGE_SUFFIXES) else name for name in ids]
  if not ids:
    raise UserError(f'{path} lists no image. Add ids, one a line.')
  raise_repeated(path, ids, 'List every image once.')
  return ids


def files_by_id(folder, suffixes, remedy='Create it or name another folder.'):
  """Returns {id: path} of a folder's files with one of the suffixes, sorted.

  Args:
    folder: From `storage.path`.
    suffixes: In lower case, such as ('.png',).
    remedy: What to do if the folder is missing.

  Raises:
    UserError: The folder is missing, or two files have the same id.
  """
  if not folder.is_dir():
    raise UserError(f'{folder} does not exist. {remedy}')
  files, problems = {}, []
  for path in sorted(folder.iterdir()):
    if path.suffix.lower() in suffixes:
      if path.stem in files:
        problems.append(f'{path}: {files[path.stem].name} has the same id')
      files[path.stem] = path
  raise_problems(problems, 'Keep one file an id.')
  return files
