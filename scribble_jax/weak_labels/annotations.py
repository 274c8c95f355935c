"""Reads scribbles of all kinds and draws them as masks (METHOD 9).

The kinds are PNG or TIFF masks, ScribbleSup's polylines and VOC's boxes as XML
(a folder or a zip), and points and boxes as JSON.
"""

import contextlib
import dataclasses
import json
import lzma
import os
import zipfile

import numpy as np

from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import archives
from scribble_jax.files import formats
from scribble_jax.files import image_decoding
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.labels import translate
from scribble_jax.weak_labels import boxes
from scribble_jax.weak_labels import points
from scribble_jax.weak_labels import polylines

XML, POINTS, BOXES = 'XML', 'points', 'boxes'
# Suffixes of the files in a folder of scribbles.
SUFFIXES = (*listings.MASK_SUFFIXES, '.xml')
# Maximum total size in bytes of the XML in a zip, which is read into memory. A
# zip of a few kilobytes may unpack to more than any machine has.
_MAX_ZIP_BYTES = 2**30


@dataclasses.dataclass(frozen=True)
class Annotation:
  """The scribble of one image that is not stored as a mask.

  Attributes:
    id: Name of the image.
    place: File and the place in it, for messages.
    kind: XML, POINTS or BOXES.
    content: Content of the file, or the image's entry as JSON. Annotations
      with the same content are the same.
  """
  id: str
  place: str
  kind: str
  content: bytes

  def __str__(self):
    return self.place


def scribbles_by_id(path, remedy, ids=()):
  """Finds the scribbles of all images.

  Args:
    path: Path of a folder of masks or XML, a zip of XML, or a JSON file.
    remedy: What to do if the path does not exist, for the message.
    ids: The ids wanted; in a zip their files may be in any folder.

  Returns:
    {id: path of a mask, or Annotation}.

  Raises:
    UserError: The path does not exist, an archive or JSON file is broken, or a
      file can't be read.
  """
  if path.is_file():
    return (_in_json(path) if path.suffix.lower() == '.json'
            else _in_zip(path, ids))
  if not path.is_dir():
    raise UserError(f'{path} does not exist. {remedy}')
  files, problems = listings.files_by_id(path, listings.MASK_SUFFIXES), []
  found = listings.files_by_id(path, ('.xml',))
  for (name, xml), content in zip(
      found.items(), storage.map_files(_content, found.values()), strict=True):
    if isinstance(content, OSError):
      problems.append(f'{xml}: {content}')
    else:
      files.setdefault(name, Annotation(name, str(xml), XML, content))
  raise_problems(problems, 'Mend these files and start again.')
  return files


def _content(path):
  """Returns a file's bytes, or the OSError of reading it."""
  try:
    return storage.read_bytes(path)
  except OSError as error:
    return error


def _in_zip(path, ids):
  found, problems = [], []
  try:
    with zipfile.ZipFile(storage.readable(path)) as archive:
      members = [member for member in archive.infolist()
                 if member.filename.lower().endswith('.xml')]
      _check_sizes(path, members)
      archives.refuse_overlaps(archive)
      for member in members:
        name = _member_name(member)
        place = f'{path}/{name}'
        try:
          name = listings.image_id(name)
        except ValueError as error:
          problems.append(f'{place}: {error}')
        if not listings.is_junk(name):
          found.append((name, place, archives.read_member(archive, member)))
  except (*masks.DAMAGED, zipfile.BadZipFile, lzma.LZMAError,
          RuntimeError, MemoryError) as error:
    raise_problems([f'{path} is no complete zip file ({error})'],
                   'Copy it again, or unpack it and name the folder.')
  if not found:
    raise UserError(f'{path} holds no XML file. Unpack what it holds and name '
                    'the folder.')
  files = {}
  for name, (_, place, content) in zip(
      _without_outer_folders([name for name, *_ in found], ids), found,
      strict=True):
    if name in files:
      problems.append(f'{place}: another file has the same id')
    files[name] = Annotation(name, place, XML, content)
  raise_problems(problems, 'Keep one XML file an id.')
  return files


def _check_sizes(path, members):
  """Raises UserError if some ZipInfos are too large to be annotations."""
  raise_problems(
      [f'{path}/{member.filename} has {member.file_size / 2**20:.0f} MB; the '
       f'annotation of one image has at most {polylines.MAX_BYTES // 2**20}'
       for member in members if member.file_size > polylines.MAX_BYTES],
      'Take these files out of the zip.')
  total = sum(member.file_size for member in members)
  if total > _MAX_ZIP_BYTES:
    raise UserError(f'{path} holds {total / 2**30:.1f} GB of XML, more than '
                    f'the {_MAX_ZIP_BYTES // 2**30} GB that are read. Unpack '
                    'it and name the folder.')


def _member_name(member):
  """Returns the name of a ZipInfo; macOS does not declare its UTF-8."""
  if not member.flag_bits & 0x800:  # Bit 11: the name is UTF-8.
    with contextlib.suppress(UnicodeError):
      return member.filename.encode('cp437').decode()
  return member.filename


