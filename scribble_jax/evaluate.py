r"""Evaluates a network on the val images by the paper's protocol (METHOD 6).

python -m scribble_jax.evaluate --workdir=runs/scribblesup
python -m scribble_jax.evaluate --checkpoint=voc_deeplabv3plus.pth \
    --config=configs/scribblesup.py --config.data.root=VOC2012

The config is that of the workdir; flags may change single values of it.

Writes metrics.json and the predictions as indexed PNGs. Without a dense ground
truth, --config.data.ground_truth=none compares with the strokes of those val
images that have strokes.
"""

import contextlib
import dataclasses
import io
import itertools

from absl import flags
import numpy as np
from tqdm import tqdm

from scribble_jax import command_line
from scribble_jax import config_check
from scribble_jax import config_files
from scribble_jax import hosts
from scribble_jax import inference
from scribble_jax import metrics
from scribble_jax import results
from scribble_jax import sharding
from scribble_jax.data import dataset_files
from scribble_jax.data import dense_sets
from scribble_jax.data import ground_truth
from scribble_jax.data import threads
from scribble_jax.data import val_files
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import atomic
from scribble_jax.files import formats
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.files import write_errors
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.pseudo_labels import refinement
from scribble_jax.weights import trained

_OWN_FILES = {'metrics.json', 'predictions'}  # In an output folder.


def evaluate(config, checkpoint, step, output):
  """Evaluates a network and writes the results, all of them or none.

  Args:
    config: ConfigDict as in configs/scribblesup.py.
    checkpoint: A workdir, or a file of PyTorch weights.
    step: Checkpoint of a workdir: 'latest', 'best' or a number.
    output: Folder for metrics.json and predictions/ID.png. It replaces an
      earlier evaluation.

  Returns:
    The figures in metrics.json.

  Raises:
    UserError: For mistakes that a user can correct.
  """
  config_check.check_inference(config)
  if config.data.val_list == ground_truth.NO_VAL_LIST:
    raise UserError(
        "--config.data.val_list is 'none': there is nothing to evaluate. Name "
        'a list of val images, or predict images with scribble_jax.predict.')
  _check_output(output)
  dense_sets.prepare(config.data)
  class_names = dataset_files.read_class_names(
      config.data.classes, config.data.root)
  _check_classes(checkpoint, class_names, config.data)
  config = config_check.with_classes(config, class_names)
  model, variables, step = trained.load(config.model, checkpoint, step)
  num_images, examples, load = val_files.checked(config.data, class_names)
  protocol = config_check.evaluation_protocol(config)
  predict = inference.make_predict(
      model, sharding.local_mesh(), protocol,
      batch_size=config.evaluation.batch_size,
      finish=refinement.make_finish(config))
  predicted = tqdm(
      inference.with_predictions(
          predict, variables, load_examples(examples, load)),
      desc='Evaluating', total=len(examples), unit='image', dynamic_ncols=True)
  with (write_errors.of_output(
      output, 'Name another folder with --output.'),
        _output_folder(output) as folder):
    written = {}  # Predictions of hosts without a folder; the first writes.
    confusions = hosts.gather(metrics.confusion_of_examples(
        _kept(predicted, written, folder), len(class_names)))
    figures = {'step': step, 'checkpoint': str(checkpoint),
               'num_images': num_images,
               'protocol': dataclasses.asdict(protocol) | {
                   'refine': config.evaluation.refine}}
    figures |= _summary(config.data, class_names, sum(confusions))
    for predictions in hosts.gather(written):
      _write(predictions, folder)
    if folder:
      formats.write_json(folder / 'metrics.json', figures)
  return figures


def _summary(data, class_names, confusion):
  """Returns the figures; {} if no val image has strokes."""
  if not ground_truth.is_strokes(data):
    return results.summary(class_names, confusion)
  return (results.stroke_summary(class_names, confusion) if confusion.any()
          else {})


