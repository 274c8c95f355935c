"""Reads records as NumPy batches.

The global batch at step t is a function of (records, seed, t) alone. It does
not depend on the number of hosts or workers, so a checkpoint needs no iterator
state.
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
               'pseudo_label_distance')  # Inputs of stage 2's losses.
_AHEAD = 2  # Elements that are prefetched.
_NEXT = 'next'  # Key of an element: where to resume after it.


def decode(example, names):
  """Decodes 'image' to [H, W, 3] and the named masks to [H, W], all uint8."""
  return {'image': encoding.decode_image(example['image'])} | decode_masks(
      example, names)


def decode_masks(example, names):
  """Decodes the named masks to [H, W] uint8."""
  return {name: tf.io.decode_png(example[name], channels=1)[..., 0]
          for name in names}


def scribbled_classes(scribble):
  """Returns a [256] bool: which indices occur in an [H, W] uint8 scribble."""
  indices = tf.reshape(tf.cast(scribble, tf.int32), [-1])
  return tf.math.bincount(indices, minlength=256, maxlength=256) > 0


def train_batches(dataset, inputs, *, augmentation, batch_size, shuffle_buffer,
                  seed, start_step, rows):
  """Yields rows of the global batches start_step, start_step + 1, ...

  Only these rows are read, and no earlier batches.

  Args:
    dataset: `records.Records`.
    inputs: Names from `encoding.MASKS`, optionally SCRIBBLED_CLASSES.
    augmentation: Keyword arguments of `augment.augment`.
    batch_size: Global batch size.
    shuffle_buffer: Number of records per shuffled block; see `ordering`.
    seed: Seed of the order and of the augmentation.
    start_step: Number of batches already consumed.
    rows: [B] indices of the rows for this process's devices.

  Yields:
    uint8 'image' [B, crop, crop, 3] and masks [B, crop, crop];
    SCRIBBLED_CLASSES is [B, 256] bool, by class index.

  Raises:
    UserError: A record is damaged. With `dataset.skip_corrupt`, the next
      readable record of the order takes its place instead.
  """
  masks = [name for name in inputs if name in encoding.MASKS]
  order = ordering.Order(dataset.shards['train'].lengths, seed, shuffle_buffer)
  total = dataset.num_examples('train')

  def wanted(start_step):
    """Yields (position in the run, the record there and its substitutes)."""
    for step in itertools.count(start_step):
      for row in rows:
        position = step * batch_size + int(row)
        yield position, map(order.record, range(position, position + total))

  def prepare(position, content):
    """Decodes an example and augments it, seeded by its position in the run."""
    key = tf.random.fold_in(tf.constant([seed, 0], tf.int64), position)
    example = encoding.parse(content, ('image', *masks))
    maps = decode_masks(example, masks)
    batch = augment(
        functools.partial(encoding.decode_window, example['image']), maps, key,
        **augmentation)
    if SCRIBBLED_CLASSES in inputs:
      batch[SCRIBBLED_CLASSES] = scribbled_classes(maps['scribble'])
    return batch | {_NEXT: position // batch_size + 1}

  yield from _iterate(dataset, 'train', wanted, prepare, masks,
                      start=start_step, batch_size=len(rows))


def whole_examples(dataset, split, *, limit=-1, chosen=None, shared=False):
  """Yields examples without augmentation, in the order of the list.

  Args:
    dataset: `records.Records`.
    split: 'train' or 'val'.
    limit: Largest number of examples; -1 for all.
    chosen: [N] bool, which of the split's N examples to read; None for all.
    shared: Whether the processes of the job share these examples: each one
      yields a contiguous part.

  Yields:
    'id' (str), 'record' (int, index in the split), 'image' [H, W, 3] and
    `encoding.MASKS` [H, W], uint8.

  Raises:
    UserError: A record is damaged. With `dataset.skip_corrupt`, it is left out
      with a warning instead.
  """
  which = np.arange(dataset.num_examples(split))
  if chosen is not None:
    which = which[chosen]
  if limit >= 0:
    which = which[:limit]
  which = hosts.share(which) if shared else which

  def wanted(place):
    """Yields (place in `which`, the only record for that place)."""
    for i in range(place, len(which)):
      yield i, (int(which[i]),)

  def prepare(place, content):
    """Decodes all parts of a record."""
    example = encoding.parse(content, ('id', 'image', *encoding.MASKS))
    return decode(example, encoding.MASKS) | {
        'id': example['id'], 'record': tf.gather(which, place),
        _NEXT: place + 1}

  for example in _iterate(dataset, split, wanted, prepare, encoding.MASKS):
    yield example | {'id': example['id'].decode(),
                     'record': int(example['record'])}


def _iterate(dataset, split, wanted, prepare, masks, start=0, batch_size=None):
  """Yields prepared examples or batches.

  Args:
    dataset: `records.Records`.
    split: 'train' or 'val'.
    wanted: Function from a start to the argument of `Reader.tf_dataset`.
    prepare: Function of a key and the content of a record, for tf.data. It
      returns a dict of tensors; _NEXT is the start after this element.
    masks: Names of the masks that `prepare` decodes.
    start: First start.
    batch_size: Examples per batch; None: elements are single examples.
  """
  options = tf.data.Options()
  # The autotuning thread may sleep beyond the end of an iteration, which then
  # waits for it: as long as the iteration itself took, up to a minute.
  options.autotune.enabled = False
  reader = dataset.reader(split)
  try:
    while True:
      ds = reader.tf_dataset(wanted(start)).map(
          prepare, num_parallel_calls=os.cpu_count(), deterministic=True)
      if batch_size:
        ds = ds.batch(batch_size, drop_remainder=True)
      try:
        for element in ds.prefetch(_AHEAD).with_options(
            options).as_numpy_iterator():
          start = int(np.max(element.pop(_NEXT)))
          yield element
        if reader.problem:
          raise reader.problem
        return
      except tf.errors.OpError:
        if reader.check:
          raise
        # A record with the right checksum cannot be decoded. tf.data does not
        # tell which, so from here on the reader decodes records as well.
        reader.check = lambda content: decode(
            encoding.parse(content, ('image', *masks)), masks)
  finally:
    reader.report()
