"""Memory of the training input, of a data set several times as large.

python tests/benchmarks/input_memory.py [--records 8000]

One record of VOC's size, over and over, stands in for a large data set.
"""

import argparse
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import numpy as np
import tensorflow as tf

from configs import scribblesup
from scribble_jax.data import input_pipeline
from scribble_jax.data import records
from scribble_jax.data import shards
from scribble_jax.data import tfrecords
from tests.benchmarks import input_pipeline as drawn

_SHARD = 1_000  # Records.


def resident():
  """Returns the bytes of memory that this process has."""
  with open('/proc/self/statm') as f:
    return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def repeat_record(dataset, folder, count):
  """Returns Records of one record `count` times."""
  content = dataset.shards['train'].read(0)
  paths = []
  for first in range(0, count, _SHARD):
    paths.append(os.path.join(folder, f'shard{first}'))
    with tf.io.TFRecordWriter(paths[-1]) as writer:
      for _ in range(_SHARD):
        writer.write(content)
  size = len(content) + tfrecords.OVERHEAD
  ends = np.tile(np.arange(1, _SHARD + 1, dtype=np.uint32) * size, len(paths))
  many = shards.Shards(tuple(paths), np.full(len(paths), _SHARD), ends)
  return Repeated(dataset.builder, dataset.class_names, {'train': many}, False)


class Repeated(records.Records):
  """Whose number of examples the builder does not know."""

  def num_examples(self, split):
    return len(self.shards[split].ends)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--records', type=int, default=8_000)
  args = parser.parse_args()
  config = scribblesup.get_config().data
  with tempfile.TemporaryDirectory() as folder:
    config.root = folder
    drawn._write_data(config, pathlib.Path(folder), 2, 375, 500)
    dataset = repeat_record(
        records.prepare(config, splits=('train',)), folder, args.records)
    print(f'{dataset.shards["train"].size / 1e6:.0f} MB of records')
    before = resident()
    batches = input_pipeline.train_batches(
        dataset, input_pipeline.TRAIN_MASKS, augmentation=(
            config.augmentation.to_dict() | {
                'crop_size': 65, 'distance_fill': 'official'}),
        batch_size=16, shuffle_buffer=config.shuffle_buffer, seed=0,
        start_step=0, process_index=0, process_count=1)
    for step in range(args.records // 16):
      next(batches)
      if not step % 50:
        print(f'{16 * step} images: {(resident() - before) / 1e6:.0f} MB more '
              'than before', flush=True)


if __name__ == '__main__':
  main()
