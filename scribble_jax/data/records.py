"""TFRecord shards of everything that training and validation read.

One record holds an image's own bytes, its scribble, pseudo-label and ground
truth, and the two distance maps, made here once (about 60 kB an image of VOC).
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil

from absl import logging
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tqdm import tqdm

from scribble_jax import atomic
from scribble_jax.data import distance_maps
from scribble_jax.data import masks
from scribble_jax.data import reading
from scribble_jax.data import shards
from scribble_jax.data import sources
from scribble_jax.data import threads
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.scribbles import deformation

MASKS = ('scribble', 'pseudo_label', 'scribble_distance',
         'pseudo_label_distance', 'ground_truth')
_INDEX = 'index.npz'  # Where each record ends; the last file to be written.
# Counts the changes of the folder's form; another one makes records stale.
_VERSION = 2
# Of the `data` part of a config: what is made of a user's files.
SETTINGS = ('lambda_s', 'lambda_c', 'scribble_shrink', 'scribble_drop',
            'scribble_seed')


class ScribbleRecords(tfds.core.GeneratorBasedBuilder):
  """Writes the shards; `prepare` decides when."""

  VERSION = tfds.core.Version('1.0.0')

  def __init__(self, *, data_dir, examples, spec):
    """Args: where to write, {split: [Example]}, and what `_spec` returned."""
    self._examples = examples
    self._spec = spec
    super().__init__(data_dir=data_dir)

  def _info(self):
    features = {'id': tfds.features.Text(), 'image': tfds.features.Image()}
    for name in MASKS:
      features[name] = tfds.features.Image(
          shape=(None, None, 1), encoding_format='png')
    return tfds.core.DatasetInfo(
        builder=self,
        features=tfds.features.FeaturesDict(features),
        disable_shuffling=True,  # The lists' order; training shuffles anyway.
        metadata=tfds.core.MetadataDict(self._spec))

  def _split_generators(self, dl_manager):
    del dl_manager
    total = sum(len(listed) for listed in self._examples.values())
    self._progress = tqdm(total=total, desc='Preparing records', unit='image')
    self._problems = []
    self._num_empty = 0
    return {split: self._generate_examples(split) for split in self._examples}

  def _generate_examples(self, split):
    """Yields (index, features); after the first problem, only collects more."""
    splits = list(self._examples)
    encode = functools.partial(encode_example, spec=self._spec)
    for name in splits[splits.index(split):]:
      if name != split and not self._problems:
        return  # That split will have its own turn.
      for i, (features, is_empty, problems) in enumerate(
          threads.map_in_order(encode, self._examples[name], os.cpu_count(),
                               4 * os.cpu_count())):
        self._progress.update()
        self._problems += problems
        self._num_empty += name == 'train' and is_empty
        if not self._problems:
          yield i, features
    self._finish()

  def _finish(self):
    self._progress.close()
    raise_problems(self._problems, 'Mend these files and start again.')
    if self._num_empty:
      logging.warning('%d training images have an empty scribble.',
                      self._num_empty)


def encode_example(example, spec):
  """Reads, checks and encodes one example. Runs in a thread.

  Args:
    example: A `sources.Example`.
    spec: 'class_names', 'lambda_s', 'lambda_c' and what `_deformed` needs.

  Returns:
    features: The record, or None if there are problems.
    is_empty: Whether no pixel is scribbled.
    problems: One line for each.
  """
  maps, problems = sources.load(example, spec['class_names'])
  if problems:
    return None, False, problems
  unlabelled = np.full(maps.size, IGNORE_LABEL, np.uint8)
  labels = {
      name: unlabelled if value is None else value
      for name, value in (('scribble', _deformed(maps.scribble, example, spec)),
                          ('pseudo_label', maps.pseudo_label),
                          ('ground_truth', maps.ground_truth))}
  features = {'id': example.id, 'image': maps.image}
  for name, values in (labels | {
      'scribble_distance': distance_maps.scribble_distance_map(
          labels['scribble'], spec['lambda_s']),
      'pseudo_label_distance': distance_maps.pseudo_label_distance_map(
          labels['pseudo_label'], spec['lambda_c']),
  }).items():
    features[name] = masks.encode_grey(values)
  return features, bool(np.all(labels['scribble'] == IGNORE_LABEL)), []


def _deformed(scribble, example, spec):
  """Returns a scribble as poor as METHOD 10's ratios in the spec say."""
  if scribble is None:
    return None
  return deformation.deform(
      scribble, shrink=spec['scribble_shrink'], drop=spec['scribble_drop'],
      key=(spec['scribble_seed'], example.id))


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
    return self.builder.info.splits[split].num_examples

  def reader(self, split):
    """Returns a new `reading.Reader` of a split."""
    return reading.Reader(
        self.shards[split], skip_corrupt=self.skip_corrupt, remedy=(
            f'Delete {self.builder.data_dir}; the next start makes it again. '
            'Or leave them out with --config.data.skip_corrupt=True.'))


