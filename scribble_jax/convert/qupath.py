"""QuPath: one GeoJSON file per image, with the image's name."""

from scribble_jax.convert import parsing
from scribble_jax.convert import shapes

# {GeoJSON type: (kind of Shape, depth of the nested lists of coordinates)}.
_KINDS = {'Point': (shapes.POINTS, 0), 'MultiPoint': (shapes.POINTS, 1),
          'LineString': (shapes.LINE, 1), 'MultiLineString': (shapes.LINE, 2),
          'Polygon': (shapes.POLYGON, 2), 'MultiPolygon': (shapes.POLYGON, 3)}


def is_kind(content):
  """Whether JSON is GeoJSON."""
  first = content[0] if isinstance(content, list) and content else content
  return isinstance(first, dict) and first.get('type') in (
      'FeatureCollection', 'Feature')


def read(source, _options):
  """Returns the Export in a file, or in all those of a folder."""
  return shapes.Export((), parsing.parsed(
      source, ('.geojson', '.json'), _picture))


def _picture(name, path, content):
  features = content if isinstance(content, list) else [content]
  if isinstance(content, dict) and 'features' in content:
    features = parsing.field(content, 'features', list)
  name = parsing.stem(name)
  return shapes.Picture(
      name, (name, name.rpartition('/')[2]), str(path), None,
      [shape for feature in features for shape in _shapes(feature)])


def _shapes(feature):
  """Returns the Shapes of a feature, or a NotRead."""
  properties = parsing.field(feature, 'properties', dict, {})
  described = parsing.field(properties, 'classification', dict, {})
  names = parsing.field(described, 'names', list, [])
  label = parsing.field(described, 'name', str, '') or ': '.join(
      map(str, names))
  geometry = parsing.field(feature, 'geometry', dict)
  kind = parsing.field(geometry, 'type', str)
  found = geometry.get('coordinates')
  shape_kind, depth = _KINDS.get(kind, (None, 3))
  for _ in range(depth, 3):  # Makes a list of parts of any type.
    found = [found]
  if shape_kind and not (isinstance(found, list) and all(
      isinstance(part, list) for part in found)):
    raise ValueError(f'has a {kind} without lists of coordinates')
  if not label:
    return [shapes.NotRead('', 'has no class')]
  if not shape_kind or not found:
    return [shapes.NotRead(label, f'{kind!r} is not read')]
  return [shapes.Shape(label, shape_kind, tuple(map(shapes.coordinates, part)))
          for part in found]
