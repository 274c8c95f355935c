"""CVAT: "CVAT for images 1.1" (XML) and "Segmentation mask 1.1" (colours)."""

import contextlib
import re
import reprlib
from xml.etree import ElementTree

import numpy as np

from scribble_jax.convert import label_images
from scribble_jax.convert import parsing
from scribble_jax.convert import rle
from scribble_jax.convert import shapes
from scribble_jax.errors import UserError
from scribble_jax.files import class_list
from scribble_jax.files import image_decoding
from scribble_jax.files import listings
from scribble_jax.files import storage

_MAX_BYTES = 2**26  # Of a file; its parsed elements take up to 40 times that.
_POINTS = {'polyline': shapes.LINE, 'polygon': shapes.POLYGON,
           'points': shapes.POINTS}
_LABELS = 'labelmap.txt'


def is_xml(content):
  """Whether a file that begins with `content` is CVAT's XML."""
  return b'<annotations' in content


def read(source, _options):
  """Returns the Export in an XML file, or in all those of a folder."""
  names, roots = {}, []
  for path in parsing.files_in(source, ('.xml',)).values():
    with parsing.at(path):
      root = _parse(path)
    roots.append((path, root))
    names |= dict.fromkeys(
        label.text for label in root.iterfind('meta//labels/label/name')
        if label.text)
  return shapes.Export(tuple(names), _pictures(roots))


def _parse(path):
  """Returns the root of an XML file, which must not define entities.

  Raises:
    ValueError: It is too large, broken or of another kind.
    UserError: It is no UTF-8 text.
  """
  content = storage.read_bytes(path)
  if len(content) > _MAX_BYTES:
    raise ValueError(f'has {len(content) / 2**20:.0f} MB of XML, more than '
                     f'{_MAX_BYTES // 2**20}; export fewer images at a time')
  text = listings.decoded(path, content)
  if '<!' in re.sub('<!--.*?-->', '', text, flags=re.DOTALL):
    raise ValueError('has a document type or entities, which are not read')
  try:
    root = ElementTree.fromstring(text)
  except (ElementTree.ParseError, ValueError) as error:
    raise ValueError(f'broken XML ({error})') from None
  if root.tag != 'annotations':
    raise ValueError(f'begins with <{root.tag}> instead of <annotations>')
  return root


def _pictures(roots):
  for path, root in roots:
    for image in root.iter('image'):
      name = image.get('name', '')
      place = f'{path}: image {name}'
      with parsing.at(place):
        size = _number(image, 'height', int), _number(image, 'width', int)
        size = parsing.size(dict(zip('hw', size, strict=True)), 'h', 'w')
        yield shapes.Picture(name, (name,), place, size, [
            _shape(item, item.get('label', ''), size) for item in sorted(
                image, key=lambda item: _number(item, 'z_order', int, 0))])


def _number(item, key, kind=float, default=None):
  """Returns the number in an attribute of an element."""
  text = item.get(key, default)
  with contextlib.suppress(TypeError, ValueError):
    return kind(text)
  raise ValueError(f'{key} of <{item.tag}> is {text!r} instead of a number')


def _shape(item, label, size):
  """Returns the Shape of an element, or a NotRead."""
  if item.tag in _POINTS:
    points = [pair.split(',') for pair in item.get('points', '').split(';')]
    return shapes.Shape(label, _POINTS[item.tag],
                        (shapes.coordinates(points),))
  if item.tag == 'box':
    sides = [_number(item, key) for key in ('xtl', 'ytl', 'xbr', 'ybr')]
    return shapes.box(label, *sides, _number(item, 'rotation', default=0), (
        (sides[0] + sides[2]) / 2, (sides[1] + sides[3]) / 2))
  if item.tag != 'mask':
    return shapes.NotRead(label, f'{item.tag!r} is not read')
  left, top, width, height = (_number(item, key, int) for key in (
      'left', 'top', 'width', 'height'))
  if not (0 < width <= size[1] and 0 < height <= size[0]):
    raise ValueError(f'has a mask of {width}x{height} pixels')
  counts = item.get('rle', '').split(',')
  mask = rle.decode_counts(counts, width * height)
  return shapes.bitmap(label, mask.reshape(height, width), (top, left))


def read_masks(source, _options):
  """Returns the Export in a folder of coloured masks with labelmap.txt.

  Black, CVAT's background, marks unannotated pixels.
  """
  path = source / _LABELS
  if not path.is_file():
    raise UserError(f'{path} does not exist. Name the folder that holds it.')
  names = _colours(path)
  files = parsing.files_in(source / 'SegmentationClass', ('.png',))
  objects = parsing.files_in(source / 'SegmentationObject', ('.png',))
  return label_images.export(
      files, names, _read_colours, own=objects.values())


def _colours(path):
  """Returns {red << 16 | green << 8 | blue: class name or ''}."""
  found = {0: ''}
  for line in listings.read_lines(path, 'It lists the colours of the masks.'):
    if line.startswith('#'):
      continue
    name, *rest = line.split(':')
    colour = rest[0].split(',') if rest else []
    if len(colour) != 3 or not all(
        part.strip().isdecimal() and int(part) <= 255 for part in colour):
      raise UserError(f'{path}: {reprlib.repr(line)} is no NAME:RED,GREEN,BLUE.'
                      ' Export it again.')
    red, green, blue = map(int, colour)
    value = red << 16 | green << 8 | blue
    if value or not class_list.is_background(name):
      found[value] = name
  return found


def _read_colours(path):
  """Returns the pixels of a PNG: [h, w] int32 red << 16 | green << 8 | blue."""
  image = image_decoding.open_image(storage.read_bytes(path), ('PNG',),
                                    image_decoding.MAX_MEGAPIXELS)
  if image.mode not in ('RGB', 'RGBA', 'P'):
    raise ValueError(f'has mode {image.mode} instead of colours')
  image_decoding.load(image)
  pixels = np.asarray(image.convert('RGB')).astype(np.int32)
  return pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
