"""What people bring as scribbles, of whatever kind, drawn as masks.

PNG masks, ScribbleSup's polylines and VOC's boxes as XML (a folder or a zip),
points and boxes as JSON. METHOD 9 describes them.
"""

import dataclasses
import json
import lzma
import os
import zipfile

import numpy as np

from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.labels import translate
from scribble_jax.strokes import boxes
from scribble_jax.strokes import points
from scribble_jax.strokes import polylines

XML, POINTS, BOXES = 'XML', 'points', 'boxes'


@dataclasses.dataclass(frozen=True)
class Annotation:
  """What somebody drew on one image, not yet a mask.

  Attributes:
    id: Name of the image.
    place: File, and where in it; heads the messages about it.
    kind: XML, POINTS or BOXES.
    content: The file, or the image's entry as JSON. It alone tells whether
      two annotations are the same.
  """
  id: str
  place: str
  kind: str
  content: bytes

  def __str__(self):
    return self.place


def scribbles_by_id(path, remedy):
  """Finds the scribbles of all images.

  Args:
    path: Of a folder of PNG or XML, a zip of XML, or a JSON file.
    remedy: What to do if there is nothing.

  Returns:
    {id: path of a PNG or Annotation}.

  Raises:
    UserError: Nothing there, a broken archive or JSON, or a file that can't be
      read.
  """
  if path.is_file():
    return _in_json(path) if path.suffix.lower() == '.json' else _in_zip(path)
  if not path.is_dir():
    raise UserError(f'{path} does not exist. {remedy}')
  return _in_folder(path)


def _in_folder(path):
  files, problems = listings.files_by_id(path, ('.png',)), []
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
  """Returns a file's bytes, or the OSError that reading it raises."""
  try:
    with storage.os_errors():
      return path.read_bytes()
  except OSError as error:
    return error


def _in_zip(path):
  files, problems = {}, []
  try:
    with zipfile.ZipFile(storage.readable(path)) as archive:
      for name in archive.namelist():
        stem, suffix = os.path.splitext(os.path.basename(name))
        if suffix.lower() == '.xml':
          place = f'{path}/{name}'
          if stem in files:
            problems.append(f'{place}: another file has the same id')
          files[stem] = Annotation(stem, place, XML, archive.read(name))
  except (*masks.DAMAGED, zipfile.BadZipFile, lzma.LZMAError,
          RuntimeError) as error:
    raise UserError(f'{path} is no complete zip file ({error}). Copy it '
                    'again, or unpack it and name the folder.') from error
  raise_problems(problems, 'Keep one XML file an id.')
  return files


def _in_json(path):
  try:
    entries = json.loads(path.read_bytes().decode('utf-8-sig'),
                         object_pairs_hook=_without_repeats)
  except OSError as error:
    raise UserError(f'Cannot read {path}: {error}. Name another file.'
                    ) from error
  except (ValueError, RecursionError) as error:  # No UTF-8 text either.
    raise UserError(
        f'{path} is broken JSON: {error}. Export it again.') from error
  if not isinstance(entries, dict):
    raise UserError(f'{path} holds no JSON object. It needs {{"ID": [...]}}, a '
                    'list of points or boxes for each image.')
  kind = _kind(entries)
  return {name: Annotation(name, f'{path}: {name}', kind,
                           json.dumps(entry, sort_keys=True).encode())
          for name, entry in entries.items()}


def _without_repeats(pairs):
  """Returns a dict; of an id twice, JSON would keep the last one unasked."""
  found = dict(pairs)
  if len(found) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f'{twice!r} is there twice')
  return found


def _kind(entries):
  """Tells boxes from points by any item: a file holds one kind."""
  keys = {key for entry in entries.values() if isinstance(entry, list)
          for item in entry if isinstance(item, dict) for key in item}
  return BOXES if 'xmin' in keys else POINTS


def read(scribble, size, class_names, seed=0, meaning=None):
  """Returns an image's scribble as a mask.

  Args:
    scribble: Path of a PNG, or Annotation.
    size: (height, width) of the image in pixels; None: as the scribble's own.
    class_names: All classes, background first.
    seed: Of what is drawn at random: the background of boxes.
    meaning: Of a PNG's values, of `labels.meanings`.

  Returns:
    [H, W] uint8 classes, IGNORE_LABEL where unlabelled.

  Raises:
    masks.DAMAGED: The PNG is truncated or no image.
    ValueError: Another size, an unknown class, a point outside the image, ...
  """
  if isinstance(scribble, Annotation):
    return _draw(scribble, size, class_names, seed)
  return read_mask(scribble, size, len(class_names), meaning)[0]


def read_mask(path, size, num_classes, meaning):
  """Returns a PNG's [H, W] uint8 classes, and their colours in its palette.

  Args:
    path: Of the PNG.
    size: As of `check_mask`.
    num_classes: As of `check_mask`.
    meaning: Of its values, of `labels.meanings`.

  Returns:
    [H, W] uint8 classes, IGNORE_LABEL where unlabelled, and {value: (red,
    green, blue)} of the values that stand for classes; {} without a palette.

  Raises:
    masks.DAMAGED: It is truncated or no image.
    ValueError: Another size, or a value that is no class.
  """
  values, palette = masks.read_with_palette(path)
  mask = translate(values, meaning)
  check_mask(mask, size, num_classes)
  if palette is None:
    return mask, {}
  used = np.flatnonzero(np.bincount(values[mask != IGNORE_LABEL].ravel()))
  return mask, {int(value): tuple(palette[value].tolist())
                for value in used if value < len(palette)}


def _draw(annotation, size, class_names, seed):
  if annotation.kind == XML:
    root, size = polylines.parse(annotation.content, size)
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
    size: (height, width) that it must have; None: any.
    num_classes: Indices must be below, or IGNORE_LABEL.
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
