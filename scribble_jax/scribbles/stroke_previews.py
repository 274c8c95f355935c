"""Preview pictures of simulated strokes."""

import numpy as np

from scribble_jax import panels
from scribble_jax.errors import UserError
from scribble_jax.files import images
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.labels import translate


def draw(files, photographs, folder, names, meaning, max_megapixels):
  """Draws examples as one picture: photograph, strokes and mask of each.

  Args:
    files: {id: path of a mask}.
    photographs: {id: path of a photograph}.
    folder: Folder of the strokes.
    names: Class names, background first; None to show numbers.
    meaning: Meaning of the masks' values, from `labels.meanings`.
    max_megapixels: Larger files are an error.

  Returns:
    [H, W, 3] uint8.
  """
  rows, reading = [], images.Reading(max_megapixels=max_megapixels)
  for name, path in files.items():
    mask = translate(masks.read_mask(path, max_megapixels), meaning)
    try:
      image = images.read(
          storage.read_bytes(photographs[name]), reading).pixels
    except masks.DAMAGED as error:
      raise UserError(f'{photographs[name]}: {error}. Repair it, or leave out '
                      '--panels.') from error
    if image.shape[:2] != mask.shape:
      raise UserError(f'{path} and {photographs[name]} differ in size. Set '
                      '--images to the folder of the photographs.')
    rows.append({'image': image, 'ground_truth': mask,
                 'scribble': masks.read_mask(
                     folder / f'{name}.png', max_megapixels)})
  if not names:  # Numbers, up to the last one in the masks.
    labels = np.concatenate([row['ground_truth'].ravel() for row in rows])
    last = np.max(labels, where=labels != IGNORE_LABEL, initial=0)
    names = ('0 background', *map(str, range(1, last + 1)))
  return panels.draw_panels(rows, names)
