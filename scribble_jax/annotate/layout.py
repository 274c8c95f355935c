"""Files of a workdir: all that is drawn, in the layout that training reads.

- annotate.json: folder of the photographs, classes, and unfinished changes;
- classes.txt: names of the classes, background first;
- strokes/ID.json: strokes as vectors, the originals;
- imported/ID.png: imported strokes as a bitmap of class identifiers;
- scribbles/ID.png: class indices, drawn from the two above;
- JPEGImages/ID.jpg: links to the photographs with strokes;
- ImageSets/SegmentationAug/train.txt: ids of the photographs with strokes;
- predictions/ID.png: class indices predicted by the network, never read as
  strokes; predictions/classes.json: identifiers of these classes, by index;
- cache/: files that can be computed again.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
from typing import NamedTuple

import numpy as np

from scribble_jax.annotate import palette as palettes
from scribble_jax.annotate import vector_strokes
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import formats
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.labels import IGNORE_LABEL

SETTINGS, CLASSES = 'annotate.json', 'classes.txt'
IMAGES, SCRIBBLES, STROKES = 'JPEGImages', 'scribbles', 'strokes'
IMPORTED, PREDICTIONS, CACHE = 'imported', 'predictions', 'cache'
PREDICTED_CLASSES = 'predictions/classes.json'  # Identifiers, by index.
LIST = 'ImageSets/SegmentationAug/train.txt'
_FOLDERS = (STROKES, SCRIBBLES, IMAGES, IMPORTED, PREDICTIONS, CACHE)
_MIN_WIDTH = 1.5  # Pixels, of a stroke on a picture that is scaled down.
_ANY_SIZE = float('inf'), float('inf')
_PLAIN = re.compile(r'[\w/-]+')  # Ids that need no quotes in a list.


class Settings(NamedTuple):
  """Contents of annotate.json.

  Attributes:
    pictures: Absolute path of the folder of photographs.
    palette: `palette.Palette`.
    is_stale: Whether classes.txt and the masks may not match the palette yet.
    importing: Folder of masks whose import is not finished, or None.
  """
  pictures: pathlib.Path
  palette: palettes.Palette
  is_stale: bool = False
  importing: str | None = None


@dataclasses.dataclass(frozen=True)
class Layout:
  """Reads and writes the files; each is written whole or not at all.

  Attributes:
    folder: Absolute path of the workdir.
  """
  folder: pathlib.Path

  def path(self, kind, name, suffix='.png'):
    """Returns the path of an id's file.

    Args:
      kind: One of the folders above.
      name: An id that comes from a listing, never from a request.
      suffix: Suffix of the file.
    """
    return self.folder / kind / f'{name}{suffix}'

  def ids(self, kind, suffix='.png'):
    """Returns the set of ids that have a file in one of the folders."""
    folder = self.folder / kind
    return set(listings.files_by_id(folder, (suffix,))
               if folder.is_dir() else ())

  def check(self, pictures):
    """Checks that files written here do not mix with others.

    Args:
      pictures: Folder of the photographs.

    Raises:
      UserError: The folder is not one of this program, or leads elsewhere.
    """
    place = self.folder.resolve()
    if place.is_relative_to(pictures) or (
        self.folder.exists() and not self.folder.is_dir()):
      raise UserError(f'{self.folder} is not a folder of its own. Name another '
                      '--workdir, outside of the photographs.')
    if not (self.folder / SETTINGS).exists() and self.folder.exists():
      others = sorted(path.name for path in self.folder.iterdir()
                      if path.name != CACHE and not path.name.startswith('.'))
      if others:
        raise UserError(f'{self.folder} holds other files, such as {others[0]}.'
                        ' Name another --workdir.')
    for name in _FOLDERS:
      place = self.folder / name
      if not place.resolve().is_relative_to(self.folder.resolve()):
        raise UserError(f'{place} is a link that leads out of {self.folder}. '
                        'Remove it.')

  def read_document(self, name):
    """Returns the `vector_strokes.Document` of a photograph.

    Raises:
      UserError: Its file is damaged.
    """
    path = self.path(STROKES, name, '.json')
    try:
      return vector_strokes.parse(
          formats.parse_json(path.read_bytes()), _ANY_SIZE)
    except FileNotFoundError:
      return vector_strokes.Document()
    except ValueError as error:
      raise UserError(f'{path} {error}. Restore the file, or move it away.'
                      ) from error

  def write_document(self, name, document):
    """Writes a document so that it also survives a loss of power."""
    path = _with_folder(self.path(STROKES, name, '.json'))
    with atomic.whole_file(path) as partial, open(partial, 'w') as file:
      file.write(_as_json(document.to_json()))
      file.flush()
      os.fsync(file.fileno())

  def write_bitmap(self, kind, name, values):
    """Writes [H, W] uint8 as a greyscale PNG."""
    with atomic.whole_file(_with_folder(self.path(kind, name))) as partial:
      pathlib.Path(partial).write_bytes(masks.encode_grey(values))

  def labels(self, name, full, size):
    """Returns the labels drawn on a photograph, at any size.

    Args:
      name: Id of the photograph.
      full: Its (height, width) in pixels.
      size: (height, width) in pixels, at most as large.

    Returns:
      [height, width] uint8 identifiers of classes, IGNORE_LABEL elsewhere.
    """
    document, size = self.read_document(name), tuple(size)
    canvas = self.below(name, document, full if document.imported else size)
    strokes = document.strokes
    if size != full:
      canvas = vector_strokes.shrink_labels(canvas, size)
      strokes = [stroke.scaled(size[1] / full[1], _MIN_WIDTH)
                 for stroke in strokes]
    vector_strokes.draw(strokes, canvas)
    return canvas

  def below(self, name, document, size):
    """Returns the labels that lie below the strokes of a document.

    Args:
      name: Id of the photograph.
      document: `vector_strokes.Document`.
      size: (height, width) of the result in pixels.

    Returns:
      [height, width] uint8 identifiers, a new array.
    """
    if document.nothing:
      return np.zeros(size, np.uint8)
    if document.imported:
      return masks.read_mask(self.path(IMPORTED, name)).copy()
    return np.full(size, IGNORE_LABEL, np.uint8)

  def link_photograph(self, name, source):
    """Links a photograph into the folder, or copies it without links."""
    target = _with_folder(self.path(IMAGES, name, source.suffix.lower()))
    if target.exists():
      return
    target.unlink(missing_ok=True)  # A link whose target was moved.
    try:
      target.symlink_to(source.resolve())
    except OSError:  # A file system without links.
      with atomic.whole_file(target) as partial:
        shutil.copyfile(source, partial)

  def write_list(self, names):
    """Writes the list of the training images."""
    _write_lines(self.folder / LIST, map(_listed, sorted(names)))

  def write_classes(self, palette):
    """Writes classes.txt."""
    _write_lines(self.folder / CLASSES, palette.names)

  def start_predictions(self, labels):
    """Stores the classes of new predictions; deletes those of other classes.

    Args:
      labels: Identifiers of the classes, by index.
    """
    path = _with_folder(self.folder / PREDICTED_CLASSES)
    if formats.read_json(path) != labels:
      for name in self.ids(PREDICTIONS):
        self.path(PREDICTIONS, name).unlink()
      formats.write_json(path, labels)

  def read_prediction(self, name):
    """Returns the predicted [H, W] uint8 class identifiers, or None."""
    path = self.path(PREDICTIONS, name)
    labels = formats.read_json(self.folder / PREDICTED_CLASSES)
    if not labels or not path.exists():
      return None
    table = np.zeros(256, np.uint8)
    table[:len(labels)] = labels
    try:
      return table[masks.read_mask(path, np.inf)]
    except masks.DAMAGED:
      return None

  def write_settings(self, settings):
    """Writes annotate.json, then classes.txt."""
    formats.write_json(_with_folder(self.folder / SETTINGS), {
        'pictures': str(settings.pictures),
        'palette': settings.palette.to_json(), 'is_stale': settings.is_stale,
        'importing': settings.importing})
    self.write_classes(settings.palette)

  def read_settings(self):
    """Returns the Settings, or None in a new folder.

    Class names that the user has changed in classes.txt are used.

    Raises:
      UserError: The files are damaged or do not match.
    """
    path = self.folder / SETTINGS
    if not path.exists():
      return None
    settings = formats.read_json(path)
    if not isinstance(settings, dict) or not isinstance(
        settings.get('pictures'), str):
      raise UserError(f'{path} is damaged. Restore it, or name another '
                      '--workdir.')
    found = Settings(
        pathlib.Path(settings['pictures']),
        palettes.of_json(settings.get('palette')),
        bool(settings.get('is_stale')), settings.get('importing'))
    path = self.folder / CLASSES
    if found.is_stale or not path.exists():
      return found
    names, palette = listings.read_lines(path, ''), found.palette
    if len(names) != len(palette.classes):
      raise UserError(
          f'{path} has {len(names)} names, but {SETTINGS} beside it has '
          f'{len(palette.classes)} classes. Undo the change in the file; add '
          'and delete classes on the page.')
    for one, name in zip(palette.classes, names, strict=True):
      palette = palette.changed(one.label, name)
    return found._replace(palette=palette)


def _listed(name):
  """Returns the line of a list for an id with any characters."""
  if _PLAIN.fullmatch(name):
    return name
  quote = "'" if '"' in name else '"'
  return f'{quote}{name}.jpg{quote}'


def _write_lines(path, lines):
  with atomic.whole_file(_with_folder(path)) as partial:
    pathlib.Path(partial).write_text(
        ''.join(f'{line}\n' for line in lines), encoding='utf-8')


def _with_folder(path):
  """Returns a path after creating its folder."""
  path.parent.mkdir(parents=True, exist_ok=True)
  return path


def _as_json(content):
  """Returns JSON with one stroke per line, so that files can be compared."""
  strokes = ',\n'.join(json.dumps(stroke, allow_nan=False)
                       for stroke in content.pop('strokes'))
  return f'{json.dumps(content)[:-1]}, "strokes": [\n{strokes}\n]}}\n'
