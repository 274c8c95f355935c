r"""Preparing records: images/s, where the time goes, and the distance maps.

python tests/benchmarks/prepare.py [--repeats 3] [--images 1500] [--smoke]

Drawn scenes of VOC's size stand in for PASCAL VOC. On the host alone; needs
TensorFlow, which writes the records.
"""

import functools
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import ml_collections
import numpy as np
from PIL import Image
import torch

from scribble_jax.data import dataset_files
from scribble_jax.data import distance_maps
from scribble_jax.data import drawn_scenes
from scribble_jax.data import loading
from scribble_jax.data import records
from scribble_jax.files import masks
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.weak_labels import simulation
from tests.benchmarks import harness
from tests.oracles import distance_maps as brute_force

SIZE = 375, 500  # Height and width of most of VOC's images.
VOC_IMAGES = 10_582
LAMBDA_S, LAMBDA_C = np.e, np.e**6
MIRRORINGS = 4  # Of every scene: drawing takes longer than preparing.
FOLDERS = {'images': 'JPEGImages', 'scribbles': 'scribbles',
           'pseudo_labels': 'pseudo_labels',
           'ground_truth': 'SegmentationClassAug'}


def draw_files(index, size):
  """Returns {folder: [bytes of a file of each mirroring]} of a scene."""
  height, width = size
  rng = np.random.default_rng([0, index])
  image, truth = (x[:height, :width]
                  for x in drawn_scenes.draw_scene(rng, width))
  scribble = simulation.simulate_scribble(rng, truth, max_background_strokes=1)
  # As bad as stage 1's: moved, with a rim that nobody decided about.
  pseudo_label = np.roll(truth, 5, axis=(0, 1))
  rim = np.roll(pseudo_label, 4, axis=1) != pseudo_label
  pseudo_label = np.where(rim, IGNORE_LABEL, pseudo_label).astype(np.uint8)
  files = {folder: [] for folder in FOLDERS.values()}
  for mirroring in range(MIRRORINGS):
    flip = np.s_[::-1 if mirroring & 1 else 1, ::-1 if mirroring & 2 else 1]
    for folder, values in zip(
        FOLDERS.values(), (image, scribble, pseudo_label, truth), strict=True):
      files[folder].append(_encoded(np.ascontiguousarray(values[flip])))
  return files


def _encoded(values):
  with tempfile.NamedTemporaryFile() as file:
    if values.ndim == 3:
      Image.fromarray(values).save(file, 'JPEG', quality=90)
    else:
      masks.write_mask(file, values)
    return pathlib.Path(file.name).read_bytes()


def write_dataset(root, num_images, num_scenes, size):
  """Writes a train split in VOC's layout and returns its `data` config."""
  scenes = [draw_files(index, size) for index in range(num_scenes)]
  ids = [f'{index:06d}' for index in range(num_images)]
  for folder in FOLDERS.values():
    (root / folder).mkdir()
    for index, name in enumerate(ids):
      mirroring, scene = divmod(index % (MIRRORINGS * num_scenes), num_scenes)
      suffix = '.jpg' if folder == FOLDERS['images'] else '.png'
      (root / folder / f'{name}{suffix}').write_bytes(
          scenes[scene][folder][mirroring])
  (root / 'train.txt').write_text('\n'.join(ids))
  return ml_collections.ConfigDict(FOLDERS | {
      'root': str(root), 'classes': drawn_scenes.CLASS_NAMES,
      'train_list': 'train.txt', 'records': 'records', 'skip_corrupt': False,
      'lambda_s': LAMBDA_S, 'lambda_c': LAMBDA_C, 'scribble_shrink': 0.0,
      'scribble_drop': 0.0, 'scribble_seed': 0, 'image_range': None,
      'max_megapixels': 100.0, 'unlabelled_index': 255, 'label_map': ''})


def time_prepare(config, repeats):
  """Returns seconds and CPU seconds of `records.prepare`, the fastest of all.

  Every run makes the records anew: they go to a folder of their own.
  """
  runs = []
  for repeat in range(repeats):
    config.records = f'records{repeat}'
    start, cpu = time.perf_counter(), time.process_time()
    records.prepare(config, splits=('train',))
    runs.append((time.perf_counter() - start, time.process_time() - cpu))
  return min(runs)


