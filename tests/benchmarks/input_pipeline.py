"""Images per second and core of the training input, beside OpenCV's.

python tests/benchmarks/input_pipeline.py [--gflop_an_image 1524]
    [--efficiency 0.4]

The peer is what a PyTorch program does with the same files: OpenCV decodes
them and takes METHOD 5's steps one after another, in a DataLoader. It ends at
normalised tensors, and once more at uint8, as ours does, whose normalisation
is the accelerator's. All run on one core, in turn; their CPU seconds count,
since other work on the machine lengthens the wall's. At the end stands how many
such cores keep the accelerators of a host busy, if they train at the assumed
share of their peak.
"""

import itertools
import os
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np
from PIL import Image
import tensorflow as tf
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from configs import scribblesup
from scribble_jax.data import augment
from scribble_jax.data import distance_maps
from scribble_jax.data import encoding
from scribble_jax.data import input_pipeline
from scribble_jax.data import records
from scribble_jax.normalization import IMAGENET_MEAN
from scribble_jax.normalization import IMAGENET_STD
from scribble_jax.normalization import MEAN_PIXEL
from scribble_jax.weak_labels import simulation
from tests.benchmarks import harness

try:
  import cv2
except ImportError:
  sys.exit('The peer needs OpenCV: pip install opencv-python-headless')

_OURS, _PEER, _UINT8_PEER = 'scribble_jax', 'OpenCV', 'OpenCV, uint8'
_NUM_CLASSES = 21
_JPEG_QUALITY = 95  # Some 90 kB an image, about as VOC's.
# Of a host's accelerators in bfloat16, TFLOP/s, as their makers state it.
_PEAKS = {'v5e-8': 8 * 197, '8 A100': 8 * 312, '8 H100': 8 * 989}
_FOLDERS = dict(zip(
    input_pipeline.TRAIN_MASKS,
    ('scribbles', 'pseudo_labels', 'scribble_distances',
     'pseudo_label_distances'), strict=True))


