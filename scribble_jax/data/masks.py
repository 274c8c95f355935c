"""Masks of class indices as PNG files."""

import struct
import zlib

import numpy as np
from PIL import Image

# Pillow's modes that hold one 8-bit index a pixel.
_INDEX_MODES = ('P', 'L')
SCRIBBLED_CLASSES = 'scribbled_classes'  # Of a whole image, not of a crop.


def voc_palette():
  """Returns PASCAL VOC's [256, 3] uint8 colour of each class index."""
  index = np.arange(256)
  palette = np.zeros([256, 3], np.uint8)
  for bit in range(8):
    for channel in range(3):
      palette[:, channel] |= (((index >> channel) & 1) << (7 - bit)).astype(
          np.uint8)
    index = index >> 3
  return palette


def encode_grey(values):
  """[H, W] uint8 -> bytes of a greyscale PNG."""
  # Pillow tries five filters on each row, which takes 2.5 times as long for no
  # smaller files. A row's first byte names its filter: 1 stores differences
  # from the left, which also suit distances.
  height, width = values.shape
  rows = np.empty([height, 1 + width], np.uint8)
  rows[:, 0] = 1
  rows[:, 1] = values[:, 0]
  np.subtract(values[:, 1:], values[:, :-1], out=rows[:, 2:])
  size = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
  return b'\x89PNG\r\n\x1a\n' + b''.join(
      struct.pack('>I', len(content)) + name + content
      + struct.pack('>I', zlib.crc32(name + content))
      for name, content in ((b'IHDR', size), (b'IDAT', zlib.compress(rows, 1)),
                            (b'IEND', b'')))


def write_mask(path, mask):
  """Writes [H, W] uint8 class indices as a palette PNG with VOC's colours."""
  image = Image.fromarray(mask)
  image.putpalette(voc_palette().tobytes())
  image.save(path, 'PNG')


def read_mask(path):
  """Reads class indices, whether stored as palette or as grey values.

  Args:
    path: A PNG file.

  Returns:
    [H, W] uint8.

  Raises:
    OSError: The file is truncated or no image.
    ValueError: It holds colours instead of class indices.
  """
  with Image.open(path) as image:
    if image.mode not in _INDEX_MODES:
      raise ValueError(
          f'has mode {image.mode}, not one 8-bit class index a pixel (palette '
          'or greyscale PNG)')
    if image.mode == 'L' and ';' in str(image.tile[0].args):
      # Pillow stretches such values to 0..255.
      raise ValueError('has fewer than 8 bits a pixel and no palette; save its '
                       'class indices as 8-bit PNG')
    return np.asarray(image)
