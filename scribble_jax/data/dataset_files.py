"""Finds a user's images, scribbles, pseudo-labels and lists (METHOD 9)."""

import collections
import dataclasses
import hashlib
import pathlib

from absl import logging

from scribble_jax.data import ground_truth
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import class_list
from scribble_jax.files import listings
from scribble_jax.files import missing
from scribble_jax.files import storage
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.labels import of_generated
from scribble_jax.weak_labels import annotations

SPLITS = ground_truth.SPLITS
NO_PSEUDO_LABELS, GENERATE = 'none', 'generate'
STAGE1_SETTINGS = 'settings.json'  # Lies beside generated pseudo-labels.
_SHOWN_IDS = 5
_NO_FOLDER = 'Create it or set the paths under --config.data.'
_NO_SCRIBBLES = (
    "Put the scribbles there: PNG or TIFF masks, ScribbleSup's strokes or "
    "VOC's boxes as XML files or a zip of them, or points or boxes as a JSON "
    'file. Set --config.data.scribbles for another place.')


@dataclasses.dataclass(frozen=True)
class Example:
  """The files of one image; None for those that it lacks.

  Attributes:
    id: The image's path below the folder of images, without suffix.
    image: Path of the image file.
    scribble: Path of a mask, or an annotation of another form.
    pseudo_label: Path of a mask.
    ground_truth: Path of a mask, or a val image's strokes in its place.
    truth_kind: Kind of `ground_truth`, one of `labels.KINDS`.
  """
  id: str
  image: pathlib.PurePath
  scribble: pathlib.PurePath | annotations.Annotation | None = None
  pseudo_label: pathlib.PurePath | None = None
  ground_truth: pathlib.PurePath | annotations.Annotation | None = None
  truth_kind: str = 'ground_truth'


def read_class_names(classes, root):
  """Returns the class names, background first.

  Args:
    classes: A sequence of names, or a text file under `root`, one per line.
    root: The data set's folder.

  Raises:
    UserError: The file is missing, has too few names or a name twice, or an
      entry is not a class.
  """
  if not isinstance(classes, str):
    class_list.check('config.data.classes', classes)
    return tuple(map(listings.nfc, classes))
  path = storage.path(root, classes)
  names = listings.read_lines(
      path, 'List the class names there, one per line, background first.')
  if not 2 <= len(names) < IGNORE_LABEL:
    raise UserError(f'{path} names {len(names)} classes. It needs 2 to 254, '
                    'one per line, background first.')
  class_list.check(path, names)
  listings.raise_repeated(path, names, 'Name every class once.')
  return tuple(names)


def label_settings(config):
  """Returns the `unlabelled_index` and `label_map` that apply to the files.

  They never apply to pseudo-labels that stage 1 has generated, even if the
  config names their folder itself.

  Args:
    config: The `data` part of a config.
  """
  made_here = (storage.path(config.root, config.pseudo_labels).parent
               / STAGE1_SETTINGS)
  if config.pseudo_labels not in (NO_PSEUDO_LABELS, GENERATE) and (
      made_here.exists()):
    return of_generated(config.unlabelled_index, config.label_map)
  return config.unlabelled_index, config.label_map


def check_root(config):
  """Checks that a data set exists, in less time than listing it takes.

  Args:
    config: As for `list_examples`, and `classes`.

  Returns:
    The class names, background first.

  Raises:
    UserError: The folder, its list of training images or of classes is missing.
  """
  root = _root(config)
  listings.read_lines(storage.path(root, config.train_list),
                      'It lists the training images, one per line.')
  return read_class_names(config.classes, root)


def _root(config):
  """Returns the path of `config.root`; a UserError if it does not exist."""
  root = storage.path(config.root)
  if not root.is_dir():
    raise UserError(f'{root} does not exist. Set --config.data.root to the '
                    'folder that holds the data set.')
  return root


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
  ground_truth.check_strokes(config, examples)
  for line in in_both_lists(examples):
    logging.warning('%s.', line)
  return examples


