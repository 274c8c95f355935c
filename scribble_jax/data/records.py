"""Opens, or makes, the TFRecord shards that training and validation read."""

import contextlib
import dataclasses
import functools
import io
import os

from absl import logging
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from scribble_jax import hosts
from scribble_jax.data import dataset_files
from scribble_jax.data import encoding
from scribble_jax.data import label_checks
from scribble_jax.data import record_folders
from scribble_jax.data import record_making
from scribble_jax.data import record_reader
from scribble_jax.data import shards
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import formats
from scribble_jax.files import images
from scribble_jax.files import storage
from scribble_jax.files import write_errors
from scribble_jax.labels import meanings

# Increase it when the format of the folder changes: records are made anew then.
_VERSION = 4
# Keys of the `data` part of a config that change the contents of records.
SETTINGS = ('lambda_s', 'lambda_c', 'scribble_shrink', 'scribble_drop',
            'scribble_seed', 'image_range', 'unlabelled_index', 'label_map')
# Keys that name the sources, which are stored to describe the records.
_MADE_FROM = ('root', 'images', 'scribbles', 'pseudo_labels', 'ground_truth',
              'train_list', 'val_list')


@dataclasses.dataclass(frozen=True)
class Records:
  """Complete records.

  Attributes:
    builder: Description of the records.
    class_names: Background first.
    shards: {split: `shards.Shards`}.
    skip_corrupt: Whether damaged records are left out with a warning.
    hold: Lock that keeps them from being removed.
  """
  builder: tfds.core.DatasetBuilder
  class_names: tuple[str, ...]
  shards: dict[str, shards.Shards]
  skip_corrupt: bool
  hold: record_folders.Hold | None = None

  @property
  def folder(self):
    """Path of the folder with the records."""
    return storage.path(self.builder.data_dir)

  def num_examples(self, split):
    """Returns the number of images of a split."""
    return self.builder.info.splits[split].num_examples

  def learned_from(self, pseudo_labels):
    """Returns the inputs of a run, independent of the files that hold them.

    Args:
      pseudo_labels: Whether the run learns from pseudo-labels.

    Returns:
      {part: class names or digest of the contents}, ready for JSON.
    """
    contents = self.builder.info.metadata['contents']
    train, val = contents['train'], contents.get('val')
    parts = {'class list': [*self.class_names], 'train list': train['list'],
             'images': train['images'], 'scribbles': train['scribbles'],
             'pseudo-labels': train['pseudo_labels'] if pseudo_labels else None}
    if val:
      parts |= {'val list': val['list'], 'val images': val['images'],
                'ground truth': val['ground_truths']}
    return parts

  def reader(self, split):
    """Returns a new `record_reader.Reader` of a split."""
    return record_reader.Reader(
        self.shards[split], skip_corrupt=self.skip_corrupt, remedy=(
            f'Delete {self.builder.data_dir}; the next start makes it again. '
            'Or leave them out with --config.data.skip_corrupt=True.'))


def prepare(config, pseudo_labels_needed=True, splits=dataset_files.SPLITS,
            pipeline_options=None):
  """Opens the records of a data set, making them if they are missing.

  Each combination of settings and files has its own folder. All processes of a
  job call this; the first one makes the records.

  Args:
    config: The `data` part of a config: the keys of
      `dataset_files.list_examples`, `classes`, `records`, `skip_corrupt`,
      `max_megapixels` and SETTINGS.
    pseudo_labels_needed: Whether the folder of pseudo-labels must exist.
    splits: Which of `dataset_files.SPLITS`.
    pipeline_options: Flags for Apache Beam, if that makes the records; None:
      threads of this process make them.

  Returns:
    Records.

  Raises:
    UserError: The sources or the records cannot be used.
  """
  # TensorFlow would reserve all memory of the GPUs for itself.
  with contextlib.suppress(RuntimeError):  # It has been initialised before.
    tf.config.set_visible_devices([], 'GPU')
  return hosts.first_then_others(functools.partial(
      _prepare, config, pseudo_labels_needed, splits, pipeline_options))


