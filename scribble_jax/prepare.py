r"""Prepares the records of a config, before any accelerator is paid for.

python -m scribble_jax.prepare --config=configs/scribblesup.py \
    --config.data.root=VOC2012

Large sets by Apache Beam (pip install apache-beam): processes of this machine
by themselves, or a cluster:

python -m scribble_jax.prepare --config=configs/own_data.py \
    --config.data.root=gs://BUCKET/DIR \
    --pipeline_options='--runner=DataflowRunner
    --project=PROJECT --region=REGION --temp_location=gs://BUCKET/tmp
    --sdk_container_image=IMAGE'
"""

import importlib.util
import os
import re
import time

from absl import flags

from scribble_jax import command_line
from scribble_jax import config_check
from scribble_jax.data import ground_truth
from scribble_jax.data import sources
from scribble_jax.errors import UserError
from scribble_jax.files import listings
from scribble_jax.files import storage
from scribble_jax.pseudo_labels import config_rules

_LARGE = 50_000  # Images from which on processes are worth their start.


def main(argv):
  """Prepares what the flags describe."""
  del argv
  # TensorFlow takes seconds to load: a mistake in the flags is told before.
  from scribble_jax.data import embedded
  from scribble_jax.data import records
  config, options = _CONFIG.value, parse_options(_PIPELINE_OPTIONS.value)
  embedded.prepare(config.data)
  generating = config.data.get('pseudo_labels') == sources.GENERATE
  if 'supervision' in config or generating:  # Stage 1, which needs no val.
    data = (config_rules.stage1_config(config) if generating else config).data
    needed, splits = False, ('train',)
  else:
    data, splits = config.data, ground_truth.listed_splits(config.data)
    needed = config_check.needs_pseudo_labels(config)
  if options is None:
    options = local_options(data, splits, _NUM_WORKERS.value)
  start = time.monotonic()
  prepared = records.prepare(data, needed, splits, options)
  print(_summary(prepared, time.monotonic() - start))
  if generating:
    print('These are the records of stage 1. Those of stage 2 hold the '
          'pseudo-labels that it generates, so the training makes them; or '
          'run stage 1 by scribble_jax.pseudo_labels, then this command with '
          '--config.data.pseudo_labels=FOLDER.')


def parse_options(text):
  """Returns the flags in a text, apart by spaces or commas; None for ''.

  Raises:
    UserError: It does not begin with a flag.
  """
  options = [part for part in re.split(r'[\s,]+(?=--)', text.strip()) if part]
  if options and not options[0].startswith('--'):
    raise UserError(f'--pipeline_options={text}: write --NAME=VALUE, apart by '
                    'commas or spaces, such as --runner=DirectRunner.')
  return options or None


def local_options(data, splits, num_workers):
  """Returns Beam's flags for this machine; None where threads do as well.

  Args:
    data: The `data` part of a config.
    splits: Which of `sources.SPLITS`.
    num_workers: Processes; None: one a core, for large data sets and with Beam.
  """
  if num_workers is None:
    num_images = sum(
        len(listings.read_ids(storage.path(data.root, data[f'{split}_list'])))
        for split in splits)
    if num_images < _LARGE or not importlib.util.find_spec('apache_beam'):
      return None
  # Of the runners that share a machine, this one starts processes.
  return ['--runner=DirectRunner', '--direct_running_mode=multi_processing',
          f'--direct_num_workers={num_workers or os.cpu_count()}']


def _summary(prepared, seconds):
  """Returns the line that says what there is, and how fast it came."""
  shards = prepared.shards.values()
  images = sum(len(split.ends) for split in shards)
  return (f'{images} images in {sum(len(split.paths) for split in shards)} '
          f'shards, {sum(split.size for split in shards) / 1e9:.2f} GB, '
          f'{seconds:.0f} s, {images / seconds:.1f} images/s: '
          f'{prepared.builder.data_dir}')


if __name__ == '__main__':
  _CONFIG = command_line.define_config()
  _PIPELINE_OPTIONS = flags.DEFINE_string(
      'pipeline_options', '', 'Flags for Apache Beam, apart by spaces or '
      'commas: --runner=DataflowRunner,--project=... Beam runs then.')
  _NUM_WORKERS = flags.DEFINE_integer(
      'num_workers', None, 'Processes on this machine, by Apache Beam; unless '
      f'given, one a core for {_LARGE} images and more, if Beam is installed.',
      lower_bound=1)
  command_line.run(main, interrupted='Nothing half-written is left.')
