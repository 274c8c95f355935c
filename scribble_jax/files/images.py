"""Reads pictures of all formats as upright RGB with 8 bits per value."""

import re
import struct
from typing import NamedTuple

import numpy as np

from scribble_jax.files import image_decoding

FORMATS = ('JPEG', 'PNG', 'TIFF', 'BMP', 'WEBP')  # Pillow's names.
_SHOWN = 5  # File names in a line.
_BLOCK = 2**20  # Values that are stretched at a time.
_DARK = 2**16 // 4  # A 16-bit image without higher values becomes dark.


class Reading(NamedTuple):
  """Settings of reading; the same for training, evaluation and prediction.

  Attributes:
    image_range: (low, high), the values that become 0 and 255 in images of
      more than 8 bits per value. None or empty: the range of 16 bits.
    max_megapixels: Larger pictures are refused before they are decoded.
  """
  image_range: tuple[float, float] | None = None
  max_megapixels: float = image_decoding.MAX_MEGAPIXELS


READING = Reading()  # The default for callers without a config.


class Picture(NamedTuple):
  """A picture, with properties of its file.

  Attributes:
    pixels: [H, W, 3] uint8 RGB, upright.
    orientation: EXIF orientation of the stored pixels; 1 is upright.
    is_plain: Whether TensorFlow decodes the file to the same pixels.
    largest: Largest 16-bit value of a dark picture; None for other pictures.
  """
  pixels: np.ndarray
  orientation: int
  is_plain: bool
  largest: int | None


class Remark(NamedTuple):
  """A warning about a picture.

  Attributes:
    kind: DARK or TURNED.
    name: Name of the file.
    value: Picture.largest if DARK, Picture.orientation if TURNED.
  """
  kind: str
  name: str
  value: int


DARK, TURNED = 'dark', 'turned'


def remarks_on(name, picture):
  """Returns the list of Remarks on a Picture that do not depend on masks."""
  if picture.largest is None:
    return []
  return [Remark(DARK, name, picture.largest)]


def summaries(remarks):
  """Returns a line for each kind of Remark, with the number and some names."""
  remarks, lines = [*remarks], []
  for kind in (DARK, TURNED):
    found = {name: value for one, name, value in remarks if one == kind}
    if not found:
      continue
    some = [*found][:_SHOWN] + ['...'] * (len(found) > _SHOWN)
    which = (f'{len(found)} image{"s" if len(found) > 1 else ""} '
             f'({", ".join(some)})')
    largest = max(found.values())
    lines.append({
        DARK: (f'{which} with 16 bits per value and no value above {largest}: '
               f'they become dark, with {largest // 256 + 1} of 256 shades. '
               f'Stretch them by --config.data.image_range=0,{largest}, in '
               'training and prediction alike'),
        TURNED: (f'{which} stored turned or mirrored (EXIF orientation), and '
                 'read upright. The sizes do not tell whether scribbles and '
                 'masks are upright too: check some of them'),
    }[kind])
  return lines


def read(content, reading):
  """Decodes a picture of any of the FORMATS.

  The EXIF orientation is applied. Transparency is ignored, and grey becomes
  RGB. Of 16-bit values, the higher 8 bits are kept, unless `image_range` is
  given.

  Args:
    content: Bytes of the file.
    reading: Reading.

  Returns:
    Picture.

  Raises:
    ValueError: The file is damaged, too large or of a kind that is not read.
  """
  image = image_decoding.open_image(content, FORMATS, reading.max_megapixels)
  raw = image_decoding.raw_mode(image)
  orientation = image_decoding.orientation_of(image)
  image_decoding.load(image)
  values = _deep_values(image, raw, content, reading.image_range)
  largest = _DARK
  if values is None:
    image.info.pop('transparency', None)  # Converting would warn about it.
    pixels = np.asarray(image.convert('RGB'))
    if ';16' in raw:  # Pillow keeps only the higher byte of these.
      largest = int(pixels.max()) << 8 | 255
  elif reading.image_range:
    pixels = _stretched(values, reading.image_range)
  else:
    largest = int(values.max())
    pixels = (values >> 8).astype(np.uint8)
  if pixels.ndim == 2:
    pixels = np.repeat(pixels[..., None], 3, axis=-1)
  return Picture(image_decoding.upright(pixels, image, orientation),
                 orientation, orientation == 1 and _is_plain(
                     image, raw, content), largest if largest < _DARK else None)


