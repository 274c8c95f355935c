"""Opens and decodes image files: their format, size and orientation.

All programs open images and masks by `open_image`, so that they refuse the same
files with the same messages.
"""

import io
import logging
import re
import warnings

import numpy as np
from PIL import ExifTags
from PIL import Image

MAX_MEGAPIXELS = 100.0
# Disables Pillow's own limit; `check_size` has the limit.
Image.MAX_IMAGE_PIXELS = None
# Pillow's messages about broken metadata are of no use: either the pixels are
# read, or a ValueError explains why not.
logging.getLogger('PIL').setLevel(logging.CRITICAL)
warnings.filterwarnings('ignore', module='PIL')

_BEGINNINGS = (  # (regular expression for the first bytes, format).
    (rb'\xff\xd8\xff', 'JPEG'), (rb'\x89PNG', 'PNG'),
    (rb'II[*+]\0|MM\0[*+]', 'TIFF'), (rb'BM', 'BMP'),
    (rb'RIFF.{4}WEBP', 'WEBP'), (rb'.{4}ftyp(hei|hev|mif|msf)', 'HEIC'),
    (rb'.{4}ftypavi', 'AVIF'), (rb'GIF8', 'GIF'), (rb'%PDF', 'PDF'),
    (rb'.{4}jP  |\xff\x4f\xff\x51', 'JPEG 2000'), (rb'8BPS', 'Photoshop'))


def open_image(content, formats, max_megapixels):
  """Returns a Pillow image of one page with a valid header, not yet decoded.

  Args:
    content: Bytes of the file.
    formats: Pillow's names of the formats to accept.
    max_megapixels: Limit of the size.

  Raises:
    ValueError: The file is no picture, too large or of a kind that is not read.
  """
  if not content:
    raise ValueError('is empty (0 bytes)')
  try:
    image = Image.open(io.BytesIO(content), formats=formats)
    pages = _num_pages(image)
    misread = image.format == 'TIFF' and _misread_tiff(image)
  except Exception as error:  # For damaged files, Pillow raises any class.
    raise ValueError(_why_not(content, formats)) from error
  check_size(image.height, image.width, max_megapixels)
  if pages > 1:
    raise ValueError(f'has {pages} pages; save each as a file')
  if misread:
    raise ValueError(misread)
  return image


def check_size(height, width, max_megapixels):
  """Raises ValueError for a picture that is larger than the limit."""
  if height * width > max_megapixels * 1e6:
    raise ValueError(
        f'is {width}x{height} pixels, {height * width / 1e6:.0f} megapixels, '
        f'more than the limit of {max_megapixels:g}. Cut it into tiles, or '
        'raise --config.data.max_megapixels (--max_megapixels of '
        'scribble_jax.scribbles)')


def _num_pages(image):
  """Returns the number of pictures in a file, without previews and masks."""
  count = getattr(image, 'n_frames', 1)
  if image.format == 'MPO':  # A JPEG photograph with a camera's extra pictures.
    return 1
  if image.format != 'TIFF' or count == 1:
    return count
  pages = 0
  for number in range(count):
    image.seek(number)
    # NewSubfileType: a smaller copy, or a mask, of another page.
    pages += not image.tag_v2.get(254, 0) & 0b101
  image.seek(0)
  return pages


def _misread_tiff(image):
  """Returns a message if Pillow would decode a TIFF file wrongly, else ''."""
  tags = image.tag_v2
  bits = tags.get(258, (1,))
  if max(tile.extents[3] for tile in image.tile) < tags[257]:
    return 'is truncated or damaged (rows are missing)'
  if max(bits) > 8 and tags.get(284) == 2 and len(bits) > 1:
    return ('stores its channels one after another, more than 8 bits each; '
            'save them pixel by pixel')
  if max(bits) > 8 and tags.get(262) == 0:
    return 'stores white as 0 (MinIsWhite); save it with black as 0'
  if max(bits) == 8 and set(tags.get(339, (1,))) != {1}:
    return 'has signed 8-bit values; save it with unsigned ones'
  return ''


def _why_not(content, formats):
  """Returns a message about a file that Pillow does not open."""
  kind = next((name for beginning, name in _BEGINNINGS
               if re.match(beginning, content, re.DOTALL)), None)
  if kind == 'TIFF':
    return ('is a TIFF file that is truncated or damaged, or of a kind that is '
            'not read, such as 2 or more than 4 channels or 64-bit numbers')
  if kind in formats:
    return f'is a truncated or damaged {kind} file'
  wanted = f'{", ".join(formats[:-1])} or {formats[-1]}'
  if kind:
    return f'is a {kind} file, whatever its name; save it as {wanted}'
  start = content[:40]
  if start.isascii() and b'\0' not in start:
    return (f'is text that begins with {start.decode().strip()!r}, not a '
            'picture')
  return f'is no picture as {wanted}'


def load(image):
  """Decodes a Pillow image.

  Raises:
    ValueError: It is damaged.
  """
  try:
    image.load()
  except MemoryError:
    raise
  except Exception as error:  # For damaged files, Pillow raises any class.
    raise ValueError(f'is truncated or damaged ({error})') from error


def raw_mode(image):
  """Returns Pillow's raw mode, how a file stores values, before decoding."""
  if not image.tile:
    return ''
  args = image.tile[0].args
  return args if isinstance(args, str) else str(args[0] if args else '')


def orientation_of(image):
  """Returns the EXIF orientation, 1 to 8, of an image before decoding."""
  if image.format == 'PNG':
    load(image)  # The EXIF data may follow the pixels.
  try:
    found = image.getexif().get(ExifTags.Base.Orientation)
  except Exception:  # Broken EXIF data is ignored, as in other programs.
    return 1
  return int(found) if found in range(1, 9) else 1


def upright(pixels, image, orientation):
  """Applies the EXIF orientation to the [H, W, ...] pixels of an image."""
  if image.format == 'TIFF':  # Pillow applies it while decoding.
    return pixels
  if orientation >= 5:
    pixels = pixels.swapaxes(0, 1)
  if orientation in (3, 4, 7, 8):
    pixels = pixels[::-1]
  if orientation in (2, 3, 6, 7):
    pixels = pixels[:, ::-1]
  return np.ascontiguousarray(pixels)