def time_parts(examples):
  """Returns {part: CPU seconds an image} on one thread, without writing."""
  seconds = dict.fromkeys(('read and decode', 'distance maps', 'PNG'), 0.0)

  def timed(part, function, *args):
    start = time.thread_time()
    result = function(*args)
    seconds[part] += (time.thread_time() - start) / len(examples)
    return result

  for example in examples:
    maps, problems = timed('read and decode', loading.load, example,
                           drawn_scenes.CLASS_NAMES)
    assert not problems, problems
    distances = timed('distance maps', lambda maps=maps: [
        distance_maps.scribble_distance_map(maps.scribble, LAMBDA_S),
        distance_maps.pseudo_label_distance_map(maps.pseudo_label, LAMBDA_C)])
    for values in (maps.scribble, maps.pseudo_label, maps.ground_truth,
                   *distances):
      timed('PNG', masks.encode_grey, values)
  return seconds


def torch_distance(marked):
  """Returns the squared distance to the nearest marked pixel, [H, W] int32."""
  height, width = marked.shape
  rows = torch.arange(height, dtype=torch.int32)[:, None]
  columns = torch.arange(width, dtype=torch.int32)
  nearest = torch.full(marked.shape, 2**30, dtype=torch.int32)
  for row, column in np.argwhere(marked).tolist():
    torch.minimum(
        nearest, (rows - row)**2 + (columns - column)**2, out=nearest)
  return nearest.numpy()


def torch_maps(scribble, pseudo_label):
  """Returns both distance maps as PyTorch makes them, pair by pair."""
  foreground = brute_force.is_foreground(pseudo_label)
  reach = [np.minimum(255, np.trunc(
      np.sqrt(factor) * np.sqrt(torch_distance(marked))))
      for factor, marked in (
          (LAMBDA_S, brute_force.is_foreground(scribble)),
          (LAMBDA_C, brute_force.contour(foreground)))]
  return [(255 - reach[0]).astype(np.uint8), reach[1].astype(np.uint8)]


def compare_distance_maps(example):
  """Returns {contestant: Timing} of both maps of one image, bytes compared."""
  maps, _ = loading.load(example, drawn_scenes.CLASS_NAMES)
  made = {}

  def keep(name, function):
    made[name] = function()

  contestants = {
      'ours': lambda: [
          distance_maps.scribble_distance_map(maps.scribble, LAMBDA_S),
          distance_maps.pseudo_label_distance_map(maps.pseudo_label, LAMBDA_C)],
      'NumPy, pair by pair': lambda: [
          brute_force.scribble_distance_map(maps.scribble, LAMBDA_S),
          brute_force.pseudo_label_distance_map(maps.pseudo_label, LAMBDA_C)],
      'PyTorch, pair by pair': functools.partial(
          torch_maps, maps.scribble, maps.pseudo_label)}
  timings = harness.take_turns(
      {name: functools.partial(keep, name, function)
       for name, function in contestants.items()}, repeats=2)
  for name, values in made.items():
    np.testing.assert_array_equal(values, made['ours'], err_msg=name)
  return timings


def main():
  args = harness.parse_args('prepare', __doc__, lambda parser: (
      parser.add_argument('--images', type=int, default=1_500),
      parser.add_argument('--scenes', type=int, default=80)))
  size = SIZE
  if args.smoke:
    args.images, args.scenes, args.repeats, size = 12, 2, 1, (48, 64)
  with tempfile.TemporaryDirectory() as root:
    config = write_dataset(pathlib.Path(root), args.images, args.scenes, size)
    examples = dataset_files.list_examples(config, True, ('train',))['train']
    parts = time_parts(examples[:200])
    seconds, cpu = time_prepare(config, args.repeats)
    timings = compare_distance_maps(examples[0])
  cpu_an_image = cpu / len(examples)
  parts['records and the rest'] = cpu_an_image - sum(parts.values())
  rows = [{'part': part, 'CPU ms an image': 1e3 * value,
           'share (%)': 100 * value / cpu_an_image}
          for part, value in parts.items()]
  ours = timings['ours'].median
  harness.report(
      args, rows, images=len(examples), seconds=seconds, cpu_seconds=cpu,
      images_per_second=len(examples) / seconds,
      cores_at_work=cpu / seconds,
      minutes_for_voc=seconds / len(examples) * VOC_IMAGES / 60,
      **{f'both maps of an image, {name} (ms)': 1e3 * timing.median
         for name, timing in timings.items()},
      **{f'ours is faster than {name} by': timing.median / ours
         for name, timing in timings.items() if name != 'ours'})


if __name__ == '__main__':
  main()
