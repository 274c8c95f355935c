"""Trained networks, from a workdir or from a file of PyTorch's tensors."""

import json

from scribble_jax import models
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import storage
from scribble_jax.weights import checkpoint
from scribble_jax.weights import pretrained
from scribble_jax.weights import weight_files


def load(model_config, path, step='latest'):
  """Returns a network and its weights.

  Args:
    model_config: The config's `model` part; `num_classes` None takes over what
      the weights have.
    path: A workdir, or a file with one of `weight_files.SUFFIXES`.
    step: Of a workdir: 'latest', 'best' or a number.

  Returns:
    model: Network that returns (logits, features).
    variables: Its 'params' and 'batch_stats'.
    step: Completed updates; None for a file.

  Raises:
    UserError: There is nothing to load, or it is of another network.
  """
  path = storage.absolute(path)
  if path.is_dir():
    network, variables, step = _load_workdir(path, step)
  else:
    state_dict, step = weight_files.read_state_dict(path), None
    try:
      network = pretrained.network_of(state_dict)
      variables = pretrained.from_pytorch(state_dict)
    except UserError as error:
      raise UserError(f'{path}: {error}') from error
  model_config = model_config.copy_and_resolve_references()
  if model_config.num_classes is None:
    model_config.num_classes = network['num_classes']
  keys = ['head', 'backbone', 'num_classes', 'width']
  if network['head'] == model_config.head != 'deeplabv2':
    keys.append('head_width')  # V2 has none.
  raise_problems(
      [f'{path} holds a network of {key} {network[key]!r}, but '
       f'config.model.{key} is {model_config[key]!r}'
       for key in keys if network[key] != model_config[key]],
      'Choose the variant of the config that fits, such as '
      '--config=configs/scribblesup.py:deeplabv2_resnet50, or another '
      'checkpoint.')
  return models.build(model_config), variables, step


def _load_workdir(path, step):
  """Returns the `model` part of the run's config, variables and step."""
  try:
    network = json.loads((path / 'config.json').read_text())['model']
  except (OSError, ValueError, KeyError) as error:
    raise UserError(f'{path} is no workdir of a training run: it holds no '
                    'readable config.json. Name a workdir or a file of '
                    'weights.') from error
  variables, step = checkpoint.restore_variables(path / 'checkpoints', step)
  return network, variables, step
