"""ScribbleSup's annotations: strokes as XML polylines (METHOD 9)."""

import contextlib
import reprlib
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from PIL import ImageDraw

from scribble_jax.files import image_decoding
from scribble_jax.files import listings
from scribble_jax.labels import IGNORE_LABEL

STROKE_WIDTH = 3  # Pixels.
# Names of some of VOC's classes in ScribbleSup's files.
_VOC_NAMES = {'plane': 'aeroplane', 'bike': 'bicycle', 'table': 'diningtable',
              'plant': 'pottedplant', 'monitor': 'tvmonitor'}
# Maximum coordinate in pixels. Pillow draws lines to points far beyond wrongly.
FARTHEST = 100_000
_LONGEST_SIDE = 10**9  # Maximum image side in pixels that a file may declare.
# Maximum size in bytes of an image's XML. A stroke's point takes about 40
# bytes, and the parser takes up to 40 times the file's size.
MAX_BYTES = 2**23


def parse(xml, size, max_megapixels=image_decoding.MAX_MEGAPIXELS):
  """Parses an XML annotation of ScribbleSup's strokes or VOC's boxes.

  Args:
    xml: Content of the file as bytes.
    size: (height, width) of the image in pixels; None if unknown.
    max_megapixels: A file that declares a larger image is an error.

  Returns:
    root: The root element.
    size: (height, width) of the image. A side that the file omits or declares
      as 0 is taken from the argument.

  Raises:
    ValueError: The XML is broken or huge, or the size is missing or differs.
  """
  if len(xml) > MAX_BYTES:
    raise ValueError(f'has {len(xml) / 2**20:.0f} MB; the annotation of one '
                     f'image has at most {MAX_BYTES // 2**20}')
  try:
    root = ElementTree.fromstring(xml)
  except (ElementTree.ParseError, LookupError, ValueError) as error:
    # LookupError and ValueError: Python can't decode the XML's encoding.
    raise ValueError(f'broken XML ({error})') from None
  named_size = _side(root, 'height'), _side(root, 'width')
  if size is None:
    if min(named_size) < 1:
      raise ValueError('names no size of its image; name the folder of images')
    image_decoding.check_size(*named_size, max_megapixels)
    return root, named_size
  height, width = named_size[0] or size[0], named_size[1] or size[1]
  if (height, width) != tuple(size):
    raise ValueError(f'is for {width}x{height} pixels, its image has '
                     f'{size[1]}x{size[0]}')
  return root, (height, width)


def _side(root, side):
  """Returns the height or width that a file declares, or 0."""
  text = root.findtext(f'size/{side}', '0')
  with contextlib.suppress(ValueError):
    pixels = int(text)
    if 0 <= pixels <= _LONGEST_SIDE:
      return pixels
  raise ValueError(f'names {reprlib.repr(text)} as the {side} of its image '
                   'instead of a number of pixels')


def draw_strokes(root, size, class_names):
  """Draws ScribbleSup's strokes, 3 pixels wide, in the file's order.

  Args:
    root: Root element of a parsed file.
    size: (height, width) of the image in pixels.
    class_names: Allowed tags of strokes, besides ScribbleSup's names of VOC's
      classes.

  Returns:
    [H, W] uint8 classes, 255 where unlabelled.

  Raises:
    ValueError: A stroke has an unknown class, no points or coordinates that are
      not numbers, or is outside the image.
  """
  mask = Image.new('L', (size[1], size[0]), IGNORE_LABEL)
  canvas = ImageDraw.Draw(mask)
  for polygon in root.iter('polygon'):
    tag = listings.nfc(polygon.findtext('tag', '')).strip()
    if tag not in class_names:
      tag = _VOC_NAMES.get(tag, tag)
    if tag not in class_names:
      raise ValueError(f'unknown class name {tag!r}')
    points = [_point(point, tag) for point in polygon.iter('point')]
    if not points:
      raise ValueError(f'a stroke of class {tag!r} has no point')
    if not _is_inside(points, size):
      (x, y), (last_x, last_y) = points[0], points[-1]
      raise ValueError(f'a stroke of class {tag!r}, from ({x:g}, {y:g}) to '
                       f'({last_x:g}, {last_y:g}), is outside the image of '
                       f'{size[1]}x{size[0]} pixels')
    draw_stroke(canvas, points, class_names.index(tag))
  return np.asarray(mask)


def _point(point, tag):
  """Returns the (x, y) of an element, small enough for Pillow."""
  texts = point.findtext('X', ''), point.findtext('Y', '')
  place = f'({", ".join(texts)}) of a stroke of class {tag!r}'
  try:
    x, y = map(float, texts)
  except ValueError:
    raise ValueError(f'the point {place} is no two numbers') from None
  if not (abs(x) <= FARTHEST and abs(y) <= FARTHEST):  # So is NaN.
    raise ValueError(f'the point {place} is far outside of any image')
  return x, y


def _is_inside(points, size):
  """Returns whether some pixel of a stroke is inside the image."""
  if any(0 <= x < size[1] and 0 <= y < size[0] for x, y in points):
    return True
  alone = Image.new('L', (size[1], size[0]))
  draw_stroke(ImageDraw.Draw(alone), points, 1)
  return alone.getbbox() is not None


def draw_stroke(canvas, points, label, width=STROKE_WIDTH):
  """Draws a stroke, or a square if all its points are the same.

  Args:
    canvas: PIL ImageDraw of a greyscale image.
    points: List of (x, y), at most FARTHEST pixels from the origin, which is
      the centre of the upper left pixel.
    label: Grey value to draw.
    width: Width of the stroke in pixels.
  """
  if len(set(points)) > 1:
    canvas.line(points, fill=label, width=width, joint='curve')
  else:
    (x, y), reach = points[0], width // 2
    canvas.rectangle([round(x) - reach, round(y) - reach,
                      round(x) + reach, round(y) + reach], fill=label)
