"""The files of val images, checked before the long work starts."""

import functools

from tqdm import tqdm

from scribble_jax import hosts
from scribble_jax.data import dataset_files
from scribble_jax.data import label_checks
from scribble_jax.data import loading
from scribble_jax.errors import raise_problems
from scribble_jax.files import images
from scribble_jax.labels import meanings


def checked(data, class_names):
  """Reads the val images of a data set once; all processes call it.

  Args:
    data: The `data` part of a config.
    class_names: Background first.

  Returns:
    How many val images there are, this process's `dataset_files.Example`s, and
    `loading.load` of an example with its settings given.

  Raises:
    UserError: Files can't be used, or their ground truth tells nothing.
  """
  examples = dataset_files.list_examples(
      data, pseudo_labels_needed=False, splits=('val',))['val']
  mine = hosts.share(examples)
  load = functools.partial(
      loading.load, class_names=class_names,
      reading=images.Reading(data.image_range, data.max_megapixels),
      meanings=meanings(
          data.unlabelled_index, data.label_map, len(class_names)))
  with hosts.together():
    seen = _check_examples(mine, load)
  _check_set(hosts.gather(seen), class_names)
  return len(examples), mine, load


def _check_examples(examples, load):
  """Lists what is wrong with the files before the long work starts.

  Returns:
    What their ground truth holds, {kind: `label_checks.LabelCounts`}.
  """
  problems, seen = [], {}
  for example in tqdm(examples, desc='Checking val images', unit='image',
                      leave=False, dynamic_ncols=True):
    maps, found = load(example)
    problems += found
    if maps:
      label_checks.add(seen, label_checks.count(example.id, maps))
  raise_problems(problems, 'Mend these files and start again.')
  return seen


def _check_set(seen_by_hosts, class_names):
  """Refuses ground truth that tells nothing, warns of what looks wrong."""
  total = {}
  for seen in seen_by_hosts:
    label_checks.add(total, seen)
  problems, warnings = label_checks.find_problems({'val': total}, class_names)
  raise_problems(problems, 'Then start again.')
  if hosts.is_first():
    label_checks.log_warnings(warnings)
