"""What is drawn on a photograph, read from its files as a bitmap."""

import numpy as np

from scribble_jax.annotate import layout
from scribble_jax.annotate import vector_strokes
from scribble_jax.files import masks
from scribble_jax.labels import IGNORE_LABEL

_THINNEST = 1.5  # Pixels, of a stroke on a picture that is scaled down.


def labels_of(files, photographs, palette, name, size):
  """Returns what is drawn on a photograph, at any size; see `Store.labels`.

  Args:
    files: `layout.Layout`.
    photographs: `photographs.Photographs`.
    palette: `palette.Palette`.
    name: As of `Store.labels`.
    size: Likewise.
  """
  document, full = files.read_document(name), photographs.size(name)
  strokes, is_smaller = document.strokes, tuple(size) != full
  canvas = below(files, name, document, full if document.imported else size)
  if is_smaller:
    canvas = vector_strokes.shrink_labels(canvas, size)
    strokes = [stroke.scaled(size[1] / full[1], _THINNEST)
               for stroke in strokes]
  vector_strokes.draw(strokes, canvas)
  return vector_strokes.as_indices(
      canvas, {label: label for label in palette.indices})


def below(files, name, document, size):
  """Returns a new canvas with what lies below the strokes of a document."""
  if document.nothing:
    return np.zeros(size, np.uint8)
  if document.imported:
    return masks.read_mask(files.path(layout.IMPORTED, name)).copy()
  return np.full(size, IGNORE_LABEL, np.uint8)
