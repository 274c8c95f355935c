"""Explains why an id has no file, by similar files in the folder."""

import collections
import os
import re

from scribble_jax.files import listings
from scribble_jax.files import storage

_SHOWN_IDS, _SHOWN_FILES = 10, 3  # Per line.
# Blanks at an end or before the suffix, repeated or unusual blanks, and
# invisible characters.
_HARD_TO_SEE = re.compile(r'^\s|\s$|\s\.|\s\s|[^\S ]|[\u200b-\u200f\ufeff]')
_SUFFIX, _SPELLING, _FOLDER, _NAME, _LINE, _UNKNOWN = range(6)


def explain(place, files, ids, suffixes, lacking='nothing for the listed id'):
  """Explains which ids have no file, and why as far as that can be seen.

  Args:
    place: Place of the files: a folder, zip or JSON file, from `storage.path`.
    files: {id: file} of the files that were found there.
    ids: List of the ids to look for.
    suffixes: Suffixes of the files that are read there, in lower case.
    lacking: Text in front of an id.

  Returns:
    List of lines, one for all ids that lack a file for the same reason.
  """
  missing = [name for name in ids if name not in files]
  if not missing:
    return []
  names, refused = _names_in(place, files)
  near = _Nearby(names, {*ids} & files.keys())
  reasons = collections.defaultdict(list)  # [(id, name of a file or None)].
  for name in missing:
    reason, other = near.find(name, files)
    reasons[reason].append((name, other))
  lines = []
  for reason, found in reasons.items():
    some, others = ([*dict.fromkeys(column)] for column in zip(
        *found, strict=True))
    line = f'{place}: {lacking}{"s" if len(some) > 1 else ""} '
    line += _some(some, _SHOWN_IDS)
    if reason != _UNKNOWN:
      verb = 'are' if len(others) > 1 else 'is'
      line += f'; there {verb} {_some(others, _SHOWN_FILES)}, '
      line += _advice(reason, verb, *found[0], suffixes)
    elif refused:
      line += f'; {refused[0].filename} cannot be read: {refused[0].strerror}'
    elif len(found) == len(ids):
      line += f'; it holds {_some(sorted(names), _SHOWN_FILES) or "no file"}'
    lines.append(line)
  return lines


def _some(names, limit):
  """Returns the first `limit` names in a row, and the number of others."""
  shown = ', '.join(
      repr(name) if _HARD_TO_SEE.search(name) else name
      for name in names[:limit])
  return shown + (
      f' and {len(names) - limit} more' if len(names) > limit else '')


def _advice(reason, verb, name, other, suffixes):
  """Returns what to do about an id, given the reason and the similar file."""
  if reason == _SUFFIX:
    *most, last = suffixes
    kinds = f'{", ".join(most)} or {last}' if most else last
    return f'which {verb} not read: save as {kinds}'
  if reason == _SPELLING:
    return ('but capitals, blanks, dashes and zeros must agree: rename the '
            'file or list it as it is')
  if reason == _FOLDER:
    return ('but an id names the subfolder too: list it as '
            f'{os.path.splitext(other)[0]}, or move the file')
  if reason == _NAME:
    return ('but a file is named by its id alone: if it belongs there, rename '
            f'it to {name}{os.path.splitext(other)[1]}')
  return 'but the list has more in that line: write one id per line'


def _names_in(place, files):
  """Returns {file name: its id} of a place, and the OSErrors of reading it."""
  if not place.is_dir():
    return {name: name for name in files}, []
  refused = []
  return {name: os.path.splitext(listings.path_below(name))[0]
          for name in storage.names_below(place, refused.append)
          if not listings.is_junk(name)}, refused


class _Nearby:
  """Finds files whose names are similar to an id, in constant time each."""

  def __init__(self, names, taken):
    """Args: names: {file name: its id}. taken: Set of ids that have a file."""
    self._exact, self._alike, self._elsewhere = {}, {}, {}
    self._others_have_theirs = bool(taken)
    self._parts = {}  # {beginning or end of an id: [file name, count]}.
    for name, found in names.items():
      if found in taken:
        continue
      self._exact.setdefault(found, name)
      self._alike.setdefault(_alike(found), name)
      self._elsewhere.setdefault(_alike(found.rpartition('/')[2]), name)
      for part in {_alike(found), *(_alike(part) for part, _ in _ends(found))}:
        self._parts.setdefault(part, [name, 0])[1] += 1

  def find(self, name, files):
    """Returns the reason why an id has no file, and a similar name or None."""
    for reason, names, key in (
        (_SUFFIX, self._exact, name), (_SPELLING, self._alike, _alike(name)),
        (_FOLDER, self._elsewhere, _alike(name.rpartition('/')[2]))):
      if key in names:
        return reason, names[key]
    first = re.split(r'[\s,;]', name)[0]
    if first in files:
      return _LINE, first
    if _alike(name) in self._parts:
      return _NAME, self._parts[_alike(name)][0]
    if self._others_have_theirs:
      return _UNKNOWN, None
    for part, rest in _ends(name):  # Id and file may each have an extra word.
      other, count = self._parts.get(_alike(part), (None, 0))
      if count == 1 and re.search(r'[^\W\d_]', rest):
        return _NAME, other
    return _UNKNOWN, None


def _alike(name):
  """Returns an id without case, punctuation, blanks and leading zeros."""
  without_zeros = re.sub(r'(?<!\d)0+(?=\d)', '', name.casefold())
  return re.sub(r'[^\w/]|_', '', without_zeros)


def _ends(name):
  """Yields (beginning or end of an id, rest), the longest of each first."""
  gaps = [gap.start() for gap in re.finditer(r'[\W_]', name)]
  for gap in reversed(gaps):
    yield name[:gap], name[gap + 1:]
  for gap in gaps:
    yield name[gap + 1:], name[:gap]
