"""Export: strokes, masks, overlays and predictions as one zip.

The zip is made while it is sent, so that no copy of it needs disk space.
"""

import zipfile

import numpy as np

from scribble_jax.annotate import layout
from scribble_jax.annotate import suggest
from scribble_jax.annotate import suggestion_worker
from scribble_jax.annotate import vector_strokes
from scribble_jax.annotate.photographs import UnreadableError
from scribble_jax.files import formats
from scribble_jax.files import masks

KINDS = ('masks', 'overlays', 'all')
_README = """Made by scribble_jax.annotate.

masks/        class index of each pixel, from strokes or else from the network
overlays/     the masks over the photographs
strokes/      strokes as vectors: class, width, points in pixels
scribbles/    strokes as class indices, 255 where nothing is drawn
predictions/  class indices that the network predicts
classes.txt   names; the first one has index 0
"""


class _Buffer:
  """A file for zipfile, which cannot seek; `take` empties it."""

  def __init__(self):
    self._parts = []

  def write(self, content):
    """Adds bytes."""
    self._parts.append(bytes(content))
    return len(content)

  def flush(self):
    """Does nothing: nothing is held back."""

  def take(self):
    """Returns the bytes written since the last call."""
    content, self._parts = b''.join(self._parts), []
    return content


def chunks(store, photographs, suggester, kind):
  """Yields the bytes of a zip, at most one of its files at a time.

  Args:
    store: `store.Store`.
    photographs: `photographs.Photographs`.
    suggester: `suggestion_worker.Suggester`.
    kind: One of KINDS.
  """
  buffer = _Buffer()
  with zipfile.ZipFile(buffer, 'w') as archive:
    for _ in _write(archive, store, photographs, suggester, kind):
      yield buffer.take()
  yield buffer.take()


def _write(archive, store, photographs, suggester, kind):
  """Writes the files of the zip; yields after each one."""
  files = store.files
  archive.write(files.folder / layout.CLASSES, layout.CLASSES)
  if kind == 'all':
    archive.writestr('README.txt', _README)
    archive.write(files.folder / layout.SETTINGS, layout.SETTINGS)
    for folder in (layout.STROKES, layout.SCRIBBLES, layout.IMPORTED,
                   layout.PREDICTIONS):
      for path in sorted((files.folder / folder).rglob('*')):
        if path.is_file() and not path.stem.endswith('_overlay'):
          archive.write(path, path.relative_to(files.folder),
                        zipfile.ZIP_DEFLATED)
          yield
  for name in sorted(store.listed | store.predicted()):
    try:
      mask = _mask(store, photographs, suggester, name)
      if kind in ('masks', 'all'):
        archive.writestr(f'masks/{name}.png', masks.encode_grey(mask))
      if kind in ('overlays', 'all'):
        archive.writestr(f'overlays/{name}.png', formats.encode_png(
            _overlay(photographs.read(name), mask, store.palette)))
    except (UnreadableError, suggestion_worker.NoMaskError) as error:
      archive.writestr(f'{name}.missing.txt', f'There is no mask: {error}\n')
    yield


def _mask(store, photographs, suggester, name):
  """Returns the [H, W] uint8 class indices of a photograph, at its size."""
  answer = suggester.ask(name).result()
  labels = (
      store.prediction(name) if answer.scores is None else
      suggest.to_mask(answer.scores, photographs.size(name)).labels)
  return vector_strokes.as_indices(labels, store.palette.indices)


def _overlay(image, mask, palette):
  """Returns a photograph with the classes' colours over it.

  Args:
    image: [H, W, 3] uint8.
    mask: [H, W] uint8, class indices; the background stays as it is.
    palette: `palette.Palette`.
  """
  colours = np.array([[int(one.colour[i:i + 2], 16) for i in (1, 3, 5)]
                      for one in palette.classes], np.uint16)
  colours = colours[np.minimum(mask, len(colours) - 1)]
  mixed = (image.astype(np.uint16) + colours) // 2
  return np.where(mask[..., None] > 0, mixed, image).astype(np.uint8)
