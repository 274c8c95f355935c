"""Labelme: a JSON file an image, beside it."""

import posixpath

import numpy as np

from scribble_jax.convert import input_files
from scribble_jax.convert import parsing
from scribble_jax.convert import shapes
from scribble_jax.files import formats
from scribble_jax.files import listings

_KINDS = {'linestrip': shapes.LINE, 'line': shapes.LINE, 'point': shapes.POINTS,
          'points': shapes.POINTS, 'polygon': shapes.POLYGON,
          'rectangle': shapes.BOX}
_CORNERS = 64  # Of a circle.


def is_kind(content):
  """Whether JSON is labelme's."""
  return isinstance(content, dict) and 'shapes' in content and (
      'imagePath' in content)


def read(source, options):
  """Returns the Export in a JSON file, or in all those of a folder."""
  del options
  folder = source if source.is_dir() else source.parent
  names = ()
  if (folder / 'labels.txt').is_file():
    names = tuple(listings.read_lines(folder / 'labels.txt', ''))
  return shapes.Export(names, _pictures(source))


def _pictures(source):
  for name, path, content in parsing.documents(source, ('.json',)):
    with parsing.at(path):
      picture = _picture(name, path, content)
    yield picture


def _picture(name, path, content):
  """Returns the Picture of a file, named as the file is."""
  photograph = parsing.field(content, 'imagePath', str).replace('\\', '/')
  # It may lead anywhere: only the file's own name counts.
  photograph = posixpath.basename(photograph)
  beside = posixpath.join(posixpath.dirname(name), photograph)
  size = None
  if content.get('imageHeight') is not None:
    size = parsing.size(content, 'imageHeight', 'imageWidth')
  found, left_out = [], []
  for number, item in enumerate(parsing.field(content, 'shapes', list), 1):
    label = parsing.field(item, 'label', str)
    kind = parsing.field(item, 'shape_type', str, 'polygon')
    with parsing.at(f'{path}: shape {number}'):
      shape = _shape(label, kind, item, size)
    if shape is None:
      left_out.append((label, f'{kind!r} is not read'))
    else:
      found.append(shape)
  return shapes.Picture(
      parsing.stem(name), (beside, photograph, parsing.stem(name)), str(path),
      size, tuple(found), tuple(left_out))


def _shape(label, kind, item, size):
  """Returns a Shape; None for a kind that is not read."""
  points = shapes.coordinates(parsing.field(item, 'points', list))
  if kind == 'mask':
    mask = parsing.decode_bitmap(
        parsing.field(item, 'mask', str), size or (2**15, 2**15))
    column, row = np.floor(points[0]).astype(int).tolist()
    return shapes.bitmap(label, mask, (row, column))
  if kind == 'circle' and len(points) == 2:
    turns = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    ring = points[0] + np.hypot(*(points[1] - points[0])) * np.stack(
        [np.cos(turns), np.sin(turns)], axis=1)
    return shapes.Shape(label, shapes.POLYGON, (ring,))
  if kind == 'rectangle' and len(points) != 2:
    raise ValueError(f'is a rectangle of {len(points)} points instead of 2')
  return shapes.Shape(label, _KINDS[kind], (points,)) if kind in _KINDS else (
      None)


def write(folder, items, names, options):
  """Writes a JSON file an image, with a mask for each class, and labels.txt.

  Photographs that are known are put beside the files.
  """
  for item in items:
    height, width = item.mask.shape
    found = [shapes.bitmap(names[label], item.mask == label)
             for label in item.labels]
    if item.file:
      input_files.place_photograph(item.file, folder / item.photograph,
                               options.photographs)
    formats.write_json(listings.new_file(folder, item.id, '.json'), {
        'version': '5.8.1', 'flags': {}, 'shapes': [*map(_item, found)],
        'imagePath': posixpath.basename(item.photograph), 'imageData': None,
        'imageHeight': height, 'imageWidth': width}, None)
  (folder / 'labels.txt').write_text('\n'.join(names) + '\n')


def _item(shape):
  """Returns the JSON of a BITMAP."""
  (row, column), (height, width) = shape.origin, shape.mask.shape
  return {'label': shape.class_name, 'shape_type': 'mask', 'flags': {},
          'group_id': None, 'description': '',
          'points': [[column, row], [column + width - 1, row + height - 1]],
          'mask': parsing.encode_bitmap(shape.mask)}
