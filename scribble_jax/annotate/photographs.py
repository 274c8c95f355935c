"""The photographs to draw on: their list, sizes, pixels and thumbnails.

A photograph is requested by its id, which is looked up among the files found in
the folder: no text of a request ever becomes part of a path.
"""

import contextlib
import functools
import io
import pathlib
import threading

import numpy as np
from PIL import Image

from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import image_decoding
from scribble_jax.files import images
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import storage

MAX_MEGAPIXELS = 50.0
THUMBNAIL = 160  # Longer side in pixels.
_MAX_BYTES = 2**28  # Of a file.
_QUALITY = 92  # Of JPEG.
_SHOWN = ('JPEG', 'PNG', 'WEBP')  # Formats that browsers show.
_DECODING = threading.Semaphore(2)  # Limits the photographs in memory.


class UnreadableError(Exception):
  """A photograph cannot be read; the text gives the reason."""


class Photographs:
  """All photographs of a folder, by id.

  Attributes:
    folder: Absolute path.
    paths: {id: path}, sorted.
  """

  def __init__(self, folder, cache, max_megapixels=MAX_MEGAPIXELS):
    """Lists a folder; no photograph is opened.

    Args:
      folder: Folder of photographs; its subfolders are included.
      cache: Folder for thumbnails.
      max_megapixels: Larger photographs are not decoded.

    Raises:
      UserError: The folder is missing, holds no photograph, or holds two with
        the same id.
    """
    self.folder = storage.resolve(folder)
    self.paths = listings.files_by_id(
        self.folder, listings.IMAGE_SUFFIXES, 'Name a folder of photographs.')
    if not self.paths:
      raise UserError(
          f'{folder} holds no photograph ({", ".join(listings.IMAGE_SUFFIXES)})'
          '. Name a folder of photographs.')
    self._cache = cache / 'thumbnails'
    self._max_megapixels = max_megapixels
    self.size = functools.lru_cache(maxsize=100_000)(self._size)

  def read(self, name):
    """Returns a photograph, [H, W, 3] uint8 RGB, upright.

    Raises:
      UnreadableError: It is damaged, too large or in an unsupported format.
    """
    with _DECODING, _as_unreadable():
      return images.read(self._content(name), images.Reading(
          max_megapixels=self._max_megapixels)).pixels

  def _size(self, name):
    """Returns the (height, width) of an upright photograph in pixels.

    Raises:
      UnreadableError: As of `read`, as far as the file's header shows.
    """
    with _as_unreadable():
      return images.read_size(self._content(name), self._max_megapixels)

  def shown(self, name):
    """Returns the bytes and the media type of a file for browsers, upright.

    Raises:
      UnreadableError: As of `read`.
    """
    content, image = self._open(name)
    with _as_unreadable():
      if (image.format in _SHOWN and image.mode in ('L', 'RGB')
          and ';16' not in image_decoding.raw_mode(image)
          and (b'eXIf' not in content if image.format == 'PNG' else
               image_decoding.orientation_of(image) == 1)):
        return content, f'image/{image.format.lower()}'
    return _as_jpeg(Image.fromarray(self.read(name))), 'image/jpeg'

  def thumbnail(self, name):
    """Returns the bytes of a small JPEG, which is cached.

    Raises:
      UnreadableError: As of `read`.
    """
    path = self._cache / f'{name}.jpg'
    source = self.paths[name]
    if path.exists() and path.stat().st_mtime >= source.stat().st_mtime:
      return path.read_bytes()
    content = _as_jpeg(self._small(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.whole_file(path) as partial:
      pathlib.Path(partial).write_bytes(content)
    return content

  def _small(self, name):
    """Returns a Pillow image of the size of a thumbnail."""
    image = self._open(name)[1]
    if image.format == 'JPEG':  # Decodes an eighth of the pixels.
      with _DECODING, _as_unreadable():
        orientation = image_decoding.orientation_of(image)
        image.draft('RGB', (2 * THUMBNAIL, 2 * THUMBNAIL))
        image_decoding.load(image)
        pixels = np.asarray(image.convert('RGB'))
        image = Image.fromarray(image_decoding.upright(
            pixels, image, orientation))
    else:
      image = Image.fromarray(self.read(name))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return image

  def _open(self, name):
    """Returns the bytes of a file, and a Pillow image that is not decoded."""
    content = self._content(name)
    with _as_unreadable():
      return content, image_decoding.open_image(
          content, images.FORMATS, self._max_megapixels)

  def _content(self, name):
    """Returns the bytes of a file.

    Raises:
      UnreadableError: It lies outside the folder, cannot be read or is too
        large.
    """
    path = self.paths[name]
    try:
      real = path.resolve(strict=True)
      if not real.is_relative_to(self.folder):
        raise UnreadableError('is a link to a file outside of the folder')
      if real.stat().st_size > _MAX_BYTES:
        raise UnreadableError(f'has more than {_MAX_BYTES // 2**20} MB')
      return real.read_bytes()
    except (OSError, RuntimeError) as error:
      raise UnreadableError(f'cannot be read ({_reason(error)})') from error


@contextlib.contextmanager
def _as_unreadable():
  """Turns errors of damaged files into UnreadableError."""
  try:
    yield
  except masks.DAMAGED as error:
    raise UnreadableError(_reason(error)) from error


def _as_jpeg(image):
  """Returns the bytes of a Pillow image as JPEG."""
  content = io.BytesIO()
  image.convert('RGB').save(content, 'JPEG', quality=_QUALITY)
  return content.getvalue()


def _reason(error):
  """Returns an error's text in one line, without its advice on flags."""
  text = ' '.join(str(error).split()) or type(error).__name__
  return text.split('. Cut it into tiles')[0]
