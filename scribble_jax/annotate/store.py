"""Storage of strokes and classes; training can read its folder at any time.

A change of strokes is on the disk when `write` returns: first the vectors, then
the mask that is drawn from them. If the process is killed in between, the next
start draws the mask.
"""

import contextlib
import dataclasses
import pathlib
import threading

import numpy as np

from scribble_jax.annotate import layout
from scribble_jax.annotate import palette as palettes
from scribble_jax.annotate import photographs as photographs_of
from scribble_jax.annotate import vector_strokes
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.labels import IGNORE_LABEL


class ConflictError(Exception):
  """Another page has changed the picture in the meantime.

  Attributes:
    document: The stored `vector_strokes.Document`.
  """

  def __init__(self, document):
    super().__init__('another page has changed this picture')
    self.document = document


class Store:
  """The strokes on photographs, and their classes; thread-safe.

  Attributes:
    files: `layout.Layout`.
  """

  def __init__(self, folder, photographs, palette=None, importing=None):
    """Opens a workdir, or creates it.

    Args:
      folder: Absolute path of the workdir.
      photographs: `photographs.Photographs`.
      palette: `palette.Palette` of a new workdir; None for the background
        alone.
      importing: Folder of masks that will be imported, or None.

    Raises:
      UserError: The folder belongs to other photographs or is damaged.
    """
    self.files = layout.Layout(pathlib.Path(folder))
    self._photographs = photographs
    self._lock = threading.RLock()
    self._drawn = None  # (id, Document, canvas) of the last mask.
    self.files.check(photographs.folder)
    stored = self.files.read_settings()
    if stored and stored.pictures != photographs.folder:
      raise UserError(f'{folder} holds strokes on the photographs of '
                      f'{stored.pictures}. Name another --workdir.')
    self._settings = stored or layout.Settings(
        photographs.folder, palette or palettes.of_names(['background']))
    self._set(importing=self._settings.importing or importing)
    self._repair()
    self.files.write_list(self._listed)

  @property
  def palette(self):
    """The `palette.Palette`."""
    return self._settings.palette

  @property
  def importing(self):
    """Folder of masks whose import is not finished, or None."""
    return self._settings.importing

  def note_import(self, folder):
    """Stores the folder that is being imported; None at the end."""
    self._set(importing=folder)

  @property
  def listed(self):
    """The set of ids with strokes, or marked as background."""
    with self._lock:
      return set(self._listed)

  def read(self, name):
    """Returns the `vector_strokes.Document` of a photograph.

    Raises:
      UserError: Its file is damaged.
    """
    return self.files.read_document(name)

  def write(self, name, document):
    """Writes a document, its mask and the list.

    Args:
      name: Id of a photograph.
      document: `vector_strokes.Document` with the version that it changes.

    Returns:
      The new version.

    Raises:
      ConflictError: Another version is stored.
      ValueError: A stroke is of a class that does not exist.
      UnreadableError: The photograph can't be read.
    """
    with self._lock:
      stored = self.read(name)
      if stored.version != document.version:
        if not self._is_drawn(name) or name not in self._listed:
          # Drawing it failed, as on a full disk, or nothing is drawn.
          self._draw(name, stored)
        raise ConflictError(stored)
      unknown = {stroke.label for stroke in document.strokes} - {
          *self.palette.indices, IGNORE_LABEL}
      if unknown:
        raise ValueError(
            f'has strokes of classes that do not exist ({sorted(unknown)}): '
            'another page may have deleted them. Reload the page')
      if document.imported and not self.files.path(
          layout.IMPORTED, name).exists():
        raise ValueError('refers to imported strokes that do not exist')
      self._photographs.size(name)  # Raises if it can't be read.
      document = dataclasses.replace(document, version=stored.version + 1)
      self.files.write_document(name, document)
      self._draw(name, document)
      return document.version

  def labels(self, name, size):
    """Returns the labels drawn on a photograph, at any size.

    Args:
      name: Id of a photograph.
      size: (height, width) in pixels, at most those of the photograph.

    Returns:
      [height, width] uint8 identifiers of classes, IGNORE_LABEL elsewhere.
    """
    return vector_strokes.as_indices(
        self.files.labels(name, self._photographs.size(name), size),
        {label: label for label in self.palette.indices})

  def import_labels(self, name, indices):
    """Puts a bitmap of class indices below the strokes of a photograph.

    Args:
      name: Id of a photograph without strokes.
      indices: [H, W] uint8, IGNORE_LABEL elsewhere.

    Raises:
      ValueError: Its size is not the photograph's, or an index has no class.
      UnreadableError: The photograph can't be read.
    """
    size = self._photographs.size(name)
    if indices.shape != size:
      raise ValueError(f'has {indices.shape[1]}x{indices.shape[0]} pixels, the '
                       f'photograph {size[1]}x{size[0]}')
    labels = [one.label for one in self.palette.classes]
    table = np.full(256, IGNORE_LABEL, np.uint8)
    table[:len(labels)] = labels
    used = np.unique(indices[indices != IGNORE_LABEL])
    if np.any(used >= len(labels)):
      raise ValueError(f'holds {used[-1]}, but there are {len(labels)} classes')
    self.files.write_bitmap(layout.IMPORTED, name, table[indices])
    self.write(name, vector_strokes.Document(imported=True))

  def change_palette(self, change):
    """Changes the classes and removes the strokes of deleted ones.

    Masks are drawn again where an index may have changed.

    Args:
      change: Function of a `palette.Palette` that returns the new one.

    Raises:
      UserError: The change is refused, or a file of strokes is damaged. Such a
        file is not changed.
    """
    with self._lock:
      palette = change(self.palette)
      must_redraw = self._settings.is_stale or bool(
          self.palette.indices.keys() - palette.indices.keys())
      self._set(palette=palette, is_stale=True)
      if must_redraw:
        self._redraw()
      self._set(is_stale=False)

  def count_strokes(self, label):
    """Returns how many strokes a class has, and on how many photographs."""
    counts = [sum(stroke.label == label for stroke in self.read(name).strokes)
              for name in self.listed]
    return sum(counts), sum(count > 0 for count in counts)

  def prediction(self, name):
    """Returns the [H, W] uint8 class identifiers of the network, or None.

    Classes that were deleted since become background.
    """
    labels = self.files.read_prediction(name)
    return None if labels is None else np.where(
        np.isin(labels, [*self.palette.indices]), labels, 0).astype(np.uint8)

  def predicted(self):
    """Returns the ids of the photographs that have a prediction."""
    return self.files.ids(layout.PREDICTIONS) & self._photographs.paths.keys()

  def _draw(self, name, document):
    """Draws a mask, links its photograph and lists it, or removes the mask."""
    if document.is_blank:
      self.files.path(layout.SCRIBBLES, name).unlink(missing_ok=True)
    else:
      size = self._photographs.size(name)
      self.files.link_photograph(name, self._photographs.paths[name])
      self.files.write_bitmap(layout.SCRIBBLES, name, vector_strokes.as_indices(
          self._canvas(name, document, size), self.palette.indices))
    if document.is_blank == (name in self._listed):
      listed = self._listed ^ {name}
      self.files.write_list(listed)
      self._listed = listed

  def _canvas(self, name, document, size):
    """Returns the drawn [H, W] identifiers; reuses the last result."""
    before, self._drawn = self._drawn, None
    if before and before[0] == name and _continues(document, before[1]):
      canvas, first = before[2], len(before[1].strokes)
    else:
      canvas, first = self.files.below(name, document, size), 0
    vector_strokes.draw(document.strokes[first:], canvas)
    self._drawn = name, document, canvas
    return canvas

  def _set(self, **changes):
    self._settings = self._settings._replace(**changes)
    self.files.write_settings(self._settings)

  def _repair(self):
    """Finds the listed ids, and finishes what a killed process has begun."""
    stored = self.files.ids(layout.STROKES, '.json') & (
        self._photographs.paths.keys())
    self._listed = {name for name in stored if self._is_drawn(name)}
    if self._settings.is_stale:
      self._redraw()
      self._set(is_stale=False)
    for name in sorted(stored - self._listed):
      with contextlib.suppress(photographs_of.UnreadableError):
        self._draw(name, self.read(name))

  def _is_drawn(self, name):
    document = self.files.path(layout.STROKES, name, '.json')
    mask = self.files.path(layout.SCRIBBLES, name)
    return mask.exists() and document.exists() and (
        mask.stat().st_mtime_ns >= document.stat().st_mtime_ns)

  def _redraw(self):
    """Draws all masks again, without strokes of deleted classes.

    A mask that can't be drawn is removed, because its indices may be wrong.
    """
    self._drawn, problems = None, []
    for name in sorted(self.files.ids(layout.STROKES, '.json')):
      try:
        document = self._without_deleted(name)
        if name in self._photographs.paths:
          self._draw(name, document)
          continue
      except UserError as error:  # The strokes are damaged.
        problems.append(str(error))
      except photographs_of.UnreadableError:
        pass
      self.files.path(layout.SCRIBBLES, name).unlink(missing_ok=True)
      self._listed.discard(name)
    self.files.write_list(self._listed)
    raise_problems(problems, 'Until then the picture has no mask.')

  def _without_deleted(self, name):
    """Removes the strokes of deleted classes; returns the document."""
    document = self.read(name)
    kept = tuple(stroke for stroke in document.strokes
                 if stroke.label in {*self.palette.indices, IGNORE_LABEL})
    if kept != document.strokes:
      document = dataclasses.replace(
          document, strokes=kept, version=document.version + 1)
      self.files.write_document(name, document)
    return document


def _continues(document, earlier):
  """Whether a Document only adds strokes to an earlier one."""
  return (document.nothing == earlier.nothing
          and document.imported == earlier.imported
          and document.strokes[:len(earlier.strokes)] == earlier.strokes)
