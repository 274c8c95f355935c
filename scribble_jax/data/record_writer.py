"""Writes records: in threads here, or shard by shard wherever Beam runs.

Shards are settled before anything is written, by number of images. So each is
written in one go, in the lists' order, and nothing passes through memory or
between machines but one record at a time.
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

SHARD_BYTES = 128 * 2**20  # About; many files and few make reading slow.
_SAMPLE = 16  # Images that tell how big a record is.
_MAX_BYTES = 2**32  # Of a shard: the index has 4 bytes a record.


class Written:
  """What became of a shard's examples.

  Attributes:
    ends: Where each record ends in the file, in bytes.
    seen: What their label images hold, {kind: `label_checks.LabelCounts`}.
    problems: One line for each; without any the shard is whole.
    digests: {part: int}, sums of those of `encoding.Encoded`: a sum does not
      depend on how examples are spread over shards.
  """

  def __init__(self):
    self.ends = []
    self.seen = {}
    self.problems = []
    self.digests = collections.Counter()


def shard_lengths(examples, encode):
  """Returns how many examples go to each shard of a split.

  Args:
    examples: List of `dataset_files.Example`.
    encode: From an example to `encoding.Encoded`; some are tried.
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
    UserError: The shard becomes too big.
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
                    'images smaller, or list less different ones.')
  return written


def write_in_threads(shards, encode):
  """Writes all shards over this machine's cores, one after another.

  Args:
    shards: List of (path, list of examples).
    encode: As of `shard_lengths`.

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
  """Writes all shards as a Beam pipeline, a shard at a time in each worker.

  Args:
    shards: List of (path, list of examples).
    encode: As of `shard_lengths`; it must pickle.
    folder: `storage.path` of a folder that all workers reach.
    options: Flags of Beam's pipeline and runner.

  Returns:
    [Written, ...].

  Raises:
    UserError: Beam is missing, or refuses the options.
  """
  beam, pipeline_options = _import_beam(options)
  # Of this process: in a bucket another one may make the same records.
  tasks = folder / f'tasks-{uuid.uuid4().hex}'
  tasks.mkdir(parents=True)
  # What workers need to know is in files: a pipeline's description must be
  # small, and lists can be long.
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
  """Writes a shard, in a worker. Another may try the same at the same time."""
  tasks = storage.path(tasks)
  path, examples, encode = pickle.loads(
      (tasks / f'{number}.task').read_bytes())
  partial = storage.path(f'{path}.{uuid.uuid4().hex}')
  written = write_shard(partial, map(encode, examples))
  partial.replace(path)
  (tasks / f'{number}.written').write_bytes(pickle.dumps(written))


def _import_beam(options):
  """Returns Beam, and its options from flags.

  Raises:
    UserError: See `write_by_beam`.
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
                    'understand this; it says why above.') from None
  return beam, parsed
