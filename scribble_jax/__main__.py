"""The command `scribble-jax`, which runs all commands of the program by name.

`scribble-jax train ...` runs `python -m scribble_jax.main ...`. The other
commands have the names of their modules, with - in place of _.
"""

import ast
import pathlib
import runpy
import sys

import scribble_jax

_COMMANDS = {  # {name: module}, in the order of a usual session.
    'annotate': 'annotate', 'convert': 'convert', 'scribbles': 'scribbles',
    'voc2012': 'voc2012', 'prepare': 'prepare',
    'pseudo-labels': 'pseudo_labels', 'train': 'main', 'evaluate': 'evaluate',
    'predict': 'predict', 'export': 'export', 'sweep': 'sweep',
    'report': 'report'}
_PACKAGE = pathlib.Path(__file__).parent


def main():
  """Runs the command that the first argument names."""
  name = sys.argv[1] if len(sys.argv) > 1 else '--help'
  if name == '--version':
    print(f'scribble-jax {scribble_jax.__version__}')
  elif name in ('--help', '-h', 'help'):
    print(_usage())
  elif name in _COMMANDS:
    del sys.argv[1]
    runpy.run_module(f'scribble_jax.{_COMMANDS[name]}', run_name='__main__',
                     alter_sys=True)
  else:
    sys.exit(f'error: scribble-jax has no command {name!r}. Choose one of: '
             f'{", ".join(_COMMANDS)}.')


def _usage():
  """Returns the list of commands, each with the first line of its module."""
  lines = [f'  {name:13}  {_summary(module)}'
           for name, module in _COMMANDS.items()]
  return '\n'.join([
      'scribble-jax COMMAND [ARGUMENTS]', '', *lines, '',
      'scribble-jax COMMAND --help lists the flags of a command.'])


def _summary(module):
  """Returns the first line of a module's docstring without importing it."""
  path = _PACKAGE / f'{module}.py'
  if not path.exists():
    path = _PACKAGE / module / '__main__.py'
  return ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]


if __name__ == '__main__':
  main()
