"""Functions that the readers share: error messages, JSON, base64 images."""

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

MAX_BYTES = 2**30  # Of a JSON file; its parsed objects take ten times as much.
_LARGEST = 1e12  # Of coordinates, sizes and widths.
_REQUIRED = object()
_KINDS = {dict: 'an object', list: 'a list', str: 'a text', int: 'an integer',
          bool: 'true or false',
          (int, float): 'a number', (str, int): 'a name'}


@contextlib.contextmanager
def at(place):
  """Turns errors of a damaged file into one line that names the file.

  Args:
    place: File, and position in it.

  Raises:
    UserError: For any of masks.DAMAGED.
  """
  try:
    yield
  except masks.DAMAGED as error:
    raise_problems([f'{place}: {error}'],
                   'Mend it or export it again, then start again.')


def field(item, key, kind, default=_REQUIRED):
  """Returns a value of a JSON object.

  Args:
    item: JSON that should be an object.
    key: Key of the value.
    kind: Type or tuple of types, one of which the value must have.
    default: Value if the object lacks the key or holds null there.

  Raises:
    ValueError: The value is of another type, or missing without a default.
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
    ValueError: They are missing, or larger than what is read.
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
    source: From `storage.path`: a folder, or a file with any suffix.
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
    ValueError: The file is too large or holds no JSON.
    UserError: The file is no UTF-8 text.
  """
  content = storage.read_bytes(path)
  if len(content) > MAX_BYTES:
    raise ValueError(f'has {len(content) / 2**30:.1f} GB, more than the 1 GB '
                     'that are read at a time')
  try:
    return formats.parse_json(listings.decoded(path, content))
  except ValueError as error:
    raise ValueError(f'is broken JSON ({error})') from None


def parsed(source, suffixes, parse):
  """Yields `parse(path below the source, path, JSON)` of each JSON file."""
  for name, path in files_in(source, suffixes).items():
    with at(path):
      yield parse(name, path, json_in(path))


def decode_bitmap(text, size_limit, is_deflated=False):
  """Returns the [h, w] bool mask in a PNG in base64.

  Args:
    text: The PNG in base64.
    size_limit: (height, width) of the whole picture.
    is_deflated: Whether the PNG is compressed by zlib as well.

  Raises:
    ValueError: The PNG is damaged, or larger than the picture.
  """
  content = base64.b64decode(text, validate=True)
  if is_deflated:  # Limits what a damaged file may expand to.
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
  """Returns an [h, w] bool mask as a PNG in base64."""
  content = io.BytesIO()
  Image.fromarray(mask).save(content, 'PNG')
  return base64.b64encode(content.getvalue()).decode()


def class_list(source, name='classes.txt'):
  """Returns the names in a text file beside a source; () without that file.

  Raises:
    UserError: The file is no text.
  """
  path = (source if source.is_dir() else source.parent) / name
  return tuple(listings.read_lines(path, '')) if path.is_file() else ()


def module(name, purpose):
  """Returns the module of a package that only some formats need.

  Raises:
    UserError: The package is not installed.
  """
  try:
    return __import__(name)
  except ImportError as error:
    raise UserError(f'{purpose} takes {name}, which is not installed ({error}).'
                    " Run: pip install 'scribble-jax[convert]'") from error


def stem(name):
  """Returns a path without its last suffix."""
  return os.path.splitext(name)[0]
