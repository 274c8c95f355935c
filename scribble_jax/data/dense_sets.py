"""Makes folders in VOC's layout, with simulated strokes, from dense masks.

`data.unpacked` describes the unpacked archives of a public data set;
`data.tfds` names a data set of tensorflow-datasets. The first start makes
`data.root` from it: lists, links to the files (or PNGs of the contents of
tensorflow-datasets), and strokes on the training masks. Strokes have the
values of the masks, so that `data.label_map` applies to both.
"""

import functools
import os

import numpy as np
from PIL import Image
from tqdm import tqdm

from scribble_jax import hosts
from scribble_jax import labels
from scribble_jax.data import drawn_dataset
from scribble_jax.data import threads
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import missing
from scribble_jax.files import storage
from scribble_jax.weak_labels import seeding
from scribble_jax.weak_labels import simulation

SPLITS = ('train', 'val')
DESCRIPTION = 'dense_set.json'  # The settings of a folder.
_VERSION = 1  # Increase it to refuse older folders.
_ID = '{id}'


def prepare(config):
  """Makes or draws the data set of a config, if it asks for that: once a job.

  Args:
    config: The `data` part.

  Raises:
    UserError: The files or the set are not as described, or `data.root` holds
      anything else or cannot be written.
  """
  if config.embedded:
    hosts.first_then_others(functools.partial(
        drawn_dataset.write_dataset, config.root, **config.embedded))
  if config.tfds or config.unpacked:
    hosts.first_then_others(functools.partial(
        drawn_dataset.make_once, config.root, DESCRIPTION, {
            'version': _VERSION, 'tfds': config.tfds,
            'unpacked': config.unpacked.to_dict(),
            'label_map': config.label_map,
            'unlabelled_index': str(config.unlabelled_index)},
        functools.partial(_write, config=config)))


def _write(folder, config):
  """Writes the data set of a config into a folder."""
  meanings = labels.meanings(config.unlabelled_index, config.label_map)
  meaning = meanings['ground_truth']
  if not np.array_equal(meaning, meanings['scribbles']):
    raise UserError('--config.data.label_map and unlabelled_index must say the '
                    'same of scribbles, which are drawn on the ground truth.')
  if meaning is not None and labels.IGNORE_LABEL not in meaning:
    raise UserError('--config.data.label_map leaves no value for unlabelled, '
                    'which strokes need. Name one that no mask has, such as '
                    '--config.data.unlabelled_index=254.')
  splits, names = (_of_tfds(config.tfds) if config.tfds
                   else _unpacked(config.unpacked))
  (folder / 'ImageSets/SegmentationAug').mkdir(parents=True)
  for part in ('JPEGImages', 'SegmentationClassAug', 'scribbles'):
    (folder / part).mkdir()
  highest, problems = 0, []
  for split, (examples, count) in splits.items():
    write = functools.partial(
        _write_example, folder=folder, draw=split == 'train', meaning=meaning,
        max_megapixels=config.max_megapixels)
    ids = []
    for name, label, problem in tqdm(
        threads.map_in_order(write, examples, os.cpu_count(), os.cpu_count()),
        total=count, desc=f'Writing {split} images', unit='image'):
      ids.append(name)
      highest = max(highest, label)
      problems += [problem] if problem else []
    (folder / f'ImageSets/SegmentationAug/{split}.txt').write_text(
        ''.join(f'{name}\n' for name in ids))
  raise_problems(problems, 'Mend these masks, or define what their values mean '
                 'with --config.data.label_map.')
  if isinstance(config.classes, str):
    names = names if names and meaning is None else ['background', *(
        f'class {label}' for label in range(1, highest + 1))]
    (folder / config.classes).write_text('\n'.join(names) + '\n')


def _write_example(example, folder, draw, meaning, max_megapixels):
  """Writes one image, its mask and, if `draw` is set, simulated strokes.

  Args:
    example: (id, image, mask), each a path or an array of uint8.
    folder: Folder of the data set.
    draw: Whether to write strokes.
    meaning: Meaning of the mask's values, from `labels.meanings`.
    max_megapixels: Limit of the mask's size.

  Returns:
    The id, the highest class in the mask, and a line about a problem or None.
  """
  name, image, mask = example
  _place(folder / 'JPEGImages', name, image)
  _place(folder / 'SegmentationClassAug', name, mask)
  try:
    values = (mask if isinstance(mask, np.ndarray)
              else masks.read_mask(mask, max_megapixels))
    classes = labels.translate(values, meaning)
  except masks.DAMAGED as error:
    return name, 0, f'the mask of {name}: {error}'
  if draw:
    blank = (labels.IGNORE_LABEL if meaning is None else
             np.flatnonzero(meaning == labels.IGNORE_LABEL)[-1])
    drawn = simulation.simulate_scribble(
        seeding.generator(0, name, purpose='simulate'), classes)
    masks.write_mask(
        listings.new_file(folder / 'scribbles', name),
        np.where(drawn == labels.IGNORE_LABEL, blank, values).astype(np.uint8))
  known = classes[classes != labels.IGNORE_LABEL]
  return name, int(known.max(initial=0)), None