def _without_outer_folders(names, ids):
  """Returns the id of each path in an archive.

  The id is the longest ending of the path that is among the ids wanted. If
  there is none, it is the path without the folder that contains all files.
  """
  outer = os.path.commonpath([os.path.dirname(name) for name in names])
  ids, found = {*ids}, []
  for name in names:
    parts = name.split('/')
    endings = ('/'.join(parts[start:]) for start in range(len(parts)))
    found.append(next((ending for ending in endings if ending in ids),
                      name[len(outer) + bool(outer):]))
  return found


def _in_json(path):
  try:
    with storage.os_errors():
      text = listings.decoded(path, path.read_bytes())
    entries = formats.parse_json(text, object_pairs_hook=_without_repeats)
  except OSError as error:
    raise UserError(f'Cannot read {path}: {error}. Name another file.'
                    ) from error
  except ValueError as error:
    raise UserError(
        f'{path} is broken JSON: {error}. Export it again.') from error
  if not isinstance(entries, dict):
    raise UserError(f'{path} holds no JSON object. It needs {{"ID": [...]}}, a '
                    'list of points or boxes for each image.')
  ids, problems = [], []
  for name in entries:
    try:
      ids.append(listings.image_id(name))
    except ValueError as error:
      problems.append(f'{path}: {error}')
  raise_problems(problems, 'Name the images by their ids.')
  listings.raise_repeated(path, ids, 'Keep one entry an id.')
  # A file has boxes or points; any item tells which.
  keys = {key for entry in entries.values() if isinstance(entry, list)
          for item in entry if isinstance(item, dict) for key in item}
  kind = BOXES if 'xmin' in keys else POINTS
  return {name: Annotation(name, f'{path}: {name}', kind,
                           json.dumps(entry, sort_keys=True).encode())
          for name, entry in zip(ids, entries.values(), strict=True)}


def _without_repeats(pairs):
  """Returns a dict; raises ValueError for a repeated key, unlike `json`."""
  found = {}
  for name, value in pairs:
    if name in found:
      raise ValueError(f'{name!r} is there twice')
    found[name] = value
  return found


def read(*args, **settings):
  """Returns only the mask of `read_with_colours`."""
  return read_with_colours(*args, **settings)[0]


def read_with_colours(scribble, size, class_names, seed=0, meaning=None,
                      max_megapixels=image_decoding.MAX_MEGAPIXELS):
  """Returns an image's scribble as a mask, and its palette.

  Args:
    scribble: Path of a mask, or Annotation.
    size: (height, width) of the image in pixels; None to use the scribble's.
    class_names: All classes, background first.
    seed: Seed of the strokes that are drawn outside of boxes.
    meaning: Meaning of a mask's values, from `labels.meanings`.
    max_megapixels: A larger mask is an error.

  Returns:
    mask: [H, W] uint8 classes, IGNORE_LABEL where unlabelled.
    colours: {value: (red, green, blue)} of the file's values that are classes;
      {} without a palette.

  Raises:
    masks.DAMAGED: The mask is truncated or not an image.
    ValueError: The scribble does not fit the image or the classes.
  """
  if isinstance(scribble, Annotation):
    return _draw(scribble, size, class_names, seed, max_megapixels), {}
  values, palette = masks.read_with_palette(scribble, max_megapixels)
  mask = translate(values, meaning)
  check_mask(mask, size, len(class_names))
  if palette is None:
    return mask, {}
  used = np.flatnonzero(np.bincount(values[mask != IGNORE_LABEL].ravel()))
  return mask, {int(value): tuple(palette[value].tolist())
                for value in used if value < len(palette)}


def _draw(annotation, size, class_names, seed, max_megapixels):
  if annotation.kind == XML:
    root, size = polylines.parse(annotation.content, size, max_megapixels)
    if root.find('object') is None:
      return polylines.draw_strokes(root, size, class_names)
    found = boxes.in_xml(root, class_names)
    return boxes.draw(found, size, (seed, annotation.id))
  if size is None:
    raise ValueError('the size of the image is missing; name the folder of '
                     'images')
  items = json.loads(annotation.content)
  if not isinstance(items, list):
    raise ValueError(f'holds no list of {annotation.kind}')
  if annotation.kind == POINTS:
    return points.draw(items, size, class_names)
  return boxes.draw(boxes.in_json(items, class_names), size,
                    (seed, annotation.id))


def check_mask(mask, size, num_classes):
  """Raises ValueError for a mask of another size or with unknown classes.

  Args:
    mask: [H, W] uint8.
    size: Required (height, width) in pixels; None for any.
    num_classes: Number of classes; indices must be smaller, or IGNORE_LABEL.
  """
  if size is not None and mask.shape != tuple(size):
    raise ValueError(f'is {mask.shape[1]}x{mask.shape[0]} pixels, its image '
                     f'{size[1]}x{size[0]}')
  wrong = mask[(mask >= num_classes) & (mask != IGNORE_LABEL)]
  if wrong.size:
    raise ValueError(f'class index {wrong.max()} is not in the class list '
                     f'(0 to {num_classes - 1}, or {IGNORE_LABEL}); '
                     'data.unlabelled_index and data.label_map say what other '
                     'values mean')
