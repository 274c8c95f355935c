"""Finds the ground truth of predictions: dense masks, strokes, or nothing.

`data.val_list=none` means no validation. `data.ground_truth=none` means that
there are no dense masks: the strokes of the val images are used instead.
"""

from absl import logging

from scribble_jax.errors import UserError
from scribble_jax.files import listings
from scribble_jax.files import storage
from scribble_jax.weak_labels import annotations

SPLITS = ('train', 'val')
NO_VAL_LIST = NO_GROUND_TRUTH = 'none'
_REMEDY = (
    'Put dense masks of the val images there, or name their folder with '
    '--config.data.ground_truth=FOLDER. If there are none, '
    '--config.data.ground_truth=none validates on the strokes of the val '
    'images, and --config.data.val_list=none trains without validation.')


def listed_splits(config):
  """Returns the SPLITS that a config's `data` lists; warns if it has no val."""
  if config.val_list != NO_VAL_LIST:
    return SPLITS
  logging.warning("config.data.val_list is 'none': nothing is validated, and "
                  'the last checkpoint is the result.')
  return SPLITS[:1]


def is_strokes(config):
  """Whether predictions are compared with strokes in place of masks."""
  return config.ground_truth == NO_GROUND_TRUTH


def kind(config):
  """Returns the one of `labels.KINDS` that predictions are compared with."""
  return 'scribbles' if is_strokes(config) else 'ground_truth'


def by_id(root, config, ids):
  """Returns {split: {id: file or annotation}} of the existing ground truth.

  Args:
    root: The data set's folder, from `storage.path`.
    config: `ground_truth`, `scribbles` and `val_list`.
    ids: {split: ids to look for}. Training images are never compared with
      their own strokes.

  Raises:
    UserError: The folder of masks is missing, and `ids` has val images.
  """
  if is_strokes(config):
    path = storage.path(root, config.scribbles)
    strokes = (annotations.scribbles_by_id(path, '', ids['val'])
               if 'val' in ids and path.exists() else {})
    return {split: strokes if split == 'val' else {} for split in ids}
  folder = storage.path(root, config.ground_truth)
  if 'val' not in ids and not folder.is_dir():
    logging.warning(
        '%s does not exist: nothing is compared with a ground truth.', folder)
    return {split: {} for split in ids}
  return dict.fromkeys(
      ids, listings.files_by_id(folder, listings.MASK_SUFFIXES, _REMEDY))


def check_strokes(config, examples):
  """Warns that predictions are compared with strokes.

  Args:
    config: The `data` part of a config.
    examples: {split: [Example, ...]}.

  Raises:
    UserError: Training would validate on strokes, and no val image has any.
  """
  if not is_strokes(config):
    return
  if 'val' not in examples:
    logging.warning("config.data.ground_truth is 'none': nothing is compared "
                    'with a ground truth.')
    return
  val = examples['val']
  lacking = sum(example.ground_truth is None for example in val)
  if lacking == len(val) and 'train' in examples:
    raise UserError(
        f'{storage.path(config.root, config.scribbles)} has no strokes of a '
        'val image, and --config.data.ground_truth is none. Scribble on val '
        'images, or set --config.data.val_list=none to train without '
        'validation.')
  logging.warning(
      "config.data.ground_truth is 'none': predictions are compared with the "
      "val images' strokes, which say nothing about borders.%s",
      f' {lacking} of {len(val)} val images have no strokes and do not count.'
      if lacking else '')
