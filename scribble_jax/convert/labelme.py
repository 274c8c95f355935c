"""Labelme: one JSON file per image, in the same folder."""

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
_CORNERS = 64  # Of the polygon that approximates a circle.


def is_kind(content):
  """Whether JSON is an annotation of labelme."""
  return isinstance(content, dict) and 'shapes' in content and (
      'imagePath' in content)


def read(source, _options):
  """Returns the Export in a JSON file, or in all those of a folder."""
  return shapes.Export(parsing.class_list(source, 'labels.txt'),
                       parsing.parsed(source, ('.json',), _picture))


def _picture(name, path, content):
  """Returns the Picture of a file, with the name of the file as its id."""
  photograph = parsing.field(content, 'imagePath', str).replace('\\', '/')
  # The folders in the path are those of another machine.
  photograph = posixpath.basename(photograph)
  beside = posixpath.join(posixpath.dirname(name), photograph)
  size = None
  if content.get('imageHeight') is not None:
    size = parsing.size(content, 'imageHeight', 'imageWidth')
  found = []
  for number, item in enumerate(parsing.field(content, 'shapes', list), 1):
    with parsing.at(f'{path}: shape {number}'):
      found.append(_shape(item, size))
  return shapes.Picture(
      parsing.stem(name), (beside, photograph, parsing.stem(name)), str(path),
      size, found)


def _shape(item, size):
  """Returns the Shape of a JSON object, or a NotRead."""
  label = parsing.field(item, 'label', str)
  kind = parsing.field(item, 'shape_type', str, 'polygon')
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
  if kind not in _KINDS:
    return shapes.NotRead(label, f'{kind!r} is not read')
  return shapes.Shape(label, _KINDS[kind], (points,))


def write(folder, items, names, options):
  """Writes labels.txt, and a JSON file per image with a mask of each class.

  The photographs that were found are placed in the same folder.
  """
  for item in items:
    height, width = item.mask.shape
    if item.file:
      input_files.place_photograph(item.file, folder / item.photograph,
                                   options.photographs)
    formats.write_json(listings.new_file(folder, item.id, '.json'), {
        'version': '5.8.1', 'flags': {}, 'shapes': [
            _item(shapes.bitmap(names[label], item.mask == label))
            for label in item.labels],
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
