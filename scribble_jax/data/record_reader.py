"""Reads records for tf.data: by number, ahead and in order, with checks."""

import itertools
import threading

from absl import logging
import numpy as np
import tensorflow as tf

from scribble_jax.data import tfrecords
from scribble_jax.data import threads
from scribble_jax.errors import UserError

_THREADS = 8  # Parallel reads; a bucket answers slowly.
_AHEAD = 64  # Records that are read before their turn: some MB.
_CHUNK = 16  # Records per call from tf.data, each of which has a cost.
_UNREADABLE = (OSError, tf.errors.OpError, tfrecords.DamagedError)


class Reader:
  """Reads the records of a split; skips damaged ones if allowed to.

  Attributes:
    damaged: Set of the numbers of damaged records.
    problem: The UserError that ended a dataset of `tf_dataset` early, or None.
    check: Function of the content of a record that raises a tf.errors.OpError
      if it is damaged, or None. Checksums are always verified.
  """

  def __init__(self, shards, *, skip_corrupt, remedy):
    """Makes a reader.

    Args:
      shards: `shards.Shards`.
      skip_corrupt: Whether damaged records are skipped; else they end the run.
      remedy: Sentence for the user about damaged records.
    """
    self.damaged = set()
    self.problem = None
    self.check = None
    self._shards = shards
    self._skip_corrupt = skip_corrupt
    self._remedy = remedy
    self._lock = threading.Lock()

  def read(self, candidates):
    """Returns the first record that can be read.

    Args:
      candidates: Numbers of records: the wanted one, then its substitutes.

    Returns:
      The number of the record and its content; None for both if no candidate
      can be read.

    Raises:
      UserError: A damaged record must not be skipped, or all are damaged.
    """
    for record in candidates:
      if record in self.damaged:
        continue
      try:
        content = self._shards.read(record)
        if self.check:
          self.check(content)
        return record, content
      except _UNREADABLE as error:
        self._note(record, error)
    if len(self.damaged) == len(self._shards.ends):
      raise UserError(f'No record can be read. {self._remedy}')
    return None, None

  def _note(self, record, error):
    """Counts a damaged record and logs some of them.

    Raises:
      UserError: Damaged records must not be skipped.
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
    elif str(count).strip('0') == '1':  # A power of ten.
      logging.warning('%d damaged records are skipped so far.', count)

  def tf_dataset(self, wanted):
    """Returns a tf.data.Dataset of (key, content) in order.

    Args:
      wanted: Iterable of (integer key, `candidates` of `read`). Unreadable ones
        are left out, or end the dataset: see `problem`.
    """
    def read():
      """Yields (key, content); a UserError ends it and is stored."""
      try:
        for key, (_, content) in threads.map_in_order(
            lambda pair: (pair[0], self.read(pair[1])), wanted, _THREADS,
            _AHEAD):
          if content is not None:
            yield key, content
      except UserError as error:  # TensorFlow would print a traceback.
        self.problem = error

    def chunks():
      """Yields arrays of _CHUNK keys and contents."""
      found = read()
      while chunk := [*itertools.islice(found, _CHUNK)]:
        keys, contents = zip(*chunk, strict=True)
        yield np.array(keys), np.array(contents, object)
    return tf.data.Dataset.from_generator(
        chunks, output_signature=(tf.TensorSpec([None], tf.int64),
                                tf.TensorSpec([None], tf.string))).unbatch()

  def report(self):
    """Logs the number of skipped records, if there are several."""
    if len(self.damaged) > 1:
      logging.warning('%d damaged records were skipped.', len(self.damaged))