def _prepare(config, pseudo_labels_needed, splits, pipeline_options):
  """`prepare` in one process."""
  directory, spec, examples = _plan(config, pseudo_labels_needed, splits)
  with write_errors.of_output(
      directory, 'Set --config.data.records to a folder that can be written.',
      (tf.errors.OpError, *storage.errors())):
    record_folders.check_place(directory.parent)
    while (hold := record_folders.hold(directory)) is None:
      with atomic.only_one_process(directory):
        if not record_folders.is_complete(directory):
          logging.info('Preparing %s: %s.', directory,
                       record_folders.why(directory.parent, spec))
          encoder = functools.partial(
              encoding.encode, spec=spec, reading=images.Reading(
                  config.image_range, config.max_megapixels))
          record_making.build(
              directory, examples, encoder, pipeline_options, spec | {
                  'made_from': {
                      name: config.get(name) for name in _MADE_FROM}})
  return _open(directory, spec['class_names'], config.skip_corrupt, hold)


def _plan(config, pseudo_labels_needed, splits):
  """Returns the folder of a config's records, their spec and the examples.

  Raises:
    UserError: The sources cannot be used.
  """
  examples = dataset_files.list_examples(config, pseudo_labels_needed, splits)
  class_names = dataset_files.read_class_names(config.classes, config.root)
  unlabelled_index, label_map = dataset_files.label_settings(config)
  spec = {'version': _VERSION, 'splits': [*splits],
          'class_names': [*class_names],
          **{name: config[name] for name in SETTINGS},
          'image_range': list(config.image_range or ()),  # JSON has no tuples.
          'unlabelled_index': unlabelled_index, 'label_map': label_map,
          **dataset_files.fingerprint(examples)}
  # Reports a mistake in these settings before any work starts.
  meanings(unlabelled_index, label_map, len(class_names))
  directory = storage.path(
      config.root, config.records, record_folders.fingerprint(spec))
  return directory, spec, examples


def find(config, pseudo_labels_needed=True, splits=dataset_files.SPLITS):
  """Returns the folder of a data set's records, and Records if they exist.

  Args:
    config: As for `prepare`.
    pseudo_labels_needed: As for `prepare`.
    splits: As for `prepare`.

  Returns:
    The path, and Records or None.

  Raises:
    UserError: The sources or the records cannot be used.
  """
  directory, spec, _ = _plan(config, pseudo_labels_needed, splits)
  complete = record_folders.is_complete(directory)
  return directory, _open(
      directory, spec['class_names'], config.skip_corrupt) if complete else None


def _open(directory, class_names, skip_corrupt, hold=None):
  """Returns complete Records.

  Raises:
    UserError: A file is missing, shortened or lengthened.
  """
  if hosts.is_first():
    label_checks.log_warnings(
        formats.read_json(directory / record_making.WARNINGS) or ())
  try:
    builder = tfds.builder_from_directory(str(directory))
    found = {}
    content = (directory / record_folders.INDEX).read_bytes()
    with np.load(io.BytesIO(content)) as index:
      for name, split in builder.info.splits.items():
        found[name] = shards.Shards(
            tuple(os.fspath(path) for path in split.filepaths),
            np.array(split.shard_lengths), index[name])
  except Exception as error:  # For damaged files, libraries raise any class.
    raise UserError(f'{directory} is damaged ({type(error).__name__}). Delete '
                    'it; the next start makes it again.') from error
  problems = [line for split in found.values() for line in split.problems()]
  if problems and not skip_corrupt:
    raise UserError(f'{problems[0]}. Delete {directory}; the next start makes '
                    'it again.')
  for line in problems:
    logging.warning('%s.', line)
  return Records(builder, tuple(class_names), found, skip_corrupt, hold)
