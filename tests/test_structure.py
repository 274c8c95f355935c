"""The house: how long its parts are, and which room may know which."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
MODULES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts): path
    for folder in ('scribble_jax', 'configs')
    for path in sorted((ROOT / folder).rglob('*.py'))}
MAX_FUNCTION, MAX_MODULE = 60, 300  # Lines.
# From the ground up; none knows one that stands above it.
FLOORS = (
    ('dataset_classes', 'errors', 'labels', 'messages', 'normalization',
     'published_results', 'resize', 'switches', 'tables', 'windows'),
    ('files', 'losses', 'metrics', 'hosts', 'memory', 'sharding', 'results',
     'panels'),
    ('models', 'weak_labels', 'tiles', 'device_batches'),
    ('data', 'inference', 'loss_terms', 'weights'),
    ('pseudo_labels', 'training', 'report', 'config_keys', 'config_check',
     'config_files', 'command_line', 'validation', 'sweep', 'train',
     'deployment'),
    ('main', 'prepare', 'evaluate', 'predict', 'export', 'scribbles',
     'voc2012', 'annotate', 'convert', '__main__'),
)


@functools.cache
def tree(name):
  return ast.parse(MODULES[name].read_text())


def imported(name):
  """Names of the product's modules and packages that a module imports."""
  found = set()
  for node in ast.walk(tree(name)):
    if isinstance(node, ast.ImportFrom) and node.module:
      found |= {f'{node.module}.{alias.name}' for alias in node.names}
    elif isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
  return {path for path in found if path.startswith('scribble_jax.')
          and not path.startswith('scribble_jax.configs.')}


def room(name):
  return name.split('.')[1]


@pytest.mark.parametrize('name', MODULES)
def test_fits_on_a_screen_and_in_a_sitting(name):
  assert len(MODULES[name].read_text().splitlines()) <= MAX_MODULE
  for node in ast.walk(tree(name)):
    if isinstance(node, ast.FunctionDef):
      assert node.end_lineno - node.lineno < MAX_FUNCTION, node.name


def test_every_room_has_a_floor():
  rooms = {room(name) for name in MODULES if name.startswith('scribble_jax.')}
  assert rooms - {'__init__'} == {name for floor in FLOORS for name in floor}


def test_imports_lead_down():
  floor = {name: level for level, names in enumerate(FLOORS) for name in names}
  for name in MODULES:
    if name.startswith('scribble_jax.') and room(name) in floor:
      for path in imported(name):
        assert floor[room(path)] <= floor[room(name)], (name, path)


def test_rooms_do_not_know_each_other_both_ways():
  known = {}
  for name in MODULES:
    if name.startswith('scribble_jax.'):
      known.setdefault(room(name), set()).update(map(room, imported(name)))
  for one, others in known.items():
    for other in others - {one}:
      assert one not in known.get(other, ()), (one, other)


def test_only_commands_know_training_as_a_whole():
  knowing = {name for name in MODULES if 'scribble_jax.train' in imported(name)}
  assert knowing == {'scribble_jax.main'}
