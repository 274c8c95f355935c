"""Converts the annotations of a tool to a data set, and reports on it."""

import collections

import numpy as np

from scribble_jax import tables
from scribble_jax.convert import coco
from scribble_jax.convert import cvat
from scribble_jax.convert import hdf5
from scribble_jax.convert import input_files
from scribble_jax.convert import label_images
from scribble_jax.convert import label_studio
from scribble_jax.convert import labelme
from scribble_jax.convert import parsing
from scribble_jax.convert import qupath
from scribble_jax.convert import rasterizing
from scribble_jax.convert import shapes
from scribble_jax.convert import supervisely
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import class_list
from scribble_jax.files import image_decoding
from scribble_jax.files import images
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.labels import IGNORE_LABEL

_JSON = {'label_studio': label_studio, 'labelme': labelme, 'coco': coco,
         'qupath': qupath, 'supervisely': supervisely}
# Functions of (path, options) that return an Export.
READERS = {kind: module.read for kind, module in _JSON.items()} | {
    'cvat': cvat.read, 'cvat_masks': cvat.read_masks,
    'napari': label_images.read, 'ilastik': hdf5.read_ilastik,
    'ilastik_labels': label_images.read, 'nnunet': label_images.read_nnunet,
    'scribbles4all': hdf5.read_scribbles4all,
    'masks': label_images.read_indices}
# Kinds by the name of a file, and by the suffix of files.
_BY_NAME = {'labelmap.txt': 'cvat_masks', 'dataset.json': 'nnunet',
            'meta.json': 'supervisely'}
_BY_SUFFIX = {'.ilp': 'ilastik', '.geojson': 'qupath', '.h5': 'scribbles4all',
              '.hdf5': 'scribbles4all'}
_XML_BYTES = 2**12  # Of an XML file that are searched for CVAT's element.
_MAX_JSON_FILES = 20  # That are read to recognise a kind.
_EMPTY = 'is a picture without annotation'


def recognise(source):
  """Returns which of READERS reads a file or folder.

  Raises:
    UserError: None of them, or several.
  """
  names = parsing.files_in(source, '')
  found = {_BY_NAME[name] for name in names if name in _BY_NAME}
  if not found:
    suffixes = {'.' + name.lower().rpartition('.')[2] for name in names}
    found = {_BY_SUFFIX[suffix] for suffix in suffixes & {*_BY_SUFFIX}}
    for path in parsing.files_in(source, ('.xml',)).values():
      with parsing.at(path):
        if cvat.is_xml(storage.read_bytes(path)[:_XML_BYTES]):
          found.add('cvat')
    found |= {kind for path in [
        path for name, path in names.items() if name.lower().endswith('.json')
    ][:_MAX_JSON_FILES] for kind in _kinds_of_json(path)}
    if not found and suffixes & {*label_images.SUFFIXES}:
      found = {'napari'}
  if len(found) == 1:
    return found.pop()
  problem = (f'may be of {" or ".join(sorted(found))}' if found
             else 'is of no known kind')
  raise UserError(f'{source} {problem}. Name one of '
                  f'{", ".join(sorted(READERS))} by --from.')


def _kinds_of_json(path):
  """Returns the kind of a JSON file in a list, which is empty if unknown."""
  with parsing.at(path):
    content = parsing.json_in(path)
  return [kind for kind, module in _JSON.items() if module.is_kind(content)][:1]


def convert(source, target, options):
  """Makes a data set of the export of a tool; returns the report.

  Args:
    source: File, folder or zip.
    target: Folder to make, whole or not at all.
    options: Object with the attributes `kind` of READERS or None, `images` or
      None, `class_names`, a tuple or None, `photographs`, the `how` of
      `input_files.place_photograph`, and `drawing`, a rasterizing.Drawing.

  Raises:
    UserError: The source or the target cannot be used.
  """
  with (input_files.opened(source) as path,
        input_files.whole_target(target) as folder):
    kind = options.kind or recognise(path)
    export = READERS[kind](path, options)
    photographs = input_files.Photographs(
        storage.path(options.images) if options.images else path, export.own)
    (folder / 'scribbles').mkdir()
    made = _Made(source, folder, options,
                 export.names or parsing.class_list(path))
    for picture in export.pictures:
      made.add(picture, photographs)
    made.finish()
  report = made.report(kind, target)
  # The folder to which a zip was unpacked is deleted by now.
  return (report.replace(str(path), str(source))
          if storage.path(source).is_file() else report)


