r"""Writes a run's network for other programs.

python -m scribble_jax.export --checkpoint=runs/scribblesup \
    --output=scribblesup.safetensors
python -m scribble_jax.export --checkpoint=runs/scribblesup --format=onnx \
    --picture=photo.jpg --output=scribblesup.onnx

--format=weights writes the tensors, with the names and shapes of the authors'
checkpoints (METHOD 4), for PyTorch and this program. stablehlo and onnx write
the network itself, for one window of config.data.crop_size, with a model card
and a script that predicts a photograph. The written network is compared with
the original one on --picture.
"""

import functools

from absl import flags

from scribble_jax import command_line
from scribble_jax import config_check
from scribble_jax import config_files
from scribble_jax import hosts
from scribble_jax.data import dataset_files
from scribble_jax.deployment import exporting
from scribble_jax.deployment import model_card
from scribble_jax.errors import UserError
from scribble_jax.files import formats
from scribble_jax.files import images
from scribble_jax.files import storage
from scribble_jax.weights import pretrained
from scribble_jax.weights import trained
from scribble_jax.weights import weight_files

_WEIGHTS = 'weights'


def main(argv):
  """Exports the checkpoint that the flags name."""
  del argv
  command_line.join_job()
  if _FORMAT.value == _WEIGHTS:
    _write_weights()
  else:
    _write_network()


def _write_weights():
  """Writes the tensors of the network."""
  model, variables, step = trained.load(
      _CONFIG.value.model, _CHECKPOINT.value, _STEP.value)
  if not hosts.is_first():
    return
  weight_files.write_state_dict(
      _OUTPUT.value,
      pretrained.to_pytorch(variables, step or 0, model.backbone))
  print(f'{_OUTPUT.value} holds the network of {_CHECKPOINT.value}'
        + _after(step))


def _after(step):
  return '.' if step is None else f' after {step} updates.'


def _write_network():
  """Writes the network of one window, its model card and the script."""
  config, checkpoint = _CONFIG.value, _CHECKPOINT.value
  config_check.check_inference(config)
  if _PICTURE.value is None:
    raise UserError(
        f'--format={_FORMAT.value} compares the written network with the '
        'original one on a photograph. Name one: --picture=FILE.')
  exporting.check(_FORMAT.value, _OUTPUT.value)
  model_config = config.model.copy_and_resolve_references()
  model_config.dtype = 'float32'
  model, variables, step = trained.load(model_config, checkpoint, _STEP.value)
  describe = functools.partial(
      model_card.write, storage.path(_OUTPUT.value).name, model, config,
      _class_names(config, checkpoint, model.num_classes), checkpoint, step)
  if not hosts.is_first():
    return
  checked = exporting.write(
      _FORMAT.value, _OUTPUT.value, model, variables, config.data.crop_size,
      _PICTURE.value,
      images.Reading(config.data.image_range, config.data.max_megapixels),
      describe)
  print(f'{_OUTPUT.value} holds the network of {checkpoint}{_after(step)} On '
        f'{checked.num_windows} windows of {checked.picture} its probabilities '
        f'differ by at most {checked.difference:.1e}. A model card and '
        'run_network.py, which predicts a photograph, are beside it.')


def _class_names(config, checkpoint, num_classes):
  """Returns the names of a network's classes, background first."""
  path = storage.path(checkpoint, config_files.CLASSES)
  names = (
      formats.read_json(path) if path.exists() else
      dataset_files.read_class_names(config.data.classes, config.data.root))
  if len(names) != num_classes:
    raise UserError(
        f'{checkpoint} has {num_classes} classes, but {len(names)} names are '
        'in config.data.classes. Name the class list of its data set with '
        '--config.data.classes=FILE.')
  return names


if __name__ == '__main__':
  _CONFIG = command_line.define_config('checkpoint')
  command_line.define_job()
  _CHECKPOINT = command_line.define_checkpoint()
  _STEP = command_line.define_step()
  _OUTPUT = flags.DEFINE_string(
      'output', None, 'File to write: .safetensors, .pth (needs torch), '
      '.stablehlo or .onnx.', required=True)
  _FORMAT = flags.DEFINE_enum(
      'format', _WEIGHTS, [_WEIGHTS, *exporting.FORMATS], 'Format of the file: '
      'the tensors, or the network as a program.')
  _PICTURE = flags.DEFINE_string(
      'picture', None, 'Photograph on which a written network is checked.')
  command_line.run(main, interrupted='Nothing was written.')
