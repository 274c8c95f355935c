"""What a user brings: images, scribbles, pseudo-labels and lists (METHOD 9)."""

import collections
import dataclasses
import hashlib
import io
import os
import pathlib
import zipfile

import numpy as np
from PIL import Image

from scribble_jax.data import masks
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.scribbles import polylines

SPLITS = ('train', 'val')
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')
IMAGE_FORMATS = ('JPEG', 'PNG')  # Those that TensorFlow decodes too.
NO_PSEUDO_LABELS, GENERATE = 'none', 'generate'


@dataclasses.dataclass(frozen=True)
class Example:
  """Where the parts of one image are. None marks a part that it lacks.

  Attributes:
    id: Name of the image, without folder and suffix.
    image: Path of the image file.
    scribble: Path of a PNG, or (path of the XML or zip, XML bytes).
    pseudo_label: Path of a PNG.
    ground_truth: Path of a PNG.
  """
  id: str
  image: pathlib.Path
  scribble: pathlib.Path | tuple[str, bytes] | None = None
  pseudo_label: pathlib.Path | None = None
  ground_truth: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Maps:
  """The contents of one example; every map is [H, W] uint8 or None."""
  image: bytes  # The file as it is.
  size: tuple[int, int]  # (height, width) in pixels.
  scribble: np.ndarray | None
  pseudo_label: np.ndarray | None
  ground_truth: np.ndarray | None


def read_class_names(classes, root):
  """Returns the class names, background first.

  Args:
    classes: A sequence of names, or a text file under `root`, one a line.
    root: The data set's folder.

  Raises:
    UserError: The file is missing, or names too few classes or one twice.
  """
  if not isinstance(classes, str):
    return tuple(classes)
  path = pathlib.Path(root, classes)
  names = _read_lines(path, 'List the class names there, one a line, '
                      'background first.')
  if not 2 <= len(names) < IGNORE_LABEL:
    raise UserError(f'{path} names {len(names)} classes. It needs 2 to 254, '
                    'one a line, background first.')
  _raise_repeated(path, names, 'Name every class once.')
  return tuple(names)


def _read_lines(path, content):
  """Returns the lines of a text file that are not blank, stripped."""
  if not path.is_file():
    raise UserError(f'{path} does not exist. {content}')
  try:
    text = path.read_text(encoding='utf-8-sig')
  except UnicodeDecodeError:
    raise UserError(f'{path} is not UTF-8 text. Save it as UTF-8.') from None
  return [line.strip() for line in text.splitlines() if line.strip()]


def _raise_repeated(path, names, remedy):
  raise_problems(
      [f'{path}: {name} is listed {count} times'
       for name, count in collections.Counter(names).items() if count > 1],
      remedy)


def list_examples(config, pseudo_labels_needed, splits=SPLITS):
  """Finds the files of every listed image.

  Args:
    config: `root`, and below it (or absolute) `images`, `scribbles`,
      `pseudo_labels`, `ground_truth`, `train_list`, `val_list`.
    pseudo_labels_needed: Whether their folder must exist.
    splits: Which of SPLITS. 'val' needs neither scribbles nor pseudo-labels.

  Returns:
    {split: [Example, ...]}, in the lists' order.

  Raises:
    UserError: Missing folders, lists or files, and ids listed twice.
  """
  root = pathlib.Path(config.root)
  if not root.is_dir():
    raise UserError(f'{root} does not exist. Set --config.data.root to the '
                    'folder that holds the data set.')
  ids = {split: _read_list(root / config[f'{split}_list']) for split in splits}
  images = _files_by_id(root / config.images, IMAGE_SUFFIXES)
  ground_truth = _files_by_id(root / config.ground_truth, ('.png',))
  problems, examples = [], {}

  def find(files, folder, name):
    try:
      return files[name]
    except KeyError:
      problems.append(f'{root / folder}: nothing for the listed id {name}')

  if 'train' in splits:
    scribbles = _scribbles_by_id(root / config.scribbles)
    pseudo_labels = _pseudo_labels_by_id(
        root, config.pseudo_labels, pseudo_labels_needed)
    examples['train'] = [
        Example(name, find(images, config.images, name),
                find(scribbles, config.scribbles, name),
                find(pseudo_labels, config.pseudo_labels, name),
                ground_truth.get(name))  # Only for pictures.
        for name in ids['train']]
  if 'val' in splits:
    examples['val'] = [
        Example(name, find(images, config.images, name),
                ground_truth=find(ground_truth, config.ground_truth, name))
        for name in ids['val']]
  raise_problems(problems, 'Add the files or take the ids off the lists.')
  return examples


def _read_list(path):
  """Returns the ids of an image list in either spelling."""
  lines = _read_lines(path, 'It lists the images, one a line: ID, or '
                      '/JPEGImages/ID.jpg /SegmentationClassAug/ID.png.')
  ids = [pathlib.PurePosixPath(line.split()[0]).name for line in lines]
  ids = [name.removesuffix(pathlib.PurePosixPath(name).suffix)
         if name.lower().endswith(IMAGE_SUFFIXES) else name for name in ids]
  if not ids:
    raise UserError(f'{path} lists no image. Add ids, one a line.')
  _raise_repeated(path, ids, 'List every image once.')
  return ids


