"""Reads and writes files of PyTorch's tensors: safetensors and .pth."""

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.flax
import safetensors.numpy

from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import atomic
from scribble_jax.files import storage
from scribble_jax.weights import pth_files

SUFFIXES = ('.safetensors', '.pth', '.pt')
# Keys under which programs store a state dict in a larger dict.
_NESTED = ('state_dict', 'model_state_dict', 'model', 'net')


def read_state_dict(path):
  """Reads a safetensors file, or PyTorch's own format.

  Args:
    path: Path with one of SUFFIXES. If the file holds more than a state dict,
      the entry with one of its usual names is read. Only tensors are unpickled.

  Returns:
    {name: array}, floating-point arrays as float32.

  Raises:
    UserError: The file cannot be read.
  """
  path = storage.path(path)
  if not path.is_file():
    raise UserError(f'{path} does not exist. Name a workdir or a file of '
                    'weights.')
  if path.suffix not in SUFFIXES:
    raise UserError(f'{path} is no file of weights: its name must end in '
                    f'{", ".join(SUFFIXES)}.')
  read = _read_safetensors if path.suffix == '.safetensors' else _read_pth
  try:
    with storage.local_copy(path) as copy:
      state_dict = read(path, copy)
  except OSError as error:
    raise UserError(f'Cannot read {path}: {error}. Name another '
                    'file.') from error
  raise_problems(
      [f'{path}: tensor {name} has {problem}' for name, value
       in state_dict.items() if (problem := _unusable(value))],
      'Copy the file again, or save another one.')
  return state_dict


def write_state_dict(path, state_dict):
  """Writes a state dict, as {'state_dict': ...} if the file is a .pth.

  Args:
    path: Path with one of SUFFIXES.
    state_dict: {name: array}.

  Raises:
    UserError: The file cannot be written.
  """
  path = storage.path(path)
  if path.suffix not in SUFFIXES:
    raise UserError(f'{path} needs a name that ends in {", ".join(SUFFIXES)}.')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.whole_file(path) as partial:
      if path.suffix == '.safetensors':
        safetensors.numpy.save_file(dict(state_dict), partial)
      else:
        torch = _import_torch(path)
        torch.save({'state_dict': {
            name: torch.from_numpy(np.array(value))
            for name, value in state_dict.items()}}, partial)
  except (OSError, RuntimeError, safetensors.SafetensorError) as error:
    raise UserError(f'Cannot write {path}: {error}. Name another '
                    'file.') from error


def _read_safetensors(path, copy):
  try:
    try:
      tensors = safetensors.numpy.load_file(copy)
    except TypeError:  # NumPy lacks bfloat16.
      tensors = safetensors.flax.load_file(copy)
  except AttributeError as error:  # Floats of 8 bits or fewer.
    raise UserError(f'{path} holds numbers of a type that is not read '
                    f'({error}). Save its tensors as float32.') from error
  except (safetensors.SafetensorError, OSError, ValueError) as error:
    raise_problems([f'{path} is no complete safetensors file ({error})'],
                   'Copy it again.')
  return {name: _as_float32(value) for name, value in tensors.items()}


def _read_pth(path, copy):
  try:
    content = pth_files.read(copy)
  except pth_files.MoreThanTensorsError as error:
    raise UserError(
        f'{path} holds more than tensors ({error}), which is not loaded: it '
        'could run any program. Save its state_dict alone, or as safetensors.'
    ) from error
  except Exception as error:  # For damaged files, of any class.
    raise UserError(f'{path} is no complete PyTorch file. Copy it '
                    'again.') from error
  for key in _NESTED:
    if isinstance(content, dict) and isinstance(content.get(key), dict):
      content = content[key]
  if not isinstance(content, dict) or not all(
      isinstance(value, np.ndarray) for value in content.values()):
    raise UserError(f'{path} holds no state_dict. Save one: '
                    'torch.save(model.state_dict(), FILE).')
  return {name: _as_float32(value) for name, value in content.items()}


def _import_torch(path):
  try:
    import torch
  except ImportError as error:
    raise UserError(
        f'Writing {path} takes PyTorch: pip install torch. Files in '
        'safetensors format do without.'
    ) from error
  return torch


def _as_float32(value):
  value = np.asarray(value)
  is_float = jnp.issubdtype(value.dtype, jnp.floating)
  with np.errstate(over='ignore'):  # `_unusable` reports it.
    return value.astype(np.float32) if is_float else value


def _unusable(value):
  """Returns a problem of the values of a tensor, '' without any."""
  if np.iscomplexobj(value):
    return 'complex numbers'
  if value.dtype == np.float32 and not np.isfinite(value).all():
    return 'values that are NaN or infinite'
  return ''
