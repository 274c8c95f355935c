"""The data set that the page trains on: what is drawn, or smaller copies of it.

The recipe `small` is for photographs of some hundred pixels a side. Where one
is larger than LARGEST, all are scaled down for training, and strokes are drawn
anew at that size, so that thin ones stay.
"""

from PIL import Image

from scribble_jax.annotate import drawing
from scribble_jax.annotate import layout
from scribble_jax.annotate import store
from scribble_jax.annotate import suggest
from scribble_jax.annotate.photographs import UnreadableError
from scribble_jax.files import atomic
from scribble_jax.files import listings

CONFIG = 'configs/own_data.py:small'  # The recipe.
LARGEST = 1024  # Pixels of the longer side, up to which nothing is scaled.
SIDE = 640  # Pixels of the longer side of a copy.
_FOLDER = 'training'


def root(files, photographs, palette, names):
  """Returns the folder to train from, and how large predictions are made.

  Args:
    files: `layout.Layout`.
    photographs: `photographs.Photographs`.
    palette: `palette.Palette`.
    names: Ids of the drawn photographs.

  Returns:
    A path, and the longer side in pixels that pictures are predicted at; None
    for each picture's own.
  """
  if max(max(photographs.size(name)) for name in names) <= LARGEST:
    return files.folder, None
  folder = files.folder / layout.CACHE / _FOLDER
  with atomic.whole_folder(folder) as partial:
    copy = layout.Layout(partial)
    written = [name for name in sorted(names)
               if _write_copy(copy, files, photographs, palette, name)]
    copy.write_list(written)
    (partial / layout.CLASSES).write_text(
        ''.join(f'{name}\n' for name in palette.names), encoding='utf-8')
  return folder, SIDE


def _write_copy(copy, files, photographs, palette, name):
  """Writes a scaled photograph and its strokes; False if it can't be read."""
  try:
    image = photographs.read(name)
  except UnreadableError:
    return False
  size = suggest.working_size(image.shape[:2], SIDE)
  path = listings.new_file(copy.folder / layout.IMAGES, name, '.jpg')
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(suggest.scaled(image, size)).save(path, quality=95)
  copy.write_bitmap(layout.SCRIBBLES, name, drawing.as_indices(
      store.labels_of(files, photographs, palette, name, size),
      palette.indices))
  return True