def in_both_lists(examples):
  """Returns a list of one line on the ids in both splits; empty without any.

  Args:
    examples: {split: [Example, ...]}.
  """
  train, val = ({example.id for example in examples.get(split, ())}
                for split in SPLITS)
  both = sorted(train & val)
  if not both:
    return []
  some = ', '.join(both[:_SHOWN_IDS]) + ', ...' * (len(both) > _SHOWN_IDS)
  return [f'{len(both)} image{"s" if len(both) > 1 else ""} ({some}) in both '
          'lists: validation would test what training has seen. Take them off '
          'one']


def find_examples(config, pseudo_labels_needed, splits=SPLITS):
  """As `list_examples`, but returns problems instead of raising them.

  Args:
    config: As for `list_examples`.
    pseudo_labels_needed: As for `list_examples`.
    splits: As for `list_examples`.

  Returns:
    {split: [Example, ...]} without those that lack a file, and a list of lines
    about missing files.

  Raises:
    UserError: Missing folders or lists, and ids listed twice.
  """
  root = _root(config)
  images = listings.files_by_id(
      storage.path(root, config.images), listings.IMAGE_SUFFIXES, _NO_FOLDER)
  ids = {split: listings.listed_ids(
      storage.path(root, config[f'{split}_list']),
      storage.path(root, config.images), images) for split in splits}
  truth = ground_truth.by_id(root, config, ids)
  needed = {split: {'image': (
      config.images, images, listings.IMAGE_SUFFIXES)} for split in splits}
  if 'train' in splits:
    needed['train']['scribble'] = (
        config.scribbles, annotations.scribbles_by_id(
            storage.path(root, config.scribbles), _NO_SCRIBBLES, ids['train']),
        annotations.SUFFIXES)
    pseudo_labels = _pseudo_labels_by_id(
        root, config.pseudo_labels, pseudo_labels_needed)
    if pseudo_labels is not None:
      needed['train']['pseudo_label'] = (
          config.pseudo_labels, pseudo_labels, listings.MASK_SUFFIXES)
  if 'val' in splits and not ground_truth.is_strokes(config):
    needed['val']['ground_truth'] = (
        config.ground_truth, truth['val'], listings.MASK_SUFFIXES)
  examples, problems = {split: [] for split in splits}, []
  for split in splits:
    for folder, files, suffixes in needed[split].values():
      problems += missing.explain(
          storage.path(root, folder), files, ids[split], suffixes)
    for name in ids[split]:
      if all(name in files for _, files, _ in needed[split].values()):
        found = {part: files[name]
                 for part, (_, files, _) in needed[split].items()}
        # In training, ground truth is optional and only shown in reports.
        found['ground_truth'] = truth[split].get(name)
        examples[split].append(Example(
            name, **found, truth_kind=ground_truth.kind(config)))
  return examples, problems


def _pseudo_labels_by_id(root, name, needed):
  folder = storage.path(root, name)
  if name == NO_PSEUDO_LABELS or not (needed or folder.is_dir()):
    return None
  if not folder.is_dir():
    raise UserError(
        f'{folder} does not exist. Put the pseudo-labels there, a PNG or '
        'TIFF for each image, or name their folder with '
        '--config.data.pseudo_labels=FOLDER, '
        f'or let stage 1 make them with --config.data.pseudo_labels={GENERATE},'
        ' or train on scribbles alone with --config.data.pseudo_labels='
        f'{NO_PSEUDO_LABELS}.')
  return listings.files_by_id(folder, listings.MASK_SUFFIXES)


def fingerprint(examples):
  """Returns a digest per part, which changes when any of its files does.

  Args:
    examples: {split: [Example, ...]}.

  Returns:
    {'images': hex digest, 'scribbles': ..., ...}, from names, sizes and times
    of modification.

  Raises:
    UserError: A file cannot be read.
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
  try:
    return f'{path.name} {stamp(path)}'
  except OSError as error:  # For example, a link to a file that was moved.
    raise UserError(f'{path} cannot be read: {error.strerror}. Copy the file '
                    'there, or mend the link.') from error
