"""QuPath: a GeoJSON file an image, named as the image is."""

from scribble_jax.convert import parsing
from scribble_jax.convert import shapes

_SUFFIXES = ('.geojson', '.json')
# GeoJSON nests the coordinates of each type so deep.
_KINDS = {'Point': (shapes.POINTS, 0), 'MultiPoint': (shapes.POINTS, 1),
          'LineString': (shapes.LINE, 1), 'MultiLineString': (shapes.LINE, 2),
          'Polygon': (shapes.POLYGON, 2), 'MultiPolygon': (shapes.POLYGON, 3)}


def is_kind(content):
  """Whether JSON is GeoJSON."""
  first = content[0] if isinstance(content, list) and content else content
  return isinstance(first, dict) and first.get('type') in (
      'FeatureCollection', 'Feature')


def read(source, options):
  """Returns the Export in a file, or in all those of a folder."""
  del options
  return shapes.Export((), _pictures(source))


def _pictures(source):
  for name, path, content in parsing.documents(source, _SUFFIXES):
    found, left_out = [], []
    with parsing.at(path):
      features = content if isinstance(content, list) else [content]
      if isinstance(content, dict) and 'features' in content:
        features = parsing.field(content, 'features', list)
      for feature in features:
        label, kind, parts = _parts(feature)
        if not label:
          left_out.append(('', 'has no class'))
        elif not parts:
          left_out.append((label, f'{kind!r} is not read'))
        else:
          found += [shapes.Shape(label, _KINDS[kind][0], part)
                    for part in parts]
    name = parsing.stem(name)
    yield shapes.Picture(name, (name, name.rpartition('/')[2]), str(path), None,
                         tuple(found), tuple(left_out))


def _parts(feature):
  """Returns a feature's class or '', type, and the points of its Shapes."""
  properties = parsing.field(feature, 'properties', dict, {})
  described = parsing.field(properties, 'classification', dict, {})
  names = parsing.field(described, 'names', list, [])
  label = parsing.field(described, 'name', str, '') or ': '.join(
      map(str, names))
  geometry = parsing.field(feature, 'geometry', dict)
  kind = parsing.field(geometry, 'type', str)
  if kind not in _KINDS:
    return label, kind, []
  found, depth = geometry.get('coordinates'), _KINDS[kind][1]
  for _ in range(depth, 3):  # As deep as what has several parts.
    found = [found]
  if not isinstance(found, list) or not all(
      isinstance(part, list) for part in found):
    raise ValueError(f'has a {kind} without lists of coordinates')
  return label, kind, [tuple(map(shapes.coordinates, part)) for part in found]
