"""Checks a data set with the code with which training reads it."""

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

# Keys of `config.data` that are paths; each is an option of the command.
OPTIONS = ('images', 'scribbles', 'pseudo_labels', 'ground_truth', 'train_list',
           'val_list')
OPTIONAL = ('pseudo_labels', 'ground_truth', 'val_list')  # They may be 'none'.
# The other keys of `config.data` that are options.
_OTHERS = ('unlabelled_index', 'label_map', 'classes', 'crop_size',
           'image_range', 'max_megapixels')
_SHOWN_IDS = 5  # Ids that a remark lists.


class _Seen(NamedTuple):
  """Results for one example; with problems, nothing else is known.

  Attributes:
    problems: What is wrong with its files.
    counts: {kind: LabelCounts}.
    size: (height, width) of the image in pixels.
    classes: Indices of the scribbled classes; None without a scribble.
    compared: Number of stroke pixels that have a ground truth.
    wrong: Number of those that disagree with it.
  """
  problems: list[str]
  counts: dict[str, label_checks.LabelCounts]
  size: tuple[int, int] | None = None
  classes: tuple[int, ...] | None = None
  compared: int = 0
  wrong: int = 0


def check(options):
  """Prints what is wrong with a data set, and remarks about it.

  Args:
    options: As parsed by `python -m scribble_jax.scribbles check`.

  Returns:
    0 if nothing is wrong, else 1.
  """
  config = _config(options)
  problems, notes, examples = [], [], {}

  def attempt(function, *arguments):
    """Returns the function's result; on a UserError, None and its problems."""
    try:
      return function(*arguments)
    except UserError as error:
      problems.extend(line for line in error.problems or [str(error)]
                      if line not in problems)
      return None

  names = attempt(
      dataset_files.read_class_names, config.classes, config.root)
  needed = config.pseudo_labels != dataset_files.NO_PSEUDO_LABELS
  for split in ground_truth.listed_splits(config):
    if found := attempt(
        dataset_files.find_examples, config, needed, (split,)):
      examples |= found[0]
      problems += found[1]
  attempt(ground_truth.check_strokes, config, examples)
  if names is not None:
    look = functools.partial(
        _look, names=names,
        reading=images.Reading(config.image_range, config.max_megapixels),
        meaning=meanings(
            *dataset_files.label_settings(config), len(names), '--'))
    seen = {split: {} for split in examples}
    counts = {split: {} for split in examples}
    tasks = [(split, example) for split, listed in examples.items()
             for example in listed]
    for (split, example), one in zip(tasks, parallel.map_tasks(
        look, tasks, options.processes, 'Checking'), strict=True):
      seen[split][example.id] = one
      problems += one.problems
      label_checks.add(counts[split], one.counts)
    wrong, notes = label_checks.find_problems(counts, names)
    problems += wrong + dataset_files.in_both_lists(examples)
    notes += _notes(seen, config.crop_size)
  print('\n  '.join([f'{len(problems)} problems:' if problems else 'OK',
                     *problems]))
  if notes:
    print('\n  '.join(['Worth knowing:', *notes]))
  return 1 if problems else 0


def _config(options):
  """Returns the `data` part of configs/own_data.py with the options set."""
  from scribble_jax.configs import own_data  # No other command needs it.
  config = own_data.get_config().data
  config.root = options.root
  for key in (*OPTIONS, *_OTHERS):
    if getattr(options, key) is not None:
      config[key] = getattr(options, key)
  if config.pseudo_labels == dataset_files.GENERATE:
    # They do not exist yet.
    config.pseudo_labels = dataset_files.NO_PSEUDO_LABELS
  if config.classes == 'voc':
    with config.ignore_type():  # A tuple replaces the name of a file.
      config.classes = VOC_CLASSES
  return config


def _look(task, names, reading, meaning):
  """Reads an example as training does; returns _Seen."""
  _, example = task
  maps, problems = loading.load(example, names, reading, meaning)
  if problems:
    return _Seen(problems, {})
  seen = _Seen([], label_checks.count(example.id, maps), maps.size)
  if maps.scribble is None:
    return seen
  drawn = maps.scribble != IGNORE_LABEL
  seen = seen._replace(
      classes=tuple(np.unique(maps.scribble[drawn]).tolist()))
  if maps.ground_truth is None:
    return seen
  compared = drawn & (maps.ground_truth != IGNORE_LABEL)
  wrong = compared & (maps.scribble != maps.ground_truth)
  return seen._replace(compared=int(compared.sum()), wrong=int(wrong.sum()))


def _ids(ids):
  """Returns the number of some images, with the first ids."""
  some = ', '.join(ids[:_SHOWN_IDS])
  more = ', ...' if len(ids) > _SHOWN_IDS else ''
  return f'{len(ids)} image{"s" if len(ids) > 1 else ""} ({some}{more})'


def _notes(seen, crop_size):
  """Returns remarks about what training accepts but may be unintended."""
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
  """Returns a remark that compares the images' sizes with the crop's."""
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
