"""COCO: one JSON file, with polygons, run lengths or boxes."""

import collections

import numpy as np

from scribble_jax.convert import parsing
from scribble_jax.convert import rle
from scribble_jax.convert import shapes
from scribble_jax.files import formats


def is_kind(content):
  """Whether JSON is in the format of COCO."""
  return isinstance(content, dict) and all(
      key in content for key in ('images', 'annotations', 'categories'))


def read(source, _options):
  """Returns the Export in a JSON file, or in all those of a folder."""
  files = [*parsing.parsed(
      source, ('.json',),
      lambda _, path, content: (path, content, _categories(content)))]
  names = dict.fromkeys(name for *_, categories in files
                        for name in categories.values())
  return shapes.Export(tuple(names), _pictures(files))


def _categories(content):
  """Returns {id: name}."""
  return {parsing.field(one, 'id', int): parsing.field(one, 'name', str)
          for one in parsing.field(content, 'categories', list)}


def _pictures(files):
  for path, content, names in files:
    of_picture = collections.defaultdict(list)
    with parsing.at(path):
      for item in parsing.field(content, 'annotations', list):
        of_picture[parsing.field(item, 'image_id', (str, int))].append(item)
      images = parsing.field(content, 'images', list)
    for image in images:
      with parsing.at(path):
        place = f'{path}: image {parsing.field(image, "id", (str, int))}'
      with parsing.at(place):
        name = parsing.field(image, 'file_name', str)
        size = parsing.size(image, 'height', 'width')
        yield shapes.Picture(name, (name,), place, size, [
            shape for item in of_picture[image['id']]
            for shape in _shapes(item, names, size)])


def _shapes(item, names, size):
  """Returns the Shapes of an annotation, or a NotRead."""
  number = parsing.field(item, 'category_id', int)
  if number not in names:
    raise ValueError(f'names category {number}, which the file does not list')
  name, found = names[number], item.get('segmentation')
  if isinstance(found, dict):
    if found.get('size') != [*size]:
      raise ValueError(f"has run lengths of size {found.get('size')!r}, its "
                       f'image {[*size]}')
    counts = parsing.field(found, 'counts', (str, list))
    if isinstance(counts, str):
      counts = rle.decode_text(counts)
    mask = rle.decode_counts(counts, size[0] * size[1])
    return [shapes.bitmap(name, mask.reshape(size[::-1]).T)]
  if found:
    return [shapes.Shape(name, shapes.POLYGON, (_ring(flat),))
            for flat in parsing.field(item, 'segmentation', list)]
  if item.get('bbox'):
    corner, sides = _ring(item['bbox'])
    return [shapes.box(name, *corner, *(corner + sides))]
  return [shapes.NotRead('', 'has neither segmentation nor bbox')]


def _ring(flat):
  """Returns [N, 2] points of [x1, y1, x2, y2, ...]."""
  if not isinstance(flat, list) or len(flat) % 2 or len(flat) < 4:
    raise ValueError('has a polygon that is no even number of coordinates')
  return shapes.coordinates([*zip(flat[::2], flat[1::2], strict=True)])


def write(folder, items, names, options):
  """Writes annotations.json, with one annotation per class of each mask."""
  images, annotations = [], []
  for number, item in enumerate(items, 1):
    height, width = item.mask.shape
    images.append({'id': number, 'file_name': item.photograph,
                   'height': height, 'width': width})
    for label in item.labels:
      region = item.mask == label
      shape = shapes.bitmap('', region)
      counts = rle.encode_counts(region.T.ravel())
      annotations.append({
          'id': len(annotations) + 1, 'image_id': number,
          'category_id': label + 1, 'iscrowd': 0,
          'area': int(np.count_nonzero(region)),
          'bbox': [*shape.origin[::-1], *shape.mask.shape[::-1]],
          'segmentation': {
              'size': [height, width],
              'counts': counts if options.rle == 'uncompressed' else (
                  rle.encode_text(counts))}})
  formats.write_json(folder / 'annotations.json', {
      'images': images, 'annotations': annotations,
      'categories': [{'id': number, 'name': name}
                     for number, name in enumerate(names, 1)]}, None)
