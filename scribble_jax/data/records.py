"""TFRecord shards of everything that training and validation read."""

import contextlib
import dataclasses
import functools
import io
import itertools
import os
import shutil

from absl import logging
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from scribble_jax import hosts
from scribble_jax.data import encoding
from scribble_jax.data import reading
from scribble_jax.data import shards
from scribble_jax.data import sources
from scribble_jax.data import writing
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import atomic
from scribble_jax.files import formats
from scribble_jax.files import images
from scribble_jax.files import storage
from scribble_jax.files import write_errors

_INDEX = 'index.npz'  # Where each record ends.
_STARTED = 'incomplete'  # Marks a folder in a bucket until all is written.
_NAME = 'scribble_records'  # What their files begin with.
# Counts the changes of the folder's form; another one makes records stale.
_VERSION = 3
# Of the `data` part of a config: what is made of a user's files.
SETTINGS = ('lambda_s', 'lambda_c', 'scribble_shrink', 'scribble_drop',
            'scribble_seed', 'image_range')


@dataclasses.dataclass(frozen=True)
class Records:
  """Complete records on disk.

  Attributes:
    builder: Describes them.
    class_names: Background first.
    shards: {split: `shards.Shards`}.
    skip_corrupt: Whether damaged records are left out with a warning.
  """
  builder: tfds.core.DatasetBuilder
  class_names: tuple[str, ...]
  shards: dict[str, shards.Shards]
  skip_corrupt: bool

  def num_examples(self, split):
    """Returns how many images a split has."""
    return self.builder.info.splits[split].num_examples

  def reader(self, split):
    """Returns a new `reading.Reader` of a split."""
    return reading.Reader(
        self.shards[split], skip_corrupt=self.skip_corrupt, remedy=(
            f'Delete {self.builder.data_dir}; the next start makes it again. '
            'Or leave them out with --config.data.skip_corrupt=True.'))


def prepare(config, pseudo_labels_needed=True, splits=sources.SPLITS,
            pipeline_options=None):
  """Opens the records of a data set, making them if missing or stale.

  Of a job's processes, all of which call it, the first makes them.

  Args:
    config: The `data` part of a config: `sources.list_examples`' keys,
      `classes`, `records`, `skip_corrupt`, `max_megapixels` and SETTINGS.
    pseudo_labels_needed: Whether their folder must exist.
    splits: Which of `sources.SPLITS`.
    pipeline_options: Flags for Apache Beam, which makes them then; None: this
      process does.

  Returns:
    Records.

  Raises:
    UserError: The sources or the records can't be used.
  """
  _leave_accelerators_to_jax()
  return hosts.first_then_others(functools.partial(
      _prepare, config, pseudo_labels_needed, splits, pipeline_options))


def _leave_accelerators_to_jax():
  """Keeps TensorFlow from taking all of a GPU's memory."""
  with contextlib.suppress(RuntimeError):  # Somebody has used it before.
    tf.config.set_visible_devices([], 'GPU')


def _prepare(config, pseudo_labels_needed, splits, pipeline_options):
  """`prepare` in one process."""
  examples = sources.list_examples(config, pseudo_labels_needed, splits)
  class_names = sources.read_class_names(config.classes, config.root)
  spec = {'version': _VERSION, 'class_names': list(class_names),
          **{name: config[name] for name in SETTINGS},
          'image_range': list(config.image_range or ()),  # As JSON has it.
          **sources.fingerprint(examples)}
  reading = images.Reading(config.image_range, config.max_megapixels)
  directory = storage.path(config.root, config.records)
  try:
    with atomic.only_one_process(directory):
      reason = _stale_reason(directory, spec)
      if reason:
        logging.warning('Preparing %s: %s.', directory, reason)
        _build(directory, examples, spec, reading, pipeline_options)
  except (tf.errors.OpError, *storage.errors()) as error:
    reason = write_errors.reason(error, directory.parent)
    if reason is None:
      raise
    raise UserError(f'Cannot write {directory}: {reason}. Set '
                    '--config.data.records to a folder that can be '
                    'written.') from error
  return _open(directory, class_names, config.skip_corrupt)