def prepare(config, pseudo_labels_needed=True, splits=sources.SPLITS):
  """Opens the records of a data set, making them if missing or stale.

  Args:
    config: The `data` part of a config: `sources.list_examples`' keys,
      `classes`, `records`, `skip_corrupt` and SETTINGS.
    pseudo_labels_needed: Whether their folder must exist.
    splits: Which of `sources.SPLITS`.

  Returns:
    Records.

  Raises:
    UserError: The sources or the records can't be used.
  """
  examples = sources.list_examples(config, pseudo_labels_needed, splits)
  class_names = sources.read_class_names(config.classes, config.root)
  spec = {'version': _VERSION, 'class_names': list(class_names),
          **{name: config[name] for name in SETTINGS},
          **sources.fingerprint(examples)}
  directory = pathlib.Path(config.root, config.records)
  try:
    with atomic.only_one_process(directory):
      reason = _stale_reason(directory, spec)
      if reason:
        logging.warning('Preparing %s: %s.', directory, reason)
        _build(directory, examples, spec)
  except (OSError, tf.errors.OpError) as error:
    raise UserError(f'Cannot write {directory}: {error}. Set '
                    '--config.data.records to a folder that can be '
                    'written.') from error
  return _open(directory, class_names, config.skip_corrupt)


def _open(directory, class_names, skip_corrupt):
  """Returns complete Records.

  Raises:
    UserError: A file is missing, shortened or lengthened.
  """
  builder = tfds.builder_from_directory(str(directory))
  found = {}
  with np.load(directory / _INDEX) as index:
    for name, split in builder.info.splits.items():
      found[name] = shards.Shards(
          tuple(os.fspath(path) for path in split.filepaths),
          np.array(split.shard_lengths), index[name])
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
  if not (directory / 'dataset_info.json').exists():
    raise UserError(f'{directory} holds other files than records. Set '
                    '--config.data.records to a new folder.')
  try:
    stored = json.loads((directory / 'metadata.json').read_text())
  except (OSError, ValueError):
    stored = None
  if stored is None or not (directory / _INDEX).exists():
    return 'the records there are of no use'
  changed = [name for name in spec if stored.get(name) != spec[name]]
  return f'changed since last time: {", ".join(changed)}' if changed else None


def _build(directory, examples, spec):
  """Writes complete records beside `directory`, then puts them in its place."""
  partial = directory.with_name(directory.name + '.partial')
  tfds.disable_progress_bar()  # One bar for both splits instead of six.
  try:
    shutil.rmtree(partial, ignore_errors=True)  # Of a killed run.
    partial.mkdir(parents=True)
    builder = ScribbleRecords(
        data_dir=str(partial), examples=examples, spec=spec)
    with contextlib.redirect_stdout(None):  # Talks of downloading.
      builder.download_and_prepare()
    np.savez(builder.data_path / _INDEX, **{
        name: shards.find([os.fspath(path) for path in split.filepaths],
                          split.shard_lengths).ends
        for name, split in builder.info.splits.items()})
    shutil.rmtree(directory, ignore_errors=True)
    builder.data_path.rename(directory)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def parse(content, names):
  """Returns some features of a record, scalar strings, still encoded.

  Args:
    content: Scalar string, a record.
    names: 'id', 'image' or of MASKS.
  """
  return tf.io.parse_single_example(
      content, {name: tf.io.FixedLenFeature([], tf.string) for name in names})
