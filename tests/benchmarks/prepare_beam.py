"""Memory and time of preparing many small images by Beam on this machine.

python tests/benchmarks/prepare_beam.py [--images 50000] [--workers 2]

Needs apache-beam. Images of 64 pixels, links to a few files, keep it short:
what counts is that memory does not grow with their number.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import psutil

from scribble_jax import prepare
from scribble_jax.data import records
from tests.benchmarks import prepare as drawn

_SCENES = 16


def link_dataset(root, num_images):
  """Writes a train split of links and returns its `data` config."""
  config = drawn.write_dataset(
      root, drawn.MIRRORINGS * _SCENES, _SCENES, (64, 64))
  first = drawn.MIRRORINGS * _SCENES
  for folder in drawn.FOLDERS.values():
    suffix = '.jpg' if folder == drawn.FOLDERS['images'] else '.png'
    for index in range(first, num_images):
      os.link(root / folder / f'{index % first:06d}{suffix}',
              root / folder / f'{index:06d}{suffix}')
  (root / 'train.txt').write_text(
      '\n'.join(f'{index:06d}' for index in range(num_images)))
  return config


class Watch(threading.Thread):
  """Notes the most memory that this process and its workers had, in bytes."""

  def __init__(self):
    super().__init__(daemon=True)
    self.peak = 0

  def run(self):
    me = psutil.Process()
    while True:
      total = 0
      for process in (me, *me.children(recursive=True)):
        try:
          total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
          continue
      self.peak = max(self.peak, total)
      time.sleep(0.5)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--images', type=int, default=50_000)
  parser.add_argument('--workers', type=int, default=os.cpu_count())
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as root:
    config = link_dataset(pathlib.Path(root), args.images)
    watch = Watch()
    watch.start()
    start = time.monotonic()
    prepared = records.prepare(
        config, splits=('train',), pipeline_options=prepare.local_options(
            config, ('train',), args.workers))
    seconds = time.monotonic() - start
  split = prepared.shards['train']
  print(f'{len(split.ends)} images, {len(split.paths)} shards, '
        f'{split.size / 1e9:.2f} GB, {seconds:.0f} s; at most '
        f'{watch.peak / 1e9:.2f} GB of memory over all processes')


if __name__ == '__main__':
  main()