def _files_by_id(folder, suffixes):
  """Returns {id: path} of the files with one of the suffixes."""
  if not folder.is_dir():
    raise UserError(f'{folder} does not exist. Create it or set the paths '
                    'under --config.data.')
  files, problems = {}, []
  for path in sorted(folder.iterdir()):
    if path.suffix.lower() in suffixes:
      if path.stem in files:
        problems.append(f'{path}: {files[path.stem].name} has the same id')
      files[path.stem] = path
  raise_problems(problems, 'Keep one file an id.')
  return files


def _pseudo_labels_by_id(root, name, needed):
  folder = root / name
  if name == NO_PSEUDO_LABELS or not (needed or folder.is_dir()):
    return collections.defaultdict(lambda: None)
  if not folder.is_dir():
    raise UserError(
        f'{folder} does not exist. Put the pseudo-labels there, one PNG an '
        'image, or name their folder with --config.data.pseudo_labels=FOLDER, '
        f'or let stage 1 make them with --config.data.pseudo_labels={GENERATE},'
        ' or train on scribbles alone with --config.data.pseudo_labels='
        f'{NO_PSEUDO_LABELS}.')
  return _files_by_id(folder, ('.png',))


def _scribbles_by_id(path):
  """Returns {id: PNG path or (name, XML bytes)} of a folder or a zip."""
  if path.is_file():
    return _scribbles_in_zip(path)
  if not path.is_dir():
    raise UserError(f'{path} does not exist. Put the scribbles there: PNG '
                    "masks, or ScribbleSup's XML files as a folder or a zip. "
                    'Set --config.data.scribbles for another place.')
  files = _files_by_id(path, ('.png',))
  for name, xml in _files_by_id(path, ('.xml',)).items():
    files.setdefault(name, (str(xml), xml.read_bytes()))
  return files


def _scribbles_in_zip(path):
  files, problems = {}, []
  try:
    with zipfile.ZipFile(path) as archive:
      for name in archive.namelist():
        stem, suffix = os.path.splitext(os.path.basename(name))
        if suffix.lower() == '.xml':
          if stem in files:
            problems.append(f'{path}/{name}: another file has the same id')
          files[stem] = f'{path}/{name}', archive.read(name)
  except (zipfile.BadZipFile, RuntimeError) as error:
    raise UserError(f'{path} is no complete zip file ({error}). Copy it '
                    'again, or unpack it and name the folder.') from error
  raise_problems(problems, 'Keep one XML file an id.')
  return files


def load(example, class_names):
  """Reads and checks one example.

  Args:
    example: Which files to read.
    class_names: All classes; a mask's indices must be below their number.

  Returns:
    (Maps, []), or (None, problems) with one line a problem.
  """
  problems = []
  try:
    image = example.image.read_bytes()
    with Image.open(io.BytesIO(image), formats=IMAGE_FORMATS) as decoded:
      decoded.load()
      size = decoded.height, decoded.width
  except (OSError, SyntaxError, ValueError,
          Image.DecompressionBombError) as error:
    return None, [f'{example.image}: truncated or neither JPEG nor PNG '
                  f'({error})']

  def read(path):
    """Returns a mask, None without one or with a problem, which it notes."""
    if path is None:
      return None
    try:
      if isinstance(path, tuple):
        path, xml = path
        return polylines.draw(xml, size, class_names)
      mask = masks.read_mask(path)
      _check_mask(mask, size, len(class_names))
      return mask
    except (OSError, SyntaxError, ValueError) as error:
      problems.append(f'{path}: {error}')
      return None

  maps = Maps(image, size, read(example.scribble), read(example.pseudo_label),
              read(example.ground_truth))
  return (None, problems) if problems else (maps, [])


def _check_mask(mask, size, num_classes):
  if mask.shape != size:
    raise ValueError(f'is {mask.shape[1]}x{mask.shape[0]} pixels, its image '
                     f'{size[1]}x{size[0]}')
  wrong = mask[(mask >= num_classes) & (mask != IGNORE_LABEL)]
  if wrong.size:
    raise ValueError(f'class index {wrong.max()} is not in the class list '
                     f'(0 to {num_classes - 1}, or {IGNORE_LABEL})')


def fingerprint(examples):
  """Returns a digest a part that changes when any of its files does.

  Args:
    examples: {split: [Example, ...]}.

  Returns:
    {'images': hex digest, 'scribbles': ..., ...}, from names, sizes and times
    of modification.
  """
  digests = collections.defaultdict(hashlib.sha256)
  for split, listed in examples.items():
    for example in listed:
      for part in ('image', 'scribble', 'pseudo_label', 'ground_truth'):
        digests[part].update(
            f'{split} {example.id} {_stamp(getattr(example, part))}\n'.encode())
  return {f'{part}s': digest.hexdigest() for part, digest in digests.items()}


def _stamp(path):
  if path is None:
    return None
  if isinstance(path, tuple):
    return hashlib.sha256(path[1]).hexdigest()
  status = path.stat()
  return f'{path.name} {status.st_size} {status.st_mtime_ns}'
