"""Loads trained networks from a workdir or from a file of PyTorch's tensors."""

from absl import logging
from flax import traverse_util

from scribble_jax import models
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import formats
from scribble_jax.files import storage
from scribble_jax.weights import checkpoint
from scribble_jax.weights import pretrained
from scribble_jax.weights import weight_files


def load(model_config, path, step='latest'):
  """Returns a network and its weights.

  Args:
    model_config: The config's `model` part; if its `num_classes` is None, the
      number of the weights is used.
    path: A workdir, or a file with one of `weight_files.SUFFIXES`.
    step: Checkpoint of a workdir: 'latest', 'best' or a number.

  Returns:
    model: Network that returns (logits, features).
    variables: Its 'params' and 'batch_stats'.
    step: Completed updates; None for a file.

  Raises:
    UserError: There is nothing to load, or it belongs to another network.
  """
  network, variables, step = _read(path, step)
  model_config = model_config.copy_and_resolve_references()
  if model_config.num_classes is None:
    model_config.num_classes = network['num_classes']
  _check_network(path, network, model_config)
  return models.build(model_config), variables, step


def initial_variables(model_config, path):
  """Returns the variables of a trained network that a new run starts from.

  Args:
    model_config: The `model` part of the new run's config.
    path: As for `load`; of a workdir, the latest checkpoint is loaded.

  Returns:
    'params' and 'batch_stats'. If the number of classes differs, arrays whose
    shape depends on it are left out; a warning lists them.

  Raises:
    UserError: There is nothing to load, or it belongs to another network.
  """
  network, variables, _ = _read(path, 'latest')
  old_config = model_config.copy_and_resolve_references()
  old_config.num_classes = network['num_classes']
  _check_network(path, network, old_config)
  variables = traverse_util.flatten_dict(variables, sep='/')
  found = {name: array.shape for name, array in variables.items()}
  old, new = (pretrained.variable_shapes(models.build(config))
              for config in (old_config, model_config))
  raise_problems(
      [f'{path}: {name} has shape {found.get(name)} there and {old.get(name)} '
       'in this config' for name in sorted(found.keys() | old.keys())
       if found.get(name) != old.get(name)],
      'Set --config.init_from to a network like that of config.model.')
  anew = sorted(name for name in old if old[name] != new[name])
  if anew:
    logging.warning(
        '%s has %d classes and this run %d, so these start anew: %s.', path,
        old_config.num_classes, model_config.num_classes, ', '.join(anew))
  return traverse_util.unflatten_dict(
      {name: array for name, array in variables.items() if name not in anew},
      sep='/')


def _read(path, step):
  """Returns the network, variables and step of a workdir or file."""
  path = storage.absolute(path)
  if path.is_dir():
    return _read_workdir(path, step)
  state_dict = weight_files.read_state_dict(path)
  try:
    return (pretrained.network_of(state_dict),
            pretrained.from_pytorch(state_dict), None)
  except UserError as error:
    raise UserError(f'{path}: {error}') from error


def _check_network(path, network, model_config):
  """Raises UserError if a network is not the one of `config.model`."""
  keys = ['head', 'backbone', 'num_classes', 'width']
  if network.get('head') == model_config.head == 'deeplabv3plus':
    keys.append('head_width')  # Other heads have none.
  raise_problems(
      [f'{path} holds a network of {key} {network.get(key)!r}, but '
       f'config.model.{key} is {model_config[key]!r}'
       for key in keys if network.get(key) != model_config[key]],
      'Choose the variant of the config that fits, such as '
      '--config=configs/scribblesup.py:deeplabv2_resnet50, or another '
      'checkpoint.')


def _read_workdir(path, step):
  """Returns the `model` part of the run's config, variables and step."""
  try:
    network = dict(formats.parse_json(
        (path / 'config.json').read_text())['model'])
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(f'{path} is no workdir of a training run: it holds no '
                    'readable config.json. Name a workdir or a file of '
                    'weights.') from error
  variables, step = checkpoint.restore_variables(path / 'checkpoints', step)
  return network, variables, step
