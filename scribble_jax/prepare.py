r"""Prepares the records of a config, without using an accelerator.

python -m scribble_jax.prepare --config=configs/scribblesup.py \
    --config.data.root=VOC2012

Apache Beam (pip install apache-beam) prepares large sets: by processes of this
machine, which need no flags, or by a cluster:

python -m scribble_jax.prepare --config=configs/own_data.py \
    --config.data.root=gs://BUCKET/DIR \
    --pipeline_options='--runner=DataflowRunner
    --project=PROJECT --region=REGION --temp_location=gs://BUCKET/tmp
    --sdk_container_image=IMAGE'

To show or remove the records of other settings or data:

python -m scribble_jax.prepare --config=configs/scribblesup.py \
    --config.data.root=VOC2012 --list    # Or --remove_unused.
"""

import importlib.util
import os
import re
import time

from absl import flags

from scribble_jax import command_line
from scribble_jax import config_check
from scribble_jax.data import dataset_files
from scribble_jax.data import ground_truth
from scribble_jax.errors import UserError
from scribble_jax.files import listings
from scribble_jax.files import storage
from scribble_jax.pseudo_labels import config_rules

_LARGE = 50_000  # Images, from which on starting processes saves time.


def main(argv):
  """Prepares, lists or removes what the flags describe."""
  del argv
  # These import TensorFlow, which takes seconds; flags are checked before.
  from scribble_jax.data import dense_sets
  from scribble_jax.data import record_folders
  from scribble_jax.data import records
  config, options = _CONFIG.value, parse_options(_PIPELINE_OPTIONS.value)
  config_check.check_data(config)
  parent = storage.path(config.data.root, config.data.records)
  if _REMOVE_UNUSED.value:
    print(remove_unused(config, parent))
  if _LIST.value:
    print(record_folders.describe(parent, find_used(config)))
  if _LIST.value or _REMOVE_UNUSED.value:
    return
  dense_sets.prepare(config.data)
  (data, needed, splits), *rest = stages(config)
  if options is None:
    options = local_options(data, splits, _NUM_WORKERS.value)
  start = time.monotonic()
  prepared = records.prepare(data, needed, splits, options)
  print(_summary(prepared, time.monotonic() - start))
  record_folders.warn_of_several(prepared.folder.parent, [prepared.folder])
  if rest:
    print('These are the records of stage 1. Those of stage 2 hold the '
          'pseudo-labels that it generates, so the training makes them; or '
          'run stage 1 by scribble_jax.pseudo_labels, then this command with '
          '--config.data.pseudo_labels=FOLDER.')


def stages(config):
  """Returns the arguments of `records.prepare` of each stage, in order.

  Args:
    config: ConfigDict of either stage.

  Returns:
    [(data, pseudo_labels_needed, splits), ...]. Stage 2's pseudo-labels are
    dataset_files.GENERATE if stage 1 makes them.
  """
  if 'supervision' in config:  # Stage 1, which needs no val.
    return [(config.data, False, ('train',))]
  needed = config_check.needs_pseudo_labels(config)
  splits = ground_truth.listed_splits(config.data)
  if config.data.pseudo_labels != dataset_files.GENERATE:
    return [(config.data, needed, splits)]
  if not needed:
    return [(config_check.with_pseudo_labels(
        config, dataset_files.NO_PSEUDO_LABELS).data, needed, splits)]
  return [(config_rules.stage1_config(config).data, False, ('train',)),
          (config.data, needed, splits)]


def find_used(config):
  """Returns the folders of the records that a config's runs read.

  Args:
    config: ConfigDict of either stage. That of stage 2 always includes the
      records of stage 1.
  """
  from scribble_jax.data import records
  from scribble_jax.pseudo_labels import settings
  found = []
  if 'supervision' not in config:
    stage1 = config_rules.stage1_config(config)
    folder, dataset = records.find(stage1.data, False, ('train',))
    found.append(folder)
    if (dataset and config.data.pseudo_labels == dataset_files.GENERATE
        and config_check.needs_pseudo_labels(config)):
      stage1 = settings.Stage1(
          config_check.with_classes(stage1, dataset.class_names), dataset)
      made = settings.place(config, stage1)
      if storage.path(config.data.root, made, settings.FOLDER).is_dir():
        config = settings.with_generated(config, made)
  return found + [records.find(*arguments)[0] for arguments in stages(config)
                  if arguments[0].pseudo_labels != dataset_files.GENERATE]


def remove_unused(config, parent):
  """Removes records that no config and no process uses; returns a report."""
  from scribble_jax.data import record_folders
  try:
    removed, kept = record_folders.remove_unused(parent, find_used(config))
  except storage.errors() as error:
    raise UserError(f'Cannot remove records in {parent}: {error}. Mend that, '
                    'or delete them by hand.') from error
  size = record_folders.gigabytes(sum(found.size for found in removed))
  return '\n'.join([
      *(f'Removed {found.folder}: {found.num_images} images, '
        f'{record_folders.gigabytes(found.size)}.' for found in removed),
      f'{size} freed; {len(kept)} folders of records stay, which this config '
      'or a running process uses.', *record_folders.old_lines(parent)])


def parse_options(text):
  """Returns the flags in a text, separated by spaces or commas; None for ''.

  Raises:
    UserError: The text does not begin with a flag.
  """
  options = [part for part in re.split(r'[\s,]+(?=--)', text.strip()) if part]
  if options and not options[0].startswith('--'):
    raise UserError(f'--pipeline_options={text}: write --NAME=VALUE, separated '
                    'by commas or spaces, such as --runner=DirectRunner.')
  return options or None


def local_options(data, splits, num_workers):
  """Returns Beam's flags for this machine; None if threads are sufficient.

  Args:
    data: The `data` part of a config.
    splits: Which of `dataset_files.SPLITS`.
    num_workers: Number of processes; None: one per core, if the data set is
      large and Beam is installed.
  """
  if num_workers is None:
    num_images = sum(
        len(listings.read_ids(storage.path(data.root, data[f'{split}_list'])))
        for split in splits)
    if num_images < _LARGE or not importlib.util.find_spec('apache_beam'):
      return None
  # Other local runners use threads; this one starts processes.
  return ['--runner=DirectRunner', '--direct_running_mode=multi_processing',
          f'--direct_num_workers={num_workers or os.cpu_count()}']


def _summary(prepared, seconds):
  """Returns a line about the size of the records and the speed."""
  shards = prepared.shards.values()
  images = sum(len(split.ends) for split in shards)
  return (f'{images} images in {sum(len(split.paths) for split in shards)} '
          f'shards, {sum(split.size for split in shards) / 1e9:.2f} GB, '
          f'{seconds:.0f} s, {images / seconds:.1f} images/s: '
          f'{prepared.folder}')


if __name__ == '__main__':
  _CONFIG = command_line.define_config()
  _PIPELINE_OPTIONS = flags.DEFINE_string(
      'pipeline_options', '', 'Flags for Apache Beam, which is used then, '
      'separated by spaces or commas: --runner=DataflowRunner,--project=...')
  _LIST = flags.DEFINE_bool(
      'list', False, 'Only show the folders of records and their users.')
  _REMOVE_UNUSED = flags.DEFINE_bool(
      'remove_unused', False, 'Only remove the folders of records that neither '
      'this config nor a running process uses.')
  _NUM_WORKERS = flags.DEFINE_integer(
      'num_workers', None, 'Processes of Apache Beam on this machine. Default: '
      f'one per core for {_LARGE} images and more, if Beam is installed.',
      lower_bound=1)
  command_line.run(main, interrupted='Nothing half-written is left.')
