"""Writes masks of class indices as annotations, to be corrected in a tool."""

import collections
import dataclasses
import pathlib

import numpy as np

from scribble_jax import tables
from scribble_jax.convert import coco
from scribble_jax.convert import input_files
from scribble_jax.convert import label_images
from scribble_jax.convert import label_studio
from scribble_jax.convert import labelme
from scribble_jax.convert import parsing
from scribble_jax.data import dataset_files
from scribble_jax.errors import UserError
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.weak_labels import annotations

# Functions of (folder to write into, iterable of Item, class names, options).
WRITERS = {'coco': coco.write, 'label_studio': label_studio.write,
           'labelme': labelme.write, 'napari': label_images.write}


@dataclasses.dataclass(frozen=True)
class Item:
  """A mask to write.

  Attributes:
    id: Id of the image in its data set.
    mask: [H, W] uint8 class indices, IGNORE_LABEL where unlabelled.
    labels: Class indices to write.
    photograph: Name of the photograph; ID.jpg if `file` is None.
    file: Path of the photograph, or None.
  """
  id: str
  mask: np.ndarray
  labels: tuple[int, ...]
  photograph: str
  file: pathlib.Path | None


def convert(source, target, options):
  """Writes a folder of masks as a tool's annotations; returns the report.

  Args:
    source: Folder of PNG or TIFF masks, such as predictions.
    target: Folder to make, whole or not at all.
    options: Object with the attributes `to` of WRITERS, `images` and `classes`
      or None, `photographs`, `with_background`, and the options of single
      writers: `rle`, `shapes`, `url`.

  Raises:
    UserError: The source or the target cannot be used.
  """
  folder = storage.path(source)
  files = {name: path for name, path in listings.files_by_id(
      folder, listings.MASK_SUFFIXES).items() if not name.endswith('_overlay')}
  if not files:
    raise UserError(f'{folder} holds no masks. Name a folder of PNG files.')
  classes = options.classes or next(
      (str(place / 'classes.txt') for place in (folder, folder.parent)
       if (place / 'classes.txt').is_file()), None)
  if classes is None:
    raise UserError(f'{folder} has no classes.txt. Name one by --classes.')
  names = dataset_files.read_class_names(classes, '.')
  counts = collections.Counter(), collections.Counter()
  with input_files.whole_target(target) as made:
    WRITERS[options.to](
        made, _items(files, names, counts, options), names, options)
    (made / 'classes.txt').write_text('\n'.join(names) + '\n')
  rows = tuple((name, *(str(count[label]) for count in counts))
               for label, name in enumerate(names))
  return '\n'.join([
      tables.Table(('class', 'pictures', 'pixels'), rows).text(),
      f'{len(files)} pictures for {options.to} in {target}.'])


def _items(files, names, counts, options):
  """Yields the Item of each mask; counts pictures and pixels of each class."""
  photographs = options.images and input_files.Photographs(
      storage.path(options.images), {*files.values()})
  for name, path in files.items():
    with parsing.at(path):
      mask = masks.read_mask(path)
      annotations.check_mask(mask, None, len(names))
      file = photographs.find([name]) if photographs else None
    if photographs and file is None:
      raise UserError(f'{options.images} holds no photograph for {name}. Add '
                      'it, or go without --images.')
    found = np.bincount(mask.ravel(), minlength=256)[:IGNORE_LABEL].tolist()
    labels = tuple(label for label, count in enumerate(found)
                   if count and (label or options.with_background))
    for label in labels:
      counts[0][label] += 1
      counts[1][label] += found[label]
    yield Item(name, mask, labels,
               f'{name}{file.suffix if file else ".jpg"}', file)
