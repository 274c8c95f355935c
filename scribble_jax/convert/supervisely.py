"""Supervisely: meta.json, and DATASET/ann/IMAGE.json beside DATASET/img/IMAGE.

Points are pixels there: whole numbers mean the centre of a pixel, and a polygon
includes its outline.
"""

from scribble_jax.convert import parsing
from scribble_jax.convert import shapes

_KINDS = {'line': shapes.LINE, 'point': shapes.POINTS}


def is_kind(content):
  """Whether JSON is the annotation of a picture."""
  return isinstance(content, dict) and 'objects' in content and (
      'size' in content)


def read(source, _options):
  """Returns the Export of a project's folder, or of the file of one picture."""
  names, path = (), source / 'meta.json'
  if source.is_dir() and path.is_file():
    with parsing.at(path):
      names = tuple(parsing.field(one, 'title', str) for one in parsing.field(
          parsing.json_in(path), 'classes', list))
  return shapes.Export(names, _pictures(source))


def _pictures(source):
  for name, path in parsing.files_in(source, ('.json',)).items():
    *folders, name = name.split('/')
    if folders[-1:] != ['ann'] and (folders or name == 'meta.json'):
      continue  # Other files of a project.
    with parsing.at(path):
      yield _picture('/'.join([*folders[:-1], parsing.stem(name)]), path,
                     parsing.json_in(path))


def _picture(name, path, content):
  size = parsing.size(parsing.field(content, 'size', dict), 'height', 'width')
  found = []
  for number, item in enumerate(parsing.field(content, 'objects', list), 1):
    with parsing.at(f'{path}: object {number}'):
      found.append(_shape(item, size))
  folder, slash, last = name.rpartition('/')
  return shapes.Picture(name, (f'{folder}{slash}img/{last}', name), str(path),
                        size, found)


def _shape(item, size):
  """Returns the Shape of an object, or a NotRead."""
  label = parsing.field(item, 'classTitle', str)
  kind = parsing.field(item, 'geometryType', str)
  if kind == 'bitmap':
    found = parsing.field(item, 'bitmap', dict)
    ((column, row),) = shapes.coordinates([parsing.field(
        found, 'origin', list)])
    mask = parsing.decode_bitmap(parsing.field(found, 'data', str), size,
                                 is_deflated=True)
    return shapes.bitmap(label, mask, (int(row), int(column)))
  if kind not in (*_KINDS, 'polygon', 'rectangle'):
    return shapes.NotRead(label, f'{kind!r} is not read')
  found = parsing.field(item, 'points', dict)
  outer = shapes.coordinates(parsing.field(found, 'exterior', list))
  if kind == 'rectangle':
    return shapes.box(label, *outer.min(0), *(outer.max(0) + 1))
  if kind != 'polygon':
    return shapes.Shape(label, _KINDS[kind], (outer + 0.5,))
  inner = parsing.field(found, 'interior', list, [])
  return shapes.Shape(label, shapes.POLYGON, tuple(
      ring + 0.5 for ring in [outer, *map(shapes.coordinates, inner)]), 1.0)
