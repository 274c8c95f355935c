"""What a user brings: images, scribbles, pseudo-labels and lists (METHOD 9)."""

import collections
import dataclasses
import hashlib
import io
import pathlib

import numpy as np
from PIL import Image

from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import class_list
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.labels import OWN
from scribble_jax.strokes import annotations

SPLITS = ('train', 'val')
IMAGE_FORMATS = ('JPEG', 'PNG')  # Those that TensorFlow decodes too.
NO_PSEUDO_LABELS, GENERATE = 'none', 'generate'
_NO_FOLDER = 'Create it or set the paths under --config.data.'
_NO_SCRIBBLES = (
    "Put the scribbles there: PNG masks, ScribbleSup's strokes or VOC's boxes "
    'as XML files or a zip of them, or points or boxes as a JSON file. Set '
    '--config.data.scribbles for another place.')


@dataclasses.dataclass(frozen=True)
class Example:
  """Where the parts of one image are. None marks a part that it lacks.

  Attributes:
    id: Name of the image, without folder and suffix.
    image: Path of the image file.
    scribble: Path of a PNG, or what somebody drew in another form.
    pseudo_label: Path of a PNG.
    ground_truth: Path of a PNG.
  """
  id: str
  image: pathlib.PurePath
  scribble: pathlib.PurePath | annotations.Annotation | None = None
  pseudo_label: pathlib.PurePath | None = None
  ground_truth: pathlib.PurePath | None = None


@dataclasses.dataclass(frozen=True)
class Maps:
  """The contents of one example; every map is [H, W] uint8 or None.

  `colours` has those of each of `labels.KINDS` by value, as far as a palette
  names them.
  """
  image: bytes  # The file as it is.
  size: tuple[int, int]  # (height, width) in pixels.
  scribble: np.ndarray | None
  pseudo_label: np.ndarray | None
  ground_truth: np.ndarray | None
  colours: dict[str, dict[int, tuple[int, int, int]]]


def read_class_names(classes, root):
  """Returns the class names, background first.

  Args:
    classes: A sequence of names, or a text file under `root`, one a line.
    root: The data set's folder.

  Raises:
    UserError: The file is missing, or names too few classes, one twice, or
      what is no class.
  """
  if not isinstance(classes, str):
    class_list.check('config.data.classes', classes)
    return tuple(classes)
  path = storage.path(root, classes)
  names = listings.read_lines(
      path, 'List the class names there, one a line, background first.')
  if not 2 <= len(names) < IGNORE_LABEL:
    raise UserError(f'{path} names {len(names)} classes. It needs 2 to 254, '
                    'one a line, background first.')
  class_list.check(path, names)
  listings.raise_repeated(path, names, 'Name every class once.')
  return tuple(names)


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
  examples, problems = find_examples(config, pseudo_labels_needed, splits)
  raise_problems(problems, 'Add the files or take the ids off the lists.')
  return examples


def find_examples(config, pseudo_labels_needed, splits=SPLITS):
  """As `list_examples`, but returns the examples that are whole, and problems.

  Args:
    config: See there.
    pseudo_labels_needed: See there.
    splits: See there.

  Returns:
    {split: [Example, ...]} without those that lack a file, and a line for each
    file that is missing.

  Raises:
    UserError: Missing folders or lists, and ids listed twice.
  """
  root = storage.path(config.root)
  if not root.is_dir():
    raise UserError(f'{root} does not exist. Set --config.data.root to the '
                    'folder that holds the data set.')
  return _find_in_folders(root, config, pseudo_labels_needed, splits)


