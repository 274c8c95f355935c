"""The data set that the page trains on: the workdir, or smaller copies of it.

The recipe `small` is made for photographs of a few hundred pixels a side. If
one of them is larger than LARGEST, training uses scaled copies of all, on which
the strokes are drawn again, so that thin ones remain. Photographs that can't be
read are left out.
"""

from absl import logging
from PIL import Image

from scribble_jax.annotate import layout
from scribble_jax.annotate import suggest
from scribble_jax.annotate import vector_strokes
from scribble_jax.annotate.photographs import UnreadableError
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import listings

CONFIG = 'configs/own_data.py:small'  # The recipe.
LARGEST = 1024  # Longer side in pixels up to which nothing is scaled.
SIDE = 640  # Longer side of a copy in pixels.
_FOLDER = 'training'


def root(files, photographs, palette, names):
  """Returns the folder to train from and the size of predictions.

  Args:
    files: `layout.Layout`.
    photographs: `photographs.Photographs`.
    palette: `palette.Palette`.
    names: Ids of the drawn photographs.

  Returns:
    A path, and the longer side in pixels at which pictures are predicted; None
    for each picture's own size.

  Raises:
    UserError: None of the photographs can be read.
  """
  sizes = {}
  for name in sorted(names):
    try:
      sizes[name] = photographs.size(name)
    except UnreadableError as error:
      logging.warning('%s is left out: it %s.', name, error)
  if not sizes:
    raise UserError('No photograph that is drawn on can be read.')
  is_large = max(map(max, sizes.values())) > LARGEST
  if len(sizes) == len(names) and not is_large:
    return files.folder, None
  side = SIDE if is_large else LARGEST
  folder = files.folder / layout.CACHE / _FOLDER
  with atomic.whole_folder(folder) as partial:
    copy = layout.Layout(partial)
    copy.write_list([name for name in sizes if _write_copy(
        copy, files, photographs, palette, name, side)])
    copy.write_classes(palette)
  return folder, SIDE if is_large else None


def _write_copy(copy, files, photographs, palette, name, side):
  """Writes a scaled photograph and its strokes.

  Returns:
    Whether the photograph could be read.
  """
  try:
    image = photographs.read(name)
  except UnreadableError:
    return False
  size = suggest.working_size(image.shape[:2], side)
  path = listings.new_file(copy.folder / layout.IMAGES, name, '.jpg')
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(suggest.scaled(image, size)).save(path, quality=95)
  copy.write_bitmap(layout.SCRIBBLES, name, vector_strokes.as_indices(
      files.labels(name, image.shape[:2], size), palette.indices))
  return True
