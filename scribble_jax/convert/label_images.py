"""Label images of napari, ilastik, nnU-Net and this program."""

import io
import re
import zipfile

import numpy as np
from PIL import Image

from scribble_jax.convert import parsing
from scribble_jax.convert import shapes
from scribble_jax.errors import UserError
from scribble_jax.files import image_decoding
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.labels import IGNORE_LABEL

SUFFIXES = ('.png', '.tif', '.tiff', '.npz')
# Suffixes that programs add to the name of the photograph.
_ADDED = re.compile(r'[-_ ](labels?|simple segmentation|masks?)$',
                    re.IGNORECASE)


def read(source, options):
  """Returns the Export of label images: 0 is unlabelled, 1 to n are classes.

  The class of value k is the k-th one of `--classes` or classes.txt, else
  class_k.

  Args:
    source: From `storage.path`.
    options: Object with the attributes `class_names`, a tuple or None, and
      `images`. If that is None, only files with a name such as ID_labels.tif
      are label images.
  """
  files = parsing.files_in(source, SUFFIXES)
  if options.images is None and source.is_dir():
    files = {name: path for name, path in files.items()
             if _ADDED.search(parsing.stem(name))}
    if not files:
      raise UserError(f'{source} holds no file that is named as label images '
                      'are, such as ID_labels.tif. Name the folder of '
                      'photographs by --images.')
  listed = options.class_names or parsing.class_list(source)
  if not listed:
    highest = 0
    for path in files.values():
      with parsing.at(path):
        highest = max(highest, int(read_file(path).max()))
    listed = tuple(f'class_{k}' for k in range(1, min(
        highest, IGNORE_LABEL) + 1))
  return export(files, {0: ''} | dict(enumerate(listed, 1)))


def read_indices(source, options):
  """Returns the Export of a folder of masks with this program's indices."""
  files = parsing.files_in(source, listings.MASK_SUFFIXES)
  listed = options.class_names or parsing.class_list(source)
  if not listed:
    raise UserError(f'{source} has no classes.txt. Name one by --classes.')
  return export(files, dict(enumerate(listed)) | {IGNORE_LABEL: ''})


def read_nnunet(source, _options):
  """Returns the Export of a data set of nnU-Net: dataset.json and labelsTr."""
  path = source / 'dataset.json'
  if not path.is_file():
    raise UserError(f'{path} does not exist. Name the folder that holds it.')
  with parsing.at(path):
    values = {}
    for name, value in parsing.field(
        parsing.json_in(path), 'labels', dict).items():
      if not isinstance(value, int) or value in values:
        raise ValueError(f'label {name!r} is {value!r} instead of an index of '
                         'its own; regions are not read')
      values[value] = '' if name == 'ignore' else name
  files = parsing.files_in(source / 'labelsTr', SUFFIXES)
  if not files:
    raise UserError(f'{source / "labelsTr"} holds no PNG or TIFF file. NIfTI '
                    'is not read: convert it to PNG.')
  return export(files, dict(sorted(values.items())), ending='_0000')


def export(files, names, read_values=None, ending='', own=()):
  """Returns the Export of label images.

  Args:
    files: {name: path}.
    names: {value: class name, '' for unlabelled}, in the order of the classes.
    read_values: Function of a path that returns [h, w] integers; None:
      `read_file`.
    ending: Text behind the id in the names of photographs.
    own: Paths of further image files that are not photographs.
  """
  return shapes.Export(
      tuple(filter(None, names.values())),
      _pictures(files, names, read_values or read_file, ending),
      frozenset([*files.values(), *own]))


def _pictures(files, names, read_values, ending):
  for name, path in files.items():
    with parsing.at(path):
      values = read_values(path)
      found = shapes.values(values, names)
    name = parsing.stem(name)
    if not ending:
      name = _ADDED.sub('', name)
    last = name.rpartition('/')[2]
    yield shapes.Picture(name, (f'{name}{ending}', f'{last}{ending}', name),
                         str(path), values.shape, found)


def read_file(path):
  """Returns the [h, w] integers of a TIFF, PNG or npz file.

  Raises:
    ValueError: The file is damaged or holds anything else.
  """
  content = storage.read_bytes(path)
  if content.startswith(b'PK'):
    return _in_npz(content)
  try:
    image = image_decoding.open_image(content, ('PNG', 'TIFF'),
                                      image_decoding.MAX_MEGAPIXELS)
  except ValueError:
    if not content.startswith((b'II', b'MM')):
      raise
    return _by_tifffile(content)
  if image.mode not in ('P', 'L', 'I', 'I;16', 'I;16B') or (
      image.info.get('compression') in masks.LOSSY):
    raise ValueError(f'has mode {image.mode}, not one label per pixel')
  image_decoding.load(image)
  return np.asarray(image)


def _in_npz(content):
  """Returns the only array in an npz file; pickles are refused."""
  try:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
      (member,) = archive.infolist()  # A ValueError if there are several.
      with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        reader = {(1, 0): np.lib.format.read_array_header_1_0,
                  (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = reader(file)
        _check(shape, dtype)
      with archive.open(member) as file:
        return _flat(np.lib.format.read_array(file, allow_pickle=False))
  except Exception as error:  # NumPy and zipfile raise any class.
    raise ValueError(f'is no npz file of one label image ({error})') from None


def _by_tifffile(content):
  """Returns the labels of a TIFF file that Pillow cannot read."""
  tifffile = parsing.module('tifffile', 'This kind of TIFF')
  try:
    with tifffile.TiffFile(io.BytesIO(content)) as file:
      series = file.series[0]
      _check(series.shape, series.dtype)
      return _flat(series.asarray())
  except MemoryError:
    raise
  except Exception as error:  # For damaged files, tifffile raises any class.
    raise ValueError(f'is a TIFF file that is not read ({error})') from None


def _check(shape, dtype):
  """Raises ValueError unless an array is an [h, w] image of integers."""
  if dtype is None or dtype.kind not in 'iub':
    raise ValueError(f'it holds {dtype} instead of integers')
  sides = [side for side in shape if side != 1]
  if len(sides) > 2 or len(shape) < 2 or min(shape) < 1:
    raise ValueError(f'it has the shape {tuple(shape)} instead of two sides')
  image_decoding.check_size(int(np.prod(shape, dtype=float)), 1,
                            image_decoding.MAX_MEGAPIXELS)


def _flat(values):
  """Returns an array as [h, w], without its other axes, whose length is 1."""
  while values.ndim > 2:
    values = values.squeeze(axis=values.shape.index(1))
  return values


def write(folder, items, _names, _options):
  """Writes a TIFF file per image: 0 is unlabelled, 1 to n are the classes."""
  for item in items:
    values = np.where(np.isin(item.mask, item.labels), item.mask + 1, 0)
    Image.fromarray(values.astype(np.uint8)).save(
        listings.new_file(folder, item.id, '.tif'), compression='tiff_deflate')
