"""Records as tf.data reads them: by number, ahead, in order, damage named."""

import itertools
import threading

from absl import logging
import numpy as np
import tensorflow as tf

from scribble_jax.data import tfrecords
from scribble_jax.data import threads
from scribble_jax.errors import UserError

_THREADS = 8  # A bucket answers slowly.
_AHEAD = 64  # Records read before their turn: some MB.
_CHUNK = 16  # Records passed to tf.data at a time, which has a price.
_UNREADABLE = (OSError, tf.errors.OpError, tfrecords.DamagedError)


class Reader:
  """Reads records of a split; skips damaged ones if it may, and counts them.

  Attributes:
    damaged: Numbers of the records found to be so.
    problem: The UserError that ended a `dataset` early, or None.
  """

  def __init__(self, shards, *, skip_corrupt, remedy):
    """Args: `shards.Shards`, what to do about damage, and what the user can."""
    self.damaged = set()
    self.problem = None
    self._shards = shards
    self._skip_corrupt = skip_corrupt
    self._remedy = remedy
    self._lock = threading.Lock()

  def read(self, candidates):
    """Returns the first record that can be read.

    Args:
      candidates: Numbers of records, the wanted one and those in its place.

    Returns:
      Its number and its content; None for both if none can be read.

    Raises:
      UserError: One can't, and it must not be skipped, or all are damaged.
    """
    for record in candidates:
      if record in self.damaged:
        continue
      try:
        return record, self._shards.read(record)
      except _UNREADABLE as error:
        self.note(record, error)
    if len(self.damaged) == len(self._shards.ends):
      raise UserError(f'No record can be read. {self._remedy}')
    return None, None

  def note(self, record, error):
    """Counts a damaged record.

    Raises:
      UserError: It must not be skipped.
    """
    path, index = self._shards.place(record)
    line = f'{path}, record {index}: {getattr(error, "message", error)}'
    if not self._skip_corrupt:
      raise UserError(f'The records are damaged: {line}. {self._remedy}')
    with self._lock:
      if record in self.damaged:
        return
      self.damaged.add(record)
      count = len(self.damaged)
    if count == 1:
      logging.warning('Skipping damaged records, first %s.', line)
    elif str(count).strip('0') == '1':  # Every tenfold.
      logging.warning('%d damaged records are skipped so far.', count)

  def tf_dataset(self, wanted):
    """Returns a tf.data.Dataset of (key, content) in order.

    Args:
      wanted: Iterable of (key, candidates as of `read`), the key an integer.
        What can't be read is left out, or ends it: see `problem`.
    """
    def read():
      """Yields (key, content) until the end or a problem, which it keeps."""
      try:
        for key, (_, content) in threads.map_in_order(
            lambda pair: (pair[0], self.read(pair[1])), wanted, _THREADS,
            _AHEAD):
          if content is not None:
            yield key, content
      except UserError as error:  # TensorFlow would print it at length.
        self.problem = error

    def chunks():
      found = read()
      while chunk := [*itertools.islice(found, _CHUNK)]:
        keys, contents = zip(*chunk, strict=True)
        yield np.array(keys), np.array(contents, object)
    return tf.data.Dataset.from_generator(
        chunks, output_signature=(tf.TensorSpec([None], tf.int64),
                                tf.TensorSpec([None], tf.string))).unbatch()

  def report(self):
    """Says how many records were skipped, if several."""
    if len(self.damaged) > 1:
      logging.warning('%d damaged records were skipped.', len(self.damaged))
