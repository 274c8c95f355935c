"""Makes the records of a data set and their metadata, in one folder."""

import collections
import hashlib
import io
import itertools

import numpy as np
import tensorflow_datasets as tfds

from scribble_jax.data import encoding
from scribble_jax.data import label_checks
from scribble_jax.data import record_folders
from scribble_jax.data import record_writer
from scribble_jax.errors import raise_problems
from scribble_jax.files import atomic
from scribble_jax.files import formats
from scribble_jax.files import storage

WARNINGS = 'warnings.json'  # Of `label_checks`, repeated at every start.
_NAME = 'scribble_records'  # Prefix of the files.


def build(directory, examples, encoder, pipeline_options, metadata):
  """Makes complete records in a folder, replacing its contents.

  Args:
    directory: From `storage.path`.
    examples: {split: [`dataset_files.Example`, ...]}.
    encoder: Function from an example to `encoding.Encoded`.
    pipeline_options: As for `records.prepare`.
    metadata: Dict to store with the records, with 'class_names', ready for
      JSON.

  Raises:
    UserError: The sources have problems, or Beam fails.
  """
  if not storage.is_remote(directory):
    with atomic.whole_folder(directory) as partial:
      _write(partial, examples, encoder, pipeline_options, metadata)
    return
  # In a bucket, renaming would mean copying, and there are no locks: another
  # process may write the same bytes to the same files.
  directory.mkdir(parents=True, exist_ok=True)
  started = directory / record_folders.STARTED
  started.write_text('')
  _write(directory, examples, encoder, pipeline_options, metadata)
  started.unlink(missing_ok=True)


def _write(folder, examples, encoder, pipeline_options, metadata):
  """Writes records to a folder; arguments and errors are those of `build`."""
  lengths = {split: record_writer.shard_lengths(listed, encoder)
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
    written = record_writer.write_in_threads(tasks, encoder)
  else:
    written = record_writer.write_by_beam(
        tasks, encoder, folder, pipeline_options)
  raise_problems([line for shard in written for line in shard.problems],
                 'Mend these files and start again.')
  rest = iter(written)
  of_split = {split: [*itertools.islice(rest, len(lengths[split]))]
              for split in examples}
  _check_labels(folder, of_split, metadata['class_names'])
  contents = {split: _contents(examples[split], of_split[split])
              for split in examples}
  _describe(folder, metadata | {'contents': contents}, templates, of_split)


def _check_labels(folder, written, class_names):
  """Checks the labels of the whole data set, and writes the warnings.

  Raises:
    UserError: The data set cannot be learned from.
  """
  splits = {split: {} for split in written}
  for split, shards_of_split in written.items():
    for shard in shards_of_split:
      label_checks.add(splits[split], shard.seen)
  problems, warnings = label_checks.find_problems(splits, class_names)
  raise_problems(problems, 'Then start again.')
  formats.write_json(folder / WARNINGS, warnings)


def _contents(examples, written):
  """Returns {part: 128-bit hex digest} of the contents of a split."""
  names = hashlib.sha256()
  for example in examples:
    names.update(f'{example.id}\n'.encode())
  sums = collections.Counter()
  for shard in written:
    sums.update(shard.digests)
  return {'list': names.hexdigest()[:32]} | {
      part: f'{total % 2**128:032x}' for part, total in sums.items()}


def _describe(folder, metadata, templates, written):
  """Writes the metadata of tensorflow-datasets, and the index."""
  tfds.folder_dataset.write_metadata(
      data_dir=folder, features=encoding.make_features(), check_data=False,
      split_infos=[tfds.core.SplitInfo(
          name=split, shard_lengths=[len(shard.ends) for shard in shards],
          num_bytes=sum(shard.ends[-1] for shard in shards),
          filename_template=templates[split])
                   for split, shards in written.items()],
      filename_template=tfds.core.ShardedFileTemplate(data_dir=folder),
      disable_shuffling=True,  # Keeps the lists' order.
      metadata=tfds.core.MetadataDict(metadata))
  index = io.BytesIO()
  np.savez(index, **{
      split: np.concatenate([shard.ends for shard in shards]).astype(np.uint32)
      for split, shards in written.items()})
  (folder / record_folders.INDEX).write_bytes(index.getvalue())
