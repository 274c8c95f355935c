"""What is wrong with a data set, by the code that training reads it with."""

import functools
from typing import NamedTuple

import numpy as np

from scribble_jax.data import dataset_files
from scribble_jax.data import ground_truth
from scribble_jax.data import label_checks
from scribble_jax.data import loading
from scribble_jax.dataset_classes import VOC_CLASSES
from scribble_jax.errors import UserError
from scribble_jax.files import images
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.labels import meanings
from scribble_jax.scribbles import parallel

# Of `config.data`; each is an option of the command.
OPTIONS = ('images', 'scribbles', 'pseudo_labels', 'ground_truth', 'train_list',
           'val_list')
OPTIONAL = ('pseudo_labels', 'ground_truth', 'val_list')  # 'none' for none.
# Of `config.data` too.
_NUMBERS = ('unlabelled_index', 'label_map', 'classes', 'crop_size',
            'image_range', 'max_megapixels')
_SHOWN_IDS = 5  # Behind what is worth knowing.


class _Seen(NamedTuple):
  """What one example holds; after a problem, nothing else."""
  problems: list[str]
  size: tuple[int, int] | None = None
  classes: tuple[int, ...] | None = None
  compared: int = 0
  wrong: int = 0


def check(options):
  """Prints what is wrong with a data set, and what is worth knowing.

  Args:
    options: As parsed by `python -m scribble_jax.scribbles check`.

  Returns:
    0 if nothing is wrong, else 1.
  """
  config = _config(options)
  problems, examples = [], {}
  try:
    names = dataset_files.read_class_names(config.classes, config.root)
  except UserError as error:
    names = None
    problems += _lines(error)
  needed = config.pseudo_labels != dataset_files.NO_PSEUDO_LABELS
  for split in ground_truth.listed_splits(config):
    try:
      found, missing = dataset_files.find_examples(config, needed, (split,))
      examples[split] = found[split]
      problems += missing
    except UserError as error:
      problems += [line for line in _lines(error) if line not in problems]
  try:
    ground_truth.check_strokes(config, examples)
  except UserError as error:
    problems += _lines(error)
  notes = []
  if names is not None:
    seen, of_splits = _read(
        examples, names,
        images.Reading(config.image_range, config.max_megapixels),
        meanings(*dataset_files.label_settings(config), len(names), '--'),
        options.processes)
    problems += [line for ones in seen.values() for one in ones.values()
                 for line in one.problems]
    wrong, notes = label_checks.find_problems(of_splits, names)
    problems += wrong + dataset_files.in_both_lists(examples)
    notes += _notes(seen, config.crop_size)
  print('\n'.join([f'{len(problems)} problems:' if problems else 'OK',
                   *(f'  {line}' for line in problems)]))
  if notes:
    print('\n'.join(['Worth knowing:', *(f'  {line}' for line in notes)]))
  return 1 if problems else 0


def _config(options):
  """Returns the `data` part of configs/own_data.py with the options set."""
  # Defaults live there; drawing needs none.
  from scribble_jax.configs import own_data
  config = own_data.get_config().data
  config.root = options.root
  for key in (*OPTIONS, *_NUMBERS):
    if getattr(options, key) is not None:
      config[key] = getattr(options, key)
  if config.pseudo_labels == dataset_files.GENERATE:
    # They are yet to come.
    config.pseudo_labels = dataset_files.NO_PSEUDO_LABELS
  if config.classes == 'voc':
    config.unlock()
    del config.classes  # From a text to a tuple.
    config.classes = VOC_CLASSES
  return config


def _lines(error):
  return error.problems or [str(error)]


def _read(examples, names, reading, meaning, processes):
  """Returns {split: {id: _Seen}} and {split: {kind: LabelCounts}}."""
  tasks = [(split, example) for split, listed in examples.items()
           for example in listed]
  seen = {split: {} for split in examples}
  of_splits = {split: {} for split in examples}
  look = functools.partial(
      _look, names=names, reading=reading, meaning=meaning)
  for (split, example), (one, found) in zip(
      tasks, parallel.map_tasks(look, tasks, processes, 'Checking'),
      strict=True):
    seen[split][example.id] = one
    label_checks.add(of_splits[split], found)
  return seen, of_splits


def _look(task, names, reading, meaning):
  """Reads an example as training does; returns _Seen, {kind: LabelCounts}."""
  _, example = task
  maps, problems = loading.load(example, names, reading, meaning)
  if problems:
    return _Seen(problems), {}
  return _compare(maps), label_checks.count(example.id, maps)


def _compare(maps):
  """Returns _Seen of what an example has."""
  if maps.scribble is None:
    return _Seen([], maps.size)
  drawn = maps.scribble != IGNORE_LABEL
  classes = tuple(int(label) for label in np.unique(maps.scribble[drawn]))
  if maps.ground_truth is None:
    return _Seen([], maps.size, classes)
  compared = drawn & (maps.ground_truth != IGNORE_LABEL)
  wrong = compared & (maps.scribble != maps.ground_truth)
  return _Seen([], maps.size, classes, int(compared.sum()), int(wrong.sum()))


def _ids(ids):
  """Returns how many images and which, in short."""
  some = ', '.join(ids[:_SHOWN_IDS])
  more = ', ...' if len(ids) > _SHOWN_IDS else ''
  return f'{len(ids)} image{"s" if len(ids) > 1 else ""} ({some}{more})'


def _notes(seen, crop_size):
  """Returns lines about what training takes, but a person might not mean."""
  train = {name: one for name, one in seen.get('train', {}).items()
           if one.classes is not None}
  notes = []
  for what, matches in (
      ('with strokes on the background alone', lambda classes: classes == (0,)),
      ('without a stroke on the background', lambda classes: (
          classes and 0 not in classes))):
    ids = [name for name, one in train.items() if matches(one.classes)]
    notes += [f'{_ids(ids)} of {len(train)} {what}'] if ids else []
  compared = sum(one.compared for one in train.values())
  if compared:
    wrong = sum(one.wrong for one in train.values())
    worst = sorted((name for name, one in train.items() if one.wrong),
                   key=lambda name: -train[name].wrong)
    notes.append(f'{100 * wrong / compared:.2f} % of the stroke pixels '
                 'disagree with the ground truth'
                 + (f', in {_ids(worst)}' if worst else ''))
  return notes + _size_notes(seen, crop_size)


def _size_notes(seen, crop_size):
  """Returns a line about the images' sizes beside the crop's."""
  sizes = [one.size for ones in seen.values() for one in ones.values()
           if one.size]
  if not sizes:
    return []
  heights, widths = zip(*sizes, strict=True)
  small = sum(max(size) < crop_size for size in sizes)
  return [f'images are {min(widths)} to {max(widths)} pixels wide and '
          f'{min(heights)} to {max(heights)} high; {small} of {len(sizes)} are '
          f'smaller than the crop of {crop_size} both ways'
          + (': most of a crop may be padding, see --config.data.crop_size'
             if small > len(sizes) / 2 else '')]