def _noise(rng, shape, cell):
  """[H, W, C] noise of unit deviation, smooth over `cell` pixels."""
  height, width, channels = shape
  grid = rng.normal(size=(height // cell + 2, width // cell + 2, channels))
  return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def _draw(rng, height, width):
  """Returns an image [H, W, 3], its labels and rough labels [H, W]."""
  shape = height, width, 3
  labels = np.zeros([height, width], np.uint8)
  blobs = _noise(rng, shape, height // 3)
  for i, index in enumerate(rng.integers(1, _NUM_CLASSES, 2)):
    labels[blobs[..., i] > 0.9] = index  # 30 % foreground, as in VOC.
  image = 110 + sum(deviation * _noise(rng, shape, cell) for cell, deviation in
                    ((2, 9), (5, 9), (16, 14), (height // 4, 35)))
  image[labels > 0] += 40  # Edges.
  rough = cv2.resize(labels[::4, ::4], (width, height),
                     interpolation=cv2.INTER_NEAREST)
  return np.clip(image, 0, 255).astype(np.uint8), labels, rough


def _write_data(config, root, count, height, width):
  """Writes files as VOC's below `root`; returns the paths of each example."""
  for folder in ('JPEGImages', 'SegmentationClassAug', *_FOLDERS.values()):
    (root / folder).mkdir()
  examples = []
  for i in range(count):
    rng = np.random.default_rng(i)
    image, labels, rough = _draw(rng, height, width)
    scribble = simulation.simulate_scribble(rng, labels)
    paths = {'image': str(root / f'JPEGImages/{i:04d}.jpg')}
    Image.fromarray(image).save(paths['image'], quality=_JPEG_QUALITY)
    for name, values in zip(_FOLDERS, (
        scribble, rough,
        distance_maps.scribble_distance_map(scribble, config.lambda_s),
        distance_maps.pseudo_label_distance_map(rough, config.lambda_c)),
                            strict=True):
      paths[name] = str(root / _FOLDERS[name] / f'{i:04d}.png')
      Image.fromarray(values).save(paths[name])
    examples.append(paths)
  (root / config.train_list).parent.mkdir(parents=True)
  (root / config.train_list).write_text(
      '\n'.join(f'{i:04d}' for i in range(count)))
  return examples


def _decode_by_opencv(paths):
  """Files to an RGB image and four maps."""
  decoded = {name: cv2.imread(path, cv2.IMREAD_COLOR if name == 'image'
                              else cv2.IMREAD_GRAYSCALE)
             for name, path in paths.items()}
  decoded['image'] = cv2.cvtColor(decoded['image'], cv2.COLOR_BGR2RGB)
  return decoded


def _augment_by_opencv(rng, example, crop_size, config):
  """METHOD 5, one step after another; everything stays uint8."""
  example = dict(example)

  def change(function):
    for name, values in example.items():
      method, fill = ((cv2.INTER_LINEAR, MEAN_PIXEL.tolist())
                      if name == 'image' else (cv2.INTER_NEAREST, 255))
      example[name] = function(values, method, fill)

  factor = rng.uniform(*config.scale)
  change(lambda x, method, fill: cv2.resize(
      x, None, fx=factor, fy=factor, interpolation=method))
  height, width = example['image'].shape[:2]
  if rng.uniform() < config.rotate_probability:
    rotation = cv2.getRotationMatrix2D(
        ((width - 1) / 2, (height - 1) / 2),
        rng.uniform(-1, 1) * config.rotate_degrees, 1)
    change(lambda x, method, fill: cv2.warpAffine(
        x, rotation, (width, height), flags=method,
        borderMode=cv2.BORDER_CONSTANT, borderValue=fill))
  if rng.uniform() < config.blur_probability:
    example['image'] = cv2.GaussianBlur(example['image'], (5, 5), 0)
  if rng.uniform() < config.flip_probability:
    change(lambda x, method, fill: cv2.flip(x, 1))
  down, across = max(crop_size - height, 0), max(crop_size - width, 0)
  if down or across:
    change(lambda x, method, fill: cv2.copyMakeBorder(
        x, down // 2, down - down // 2, across // 2, across - across // 2,
        cv2.BORDER_CONSTANT, value=fill))
  top = rng.integers(height + down - crop_size + 1)
  left = rng.integers(width + across - crop_size + 1)
  change(lambda x, method, fill: np.ascontiguousarray(
      x[top:top + crop_size, left:left + crop_size]))
  return example


def _normalised(image):
  """[H, W, 3] uint8 to a [3, H, W] float32 tensor."""
  mean, std = (torch.from_numpy(255 * x)[:, None, None]
               for x in (IMAGENET_MEAN, IMAGENET_STD))
  image = torch.from_numpy(image.transpose(2, 0, 1).copy())
  return image.float().sub_(mean).div_(std)


class _Files(torch.utils.data.Dataset):
  """The peer's examples, augmented."""

  def __init__(self, examples, load):
    self._examples = examples
    self._load = load

  def __len__(self):
    return len(self._examples)

  def __getitem__(self, index):
    return self._load(self._examples[index])


def _peers(examples, batch_size, crop_size, config):
  """Returns {(program, part): function that makes an endless iterator}."""
  rng = np.random.default_rng(0)

  def augment_uint8(example):
    return _augment_by_opencv(rng, example, crop_size, config)

  def augment(example):
    example = augment_uint8(example)
    return example | {'image': _normalised(example['image'])}

  def batches(augment):
    # On one core, a worker would only add the way between processes.
    loader = torch.utils.data.DataLoader(
        _Files(examples, lambda paths: augment(_decode_by_opencv(paths))),
        batch_size, shuffle=True, drop_last=True)
    return itertools.chain.from_iterable(itertools.repeat(loader))

  decoded = [_decode_by_opencv(paths) for paths in examples]
  return {
      (_PEER, 'all'): lambda: batches(augment),
      (_UINT8_PEER, 'all'): lambda: batches(augment_uint8),
      (_PEER, 'decode'): lambda: map(
          _decode_by_opencv, itertools.cycle(examples)),
      (_PEER, 'augment'): lambda: map(augment, itertools.cycle(decoded)),
      (_UINT8_PEER, 'augment'): lambda: map(
          augment_uint8, itertools.cycle(decoded))}


def _ours(dataset, count, batch_size, crop_size, config):
  """As `_peers`, from the records."""
  augmentation = config.to_dict() | {
      'crop_size': crop_size, 'distance_fill': 'official'}
  masks, shards = input_pipeline.TRAIN_MASKS, dataset.shards['train']
  encoded = tf.data.Dataset.from_tensor_slices(
      [shards.read(record) for record in range(len(shards.ends))])
  decode = lambda content: input_pipeline.decode(
      encoding.parse(content, ('image', *masks)), masks)

  def augmented(index, example):
    key = tf.random.fold_in(tf.constant([0, 0], tf.int64), index)
    maps = dict(example)
    image = maps.pop('image')
    return augment.augment(
        lambda window: tf.slice(image, [*tf.unstack(window[:2]), 0],
                                [*tf.unstack(window[2:]), 3]),
        maps, key, **augmentation)

  def iterate(ds, function):
    ds = ds.map(function, num_parallel_calls=tf.data.AUTOTUNE)
    return ds.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()

  return {
      (_OURS, 'all'): lambda: input_pipeline.train_batches(
          dataset, masks, augmentation=augmentation, batch_size=batch_size,
          shuffle_buffer=count, seed=0, start_step=0,
          rows=range(batch_size)),
      (_OURS, 'decode'): lambda: iterate(encoded.repeat(), decode),
      (_OURS, 'decode image'): lambda: iterate(
          encoded.repeat(), lambda content: encoding.decode_image(
              encoding.parse(content, ('image',))['image'])),
      (_OURS, 'augment'): lambda: iterate(
          encoded.map(decode).cache().repeat().enumerate(), augmented)}


def _contestant(make_iterator, warm_up, count, seconds):
  """Returns a function that appends to `seconds` (wall, CPU) of `count` items.

  Each call starts anew, so that nothing goes on in the others' turns.
  """
  def run():
    iterator = iter(make_iterator())
    for _ in range(warm_up):
      next(iterator)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
      next(iterator)
    seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
  return run


def _measure(args, folder):
  """Returns {(program, part): median (wall, CPU) seconds an image}."""
  config = scribblesup.get_config().data
  config.root = folder
  count, batch_size, batches, size, crop_size = (
      (4, 2, 2, (60, 80), 65) if args.smoke
      else (64, 16, 12, (375, 500), config.crop_size))
  examples = _write_data(config, pathlib.Path(folder), count, *size)
  print('Average bytes:', {
      name: round(statistics.mean(os.path.getsize(paths[name])
                                  for paths in examples))
      for name in examples[0]})
  dataset = records.prepare(config, splits=('train',))
  parts = (_ours(dataset, count, batch_size, crop_size, config.augmentation)
           | _peers(examples, batch_size, crop_size, config.augmentation))
  seconds = {key: [] for key in parts}
  contestants = {}
  for key, make_iterator in parts.items():
    images = batch_size if key[1] == 'all' else 1  # Of one item.
    contestants[key] = _contestant(
        make_iterator, count // images, batches * batch_size // images,
        seconds[key])
  harness.take_turns(contestants, args.repeats)
  return {key: [statistics.median(column) / (batches * batch_size)
                for column in zip(*values[1:], strict=True)]
          for key, values in seconds.items()}


def _add_arguments(parser):
  parser.add_argument(
      '--gflop_an_image', type=float, default=1524,
      help='of a training step; ResNet-101 DeepLabV3+ at crop 465, as '
      'train_step.py counts, unless given')
  parser.add_argument(
      '--efficiency', type=float, default=0.4,
      help="share of the accelerators' peak that a step reaches")


def _cores_needed(args, seconds):
  """Returns what accelerators consume, and the cores that feed them.

  Args:
    args: 'gflop_an_image' and 'efficiency' are used.
    seconds: CPU seconds that an image takes.
  """
  images = {host: args.efficiency * peak * 1000 / args.gflop_an_image
            for host, peak in _PEAKS.items()}
  return ({f'images/s that {host} trains': rate
           for host, rate in images.items()}
          | {f'cores that {host} needs': rate * seconds
             for host, rate in images.items()})


def main():
  args = harness.parse_args('input_pipeline', __doc__, _add_arguments)
  if hasattr(os, 'sched_setaffinity'):  # Linux alone can pin to a core.
    # The threads that TensorFlow starts later inherit it.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
  cv2.setNumThreads(0)
  torch.set_num_threads(1)
  with tempfile.TemporaryDirectory() as folder:
    seconds = _measure(args, folder)
  rows = [{'program': program, 'part': part, 'images/s': 1 / wall,
           'images/CPU s': 1 / cpu, 'CPU ms/image': 1000 * cpu}
          for (program, part), (wall, cpu) in seconds.items()]
  ours = seconds[_OURS, 'all']
  harness.report(args, rows, **_cores_needed(args, ours[1]), **{
      f'{kind} seconds, {peer} / {_OURS}': seconds[peer, 'all'][i] / ours[i]
      for peer in (_PEER, _UINT8_PEER)
      for i, kind in enumerate(('wall', 'CPU'))})


if __name__ == '__main__':
  main()
