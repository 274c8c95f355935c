"""What all readers of annotations share: places in messages, JSON, base64."""

import base64
import contextlib
import io
import os
import reprlib
import zlib

import numpy as np
from PIL import Image

from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import formats
from scribble_jax.files import image_decoding
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import storage

MAX_BYTES = 2**30  # Of a JSON file; its objects take ten times as much.
_LARGEST = 1e12  # Of numbers that measure something.
_REQUIRED = object()
_KINDS = {dict: 'an object', list: 'a list', str: 'a text', int: 'an integer',
          bool: 'true or false',
          (int, float): 'a number', (str, int): 'a name'}


@contextlib.contextmanager
def at(place):
  """Lets what is wrong with a file end as one line that names it.

  Args:
    place: File, and where in it.

  Raises:
    UserError: For all that masks.DAMAGED has.
  """
  try:
    yield
  except masks.DAMAGED as error:
    raise_problems([f'{place}: {error}'],
                   'Mend it or export it again, then start again.')


def field(item, key, kind, default=_REQUIRED):
  """Returns a value of a JSON object.

  Args:
    item: What should be an object.
    key: Of the value.
    kind: Type or tuple of types that it must have.
    default: For an object that lacks the key or holds null there.

  Raises:
    ValueError: It is of another kind, or missing without a default.
  """
  if not isinstance(item, dict):
    raise ValueError(f'has {reprlib.repr(item)} where an object with {key!r} '
                     'belongs')
  value = item.get(key)
  if value is None and default is not _REQUIRED:
    return default
  if not isinstance(value, kind) or (
      isinstance(value, bool) and kind is not bool) or (
          kind == (int, float) and not abs(value) <= _LARGEST):
    raise ValueError(f'{key!r} is {reprlib.repr(value)} instead of '
                     f'{_KINDS[kind]}')
  return value


def size(item, height, width):
  """Returns the (height, width) at two keys of a JSON object, in pixels.

  Raises:
    ValueError: They are missing, or too large to be read.
  """
  found = tuple(field(item, key, (int, float)) for key in (height, width))
  if not all(1 <= side < 2**31 and int(side) == side for side in found):
    raise ValueError(f'{height} and {width} are {found[0]} and {found[1]} '
                     'instead of numbers of pixels')
  image_decoding.check_size(*found, image_decoding.MAX_MEGAPIXELS)
  return tuple(map(int, found))


def files_in(source, suffixes):
  """Returns {path below the source: path} of the files with a suffix, sorted.

  Args:
    source: From `storage.path`: a folder, or a file of whatever name.
    suffixes: In lower case.
  """
  if source.is_file():
    return {source.name: source}
  if not source.is_dir():
    return {}
  return {name: source / name for name in storage.names_below(source)
          if name.lower().endswith(suffixes) and not listings.is_junk(name)}


def json_in(path):
  """Returns the JSON of a file.

  Raises:
    ValueError: It is too large or no JSON.
    UserError: It is no UTF-8 text.
  """
  content = storage.read_bytes(path)
  if len(content) > MAX_BYTES:
    raise ValueError(f'has {len(content) / 2**30:.1f} GB, more than the 1 GB '
                     'that are read at a time')
  try:
    return formats.parse_json(listings.decoded(path, content))
  except ValueError as error:
    raise ValueError(f'is broken JSON ({error})') from None


def documents(source, suffixes):
  """Yields (path below the source, path, JSON) of each file with a suffix."""
  for name, path in files_in(source, suffixes).items():
    with at(path):
      found = json_in(path)
    yield name, path, found


def decode_bitmap(text, size_limit, is_deflated=False):
  """Returns the [h, w] bool that base64 of a PNG stands for.

  Args:
    text: base64.
    size_limit: (height, width) of the picture that it is a part of.
    is_deflated: Whether the PNG was compressed once more.

  Raises:
    ValueError: It is damaged, or larger than the picture.
  """
  content = base64.b64decode(text, validate=True)
  if is_deflated:  # Never more than the pixels, whatever it claims.
    most = 5 * size_limit[0] * size_limit[1] + 2**16
    content = zlib.decompressobj().decompress(content, most)
  image = image_decoding.open_image(content, ('PNG',),
                                   image_decoding.MAX_MEGAPIXELS)
  if image.width > size_limit[1] or image.height > size_limit[0]:
    raise ValueError(f'has a mask of {image.width}x{image.height} pixels, more '
                     'than the picture')
  image_decoding.load(image)
  if 'transparency' in image.info or image.mode in ('RGBA', 'LA', 'PA'):
    return np.asarray(image.convert('RGBA'))[..., 3] > 0
  if image.mode not in ('1', 'L', 'P'):
    raise ValueError(f'has a mask of mode {image.mode}')
  return np.asarray(image) > 0


def encode_bitmap(mask):
  """Returns base64 of the PNG of an [h, w] bool."""
  content = io.BytesIO()
  Image.fromarray(mask).save(content, 'PNG')
  return base64.b64encode(content.getvalue()).decode()


def class_list(source):
  """Returns the names in the classes.txt of a folder; () without one.

  Raises:
    UserError: It is no text.
  """
  path = (source if source.is_dir() else source.parent) / 'classes.txt'
  return tuple(listings.read_lines(path, '')) if path.is_file() else ()


def module(name, purpose):
  """Returns a package that only some formats need.

  Raises:
    UserError: It is not installed.
  """
  try:
    return __import__(name)
  except ImportError as error:
    raise UserError(f'{purpose} takes {name}, which is not installed ({error}).'
                    " Run: pip install 'scribble-jax[convert]'") from error


def stem(name):
  """Returns a path without its last suffix."""
  return os.path.splitext(name)[0]
