"""ScribbleSup's own annotations: strokes as XML polylines (METHOD 9)."""

import xml.etree.ElementTree as ElementTree

import numpy as np
from PIL import Image
from PIL import ImageDraw

from scribble_jax.labels import IGNORE_LABEL

STROKE_WIDTH = 3  # Pixels.


def draw(xml, size, class_names):
  """Draws ScribbleSup's strokes, 3 pixels wide, in the file's order.

  Args:
    xml: Contents of the file (METHOD 9).
    size: (height, width) of the image in pixels; None: as the file says.
    class_names: Names that a stroke's tag may have.

  Returns:
    [H, W] uint8 classes, 255 where unlabelled.

  Raises:
    ValueError: Broken XML, another size, an unknown class, no point.
  """
  return draw_strokes(*parse(xml, size), class_names)


def parse(xml, size):
  """Parses an annotation in XML, of strokes or, as in VOC, of boxes.

  Args:
    xml: Contents of the file.
    size: (height, width) that its image has in pixels; None: any.

  Returns:
    The root element, and the (height, width) that the file names.

  Raises:
    ValueError: Broken XML or another size.
  """
  try:
    root = ElementTree.fromstring(xml)
  except ElementTree.ParseError as error:
    raise ValueError(f'broken XML ({error})') from None
  named_size = tuple(int(root.findtext(f'size/{side}', '0'))
                     for side in ('height', 'width'))
  if min(named_size) < 1 and size is None:
    raise ValueError('names no size of its image')
  if size is not None and named_size != tuple(size):
    raise ValueError(f'is for {named_size[1]}x{named_size[0]} pixels, its '
                     f'image has {size[1]}x{size[0]}')
  return root, named_size


def draw_strokes(root, size, class_names):
  """Draws the strokes of a parsed file; see `draw`."""
  mask = Image.new('L', (size[1], size[0]), IGNORE_LABEL)
  canvas = ImageDraw.Draw(mask)
  for polygon in root.iter('polygon'):
    tag = polygon.findtext('tag', '').strip()
    if tag not in class_names:
      raise ValueError(f'unknown class name {tag!r}')
    points = [(float(point.findtext('X', '')), float(point.findtext('Y', '')))
              for point in polygon.iter('point')]
    if not points:
      raise ValueError(f'a stroke of class {tag!r} has no point')
    _draw_stroke(canvas, points, class_names.index(tag))
  return np.asarray(mask)


def _draw_stroke(canvas, points, label):
  if len(set(points)) > 1:
    canvas.line(points, fill=label, width=STROKE_WIDTH, joint='curve')
  else:
    (x, y), reach = points[0], STROKE_WIDTH // 2
    canvas.rectangle([round(x) - reach, round(y) - reach,
                      round(x) + reach, round(y) + reach], fill=label)
