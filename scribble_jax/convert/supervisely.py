"""Supervisely: meta.json, and DATASET/ann/IMAGE.json beside DATASET/img/IMAGE.

Points are pixels there: whole numbers mean the middle of one, and the outline
belongs to a polygon.
"""

from scribble_jax.convert import parsing
from scribble_jax.convert import shapes

_KINDS = {'polygon': shapes.POLYGON, 'line': shapes.LINE,
          'point': shapes.POINTS}


def is_kind(content):
  """Whether JSON is a picture's annotation."""
  return isinstance(content, dict) and 'objects' in content and (
      'size' in content)


def read(source, options):
  """Returns the Export of a project's folder, or of a file of one picture."""
  del options
  names = ()
  if source.is_dir() and (source / 'meta.json').is_file():
    path = source / 'meta.json'
    with parsing.at(path):
      names = tuple(parsing.field(one, 'title', str) for one in parsing.field(
          parsing.json_in(path), 'classes', list))
  return shapes.Export(names, _pictures(source))


def _pictures(source):
  for name, path in parsing.files_in(source, ('.json',)).items():
    *folders, name = name.split('/')
    if folders[-1:] != ['ann'] and (folders or name == 'meta.json'):
      continue  # What else a project holds.
    with parsing.at(path):
      yield _picture('/'.join([*folders[:-1], parsing.stem(name)]), path,
                     parsing.json_in(path))


def _picture(name, path, content):
  size = parsing.size(parsing.field(content, 'size', dict), 'height', 'width')
  found, left_out = [], []
  for number, item in enumerate(parsing.field(content, 'objects', list), 1):
    label = parsing.field(item, 'classTitle', str)
    kind = parsing.field(item, 'geometryType', str)
    with parsing.at(f'{path}: object {number}'):
      shape = _shape(label, kind, item, size)
    if shape is None:
      left_out.append((label, f'{kind!r} is not read'))
    else:
      found.append(shape)
  folder, slash, last = name.rpartition('/')
  return shapes.Picture(name, (f'{folder}{slash}img/{last}', name), str(path),
                        size, tuple(found), tuple(left_out))


def _shape(label, kind, item, size):
  """Returns a Shape; None for a kind that is not read."""
  if kind == 'bitmap':
    found = parsing.field(item, 'bitmap', dict)
    ((column, row),) = shapes.coordinates([parsing.field(
        found, 'origin', list)])
    mask = parsing.decode_bitmap(parsing.field(found, 'data', str), size,
                                 is_deflated=True)
    return shapes.bitmap(label, mask, (int(row), int(column)))
  if kind not in _KINDS and kind != 'rectangle':
    return None
  found = parsing.field(item, 'points', dict)
  outer = shapes.coordinates(parsing.field(found, 'exterior', list))
  if kind == 'rectangle':
    left, top = outer.min(0)
    right, bottom = outer.max(0) + 1
    return shapes.box(label, left, top, right, bottom)
  inner = [shapes.coordinates(ring) + 0.5
           for ring in parsing.field(found, 'interior', list, [])]
  is_polygon = kind == 'polygon'
  return shapes.Shape(
      label, _KINDS[kind], (outer + 0.5, *(inner if is_polygon else [])),
      1.0 if is_polygon else None)
