"""Reads masks of class indices from PNG and TIFF files, and writes PNG."""

import struct
import zlib

import numpy as np
from PIL import Image

from scribble_jax.files import image_decoding
from scribble_jax.files import storage

# Exceptions of reading a damaged or unsuitable file.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_FORMATS = ('PNG', 'TIFF')  # Pillow's names.
# Pillow's modes with one index per pixel.
_INDEX_MODES = ('P', 'L', 'I', 'I;16', 'I;16B')
LOSSY = ('jpeg', 'tiff_jpeg', 'webp')  # Pillow's names of compressions.
# Key of the classes in the scribble of a whole image, in a batch of crops.
SCRIBBLED_CLASSES = 'scribbled_classes'


def voc_palette():
  """Returns PASCAL VOC's colours of the class indices, [256, 3] uint8."""
  index = np.arange(256)
  palette = np.zeros([256, 3], np.uint8)
  for bit in range(8):
    for channel in range(3):
      palette[:, channel] |= (((index >> channel) & 1) << (7 - bit)).astype(
          np.uint8)
    index = index >> 3
  return palette


def encode_grey(values):
  """Encodes [H, W] uint8 as the bytes of a greyscale PNG.

  The rows are stored without a filter. Pillow would store differences of
  neighbours, which takes twice as long to encode and to decode. Level 3 is as
  fast as level 1 and makes files 13 % smaller.
  """
  height, width = values.shape
  header = struct.pack('>2I5B', width, height, 8, 0, 0, 0, 0)  # 8 bits, grey.
  rows = np.pad(values, [(0, 0), (1, 0)])  # Each row begins with 0: no filter.
  return b'\x89PNG\r\n\x1a\n' + b''.join(
      struct.pack('>I', len(data)) + kind + data
      + struct.pack('>I', zlib.crc32(kind + data))
      for kind, data in ((b'IHDR', header),
                         (b'IDAT', zlib.compress(rows.tobytes(), 3)),
                         (b'IEND', b'')))


def write_mask(path, mask):
  """Writes [H, W] uint8 class indices as a palette PNG with VOC's colours."""
  image = Image.fromarray(mask)
  image.putpalette(voc_palette().tobytes())
  image.save(path, 'PNG')


def read_mask(path, max_megapixels=image_decoding.MAX_MEGAPIXELS):
  """Returns the [H, W] uint8 mask of `read_with_palette`, without palette."""
  return read_with_palette(path, max_megapixels)[0]


def read_with_palette(path, max_megapixels=image_decoding.MAX_MEGAPIXELS):
  """Reads class indices, stored with a palette or as grey values.

  Args:
    path: A PNG or TIFF file, whose EXIF orientation is applied.
    max_megapixels: Larger masks are refused before they are decoded.

  Returns:
    [H, W] uint8, and the [N, 3] uint8 colours of the palette or None.

  Raises:
    DAMAGED: The file is truncated, too large or no image, or holds colours or
      other numbers instead of class indices.
  """
  image = image_decoding.open_image(
      storage.read_bytes(path), _FORMATS, max_megapixels)
  if image.mode == '1':
    raise ValueError('is a black-and-white picture of 1 bit per pixel; save it '
                     'with 8 bits, one class index per pixel')
  if image.mode not in _INDEX_MODES:
    raise ValueError(f'has mode {image.mode}, not one class index per pixel '
                     '(palette or greyscale PNG or TIFF)')
  raw = image_decoding.raw_mode(image)
  if image.mode == 'L' and ';' in raw:  # Pillow would scale or invert these.
    raise ValueError('has inverted values (MinIsWhite) or fewer than 8 bits a '
                     'pixel and no palette; save its class indices as 8-bit '
                     'PNG')
  if image.info.get('compression') in LOSSY:
    raise ValueError('is compressed with losses, which change class indices; '
                     'save the original mask as PNG')
  orientation = image_decoding.orientation_of(image)
  image_decoding.load(image)
  mask = np.asarray(image)
  low, high = int(mask.min()), int(mask.max())
  if not 0 <= low <= high <= 255:
    raise ValueError(f'has values from {low} to {high}; class indices are from '
                     '0 to 255')
  palette = image.getpalette()
  return (image_decoding.upright(mask.astype(np.uint8), image, orientation),
          palette and np.reshape(np.array(palette, np.uint8), [-1, 3]))
