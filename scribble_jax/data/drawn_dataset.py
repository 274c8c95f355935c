"""The drawn data set: scenes of `drawn_scenes` in a folder in VOC's layout."""

import functools
import json

import numpy as np
from PIL import Image
from tqdm import tqdm

from scribble_jax.data import drawn_scenes
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import formats
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.weak_labels import simulation

# 2 pixels in an image of 128: strokes cover about 3 % of it, as on VOC.
STROKE_WIDTH = 1 / 64
# People scribble on objects of interest: half of the images have no stroke on
# the background, whose extent only the pseudo-labels show.
BACKGROUND_PROBABILITY = 0.5
JPEG_QUALITY = 92
SPLITS = ('train', 'val')
# Increase it when the drawings change: older folders are refused then.
VERSION = 3
_DESCRIPTION = 'drawn.json'  # The parameters of a folder.


def write_dataset(root, **parameters):
  """Draws the data set, unless the folder holds it already.

  Args:
    root: Folder to make.
    **parameters: As for `_write`.

  Raises:
    UserError: As for `make_once`.
  """
  make_once(root, _DESCRIPTION, parameters | {'version': VERSION},
            functools.partial(_write, **parameters))


def make_once(root, description, settings, write):
  """Makes a data set, whole or not at all, unless its folder holds it already.

  Args:
    root: Folder to make; it may exist if empty.
    description: Name of the file in it that stores the settings.
    settings: Dict that JSON can hold.
    write: Function that writes the data set into an empty folder.

  Raises:
    UserError: The folder holds anything else or cannot be written.
  """
  root = storage.path(root)
  try:
    with atomic.only_one_process(root):
      atomic.discard_unfinished(root)
      stored = formats.read_json(root / description)
      if stored == settings:
        return
      if stored:
        raise UserError(f'{root} was made with other settings. Delete it, or '
                        'set --config.data.root to a new folder.')
      if root.exists() and any(root.iterdir()):
        raise UserError(f'{root} holds something else. Set --config.data.root '
                        'to a new folder.')
      with atomic.whole_folder(root) as folder:
        write(folder)
        (folder / description).write_text(json.dumps(settings) + '\n')
  except OSError as error:
    raise UserError(f'Cannot make the data set in {root}: {error}. Set '
                    '--config.data.root to a new folder.') from error


def _write(folder, *, num_train, num_val, image_size, seed):
  """Writes a data set in VOC's layout.

  Args:
    folder: Empty folder.
    num_train: Number of images with scribbles.
    num_val: Number of images without.
    image_size: Height and width of the images in pixels.
    seed: Non-negative integer; the same arguments write the same bytes.
  """
  for name in ('JPEGImages', 'SegmentationClassAug', 'scribbles',
               'ImageSets/SegmentationAug'):
    (folder / name).mkdir(parents=True)
  for split, count in zip(SPLITS, (num_train, num_val), strict=True):
    _write_split(folder, split, count, image_size, seed)
  (folder / 'classes.txt').write_text(
      '\n'.join(drawn_scenes.CLASS_NAMES) + '\n')


def _write_split(folder, split, count, image_size, seed):
  """Writes the images, masks and list of ids of one split."""
  width = max(1, round(STROKE_WIDTH * image_size))
  ids = [f'{split}_{index:05d}' for index in range(count)]
  progress = tqdm(ids, desc=f'Drawing {split} images', unit='image')
  for index, name in enumerate(progress):
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    image, ground_truth = drawn_scenes.draw_scene(rng, image_size)
    Image.fromarray(image).save(
        folder / f'JPEGImages/{name}.jpg', quality=JPEG_QUALITY)
    masks.write_mask(folder / f'SegmentationClassAug/{name}.png', ground_truth)
    if split == 'train':
      masks.write_mask(folder / f'scribbles/{name}.png',
                       simulation.simulate_scribble(
                           rng, ground_truth, width, max_background_strokes=1,
                           background_probability=BACKGROUND_PROBABILITY))
  (folder / f'ImageSets/SegmentationAug/{split}.txt').write_text(
      ''.join(f'{name}\n' for name in ids))