def _open(directory, class_names, skip_corrupt):
  """Returns complete Records.

  Raises:
    UserError: A file is missing, shortened or lengthened.
  """
  try:
    builder = tfds.builder_from_directory(str(directory))
    found = {}
    with np.load(io.BytesIO((directory / _INDEX).read_bytes())) as index:
      for name, split in builder.info.splits.items():
        found[name] = shards.Shards(
            tuple(os.fspath(path) for path in split.filepaths),
            np.array(split.shard_lengths), index[name])
  except Exception as error:  # Libraries let damaged files raise anything.
    raise UserError(f'{directory} is damaged ({type(error).__name__}). Delete '
                    'it; the next start makes it again.') from error
  problems = [line for split in found.values() for line in split.problems()]
  if problems and not skip_corrupt:
    raise UserError(f'{problems[0]}. Delete {directory}; the next start makes '
                    'it again.')
  for line in problems:
    logging.warning('%s.', line)
  return Records(builder, class_names, found, skip_corrupt)


def _stale_reason(directory, spec):
  """Returns why records must be made, or None if those there will do.

  Raises:
    UserError: The folder holds something else, which must not be lost.
  """
  if not directory.exists():
    return 'no records yet'
  if (directory / _STARTED).exists():
    return 'the records there are not complete'
  if not (directory / 'dataset_info.json').exists():
    raise UserError(f'{directory} holds other files than records. Set '
                    '--config.data.records to a new folder.')
  try:
    stored = formats.parse_json((directory / 'metadata.json').read_text())
  except (OSError, ValueError):
    stored = None
  if stored is None or not (directory / _INDEX).exists():
    return 'the records there are of no use'
  changed = [name for name in spec if stored.get(name) != spec[name]]
  return f'changed since last time: {", ".join(changed)}' if changed else None


def _build(directory, examples, spec, reading, pipeline_options):
  """Makes complete records in the place of `directory`."""
  if storage.is_remote(directory):  # Where renaming would be copying.
    if directory.exists():
      storage.remove_folder(directory)
    directory.mkdir(parents=True)
    (directory / _STARTED).write_text('')
    _write(directory, examples, spec, reading, pipeline_options)
    (directory / _STARTED).unlink()
    return
  partial = directory.with_name(directory.name + '.partial')
  try:
    shutil.rmtree(partial, ignore_errors=True)  # Of a killed run.
    partial.mkdir(parents=True)
    _write(partial, examples, spec, reading, pipeline_options)
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _write(folder, examples, spec, reading, pipeline_options):
  """Writes records to an empty folder.

  Raises:
    UserError: Sources have problems, or Beam.
  """
  encoder = functools.partial(encoding.encode, spec=spec, reading=reading)
  lengths = {split: writing.shard_lengths(listed, encoder)
             for split, listed in examples.items()}
  templates = {split: tfds.core.ShardedFileTemplate(
      data_dir=folder, dataset_name=_NAME, split=split,
      filetype_suffix='tfrecord') for split in examples}
  tasks = []
  for split, listed in examples.items():
    rest = iter(listed)
    tasks += [
        (templates[split].sharded_filepath(
            shard_index=index, num_shards=len(lengths[split])),
         [*itertools.islice(rest, length)])
        for index, length in enumerate(lengths[split])]
  if pipeline_options is None:
    written = writing.write_in_threads(tasks, encoder)
  else:
    written = writing.write_by_beam(tasks, encoder, folder, pipeline_options)
  raise_problems([line for shard in written for line in shard.problems],
                 'Mend these files and start again.')
  of_split, rest = {}, iter(written)
  for split in examples:
    of_split[split] = [*itertools.islice(rest, len(lengths[split]))]
  num_empty = sum(shard.num_empty for shard in of_split.get('train', ()))
  if num_empty:
    logging.warning('%d training images have an empty scribble.', num_empty)
  for line in images.summaries(
      remark for shard in written for remark in shard.remarks):
    logging.warning('%s.', line)
  _describe(folder, spec, templates, of_split)


def _describe(folder, spec, templates, written):
  """Writes what tensorflow-datasets knows of the records, and the index."""
  tfds.folder_dataset.write_metadata(
      data_dir=folder, features=encoding.make_features(), check_data=False,
      split_infos=[tfds.core.SplitInfo(
          name=split, shard_lengths=[len(shard.ends) for shard in shards],
          num_bytes=sum(shard.ends[-1] for shard in shards),
          filename_template=templates[split])
                   for split, shards in written.items()],
      filename_template=tfds.core.ShardedFileTemplate(data_dir=folder),
      disable_shuffling=True,  # The lists' order; training shuffles anyway.
      metadata=tfds.core.MetadataDict(spec))
  index = io.BytesIO()
  np.savez(index, **{
      split: np.concatenate([shard.ends for shard in shards]).astype(np.uint32)
      for split, shards in written.items()})
  (folder / _INDEX).write_bytes(index.getvalue())