def _place(folder, name, part):
  """Writes an image or mask: a link to its file, or a PNG of its array."""
  if isinstance(part, np.ndarray):
    Image.fromarray(part).save(listings.new_file(folder, name))
  else:
    os.symlink(part, listings.new_file(folder, name, part.suffix))


def _unpacked(settings):
  """Finds the files in the folder of a public data set.

  Args:
    settings: `source`, the folder; `images` and `masks`, patterns of paths
      below it with {split} and {id} in them; `train` and `val`, the texts that
      replace {split}.

  Returns:
    {split: (list of (id, path of the image, path of the mask), their number)},
    and None for the class names.
  """
  source = storage.absolute(settings.source)
  for pattern in (settings.images, settings.masks):
    if not f'/{pattern}'.count(f'/{_ID}') == pattern.count(_ID) == 1:
      raise UserError(f'config.data.unpacked has the path {pattern!r}. Write '
                      f'one {_ID} at the start of one of its parts.')
  if storage.is_remote(source) or not source.is_dir():
    raise UserError(f'{source} does not exist. Set '
                    '--config.data.unpacked.source to the folder with '
                    f'{settings.images} and {settings.masks} in it.')
  splits = {}
  for split in SPLITS:
    images, dense = (
        _files(source, pattern.replace('{split}', settings[split]))
        for pattern in (settings.images, settings.masks))
    raise_problems(missing.explain(
        source, dense, [*images], (os.path.splitext(settings.masks)[1],),
        f'no {settings.masks} for the id'), 'Unpack all of the masks.')
    splits[split] = [(f'{settings[split]}/{name}', images[name], dense[name])
                     for name in images], len(images)
  return splits, None


def _files(source, pattern):
  """Returns {id: path} of the files that match a pattern with {id} in it."""
  before, after = pattern.split(_ID)
  folder = source / os.path.dirname(before)
  if not folder.is_dir():
    raise UserError(f'{folder} does not exist. Unpack the archives so that '
                    f'there are files {pattern} in {source}.')
  found = {name.removesuffix(after): folder / name
           for name in storage.names_below(folder)
           if name.endswith(after) and not listings.is_junk(name)}
  if not found:
    raise UserError(f'{source} holds no {pattern}. Unpack the archives there.')
  return found


def _of_tfds(name):
  """As `_unpacked` for a set of tensorflow-datasets, with its class names.

  Raises:
    UserError: The set does not exist, cannot be downloaded, or does not have
      exactly one image and one mask.
  """
  import tensorflow_datasets as tfds
  try:
    builder = tfds.builder(name)
    builder.download_and_prepare()
    image, mask = _parts(name, builder.info.features, tfds.features.Image)
    held = builder.info.splits
    val = next((split for split in ('validation', 'val') if split in held),
               'test')
    splits = {
        split: (_examples(tfds.as_numpy(builder.as_dataset(
            split=part, shuffle_files=False)), split, image, mask),
                held[part].num_examples if part in held else None)
        for split, part in zip(SPLITS, ('train', val), strict=True)}
  except UserError:
    raise
  except Exception as error:  # The library and the network raise any class.
    reason = (str(error) or type(error).__name__).splitlines()[0]
    raise UserError(
        f'--config.data.tfds={name}: {reason}. tensorflow.org/datasets/catalog '
        'lists the sets.') from error
  return splits, getattr(builder.info.features[mask], 'names', None)


def _parts(name, features, kind):
  """Returns the names of the one image and the one mask of a set."""
  found = {channels: [key for key, feature in features.items() if isinstance(
      feature, kind) and feature.shape[-1] == channels] for channels in (3, 1)}
  if any(len(keys) != 1 for keys in found.values()):
    raise UserError(f'--config.data.tfds={name}: it has the images {found[3]} '
                    f'and the masks {found[1]}, and not one of each. Name '
                    'another set or configuration of it.')
  return found[3][0], found[1][0]


def _examples(rows, split, image, mask):
  """Yields (id, [H, W, 3] uint8, [H, W] uint8) of tensorflow-datasets."""
  for number, row in enumerate(rows):
    yield f'{split}_{number:06d}', row[image], row[mask][..., 0]
