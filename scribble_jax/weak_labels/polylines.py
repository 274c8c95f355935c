"""ScribbleSup's own annotations: strokes as XML polylines (METHOD 9)."""

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
# What ScribbleSup's files call some of VOC's classes.
_VOC_NAMES = {'plane': 'aeroplane', 'bike': 'bicycle', 'table': 'diningtable',
              'plant': 'pottedplant', 'monitor': 'tvmonitor'}
# Pixels from the origin. Pillow draws lines to points far beyond it wrongly.
FARTHEST = 100_000
_LONGEST_SIDE = 10**9  # Pixels that a file may name.
# Bytes. A stroke's point takes about 40, and the parser's memory is 40 times
# the file's size at worst.
MAX_BYTES = 2**23


def parse(xml, size, max_megapixels=image_decoding.MAX_MEGAPIXELS):
  """Parses an annotation in XML, of strokes or, as in VOC, of boxes.

  Args:
    xml: Contents of the file.
    size: (height, width) that its image has in pixels; None: any.
    max_megapixels: A file that names a larger image is an error.

  Returns:
    The root element, and the (height, width) of the image: where the file
    names 0 pixels or no side at all, that of `size`.

  Raises:
    ValueError: Broken or huge XML, or another size or none.
  """
  if len(xml) > MAX_BYTES:
    raise ValueError(f'has {len(xml) / 2**20:.0f} MB; the annotation of one '
                     f'image has at most {MAX_BYTES // 2**20}')
  try:
    root = ElementTree.fromstring(xml)
  except (ElementTree.ParseError, LookupError, ValueError) as error:
    # The last two are an encoding's that Python lacks or cannot mix with XML.
    raise ValueError(f'broken XML ({error})') from None
  named_size = _side(root, 'height'), _side(root, 'width')
  if size is not None:
    named_size = tuple(named or side for named, side in zip(
        named_size, size, strict=True))
  elif min(named_size) < 1:
    raise ValueError('names no size of its image; name the folder of images')
  else:
    image_decoding.check_size(*named_size, max_megapixels)
  if size is not None and named_size != tuple(size):
    raise ValueError(f'is for {named_size[1]}x{named_size[0]} pixels, its '
                     f'image has {size[1]}x{size[0]}')
  return root, named_size


def _side(root, side):
  """Returns the height or width that a file names, 0 if it names none."""
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
    root: Element of a parsed file (METHOD 9).
    size: (height, width) of the image in pixels.
    class_names: Names that a stroke's tag may have, besides ScribbleSup's own
      for VOC's classes.

  Returns:
    [H, W] uint8 classes, 255 where unlabelled.

  Raises:
    ValueError: A stroke of an unknown class, without points, with coordinates
      that are no numbers, or outside the image.
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
  """Returns the (x, y) of an element, which Pillow can draw."""
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
  """Whether a stroke has a pixel in the image, if only between its points."""
  if any(0 <= x < size[1] and 0 <= y < size[0] for x, y in points):
    return True
  alone = Image.new('L', (size[1], size[0]))
  draw_stroke(ImageDraw.Draw(alone), points, 1)
  return alone.getbbox() is not None


def draw_stroke(canvas, points, label, width=STROKE_WIDTH):
  """Draws a stroke, or a square where all its points are one.

  Args:
    canvas: PIL's ImageDraw.
    points: List of (x, y), none farther than FARTHEST pixels from the origin;
      the middle of the upper left pixel is (0, 0).
    label: What to draw.
    width: In pixels.
  """
  if len(set(points)) > 1:
    canvas.line(points, fill=label, width=width, joint='curve')
  else:
    (x, y), reach = points[0], width // 2
    canvas.rectangle([round(x) - reach, round(y) - reach,
                      round(x) + reach, round(y) + reach], fill=label)
