"""Records to numpy batches.

The global batch at step t is a function of (records, seed, t) alone, whatever
the number of hosts or workers, so a checkpoint needs no iterator state.
"""

import tensorflow as tf

from scribble_jax.data import records
from scribble_jax.data.augment import augment
from scribble_jax.data.masks import SCRIBBLED_CLASSES
from scribble_jax.errors import UserError

TRAIN_MASKS = ('scribble', 'pseudo_label', 'scribble_distance',
               'pseudo_label_distance')  # What stage 2 learns from.


def keep_off_accelerators():
  """Leaves the accelerators' memory to JAX."""
  tf.config.set_visible_devices([], 'GPU')


def decode(example, names):
  """Decodes 'image' to [H, W, 3] and the named masks to [H, W], all uint8."""
  # Reads PNG as well, in spite of its name. The accurate transform is the one
  # that Pillow and OpenCV use.
  image = tf.io.decode_jpeg(
      example['image'], channels=3, dct_method='INTEGER_ACCURATE')
  return {'image': image} | {
      name: tf.io.decode_png(example[name], channels=1)[..., 0]
      for name in names}


def scribbled_classes(scribble):
  """Returns [256] bool, which indices occur in [H, W] uint8."""
  indices = tf.reshape(tf.cast(scribble, tf.int32), [-1])
  return tf.math.bincount(indices, minlength=256, maxlength=256) > 0


def train_batches(source, inputs, *, augmentation, batch_size, seed, start_step,
                  process_index, process_count):
  """Yields this host's share of global batches start_step, start_step + 1, ...

  Args:
    source: `records.Records`. All of it is cached in memory, still encoded.
    inputs: Names of `records.MASKS`, and SCRIBBLED_CLASSES if wanted.
    augmentation: Keyword arguments of `augment.augment`.
    batch_size: Global batch size.
    seed: Seeds both the order and the augmentation.
    start_step: Number of batches already consumed.
    process_index: Which host this is.
    process_count: How many hosts share a global batch.

  Yields:
    uint8 'image' [B, crop, crop, 3] and masks [B, crop, crop];
    SCRIBBLED_CLASSES is [B, 256] bool, by class index.
  """
  masks = [name for name in inputs if name in records.MASKS]
  ds = records.read(source, 'train').cache()
  ds = ds.shuffle(source.num_examples('train'), seed=seed,
                  reshuffle_each_iteration=True)
  ds = ds.repeat().enumerate().skip(start_step * batch_size)
  ds = ds.shard(process_count, process_index)

  def prepare(index, example):
    """Decodes and augments an example as its place in the run says."""
    key = tf.random.fold_in(tf.constant([seed, 0], tf.int64), index)
    decoded = decode(example, masks)
    batch = augment(decoded, key, **augmentation)
    if SCRIBBLED_CLASSES in inputs:
      batch[SCRIBBLED_CLASSES] = scribbled_classes(decoded['scribble'])
    return batch

  ds = ds.map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
  ds = ds.batch(batch_size // process_count, drop_remainder=True)
  return _numpy(ds.prefetch(tf.data.AUTOTUNE))


def whole_examples(source, split, *, limit=-1, chosen=None):
  """Yields examples as they are, in the lists' order.

  Args:
    source: `records.Records`.
    split: 'train' or 'val'.
    limit: At most this many; -1 for all.
    chosen: [N] bool, which of the split's N to decode; None for all.

  Yields:
    'id' (str), 'image' [H, W, 3] and `records.MASKS` [H, W], uint8.
  """
  def prepare(example):
    """Decodes all that a record holds."""
    return {'id': example['id']} | decode(example, records.MASKS)

  ds = records.read(source, split)
  if chosen is not None:
    ds = ds.enumerate().filter(lambda index, _: tf.gather(chosen, index))
    ds = ds.map(lambda _, example: example)
  ds = ds.take(limit)
  ds = ds.map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
  for example in _numpy(ds.prefetch(tf.data.AUTOTUNE)):
    yield example | {'id': example['id'].decode()}


def _numpy(ds):
  """Iterates; damage that the records' checksums reveal becomes one line."""
  damage = tf.errors.DataLossError  # Still bound when the interpreter exits.
  try:
    yield from ds.as_numpy_iterator()
  except damage as error:
    raise UserError(
        f'The records are damaged: {error.message}. Delete their folder; the '
        'next start makes them again.') from error
