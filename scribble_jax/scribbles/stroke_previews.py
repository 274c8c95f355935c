"""Pictures of drawn strokes, to look at."""

import numpy as np

from scribble_jax import panels
from scribble_jax.errors import UserError
from scribble_jax.files import images
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.labels import translate


def draw(files, photographs, folder, names, meaning, max_megapixels):
  """Returns a picture of examples: photograph, strokes and mask.

  Args:
    files: {id: path of a mask}.
    photographs: {id: path}.
    folder: Of the strokes.
    names: Of the classes, background first; None: their numbers.
    meaning: Of the masks' values, of `labels.meanings`.
    max_megapixels: Larger files are an error.
  """
  rows, reading = [], images.Reading(max_megapixels=max_megapixels)
  for name, path in files.items():
    mask = translate(masks.read_mask(path, max_megapixels), meaning)
    try:
      image = images.read(
          storage.read_bytes(photographs[name]), reading).pixels
    except masks.DAMAGED as error:
      raise UserError(f'{photographs[name]}: {error}. Mend it or go without '
                      '--panels.') from error
    if image.shape[:2] != mask.shape:
      raise UserError(f'{path} and {photographs[name]} differ in size. Name '
                      'the folder of the photographs by --images.')
    rows.append({'image': image, 'ground_truth': mask,
                 'scribble': masks.read_mask(
                     folder / f'{name}.png', max_megapixels)})
  return panels.draw_panels(rows, names or _numbers(rows))


def _numbers(rows):
  """Returns the classes' numbers as names, up to the last one of the masks."""
  last = max((int(label) for row in rows for label in np.unique(
      row['ground_truth']) if label != IGNORE_LABEL), default=0)
  return ('0 background', *map(str, range(1, last + 1)))
