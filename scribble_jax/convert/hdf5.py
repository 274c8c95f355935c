"""HDF5 files: ilastik's projects and the strokes of Scribbles4All.

The pickles in ilastik's projects are never read.
"""

import re

import numpy as np

from scribble_jax.convert import hdf5_process
from scribble_jax.convert import parsing
from scribble_jax.convert import shapes
from scribble_jax.files import formats
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.labels import IGNORE_LABEL

_NAMES = 'PixelClassification/LabelNames'
_LABELS = 'PixelClassification/LabelSets'
_INFOS = 'Input Data/infos'


def _read(path, names):
  """As `hdf5_process.read`, of a file anywhere; a UserError without h5py."""
  parsing.module('h5py', f'Reading {path}')
  with storage.local_copy(path) as copy:
    return hdf5_process.read(copy, names)


def _part(found, name, kinds, ndim=None):
  """Returns an array of a file; a ValueError if it lacks one of that type."""
  array = found.get(name)
  if array is None or array.dtype.kind not in kinds or (
      ndim not in (None, array.ndim)):
    raise ValueError(f'has no {name} as this format does')
  return array


def read_ilastik(source, _options):
  """Returns the Export of an .ilp file, or of all those of a folder."""
  names, pictures = {}, []
  for path in parsing.files_in(source, ('.ilp',)).values():
    with parsing.at(path):
      found = _read(path, [_NAMES, _LABELS, _INFOS])
      lanes = sorted({name.split('/')[2] for name in found
                      if name.startswith(f'{_INFOS}/')})
      listed = _part(found, _NAMES, 'U', 1).tolist()
      names |= dict.fromkeys(listed)
      pictures += [_lane(found, lane, number, listed, path)
                   for number, lane in enumerate(lanes)]
  return shapes.Export(tuple(names), pictures)


def _lane(found, lane, number, names, path):
  """Returns the Picture of one image of a project."""
  info = f'{_INFOS}/{lane}/Raw Data'
  photograph = str(_part(found, f'{info}/filePath', 'U', 0)).replace(
      '\\', '/').rpartition('/')[2]
  size = None
  if f'{info}/shape' in found and f'{info}/axistags' in found:
    axes = _axes(_part(found, f'{info}/axistags', 'U', 0))
    sides = _part(found, f'{info}/shape', 'iu', 1).tolist()
    if len(sides) != len(axes):
      raise ValueError(f'has {len(axes)} axes and {len(sides)} sides')
    size = tuple(sides[axes.index(axis)] for axis in 'yx')
  values = {0: ''} | dict(enumerate(names, 1))
  blocks = [name for name in found if '@' not in name and name.startswith(
      f'{_LABELS}/labels{number:03d}/')]
  return shapes.Picture(
      photograph, (photograph,), f'{path}: image {number + 1}', size,
      tuple(shape for name in sorted(blocks)
            for shape in _block(found, name, values)))


def _block(found, name, values):
  """Returns the Shapes in one block of labels."""
  pixels = _part(found, name, 'iu')
  starts = [int(start) for start in re.findall(r'(\d+):\d+', str(
      _part(found, f'{name}@blockSlice', 'U', 0)))]
  axes = (_axes(found[f'{name}@axistags']) if f'{name}@axistags' in found
          else 'tzyxc' if pixels.ndim == 5 else 'yxc')
  if not pixels.ndim == len(starts) == len(axes):
    raise ValueError(f'{name} has {pixels.ndim} axes, its place {len(starts)}')
  places = axes.index('y'), axes.index('x')
  pixels = np.moveaxis(pixels, places, (0, 1))
  if pixels.size != pixels.shape[0] * pixels.shape[1]:
    raise ValueError(f'{name} has the shape {pixels.shape}; only pictures of '
                     'two sides are read')
  return shapes.values(pixels.reshape(pixels.shape[:2]), values, tuple(
      min(starts[place], 2**31) for place in places))


def _axes(text):
  """Returns the letters of ilastik's axes, which include y and x."""
  axes = [parsing.field(axis, 'key', str) for axis in parsing.field(
      formats.parse_json(str(text)), 'axes', list)]
  if not {'y', 'x'} <= {*axes} or any(len(axis) != 1 for axis in axes):
    raise ValueError(f'has axes {axes} instead of y and x')
  return ''.join(axes)


def read_scribbles4all(source, options):
  """Returns the Export of .h5 files, one per image.

  The colour of a stroke is (index, index, index) or VOC's colour of its class.

  Args:
    source: From `storage.path`.
    options: `class_names`, a tuple or None.
  """
  names = options.class_names or parsing.class_list(source)
  return shapes.Export(tuple(names), _strokes(
      source, names or tuple(f'class_{k}' for k in range(IGNORE_LABEL))))


def _strokes(source, names):
  for name, path in parsing.files_in(source, ('.h5', '.hdf5')).items():
    with parsing.at(path):
      file = _read(path, ['scribble', 'scribble_values', 'image_dims',
                          'config'])
      lines = _part(file, 'scribble', 'iuf', 3)
      colours = _part(file, 'scribble_values', 'iu', 2)
      sides = _part(file, 'image_dims', 'iu', 1).tolist()
      settings = formats.parse_json(str(_part(file, 'config', 'U', 0)))
      width = parsing.field(settings, 'line_thickness', (int, float))
      size = parsing.size(dict(zip('hw', sides, strict=False)), 'h', 'w')
      if len(lines) != len(colours) or colours.shape[1] != 3:
        raise ValueError(f'has strokes of shape {lines.shape} and colours of '
                         f'shape {colours.shape}')
      name = parsing.stem(name)
      yield shapes.Picture(name, (name,), str(path), size, [
          _stroke(line, colour, names, width)
          for line, colour in zip(lines, colours, strict=True)])


def _stroke(line, colour, names, width):
  """Returns the Shape of a stroke; a NotRead if it marks unlabelled pixels."""
  blue, green, red = colour.tolist()  # In OpenCV's order.
  label = blue
  if not blue == green == red:
    same = np.flatnonzero(
        (masks.voc_palette() == [red, green, blue]).all(axis=1))
    label = int(same[0]) if len(same) else -1
  if label == IGNORE_LABEL:
    return shapes.NotRead('', 'is of unlabelled pixels')
  if not 0 <= label < len(names):
    raise ValueError(f'has a stroke of colour ({red}, {green}, {blue}), which '
                     'stands for no class')
  # The files hold whole numbers, which mean the centres of pixels.
  points = shapes.coordinates(np.trunc(line)) + 0.5
  return shapes.Shape(names[label], shapes.LINE, (points,), float(width))
