"""The drawn data set: scenes as a folder in VOC's layout."""

import functools
import json

import numpy as np
from PIL import Image
from tqdm import tqdm

from scribble_jax import hosts
from scribble_jax.data import drawn_scenes
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import formats
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.weak_labels import simulation

# Of a 128-pixel image 2 pixels: strokes cover about 3 % of it, as on VOC.
STROKE_WIDTH = 1 / 64
# People scribble on what they care about: half of the images have no stroke on
# the background, whose extent only the pseudo-labels tell.
BACKGROUND_PROBABILITY = 0.5
JPEG_QUALITY = 92
SPLITS = ('train', 'val')
# Counts the changes of what is drawn; another one makes older folders stale.
VERSION = 3
_DESCRIPTION = 'drawn.json'  # What a folder was drawn from.


def prepare(config):
  """Draws the data set of a config, if it is to be drawn: once a job.

  Args:
    config: The `data` part: `embedded`, empty unless drawn, and `root`.

  Raises:
    UserError: As of `prepare_dataset`.
  """
  if config.embedded:
    hosts.first_then_others(functools.partial(
        prepare_dataset, config.root, **config.embedded))


def prepare_dataset(root, **parameters):
  """Draws the data set, unless the folder holds it already.

  Args:
    root: Folder to make.
    **parameters: As of `write_dataset`.

  Raises:
    UserError: The folder holds something else or can't be written.
  """
  root = storage.path(root)
  try:
    with atomic.only_one_process(root):
      stored = formats.read_json(root / _DESCRIPTION)
      if stored == parameters | {'version': VERSION}:
        return
      if stored:
        raise UserError(f'{root} was drawn with other parameters. Delete it, '
                        'or set --config.data.root to a new folder.')
      write_dataset(root, **parameters)
  except OSError as error:
    raise UserError(f'Cannot draw the data set: {error}. Set '
                    '--config.data.root to a new folder.') from error


def write_dataset(root, *, num_train, num_val, image_size, seed):
  """Writes a data set in VOC's layout, whole or not at all.

  Args:
    root: Folder to make; it may exist if empty.
    num_train: Number of images with scribbles.
    num_val: Number of images without.
    image_size: Height and width of the images in pixels.
    seed: Non-negative integer; the same arguments write the same bytes.

  Raises:
    FileExistsError: If `root` holds files already.
  """
  root = storage.path(root)
  atomic.discard_unfinished(root)
  if root.exists() and any(root.iterdir()):
    raise FileExistsError(
        f'{root} holds other files than the drawn data set')
  with atomic.whole_folder(root) as folder:
    for name in ('JPEGImages', 'SegmentationClassAug', 'scribbles',
                 'ImageSets/SegmentationAug'):
      (folder / name).mkdir(parents=True)
    for split, count in zip(SPLITS, (num_train, num_val), strict=True):
      _write_split(folder, split, count, image_size, seed)
    (folder / 'classes.txt').write_text(
        '\n'.join(drawn_scenes.CLASS_NAMES) + '\n')
    (folder / _DESCRIPTION).write_text(json.dumps({
        'num_train': num_train, 'num_val': num_val, 'image_size': image_size,
        'seed': seed, 'version': VERSION}))


def _write_split(root, split, count, image_size, seed):
  """Writes one split's images, masks and list of ids under `root`."""
  width = max(1, round(STROKE_WIDTH * image_size))
  ids = [f'{split}_{index:05d}' for index in range(count)]
  progress = tqdm(ids, desc=f'Drawing {split} images', unit='image')
  for index, name in enumerate(progress):
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    image, ground_truth = drawn_scenes.draw_scene(rng, image_size)
    Image.fromarray(image).save(
        root / f'JPEGImages/{name}.jpg', quality=JPEG_QUALITY)
    masks.write_mask(root / f'SegmentationClassAug/{name}.png', ground_truth)
    if split == 'train':
      masks.write_mask(root / f'scribbles/{name}.png',
                       simulation.simulate_scribble(
                           rng, ground_truth, width, max_background_strokes=1,
                           background_probability=BACKGROUND_PROBABILITY))
  (root / f'ImageSets/SegmentationAug/{split}.txt').write_text(
      ''.join(f'{name}\n' for name in ids))
