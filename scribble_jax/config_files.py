"""Reads configs: from a Python file, or from the workdir of a training run."""

import importlib.machinery
import importlib.util
import inspect
import pathlib
import sys

from absl import logging
from ml_collections import ConfigDict
from ml_collections import config_dict

from scribble_jax.configs import scribblesup
from scribble_jax.errors import UserError
from scribble_jax.files import formats
from scribble_jax.files import storage

OF_RUN = 'config.json'  # File in a workdir: the config of its run.
CLASSES = 'classes.json'  # File in a workdir: class names, by index.
# This key may be None although its default is a number: the length of the class
# list.
_OF_CLASS_LIST = 'num_classes'
_MODULE = 'scribble_jax_config_file'
_OWN = pathlib.Path(scribblesup.__file__).parent  # This program's configs.


def find(path):
  """Returns the path of a config file.

  Args:
    path: Path of a file, or the name of one of this program's own configs,
      which is found from any folder: 'scribblesup', 'configs/scribblesup.py'.
  """
  name = path.removeprefix('configs/').removesuffix('.py')
  own = _OWN / f'{name}.py'
  return path if pathlib.Path(path).is_file() or not own.is_file() else str(own)


def names():
  """Returns the names of this program's own configs."""
  return sorted(path.stem for path in _OWN.glob('*.py')
                if 'def get_config' in path.read_text())


def load(argument):
  """Returns the ConfigDict of a Python file.

  Args:
    argument: FILE or FILE:VARIANT, the value of --config.

  Raises:
    UserError: There is no such file, or it is no config file. Errors in the
      file's code are not caught: their traceback shows the author the line.
  """
  path, *variant = argument.split(':', 1)
  path = find(path)
  loader = importlib.machinery.SourceFileLoader(_MODULE, path)
  module = importlib.util.module_from_spec(
      importlib.util.spec_from_file_location(_MODULE, path, loader=loader))
  try:
    loader.get_code(_MODULE)  # Reads and compiles, but does not run the code.
  except OSError as error:
    raise UserError(
        f'--config={argument}: {path}: {error.strerror}. Name a config file, '
        f'or one of {", ".join(names())}.') from error
  except SyntaxError as error:
    raise UserError(f'{error.filename}, line {error.lineno}: {error.msg}. '
                    'Correct the config file.') from error
  sys.modules[_MODULE] = module
  loader.exec_module(module)
  get_config = getattr(module, 'get_config', None)
  try:
    inspect.signature(get_config).bind(*variant)
  except TypeError as error:
    raise UserError(
        f'--config={argument}: {path} has no function get_config that can be '
        f'called with {variant or "no argument"} ({error}). Name another '
        'config file or variant.') from error
  config = get_config(*variant)
  if not isinstance(config, ConfigDict):
    raise UserError(f'{path}: get_config returns {config!r}, which is no '
                    'ConfigDict. Correct the config file.')
  return config


def of_run(workdir):
  """Returns the ConfigDict that a training run stored in its workdir.

  Keys that did not exist in the run's version of this program get the values of
  configs/scribblesup.py, with a warning.

  Args:
    workdir: Workdir of the run.

  Raises:
    UserError: It contains no config of a segmentation network.
  """
  path = storage.absolute(workdir) / OF_RUN
  try:
    with storage.os_errors():
      stored = formats.parse_json(path.read_text())
  except (OSError, ValueError) as error:
    raise UserError(f'{workdir} is no workdir of a training run: it holds no '
                    f'readable {OF_RUN}. Name a workdir or a file of '
                    'weights.') from error
  if not isinstance(stored, dict) or 'supervision' in stored:
    raise UserError(
        f'{workdir} is a workdir of stage 1, which makes pseudo-labels, not of '
        'a segmentation network. Name a workdir of scribble_jax.main.')
  defaults = scribblesup.get_config()
  try:
    config = _restore(stored, defaults)
  except ValueError as error:
    raise UserError(f'{path} is damaged: {error}. Restore it.') from error
  added = _add_missing(config, defaults)
  if added:
    logging.warning(
        '%s was written by an older version. Missing keys have the values of '
        'configs/scribblesup.py: %s.', path, ', '.join(added))
  return config


def _restore(stored, defaults):
  """Returns a ConfigDict of nested dicts that were read from JSON.

  Lists become tuples, which JSON does not have. A value of None gets the type
  of the default, so that a flag can replace it.

  Raises:
    ValueError: A key or the type of a value is wrong.
  """
  config = ConfigDict()
  for key, value in stored.items():
    default = defaults.get(key)
    kind = defaults.get_type(key) if key in defaults else object
    may_be_none = default is None or key == _OF_CLASS_LIST
    if kind is not object and not (
        (value is None and may_be_none) or _is_like(value, default)):
      raise ValueError(f'{key} is {value!r}, not of type {kind.__name__}')
    if isinstance(value, dict):
      config[key] = _restore(
          value, default if isinstance(default, ConfigDict) else ConfigDict())
    elif value is None:
      config[key] = config_dict.placeholder(kind)
    elif kind is object and key in defaults:  # May be None, or a number.
      config[key] = config_dict.FieldReference(value, field_type=object)
    else:
      config[key] = _with_tuples(value)
  return config


def _is_like(value, default):
  """Whether a value read from JSON has a type that fits the default's."""
  if default is None:
    return True
  if isinstance(default, ConfigDict):
    return isinstance(value, dict)
  if isinstance(default, bool) or isinstance(value, bool):
    return isinstance(value, bool) and isinstance(default, bool)
  if isinstance(default, int | float):
    return isinstance(value, int | float)
  if isinstance(default, tuple) and isinstance(default[0], int | float):
    return isinstance(value, list) and all(
        _is_like(item, default[0]) for item in value)
  return isinstance(value, str | list)


def _with_tuples(value):
  return (tuple(map(_with_tuples, value)) if isinstance(value, list)
          else value)


def _add_missing(config, defaults, section=''):
  """Adds the keys that only the defaults have; returns their names."""
  added = []
  for key, default in defaults.items(preserve_field_references=True):
    if key not in config:
      config[key] = default
      added.append(f'{section}{key}')
    elif isinstance(default, ConfigDict) and isinstance(
        config[key], ConfigDict):
      added += _add_missing(config[key], default, f'{section}{key}.')
  return added
