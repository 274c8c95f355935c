"""Records to numpy batches.

The global batch at step t is a function of (records, seed, t) alone, whatever
the number of hosts or workers, so a checkpoint needs no iterator state.
"""

import functools
import itertools
import os

import numpy as np
import tensorflow as tf

from scribble_jax import hosts
from scribble_jax.data import encoding
from scribble_jax.data import ordering
from scribble_jax.data.augment import augment
from scribble_jax.files.masks import SCRIBBLED_CLASSES

TRAIN_MASKS = ('scribble', 'pseudo_label', 'scribble_distance',
               'pseudo_label_distance')  # What stage 2 learns from.
_AHEAD = 2  # Elements, besides those that are being made.


def decode(example, names):
  """Decodes 'image' to [H, W, 3] and the named masks to [H, W], all uint8."""
  return {'image': encoding.decode_image(example['image'])} | decode_masks(
      example, names)


def decode_masks(example, names):
  """Decodes the named masks to [H, W] uint8."""
  return {name: tf.io.decode_png(example[name], channels=1)[..., 0]
          for name in names}


def scribbled_classes(scribble):
  """Returns [256] bool, which indices occur in [H, W] uint8."""
  indices = tf.reshape(tf.cast(scribble, tf.int32), [-1])
  return tf.math.bincount(indices, minlength=256, maxlength=256) > 0


def train_batches(dataset, inputs, *, augmentation, batch_size, shuffle_buffer,
                  seed, start_step, rows):
  """Yields rows of the global batches start_step, start_step + 1, ...

  No other rows are read, nor those of earlier batches.

  Args:
    dataset: `records.Records`.
    inputs: Names of `encoding.MASKS`, and SCRIBBLED_CLASSES if wanted.
    augmentation: Keyword arguments of `augment.augment`.
    batch_size: Global batch size.
    shuffle_buffer: Records shuffled at a time; see `ordering`.
    seed: Seeds both the order and the augmentation.
    start_step: Number of batches already consumed.
    rows: [B] numbers of the rows that this process's devices take.

  Yields:
    uint8 'image' [B, crop, crop, 3] and masks [B, crop, crop];
    SCRIBBLED_CLASSES is [B, 256] bool, by class index.

  Raises:
    UserError: A record is damaged, unless `dataset.skip_corrupt`: the next
      readable one of the order takes its place then.
  """
  masks = [name for name in inputs if name in encoding.MASKS]
  order = ordering.Order(dataset.shards['train'].lengths, seed, shuffle_buffer)
  total = dataset.num_examples('train')

  def wanted(start_step):
    """Yields (position in the run, records that may stand there)."""
    for step in itertools.count(start_step):
      for row in rows:
        position = step * batch_size + int(row)
        yield position, map(order.record, range(position, position + total))

  def prepare(position, content):
    """Decodes and augments an example as its position in the run says."""
    key = tf.random.fold_in(tf.constant([seed, 0], tf.int64), position)
    example = encoding.parse(content, ('image', *masks))
    maps = decode_masks(example, masks)
    batch = augment(
        functools.partial(encoding.decode_window, example['image']), maps, key,
        **augmentation)
    if SCRIBBLED_CLASSES in inputs:
      batch[SCRIBBLED_CLASSES] = scribbled_classes(maps['scribble'])
    return batch

  def batches(ds):
    ds = ds.map(
        prepare, num_parallel_calls=os.cpu_count(), deterministic=True)
    ds = ds.batch(len(rows), drop_remainder=True)
    return ds.prefetch(_AHEAD)

  steps = itertools.count(start_step + 1)
  yield from _iterate(dataset, 'train', wanted, batches, start=start_step,
                      after=lambda batch: next(steps), size=len(rows),
                      masks=masks)


def whole_examples(dataset, split, *, limit=-1, chosen=None, shared=False):
  """Yields examples as they are, in the lists' order.

  Args:
    dataset: `records.Records`.
    split: 'train' or 'val'.
    limit: At most this many; -1 for all.
    chosen: [N] bool, which of the split's N; None for all. No other is read.
    shared: Whether the job's processes share what is left then: each has a
      stretch of its own.

  Yields:
    'id' (str), 'record' (int), which of the split's it is, 'image' [H, W, 3]
    and `encoding.MASKS` [H, W], uint8.

  Raises:
    UserError: A record is damaged, unless `dataset.skip_corrupt`: it is left
      out then, with a warning.
  """
  which = np.arange(dataset.num_examples(split))
  if chosen is not None:
    which = which[chosen]
  if limit >= 0:
    which = which[:limit]
  which = hosts.share(which) if shared else which

  def wanted(place):
    """Yields (place in `which`, the one record that may stand there)."""
    for i in range(place, len(which)):
      yield i, (int(which[i]),)

  def prepare(place, content):
    """Decodes all that a record holds."""
    example = encoding.parse(content, ('id', 'image', *encoding.MASKS))
    return {'place': place, 'id': example['id']} | decode(
        example, encoding.MASKS)

  def examples(ds):
    ds = ds.map(
        prepare, num_parallel_calls=os.cpu_count(), deterministic=True)
    return ds.prefetch(_AHEAD)

  for example in _iterate(
      dataset, split, wanted, examples, start=0,
      after=lambda example: example['place'] + 1, size=1,
      masks=encoding.MASKS):
    yield example | {'id': example['id'].decode(),
                     'record': int(which[example.pop('place')])}


def _options():
  """Returns the options of all pipelines."""
  options = tf.data.Options()
  # The tuning thread may sleep through the end of an iteration, which then
  # waits for it: for as long again as the iteration took, up to a minute.
  options.autotune.enabled = False
  return options


def _iterate(dataset, split, wanted, pipeline, *, start, after, size, masks):
  """Yields what a pipeline makes of the records that are wanted.

  Args:
    dataset: `records.Records`.
    split: 'train' or 'val'.
    wanted: Function of where to start: (key, candidates) as of `Reader.read`.
    pipeline: From tf.data of (key, content) to tf.data.
    start: Where to start.
    after: Function of an element: where to start after it.
    size: Examples of an element.
    masks: What the pipeline decodes besides the image.
  """
  reader = dataset.reader(split)
  try:
    while True:
      try:
        for element in pipeline(reader.tf_dataset(wanted(start))).with_options(
            _options()).as_numpy_iterator():
          start = after(element)
          yield element
        if reader.problem:
          raise reader.problem
        return
      except tf.errors.OpError:
        if not _note_undecodable(reader, wanted(start), size, masks):
          raise
  finally:
    reader.report()


def _note_undecodable(reader, wanted, size, masks):
  """Finds the first record of an element that is whole and yet no example.

  Only decoding tells; this way the rare case costs time, and the usual one
  none.

  Args:
    reader: `record_reader.Reader`, which will skip it or end the run.
    wanted: As of `Reader.tf_dataset`, from the element on.
    size: Examples of the element.
    masks: What to decode besides the image.

  Returns:
    Whether there is one.
  """
  found = ((record, content) for _, candidates in wanted
           for record, content in [reader.read(candidates)] if content)
  for record, content in itertools.islice(found, size):
    try:
      decode(encoding.parse(content, ('image', *masks)), masks)
    except tf.errors.InvalidArgumentError as error:
      reader.note(record, error)
      return True
  return False
