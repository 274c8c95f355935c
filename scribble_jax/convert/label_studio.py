"""Label Studio: tasks as JSON, with brushes, polygons, rectangles, key points.

The export must be the one named JSON; JSON-MIN lacks the regions' types.
"""

import itertools
import re
import urllib.parse
import uuid

import numpy as np

from scribble_jax.convert import contours
from scribble_jax.convert import parsing
from scribble_jax.convert import rle
from scribble_jax.convert import shapes
from scribble_jax.files import formats

_UPLOADED = re.compile(r'^[0-9a-f]{8}-(?=.)')  # Prefix of uploaded files.
_CONFIG = '''<View>
  <Image name="image" value="$image" zoom="true"/>
  <{tag} name="label" toName="image">
{labels}
  </{tag}>
</View>
'''


def is_kind(content):
  """Whether JSON is an export of Label Studio."""
  return isinstance(content, list) and any(
      isinstance(task, dict) and ('annotations' in task or 'data' in task)
      for task in content)


def read(source, _options):
  """Returns the Export in a JSON file, or in all those of a folder."""
  return shapes.Export((), itertools.chain.from_iterable(
      parsing.parsed(source, ('.json',), _pictures)))


def _pictures(_, path, tasks):
  """Yields the Pictures of a file."""
  with parsing.at(path):
    if not isinstance(tasks, list):
      raise ValueError('holds no list of tasks')
  for number, task in enumerate(tasks, 1):
    place = f'{path}: task {number}'
    with parsing.at(place):
      yield _picture(task, place)


def _picture(task, place):
  """Returns the Picture of a task, with the shapes of its last annotation."""
  names = _photographs(task)
  done = [one for one in parsing.field(task, 'annotations', list)
          if not parsing.field(one, 'was_cancelled', bool, False)]
  found = [shapes.NotRead('', 'is of an earlier annotation of the same picture')
           for one in done[:-1] for _ in parsing.field(one, 'result', list)]
  size = None
  for result in parsing.field(done[-1], 'result', list) if done else ():
    value = parsing.field(result, 'value', dict, {})
    labels = next((label for key, label in value.items()
                   if key.endswith('labels')), None)
    if not isinstance(labels, list) or not labels or not isinstance(
        labels[0], str):
      found.append(
          shapes.NotRead('', f'{result.get("type")!r} has no class'))
      continue
    here = parsing.size(result, 'original_height', 'original_width')
    if size not in (None, here):
      raise ValueError('has regions of pictures of several sizes')
    size = here
    found.append(_shape(labels[0], value, size) or shapes.NotRead(
        labels[0], f'{result.get("type")!r} is not read'))
  return shapes.Picture(names[-1], names, place, size, found if done else None)


def _photographs(task):
  """Returns the possible names of a photograph, the original one last."""
  data = parsing.field(task, 'data', dict, {})
  text = data.get('image') or next(
      (value for value in data.values() if isinstance(value, str)),
      None) or parsing.field(task, 'file_upload', str)
  parts = urllib.parse.urlsplit(str(text))
  name = urllib.parse.parse_qs(parts.query).get('d')  # Local storage.
  name = name[0] if name else urllib.parse.unquote(parts.path).rpartition(
      '/')[2]
  folder, slash, last = name.rpartition('/')
  return name, folder + slash + _UPLOADED.sub('', last)


def _shape(label, value, size):
  """Returns the Shape of a region; None for a type that is not read.

  Coordinates and lengths in `value` are percentages of the picture's sides.
  """
  scale = np.array(size[::-1]) / 100
  if 'rle' in value:
    mask = rle.decode_brush(value['rle'], size[0] * size[1])
    return shapes.bitmap(label, mask.reshape(size))
  if 'points' in value:
    return shapes.Shape(label, shapes.POLYGON, (
        shapes.coordinates(value['points']) * scale,))
  if 'radiusX' in value or 'x' not in value:
    return None
  (corner,) = scale * shapes.coordinates([[
      parsing.field(value, key, (int, float)) for key in 'xy']])
  width = parsing.field(value, 'width', (int, float), 0) * scale[0]
  if 'height' not in value:
    return shapes.Shape(label, shapes.POINTS, (corner[None],),
                        float(width) or None)
  height = parsing.field(value, 'height', (int, float)) * scale[1]
  return shapes.box(label, *corner, corner[0] + width, corner[1] + height,
                    parsing.field(value, 'rotation', (int, float), 0), corner)


def write(folder, items, names, options):
  """Writes tasks.json, with a prediction per mask, and the labelling config."""
  tasks = [{
      'data': {'image': options.url + urllib.parse.quote(item.photograph)},
      'predictions': [{'model_version': 'scribble_jax', 'result': [
          region for label in item.labels
          for region in _regions(item, label, names[label], options.shapes)]}]
  } for item in items]
  formats.write_json(folder / 'tasks.json', tasks, None)
  tag = {'brush': 'BrushLabels', 'polygon': 'PolygonLabels'}[options.shapes]
  labels = '\n'.join(f'    <Label value={_quoted(name)}/>' for name in names)
  (folder / 'labels.xml').write_text(_CONFIG.format(tag=tag, labels=labels))


def _quoted(text):
  escaped = text.replace('&', '&amp;').replace('<', '&lt;')
  return '"{}"'.format(escaped.replace('"', '&quot;'))


def _regions(item, label, name, kind):
  """Yields the regions of one class of a mask."""
  height, width = item.mask.shape
  region = item.mask == label
  values = ([{'format': 'rle', 'rle': rle.encode_brush(region.ravel())}]
            if kind == 'brush' else
            [{'points': (100 * points / [width, height]).tolist(),
              'closed': True} for points in contours.polygons(region)])
  for number, value in enumerate(values):
    key = f'{item.id} {name} {number}'
    yield {'id': uuid.uuid5(uuid.NAMESPACE_URL, key).hex[:10],
           'type': f'{kind}labels', 'from_name': 'label', 'to_name': 'image',
           'original_width': width, 'original_height': height,
           'image_rotation': 0, 'value': value | {f'{kind}labels': [name]}}
