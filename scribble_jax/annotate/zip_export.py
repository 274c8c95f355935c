"""All that was made, as one zip: strokes, masks, overlays, predictions.

The zip is made while it is sent, so that no copy of it needs room.
"""

import queue
import threading
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
_CHUNKS = 16  # That may wait to be sent.
_README = """Made by scribble_jax.annotate.

masks/        class index of each pixel, of strokes or else of the network
overlays/     the same over the photographs
strokes/      strokes as vectors: class, width, points in pixels
scribbles/    strokes as class indices, 255 where nothing is drawn
predictions/  class indices as the network sees them
classes.txt   names; the first one has index 0
"""


def chunks(store, photographs, suggester, kind):
  """Yields the bytes of a zip.

  Args:
    store: `store.Store`.
    photographs: `photographs.Photographs`.
    suggester: `suggestion_worker.Suggester`.
    kind: Of KINDS.
  """
  pipe = _Pipe()

  def write():
    """Writes the zip into the pipe, whatever happens."""
    try:
      with zipfile.ZipFile(pipe, 'w') as archive:
        _write(archive, store, photographs, suggester, kind)
      pipe.end()
    except _NobodyReadsError:
      pass
    except Exception as error:
      pipe.end(error)

  threading.Thread(target=write, daemon=True).start()
  yield from pipe.read()


def _write(archive, store, photographs, suggester, kind):
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


def _mask(store, photographs, suggester, name):
  """Returns the [H, W] uint8 class indices of a photograph, at its size."""
  answer = suggester.ask(name).result()
  labels = (
      store.prediction(name) if answer.scores is None else
      suggest.to_mask(answer.scores, photographs.size(name)).labels)
  return vector_strokes.as_indices(labels, store.palette.indices)


def _overlay(image, mask, palette):
  """Returns a photograph under the colours of its classes."""
  colours = np.array([[int(one.colour[i:i + 2], 16) for i in (1, 3, 5)]
                      for one in palette.classes], np.uint16)
  colours = colours[np.minimum(mask, len(colours) - 1)]
  mixed = (image.astype(np.uint16) + colours) // 2
  return np.where(mask[..., None] > 0, mixed, image).astype(np.uint8)


class _NobodyReadsError(Exception):
  """The one who asked has gone."""


class _Pipe:
  """What zipfile writes to, in one thread, and the server sends, in another."""

  def __init__(self):
    self._chunks = queue.Queue(_CHUNKS)
    self._gone = False

  def write(self, content):
    """Takes some bytes."""
    while not self._gone:
      try:
        self._chunks.put(bytes(content), timeout=1)
        return len(content)
      except queue.Full:
        continue
    raise _NobodyReadsError

  def flush(self):
    """Does nothing: nothing is held back."""

  def end(self, error=None):
    """Ends the zip, with an error if it is not whole."""
    self._chunks.put(error)

  def read(self):
    """Yields what is written."""
    try:
      while isinstance(content := self._chunks.get(), bytes):
        yield content
      if content is not None:
        raise content
    finally:
      self._gone = True