def _check_classes(checkpoint, class_names, data):
  """Raises UserError unless a run has learned these class names."""
  if not storage.path(checkpoint).is_dir():
    return
  path = storage.path(checkpoint, config_files.CLASSES)
  if not path.exists():  # Runs of older versions have none.
    return
  learnt = formats.read_json(path)
  if not isinstance(learnt, list):
    raise UserError(f'{path} is damaged: it holds no list of class names. '
                    'Restore it, or delete it to evaluate all the same.')
  place = (storage.path(data.root, data.classes)
           if isinstance(data.classes, str) else 'config.data.classes')
  raise_problems(
      [f'class {number} is {name!r} in {place} and {before!r} in the run '
       f'{checkpoint}' for number, (before, name) in enumerate(
           itertools.zip_longest(learnt, class_names)) if before != name],
      'Evaluate with the classes that the run has learnt.')


def _check_output(output):
  """Raises UserError if a folder holds anything but an evaluation."""
  output = storage.path(output)
  atomic.discard_unfinished(output)
  if not output.exists():
    return
  found = output.is_dir() and {path.name for path in output.iterdir()
                               if not listings.is_junk(path.name)}
  if found not in (_OWN_FILES, set()):
    raise UserError(f'{output} holds other files than an evaluation. Name a '
                    'new folder with --output.')


def load_examples(examples, load):
  """Yields 'id', 'image' [H, W, 3] and 'ground_truth' [H, W], uint8.

  Args:
    examples: Iterable of `dataset_files.Example`.
    load: `Example -> (maps, problems)`, as of `loading.load`.

  Raises:
    UserError: A file can't be used.
  """
  for name, (maps, problems) in threads.map_in_order(
      lambda example: (example.id, load(example)), examples):
    raise_problems(problems, 'Mend these files and start again.')
    truth = maps.ground_truth
    yield {'id': name, 'image': maps.image, 'ground_truth': (
        np.full(maps.size, IGNORE_LABEL, np.uint8) if truth is None
        else truth)}


@contextlib.contextmanager
def _output_folder(output):
  """Yields the folder that will replace `output`; None on other hosts."""
  if not hosts.is_first():
    yield None
    return
  with (atomic.only_one_process(output),
        atomic.whole_folder(output) as folder):
    (folder / 'predictions').mkdir()
    yield folder


def _kept(examples, kept, folder):
  """Yields the examples; saves their predictions in the folder or the dict."""
  def encode(example):
    with io.BytesIO() as png:
      masks.write_mask(png, example['prediction'])
      return example, {example['id']: png.getvalue()}

  for example, prediction in threads.map_in_order(encode, examples):
    if folder:
      _write(prediction, folder)
    else:
      kept |= prediction
    yield example


def _write(predictions, folder):
  """Writes {id: PNG} to the folder; does nothing on hosts without it."""
  if folder:
    for name, png in predictions.items():
      listings.new_file(folder / 'predictions', name).write_bytes(png)


def main(argv):
  """Evaluates the network that the flags name and prints the table."""
  del argv
  workdir, checkpoint = _WORKDIR.value, _CHECKPOINT.value
  if bool(workdir) == bool(checkpoint):
    raise UserError('Name one thing to evaluate: --workdir=DIR of a training '
                    'run or --checkpoint=FILE.')
  checkpoint = checkpoint or workdir
  output = _OUTPUT.value or (
      storage.path(checkpoint, 'evaluation')
      if storage.path(checkpoint).is_dir() else f'{checkpoint}.evaluation')
  command_line.join_job()
  figures = evaluate(_CONFIG.value, checkpoint, _STEP.value, output)
  if hosts.is_first():
    print(results.table(figures).text() if results.measure(figures) else
          'No val image has strokes to compare with; the predictions of '
          f'{figures["num_images"]} images are in {output}.')
    print(f'{figures["num_images"]} images. Predictions and figures are in '
          f'{output}.')


if __name__ == '__main__':
  _CONFIG = command_line.define_config('workdir', 'checkpoint')
  command_line.define_job()
  _WORKDIR = flags.DEFINE_string(
      'workdir', None, 'Folder of a training run, instead of --checkpoint.')
  _CHECKPOINT = command_line.define_checkpoint(required=False)
  _STEP = command_line.define_step()
  _OUTPUT = flags.DEFINE_string(
      'output', None, 'Folder for the results; WORKDIR/evaluation or '
      'FILE.evaluation unless given.')
  command_line.run(main, interrupted='Nothing was written.')
