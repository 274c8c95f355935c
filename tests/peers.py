"""PyTorch and transformers, or what skips each test that calls them."""

import importlib


class _Missing:
  """Stands for a package that is not installed, and for all that is in it."""

  def __init__(self, name):
    self._name = name

  def __getattr__(self, name):
    return self

  def __mro_entries__(self, bases):
    return type(str(self), (), {'__new__': lambda cls, *args: self()}),

  def __str__(self):
    return f'{self._name} is not installed'

  def __call__(self, *args, **kwargs):
    import pytest  # Benchmarks run without it.
    pytest.skip(str(self))


def _load(name):
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    if error.name != name:
      raise
    return _Missing(name)


torch = _load('torch')
transformers = _load('transformers')
