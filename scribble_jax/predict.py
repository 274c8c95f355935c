r"""Predicts masks of images and, optionally, class probabilities.

python -m scribble_jax.predict --checkpoint=runs/scribblesup \
    --output=predictions photo.jpg folder/
python -m scribble_jax.predict --checkpoint=voc_deeplabv3plus.pth \
    --config=configs/scribblesup.py --output=predictions photo.jpg

Writes ID.png, a PNG of class indices with VOC's palette, and ID_overlay.png.
"""

import contextlib
import functools
import sys

from absl import flags
from absl import logging
import numpy as np
from tqdm import tqdm

from scribble_jax import command_line
from scribble_jax import config_check
from scribble_jax import hosts
from scribble_jax import inference
from scribble_jax import panels
from scribble_jax import sharding
from scribble_jax.data import threads
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import atomic
from scribble_jax.files import formats
from scribble_jax.files import images as pictures
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.pseudo_labels import refinement
from scribble_jax.weights import trained


def predict(config, checkpoint, step, images, output, keep_probabilities):
  """Predicts images by the config's protocol and writes the results.

  Args:
    config: ConfigDict as in configs/scribblesup.py.
    checkpoint: A workdir, or a file of PyTorch weights.
    step: Checkpoint of a workdir: 'latest', 'best' or a number.
    images: Paths of images and of folders of images.
    output: Folder for the results; created if missing.
    keep_probabilities: Whether to write ID_probabilities.npy too, [H, W, C]
      float16.

  Returns:
    The numbers of predicted and of skipped images. Each skipped image is
    reported on stderr.

  Raises:
    UserError: For mistakes that a user can correct.
  """
  config_check.check_inference(config)
  output, paths = storage.path(output), _expand(images)
  _check_names(paths, output)
  model, variables, _ = trained.load(config.model, checkpoint, step)
  paths = hosts.share(paths)
  predict_images = inference.make_predict(
      model, sharding.local_mesh(), config_check.evaluation_protocol(config),
      batch_size=config.evaluation.batch_size,
      finish=refinement.make_finish(
          config, inference.both if keep_probabilities
          else inference.most_probable))
  with _write_errors_named(output):
    output.mkdir(parents=True, exist_ok=True)

  num_done, remarks = 0, []
  reading = pictures.Reading(
      config.data.image_range, config.data.max_megapixels)
  with tqdm(total=len(paths), desc='Predicting', unit='image',
            dynamic_ncols=True) as progress:
    predictions = predict_images(
        variables, _read_images(paths, reading, progress, remarks))
    for _ in threads.map_in_order(
        functools.partial(_write, output), predictions):
      num_done += 1
      progress.update()
  for line in pictures.summaries(remarks):
    logging.warning('%s.', line)
  done, skipped = zip(
      *hosts.gather((num_done, len(paths) - num_done)), strict=True)
  return sum(done), sum(skipped)


def _read_images(paths, reading, progress, remarks):
  """Yields ((path, image), image, ()) for each file that can be read.

  Args:
    paths: Paths of all files.
    reading: `files.images.Reading`.
    progress: tqdm bar, for the messages about skipped files.
    remarks: List to which remarks on the images are added.
  """
  def read(path):
    """Returns (path, picture), or (path, error)."""
    try:
      return path, pictures.read(storage.read_bytes(path), reading)
    except masks.DAMAGED as error:
      return path, error

  for path, picture in threads.map_in_order(read, paths):
    if isinstance(picture, Exception):
      progress.write(f'skipped {path}: {picture}', file=sys.stderr)
      progress.update()
      continue
    remarks += pictures.remarks_on(path.name, picture)
    yield (path, picture.pixels), picture.pixels, ()


def _expand(images):
  """Returns paths, with folders replaced by the images in them."""
  if not images:
    raise UserError('No image to predict. Name images or folders behind the '
                    'flags.')
  paths = []
  for path in map(storage.path, images):
    if path.is_dir():
      found = sorted(file for file in path.iterdir()
                     if file.suffix.lower() in listings.IMAGE_SUFFIXES
                     and not listings.is_junk(file.name))
      if not found:
        raise UserError(f'{path} holds no image. Name a folder of images.')
      paths += found
    else:
      paths.append(path)
  return paths


def _check_names(paths, output):
  """Raises UserError if a result would replace an image or another result."""
  taken = {storage.resolve(path): path for path in paths}
  problems = []
  for path in paths:
    for suffix in ('', '_overlay'):
      target = storage.resolve(output / f'{path.stem}{suffix}.png')
      if target in taken:
        problems.append(f'{path}: its result {target} would replace that of, '
                        f'or be, {taken[target]}')
      taken[target] = path
  raise_problems(problems, 'Rename the images, name each once, or choose '
                 'another --output.')


def _write(output, prediction):
  """Writes the results of one image, each of them atomically.

  Args:
    output: Folder.
    prediction: ((path, image), mask, or mask and probabilities).
  """
  (path, image), result = prediction
  mask, *probabilities = result if isinstance(result, tuple) else (result,)
  name = path.stem
  with _write_errors_named(output):
    with atomic.whole_file(output / f'{name}.png') as partial:
      masks.write_mask(partial, mask)
    formats.write_png(
        output / f'{name}_overlay.png', panels.overlay(image, mask))
    for values in probabilities:
      with (atomic.whole_file(output / f'{name}_probabilities.npy') as partial,
            open(partial, 'wb') as file):
        np.save(file, values.astype(np.float16))


@contextlib.contextmanager
def _write_errors_named(output):
  """Turns what a disk or a bucket refuses into a UserError."""
  try:
    with storage.os_errors():
      yield
  except OSError as error:
    raise UserError(f'Cannot write to {output}: {error}. Name another folder '
                    'with --output.') from error


def main(argv):
  """Predicts what the flags name; returns 1 if an image was skipped."""
  command_line.join_job()
  done, skipped = predict(
      _CONFIG.value, _CHECKPOINT.value, _STEP.value, argv[1:], _OUTPUT.value,
      _PROBABILITIES.value)
  if hosts.is_first():
    print(f'{done} of {done + skipped} images predicted. Results are in '
          f'{_OUTPUT.value}.')
  return int(skipped > 0)


if __name__ == '__main__':
  _CONFIG = command_line.define_config('checkpoint')
  command_line.define_job()
  _CHECKPOINT = command_line.define_checkpoint()
  _STEP = command_line.define_step()
  _OUTPUT = flags.DEFINE_string(
      'output', None, 'Folder for the results.', required=True)
  _PROBABILITIES = flags.DEFINE_bool(
      'probabilities', False, 'Also write ID_probabilities.npy, [H, W, C] '
      'float16.')
  command_line.run(main, takes_files=True, interrupted=(
      'The results that are there are complete.'))