def _find_in_folders(root, config, pseudo_labels_needed, splits):
  """`find_examples` in folders of files named by id, as VOC has them."""
  ids = {split: listings.read_ids(storage.path(root, config[f'{split}_list']))
         for split in splits}
  images = listings.files_by_id(
      storage.path(root, config.images), listings.IMAGE_SUFFIXES, _NO_FOLDER)
  ground_truth = listings.files_by_id(
      storage.path(root, config.ground_truth), ('.png',), _NO_FOLDER)
  needed = {split: {'image': (config.images, images)} for split in splits}
  if 'train' in splits:
    needed['train']['scribble'] = (
        config.scribbles, annotations.scribbles_by_id(
            storage.path(root, config.scribbles), _NO_SCRIBBLES))
    pseudo_labels = _pseudo_labels_by_id(
        root, config.pseudo_labels, pseudo_labels_needed)
    if pseudo_labels is not None:
      needed['train']['pseudo_label'] = config.pseudo_labels, pseudo_labels
  if 'val' in splits:
    needed['val']['ground_truth'] = config.ground_truth, ground_truth
  examples, problems = {split: [] for split in splits}, []
  for split in splits:
    for name in ids[split]:
      missing = [
          f'{storage.path(root, folder)}: nothing for the listed id {name}'
          for folder, files in needed[split].values() if name not in files]
      problems += missing
      if not missing:
        found = {part: files[name]
                 for part, (_, files) in needed[split].items()}
        # In training, the ground truth is for pictures alone.
        found['ground_truth'] = ground_truth.get(name)
        examples[split].append(Example(name, **found))
  return examples, problems


def _pseudo_labels_by_id(root, name, needed):
  folder = storage.path(root, name)
  if name == NO_PSEUDO_LABELS or not (needed or folder.is_dir()):
    return None
  if not folder.is_dir():
    raise UserError(
        f'{folder} does not exist. Put the pseudo-labels there, one PNG an '
        'image, or name their folder with --config.data.pseudo_labels=FOLDER, '
        f'or let stage 1 make them with --config.data.pseudo_labels={GENERATE},'
        ' or train on scribbles alone with --config.data.pseudo_labels='
        f'{NO_PSEUDO_LABELS}.')
  return listings.files_by_id(folder, ('.png',))


def load(example, class_names, meanings=OWN):
  """Reads and checks one example.

  Args:
    example: Which files to read.
    class_names: All classes; a mask's indices must be below their number.
    meanings: What the values of label images mean, of `labels.meanings`.

  Returns:
    (Maps, []), or (None, problems) with one line a problem.
  """
  problems, colours = [], {}
  try:
    with storage.os_errors():
      image = example.image.read_bytes()
    with Image.open(io.BytesIO(image), formats=IMAGE_FORMATS) as decoded:
      decoded.load()
      size = decoded.height, decoded.width
  except masks.DAMAGED as error:
    return None, [f'{example.image}: truncated or neither JPEG nor PNG '
                  f'({error})']

  def read(path, kind):
    """Returns a mask, None without one or with a problem, which it notes."""
    if path is None:
      return None
    try:
      if isinstance(path, annotations.Annotation):
        return annotations.read(path, size, class_names)
      mask, colours[kind] = annotations.read_mask(
          path, size, len(class_names), meanings[kind])
      return mask
    except masks.DAMAGED as error:
      problems.append(f'{path}: {error}')
      return None

  maps = Maps(image, size, read(example.scribble, 'scribbles'),
              read(example.pseudo_label, 'pseudo_labels'),
              read(example.ground_truth, 'ground_truth'), colours)
  return (None, problems) if problems else (maps, [])


def fingerprint(examples):
  """Returns a digest a part that changes when any of its files does.

  Args:
    examples: {split: [Example, ...]}.

  Returns:
    {'images': hex digest, 'scribbles': ..., ...}, from names, sizes and times
    of modification.
  """
  digests = collections.defaultdict(hashlib.sha256)
  stamp = storage.make_stamp()
  for split, listed in examples.items():
    for example in listed:
      for part in ('image', 'scribble', 'pseudo_label', 'ground_truth'):
        described = _describe(getattr(example, part), stamp)
        digests[part].update(f'{split} {example.id} {described}\n'.encode())
  return {f'{part}s': digest.hexdigest() for part, digest in digests.items()}


def _describe(path, stamp):
  if path is None:
    return None
  if isinstance(path, annotations.Annotation):
    return hashlib.sha256(path.content).hexdigest()
  return f'{path.name} {stamp(path)}'