def read_size(content, max_megapixels):
  """Returns the (height, width) of the picture that `read` returns.

  Only the header is decoded, except for PNG.

  Args:
    content: Bytes of the file.
    max_megapixels: As in Reading.

  Raises:
    ValueError: As for `read`.
  """
  image = image_decoding.open_image(content, FORMATS, max_megapixels)
  width, height = image.size
  if image.format != 'TIFF' and image_decoding.orientation_of(image) >= 5:
    return width, height
  return height, width


def _deep_values(image, raw, content, image_range):
  """Returns [H, W] or [H, W, 3] values of more than 8 bits; else None.

  Raises:
    ValueError: Their range is unknown, or cannot be stretched.
  """
  if image.mode.startswith('I;16'):
    return np.asarray(image).astype(np.uint16)  # In the machine's byte order.
  if image.mode in ('I', 'F'):
    values = np.asarray(image)
    if image_range:
      return values
    what = ('floating-point' if image.mode == 'F'
            else 'signed 16-bit' if '16' in raw else '32-bit')
    known = np.nan_to_num(values)
    raise ValueError(
        f'has {what} values, from {known.min():g} to {known.max():g}, whose '
        'range is not known. Name those that become black and white by '
        '--config.data.image_range=LOW,HIGH')
  if not re.fullmatch('RGB[AX]?;16[LBN]', raw):
    if image_range and ';16' in raw:
      raise ValueError(f'has 16 bits in a mode, {image.mode}, that '
                       '--config.data.image_range cannot stretch; save it as '
                       'grey or RGB')
    return None
  # Pillow keeps one byte of each value. It is decoded once more in the opposite
  # byte order for the other byte.
  other = image_decoding.open_image(content, FORMATS, np.inf)
  swapped = raw[:-1] + ('L' if raw.endswith('B') else 'B')
  other.tile = [
      tile._replace(args=swapped if isinstance(tile.args, str)
                    else (swapped, *tile.args[1:])) for tile in other.tile]
  image_decoding.load(other)
  high, low = (np.asarray(one)[..., :3] for one in (image, other))
  return high.astype(np.uint16) << 8 | low


def _stretched(values, image_range):
  """Returns values as uint8: `image_range` becomes 0 to 255, and NaN 0."""
  pixels = np.empty(values.shape, np.uint8)
  rows = max(1, _BLOCK // values[0].size)  # In blocks, as float64 is large.
  for start in range(0, len(values), rows):
    block = np.interp(values[start:start + rows], image_range, (0, 255))
    pixels[start:start + rows] = np.rint(np.nan_to_num(block))
  return pixels


def _is_plain(image, raw, content):
  """Whether TensorFlow decodes an upright picture's file as `read` does."""
  if image.format == 'PNG':
    return ';16' not in raw and content.endswith(b'IEND\xaeB`\x82')
  # Baseline, extended or progressive, with Huffman coding.
  return (image.format in ('JPEG', 'MPO') and image.mode in ('L', 'RGB')
          and _frame_marker(content) in (0xC0, 0xC1, 0xC2))


def _frame_marker(content):
  """Returns the marker of a JPEG file's coding; None if it is not found."""
  place = 2
  while place + 4 <= len(content) and content[place] == 0xFF:
    marker, length = struct.unpack_from('>xBH', content, place)
    if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
      return marker
    place += 2 + length
  return None