class _Made:
  """A data set that is being written, and the content of its report.

  Attributes:
    names: Names of the classes so far, background first.
    ids: {id of a picture: its place in the source}.
    counts: {'shapes', 'pixels' or 'pictures': Counter of class indices}.
    left_out: {(class name or '', reason): [count, place of the first]}.
  """

  def __init__(self, source, folder, options, listed):
    self._source = source
    self._folder = folder
    self._options = options
    self.names = [*(options.class_names or ['background'])]
    self.ids = {}
    self.counts = collections.defaultdict(collections.Counter)
    self.left_out = {}
    with parsing.at(f'{source}: its classes'):
      for name in () if options.class_names else listed:
        self._label(name)

  def _label(self, name):
    """Returns (index of a class, ''), or (None, reason) if it is not used."""
    name = ' '.join(listings.nfc(name).split())
    name.encode()  # Raises a ValueError if it cannot be written to a file.
    if not name:
      return None, 'has no class'
    if name in self.names:
      return self.names.index(name), ''
    if class_list.is_unlabelled(name):
      return None, 'means unlabelled'
    if self._options.class_names:
      return None, 'is not in the class list'
    if class_list.is_background(name):
      self.names[0] = name
      return 0, ''
    self.names.append(name)
    if len(self.names) >= IGNORE_LABEL:
      raise UserError(f'{name!r} is class {len(self.names)}; there is room for '
                      f'{IGNORE_LABEL - 1}. List those to keep by --classes.')
    return len(self.names) - 1, ''

  def _leave_out(self, name, reason, place):
    self.left_out.setdefault((name, reason), [0, place])[0] += 1

  def add(self, picture, photographs):
    """Draws a Picture and writes it, unless it has no labelled pixel."""
    for shape in picture.shapes or ():
      if isinstance(shape, shapes.NotRead):
        self._leave_out(shape.class_name, shape.reason, picture.place)
    if picture.shapes is None:
      self._leave_out('', _EMPTY, picture.place)
      return
    with parsing.at(picture.place):
      name = listings.image_id(picture.id)
      file = photographs.find(picture.photographs)
    if file is None:
      self._leave_out('', 'is a picture whose photograph is not there',
                      f'{picture.place}, {picture.photographs[-1]}')
      return
    with parsing.at(file):
      size = images.read_size(storage.read_bytes(file),
                              image_decoding.MAX_MEGAPIXELS)
    with parsing.at(picture.place):
      if picture.size not in (None, size):
        raise ValueError(f'is for {picture.size[1]}x{picture.size[0]} pixels, '
                         f'{file} has {size[1]}x{size[0]}')
      mask = self._draw(picture, size)
      if (mask == IGNORE_LABEL).all():
        self._leave_out('', _EMPTY, picture.place)
        return
      if name in self.ids:
        raise ValueError(f'{self.ids[name]} has the same id, {name}')
    self.ids[name] = picture.place
    masks.write_mask(listings.new_file(self._folder / 'scribbles', name), mask)
    input_files.place_photograph(
        file, self._folder / 'JPEGImages' / f'{name}{file.suffix}',
        self._options.photographs)
    found = np.bincount(mask.ravel(), minlength=256)[:IGNORE_LABEL]
    for label in np.flatnonzero(found).tolist():
      self.counts['pictures'][label] += 1
      self.counts['pixels'][label] += int(found[label])

  def _draw(self, picture, size):
    """Returns the mask of a Picture; counts its shapes."""
    kept, labels = [], []
    for shape in picture.shapes:
      if isinstance(shape, shapes.NotRead):
        continue
      label, reason = self._label(shape.class_name)
      if label is None:
        self._leave_out(shape.class_name, reason, picture.place)
      else:
        kept.append(shape)
        labels.append(label)
    mask, is_seen = rasterizing.draw(picture.id, kept, labels, size,
                                    self._options.drawing)
    for shape, label, seen in zip(kept, labels, is_seen, strict=True):
      if seen:
        self.counts['shapes'][label] += 1
      else:
        self._leave_out(shape.class_name, 'has no pixel in the picture',
                        picture.place)
    return mask

  def finish(self):
    """Writes the lists; raises UserError if there is nothing to train on."""
    if not self.ids:
      raise_problems(
          [f'{self._source}: {reason}' for reason in self._reasons()]
          or [f'{self._source} holds no annotated picture'],
          'Nothing was converted. If the photographs are elsewhere, name their '
          'folder by --images.')
    if len(self.names) < 2:
      raise UserError(f'{self._source} has no class but {self.names[0]}. Name '
                      'the classes in order by --classes.')
    class_list.check(f'{self._source}: its classes', self.names)
    (self._folder / 'classes.txt').write_text('\n'.join(self.names) + '\n')
    listings.new_file(self._folder, 'ImageSets/SegmentationAug/train',
                      '.txt').write_text('\n'.join(self.ids) + '\n')

  def _reasons(self):
    """Returns a line for each reason why something was left out."""
    lines = [f'{count} left out{f" of {name!r}" if name else ""}: {reason} '
             f'({place})' for (name, reason), (count, place) in sorted(
                 self.left_out.items())]
    return [' '.join(line.encode('utf-8', 'backslashreplace').decode().split())
            for line in lines]

  def report(self, kind, target):
    """Returns a table of what was converted, and lines on what was not."""
    rows = [(name, *(str(self.counts[what][label]) for what in (
        'pictures', 'shapes', 'pixels')))
            for label, name in enumerate(self.names)]
    return '\n'.join([
        tables.Table(('class', 'pictures', 'shapes', 'pixels'),
                     tuple(rows)).text(), *self._reasons(),
        f'{len(self.ids)} pictures of {kind} in {target}.'])
