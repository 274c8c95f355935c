"""Files in HDF5: ilastik's projects and the strokes of Scribbles4All.

ilastik's hold pickles among other things, which are never unpickled. Data that
lie in another file than the one that is named are refused.
"""

import contextlib
import re

import numpy as np

from scribble_jax.convert import reading
from scribble_jax.convert import shapes
from scribble_jax.files import formats
from scribble_jax.files import masks
from scribble_jax.files import picture_files
from scribble_jax.files import storage
from scribble_jax.labels import IGNORE_LABEL

_LABELS = 'PixelClassification/LabelSets'
_INFOS = 'Input Data/infos'
_MAX_TEXT = 2**20  # Characters of a text or list of texts.
# What h5py raises for files that are damaged or of another kind.
_DAMAGED = (OSError, LookupError, TypeError, RuntimeError, OverflowError,
            AttributeError, ValueError)


@contextlib.contextmanager
def _opened(path):
  """Yields an h5py.File; whatever is wrong with it becomes a ValueError."""
  h5py = reading.module('h5py', f'Reading {path}')
  with storage.local_copy(path) as copy:
    try:
      with h5py.File(copy, 'r') as file:
        yield file
    except _DAMAGED as error:
      text = ' '.join(str(error).split())
      raise ValueError(f'is no file of this kind, or damaged ({text})'
                       ) from error


def _dataset(group, name, kinds):
  """Returns the array of a dataset.

  Args:
    group: h5py.Group.
    name: Path of the dataset in it.
    kinds: Kinds of dtypes that it may have.

  Raises:
    ValueError: It is too large, or lies in another file.
    KeyError: It is missing.
  """
  found = group[name]
  if found.file.filename != group.file.filename or (
      found.is_virtual or found.external):
    raise ValueError(f'{name} lies in another file')
  if found.dtype.kind not in kinds:
    raise ValueError(f'{name} holds {found.dtype}')
  for shape in (found.shape, found.chunks or ()):
    picture_files.check_size(int(np.prod(shape, dtype=float)), 1,
                             picture_files.MAX_MEGAPIXELS)
  if found.dtype.kind == 'O' and found.size > _MAX_TEXT:
    raise ValueError(f'{name} has {found.size} texts')
  return found[()]


def _texts(group, name):
  """Returns the text, or the list of texts, of a dataset or attribute."""
  found = (group.attrs[name] if name in group.attrs
           else _dataset(group, name, 'OSU'))
  decode = lambda value: (value.decode() if isinstance(value, bytes)
                          else str(value))
  return ([*map(decode, found)] if isinstance(found, np.ndarray)
          and found.ndim else decode(found))


def read_ilastik(source, options):
  """Returns the Export of an .ilp file, or of all those of a folder."""
  del options
  names, found = {}, []
  for path in reading.files_in(source, ('.ilp',)).values():
    with reading.at(path), _opened(path) as file:
      listed = _texts(file, 'PixelClassification/LabelNames')
      names |= dict.fromkeys(listed)
      found += [_lane(file, number, listed, path)
                for number in range(len(file[_INFOS]))]
  return shapes.Export(tuple(names), found)


def _lane(file, number, names, path):
  """Returns the Picture of a project's image."""
  place = f'{path}: image {number + 1}'
  info = file[f'{_INFOS}/lane{number:04d}/Raw Data']
  photograph = _texts(info, 'filePath').replace('\\', '/').rpartition('/')[2]
  size = None
  if 'shape' in info and 'axistags' in info:
    axes = _axes(_texts(info, 'axistags'))
    sides = _dataset(info, 'shape', 'iu').tolist()
    size = tuple(sides[axes.index(axis)] for axis in 'yx')
  blocks = file.get(f'{_LABELS}/labels{number:03d}', {})
  values = {0: ''} | dict(enumerate(names, 1))
  found = []
  for name in sorted(blocks):
    pixels, origin = _block(blocks, name)
    found += shapes.values(pixels, values, origin)
  return shapes.Picture(photograph, (photograph,), place, size, tuple(found))


def _block(blocks, name):
  """Returns a block's [h, w] labels and the (row, column) where it begins."""
  pixels = _dataset(blocks, name, 'iu')
  attributes = blocks[name].attrs
  starts = [int(start) for start in re.findall(
      r'(\d+):\d+', str(_texts(blocks[name], 'blockSlice')))]
  axes = (_axes(_texts(blocks[name], 'axistags')) if 'axistags' in attributes
          else 'tzyxc' if pixels.ndim == 5 else 'yxc'[:pixels.ndim])
  if not pixels.ndim == len(starts) == len(axes):
    raise ValueError(f'{name} has {pixels.ndim} axes, its place {len(starts)}')
  places = axes.index('y'), axes.index('x')
  pixels = np.moveaxis(pixels, places, (0, 1))
  if pixels.size != pixels.shape[0] * pixels.shape[1]:
    raise ValueError(f'{name} has the shape {pixels.shape}; only pictures of '
                     'two sides are read')
  return (pixels.reshape(pixels.shape[:2]),
          tuple(min(starts[place], 2**31) for place in places))


def _axes(text):
  """Returns the letters of ilastik's axes."""
  return ''.join(reading.field(axis, 'key', str) for axis in reading.field(
      formats.parse_json(text), 'axes', list))


def read_scribbles4all(source, options):
  """Returns the Export of .h5 files, one an image.

  A stroke's colour is (index, index, index), or VOC's for a class.

  Args:
    source: From `storage.path`.
    options: `class_names`, a tuple or None.
  """
  names = options.class_names or reading.class_list(source)
  return shapes.Export(tuple(names), _strokes(
      source, names or tuple(f'class_{k}' for k in range(IGNORE_LABEL))))


def _strokes(source, names):
  for name, path in reading.files_in(source, ('.h5', '.hdf5')).items():
    with reading.at(path), _opened(path) as file:
      lines = _dataset(file, 'scribble', 'iuf')
      colours = _dataset(file, 'scribble_values', 'iu')
      settings = formats.parse_json(_texts(file, 'config'))
      width = reading.field(settings, 'line_thickness', (int, float))
      sides = _dataset(file, 'image_dims', 'iu').tolist()
      size = tuple(map(int, sides[:2]))
      if len(lines) != len(colours) or (len(lines) and (
          lines.ndim != 3 or colours.ndim != 2)):
        raise ValueError(f'has strokes of shape {lines.shape} and colours of '
                         f'shape {colours.shape}')
      found = [_stroke(line, colour, names, width)
               for line, colour in zip(lines, colours, strict=True)]
    name = reading.stem(name)
    yield shapes.Picture(
        name, (name,), str(path), size, tuple(filter(None, found)),
        (('', 'is of unlabelled pixels'),) * found.count(None))


def _stroke(line, colour, names, width):
  """Returns the Shape of a stroke; None if its colour means no class."""
  blue, green, red = colour[:3].tolist()  # As OpenCV has it.
  label = blue
  if not blue == green == red:
    same = np.flatnonzero(
        (masks.voc_palette() == [red, green, blue]).all(axis=1))
    label = int(same[0]) if len(same) else -1
  if label == IGNORE_LABEL:
    return None
  if not 0 <= label < len(names):
    raise ValueError(f'has a stroke of colour ({red}, {green}, {blue}), which '
                     'stands for no class')
  # Whole numbers there, which are the middle of a pixel.
  points = shapes.coordinates(np.trunc(line)) + 0.5
  return shapes.Shape(names[label], shapes.LINE, (points,), float(width))
