"""Checks the files of val images before the long work starts."""

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
  """Reads all val images of a data set; every process calls it.

  Args:
    data: The `data` part of a config.
    class_names: Background first.

  Returns:
    The number of val images, this process's `dataset_files.Example`s, and
    `loading.load` as a function of an example alone.

  Raises:
    UserError: Files cannot be used, or their ground truth is of no use.
  """
  examples = dataset_files.list_examples(
      data, pseudo_labels_needed=False, splits=('val',))['val']
  mine = hosts.share(examples)
  load = functools.partial(
      loading.load, class_names=class_names,
      reading=images.Reading(data.image_range, data.max_megapixels),
      meanings=meanings(
          data.unlabelled_index, data.label_map, len(class_names)))
  problems, seen, total = [], {}, {}
  with hosts.together():
    for example in tqdm(mine, desc='Checking val images', unit='image',
                        leave=False, dynamic_ncols=True):
      maps, found = load(example)
      problems += found
      if maps:
        label_checks.add(seen, label_checks.count(example.id, maps))
    raise_problems(problems, 'Mend these files and start again.')
  for counts in hosts.gather(seen):
    label_checks.add(total, counts)
  problems, warnings = label_checks.find_problems({'val': total}, class_names)
  raise_problems(problems, 'Then start again.')
  if hosts.is_first():
    label_checks.log_warnings(warnings)
  return len(examples), mine, load
