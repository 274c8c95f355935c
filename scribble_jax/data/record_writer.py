"""Writes records: by threads of this process, or by Apache Beam.

The number of images of each shard is determined before anything is written.
Each shard is then written in one pass, in the order of the list, and only one
record at a time is in memory or sent between machines.
"""

import collections
import functools
import itertools
import os
import pickle
import uuid

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from scribble_jax.data import label_checks
from scribble_jax.data import tfrecords
from scribble_jax.data import threads
from scribble_jax.errors import UserError
from scribble_jax.files import storage

# Approximate size: both many small files and few large ones are slow to read.
SHARD_BYTES = 128 * 2**20
_SAMPLE = 16  # Images whose records tell the average size of a record.
_MAX_BYTES = 2**32  # Of a shard: the index has 4 bytes per record.


class Written:
  """The result of writing a shard.

  Attributes:
    ends: End of each record in the file, in bytes.
    seen: {kind: `label_checks.LabelCounts`} of the examples.
    problems: List of lines; if it is empty, the shard is whole.
    digests: {part: int}, sums of the digests of `encoding.Encoded`. Sums do not
      depend on the distribution of examples over shards.
  """

  def __init__(self):
    self.ends = []
    self.seen = {}
    self.problems = []
    self.digests = collections.Counter()


def shard_lengths(examples, encode):
  """Returns the number of examples of each shard of a split.

  Args:
    examples: List of `dataset_files.Example`.
    encode: Function from an example to `encoding.Encoded`; it is called for a
      sample of the examples.
  """
  sample = examples[::-(-len(examples) // _SAMPLE)]
  sizes = [len(encoded.content) for encoded in map(encode, sample)
           if not encoded.problems]
  size = np.mean(sizes) if sizes else 0
  count = min(len(examples), 1 + int(size * len(examples) / SHARD_BYTES))
  return np.diff(np.arange(count + 1) * len(examples) // count).tolist()


def write_shard(path, encoded, *, progress=None):
  """Writes a shard.

  Args:
    path: File to make.
    encoded: Iterable of `encoding.Encoded`. After the first problem, only
      problems are collected.
    progress: tqdm that counts the examples.

  Returns:
    Written.

  Raises:
    UserError: The shard becomes too large.
  """
  written, position = Written(), 0
  with tf.io.TFRecordWriter(os.fspath(path)) as writer:
    for example in encoded:
      written.problems += example.problems
      label_checks.add(written.seen, example.seen)
      if not written.problems:
        writer.write(example.content)
        position += len(example.content) + tfrecords.OVERHEAD
        written.ends.append(position)
        written.digests.update(example.digests)
      if progress is not None:
        progress.update()
  if position >= _MAX_BYTES:
    raise UserError(f'{path} would take {position / 1e9:.1f} GB. Make the '
                    'images smaller, or remove the largest ones.')
  return written


def write_in_threads(shards, encode):
  """Writes the shards one after another, encoding on all cores.

  Args:
    shards: List of (path, list of examples).
    encode: As for `shard_lengths`.

  Returns:
    [Written, ...].
  """
  cores = os.cpu_count()
  encoded = threads.map_in_order(
      encode, (example for _, examples in shards for example in examples),
      cores, 4 * cores)
  with tqdm(total=sum(len(examples) for _, examples in shards),
            desc='Preparing records', unit='image') as progress:
    return [write_shard(path, itertools.islice(encoded, len(examples)),
                        progress=progress) for path, examples in shards]


def write_by_beam(shards, encode, folder, options):
  """Writes the shards by a Beam pipeline; each worker writes one at a time.

  Args:
    shards: List of (path, list of examples).
    encode: As for `shard_lengths`; it must be possible to pickle it.
    folder: `storage.path` of a folder that all workers can access.
    options: Flags of Beam's pipeline and runner.

  Returns:
    [Written, ...].

  Raises:
    UserError: Beam is not installed, or refuses the options.
  """
  beam, pipeline_options = _import_beam(options)
  # Unique: in a bucket, another process may make the same records.
  tasks = folder / f'tasks-{uuid.uuid4().hex}'
  tasks.mkdir(parents=True)
  # The arguments of the workers are in files: the description of a pipeline
  # must be small, and lists can be long.
  for number, (path, examples) in enumerate(shards):
    (tasks / f'{number}.task').write_bytes(pickle.dumps(
        (os.fspath(path), examples, encode)))
  with beam.Pipeline(options=pipeline_options) as pipeline:
    _ = (pipeline
         | 'Shards' >> beam.Create([*range(len(shards))])
         | 'Spread' >> beam.Reshuffle()
         | 'Write' >> beam.Map(
             functools.partial(_write_task, os.fspath(tasks))))
  written = [pickle.loads((tasks / f'{number}.written').read_bytes())
             for number in range(len(shards))]
  storage.remove_folder(tasks)
  return written


def _write_task(tasks, number):
  """Writes a shard in a worker. Another worker may write it simultaneously."""
  tasks = storage.path(tasks)
  path, examples, encode = pickle.loads(
      (tasks / f'{number}.task').read_bytes())
  partial = storage.path(f'{path}.{uuid.uuid4().hex}')
  written = write_shard(partial, map(encode, examples))
  partial.replace(path)
  (tasks / f'{number}.written').write_bytes(pickle.dumps(written))


def _import_beam(options):
  """Returns Beam's module, and its options from flags.

  Raises:
    UserError: As for `write_by_beam`.
  """
  try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
  except ImportError as error:
    raise UserError(
        'Preparing by --pipeline_options needs Apache Beam: pip install '
        f'apache-beam (or apache-beam[gcp] for Dataflow). {error}') from None
  try:
    parsed = PipelineOptions(options)
    parsed.get_all_options()
  except SystemExit:
    raise UserError(f'--pipeline_options={" ".join(options)}: Beam does not '
                    'accept this; its own message is above.') from None
  return beam, parsed
