"""Checks class lists for entries that are not classes.

Such an entry would shift the indices of the following classes.
"""

import re

from scribble_jax.errors import raise_problems
from scribble_jax.labels import IGNORE_LABEL

# Names of entries that are not classes, and of backgrounds: letters only.
_UNLABELLED = {
    'ignore', 'ignored', 'ignorelabel', 'void', 'unlabelled', 'unlabeled',
    'notlabelled', 'notlabeled', 'unannotated', 'dontcare', 'unassigned',
    'unclassified', 'ignoreregion', 'ignoreregions', 'ignoreclass'}
_BACKGROUND = {'background', 'bg'}
# `cat:128,0,0`, `cat 128 0 0`, `cat: 128, 0, 0::`.
_COLOUR = re.compile(r'[\s:,;]\d{1,3}([\s,;]+\d{1,3}){2}[\s:,;]*$')
_HEX_COLOUR = re.compile(r'#[0-9a-fA-F]{6}$')
_HEADER = re.compile(r'name\s*[,;\t]\s*r\s*[,;\t]\s*g\s*[,;\t]\s*b',
                     re.IGNORECASE)
_NUMBER = re.compile(r'\d+\s*[.:,;)\s]\s*\S')  # `0 cat`, `1: cat`, `2,cat`.


def check(place, names):
  """Raises UserError if a list has entries that are not class names.

  Args:
    place: Source of the list for messages: a file, or a key of the config.
    names: Entries, without blank lines.
  """
  numbered = all(map(_NUMBER.match, names))
  raise_problems(
      [f'{place}, name {number}: {names[number - 1]!r} {problem}'
       for number in range(1, len(names) + 1)
       if (problem := _problem(names, number - 1, numbered))],
      'List only the names of the classes, one per line, background first, in '
      'the order of their indices.')


def _problem(names, index, numbered):
  """Returns what is wrong with a name, or None."""
  name = names[index]
  if name.startswith(('#', '//', '%', ';')):
    return 'is a comment; take it off the list'
  if name.startswith(('- ', '* ')):
    return 'is an item of a list; write the name of the class only'
  if _HEX_COLOUR.search(name) or _COLOUR.search(name) or _HEADER.match(name):
    return 'names a colour; write the name of the class only'
  if numbered:
    return 'begins with a number; write the name of the class only'
  if is_unlabelled(name):
    return (f'is no class; take it off the list. If masks hold {index} for it, '
            f'add {_remedy(index, len(names))}')
  if is_background(name) and index and not is_background(names[0]):
    return ('is not the first; index 0 is the background. If masks have other '
            'indices, --config.data.label_map changes them')
  return None


def is_unlabelled(name):
  """Whether a name means that a pixel belongs to no class."""
  return _letters(name) in _UNLABELLED


def is_background(name):
  """Whether a name means the background."""
  return _letters(name) in _BACKGROUND


def _letters(name):
  return re.sub('[^a-z]', '', name.lower())


def _remedy(index, count):
  """Returns the flag for masks with an index for an entry that is no class."""
  if index == count - 1:
    return f'--config.data.unlabelled_index={index}'
  pairs = [f'{index}:{IGNORE_LABEL}',
           f'{_range(index + 1, count - 1)}:{_range(index, count - 2)}']
  if index:
    pairs.insert(0, f'{_range(0, index - 1)}:{_range(0, index - 1)}')
  return f'--config.data.label_map={",".join(pairs)}'


def _range(first, last):
  return str(first) if first == last else f'{first}-{last}'
