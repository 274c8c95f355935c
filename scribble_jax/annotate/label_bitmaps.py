"""The strokes on a photograph as a bitmap, read from its files."""

import numpy as np

from scribble_jax.annotate import layout
from scribble_jax.annotate import vector_strokes
from scribble_jax.files import masks
from scribble_jax.labels import IGNORE_LABEL

_MIN_WIDTH = 1.5  # Pixels, of a stroke on a picture that is scaled down.


def labels_of(files, photographs, palette, name, size):
  """Returns the labels drawn on a photograph, at any size.

  Args:
    files: `layout.Layout`.
    photographs: `photographs.Photographs`.
    palette: `palette.Palette`.
    name: As of `Store.labels`.
    size: As of `Store.labels`.

  Returns:
    As of `Store.labels`.
  """
  document, full = files.read_document(name), photographs.size(name)
  strokes, is_smaller = document.strokes, tuple(size) != full
  canvas = below(files, name, document, full if document.imported else size)
  if is_smaller:
    canvas = vector_strokes.shrink_labels(canvas, size)
    strokes = [stroke.scaled(size[1] / full[1], _MIN_WIDTH)
               for stroke in strokes]
  vector_strokes.draw(strokes, canvas)
  return vector_strokes.as_indices(
      canvas, {label: label for label in palette.indices})


def below(files, name, document, size):
  """Returns the labels that lie below the strokes of a document.

  Args:
    files: `layout.Layout`.
    name: Id of the photograph.
    document: `vector_strokes.Document`.
    size: (height, width) in pixels.

  Returns:
    [height, width] uint8 identifiers, a new array.
  """
  if document.nothing:
    return np.zeros(size, np.uint8)
  if document.imported:
    return masks.read_mask(files.path(layout.IMPORTED, name)).copy()
  return np.full(size, IGNORE_LABEL, np.uint8)
