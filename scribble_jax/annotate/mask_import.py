"""Import of masks of strokes, as a bitmap below the strokes of the page.

Imported strokes are kept as a bitmap, because thinning them to lines would
change which pixels are labelled. The eraser works on them.
"""

from absl import logging
import numpy as np

from scribble_jax.annotate import layout
from scribble_jax.annotate import palette as palettes
from scribble_jax.annotate.photographs import UnreadableError
from scribble_jax.errors import UserError
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.labels import IGNORE_LABEL


def palette_of(folder):
  """Returns the `palette.Palette` of a data set, None if it lists no classes.

  Args:
    folder: Folder of the data set.

  Raises:
    UserError: Its classes.txt can't be used.
  """
  path = storage.path(folder) / layout.CLASSES
  if not path.exists():
    return None
  return palettes.of_names(listings.read_lines(path, ''))


def import_masks(store, photographs, folder):
  """Imports masks of strokes for photographs that have no strokes yet.

  Args:
    store: `store.Store`.
    photographs: `photographs.Photographs`.
    folder: Folder of PNG or TIFF files named by id; they hold class indices,
      255 for unlabelled.

  Returns:
    Number of imported masks, and a line for each that could not be imported.
  """
  count, problems = 0, []
  found = listings.files_by_id(storage.path(folder), listings.MASK_SUFFIXES)
  for name, path in found.items():
    if name not in photographs.paths or store.read(name).version:
      continue
    try:
      mask = _read(path)
      if np.any(mask != IGNORE_LABEL):
        store.import_labels(name, mask)
        count += 1
    except (ValueError, UnreadableError) as error:
      problems.append(f'{path}: {error}')
  return count, problems


def _read(path):
  """`masks.read_mask`, with ValueError for any damage."""
  try:
    return masks.read_mask(path)
  except masks.DAMAGED as error:
    raise ValueError(str(error)) from error


def import_all(store, photographs, folder):
  """Calls `import_masks` and reports the result.

  If it is interrupted, the next start continues; see `Store.importing`.

  Raises:
    UserError: The folder is missing, or nothing in it can be imported.
  """
  store.note_import(folder)
  try:
    count, problems = import_masks(store, photographs, folder)
  except UserError:
    store.note_import(None)
    raise
  store.note_import(None)
  for problem in problems[:5]:
    logging.warning('Not imported: %s.', problem)
  if len(problems) > 5:
    logging.warning('Not imported: %d more.', len(problems) - 5)
  if problems and not count:
    raise UserError(f'{folder}: no strokes could be imported. Correct these '
                    f'files and start with --import={folder}.')
  if count:
    logging.info('Imported the strokes of %d photographs from %s.', count,
                 folder)
