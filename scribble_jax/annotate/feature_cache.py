"""What is known of pictures, in memory and on the disk, both with a bound."""

import collections
import contextlib
import os

import numpy as np

from scribble_jax.annotate import cell_classifier
from scribble_jax.files import atomic

_MOST_BYTES = 2 * 2**30  # Of features on the disk.
_DAMAGED = (OSError, ValueError, EOFError, KeyError)


class FeatureCache:
  """Arrays of pictures, kept in files that may be deleted at any time."""

  def __init__(self, folder, digest, photographs):
    """Makes a cache.

    Args:
      folder: Where files are kept.
      digest: Tells networks apart.
      photographs: `photographs.Photographs`, whose changed files count anew.
    """
    self._folder = folder / digest
    self._photographs = photographs

  def features(self, name, make):
    """Returns the [h, w, D] features of a picture, made by `make()` once."""
    path = self._path('features', name)
    with contextlib.suppress(*_DAMAGED):
      found = np.load(path)
      os.utime(path)  # The least recently used go first.
      return found
    found = np.asarray(make(), np.float16)
    self._save(path, found)
    self._forget_oldest()
    return found

  def glance(self, name, make):
    """Returns the [25, D] features of a picture, made by `make()` once."""
    path = self._path('glances', name)
    with contextlib.suppress(*_DAMAGED):
      return np.load(path)
    found = make()
    self._save(path, found)
    return found

  def samples(self, name, version):
    """Returns `cell_classifier.Samples` of a version of strokes, or None."""
    with (contextlib.suppress(*_DAMAGED),
          np.load(self._path('samples', name, '.npz')) as found):
      if found['version'] == version:
        return cell_classifier.Samples(found['x'], found['labels'])
    return None

  def keep_samples(self, name, version, samples):
    """Keeps the `cell_classifier.Samples` of a version of strokes."""
    path = self._path('samples', name, '.npz')
    path.parent.mkdir(parents=True, exist_ok=True)
    with (contextlib.suppress(OSError),
          atomic.whole_file(path) as partial, open(partial, 'wb') as file):
      np.savez(file, version=version, **samples._asdict())

  def _path(self, kind, name, suffix='.npy'):
    stamp = self._photographs.paths[name].stat()
    return self._folder / kind / (
        f'{name}.{stamp.st_size}.{stamp.st_mtime_ns}{suffix}')

  def _save(self, path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    with (contextlib.suppress(OSError),  # A full disk only costs time.
          atomic.whole_file(path) as partial, open(partial, 'wb') as file):
      np.save(file, values)

  def _forget_oldest(self):
    """Deletes files of features until the rest are few enough."""
    found = []
    for path in (self._folder / 'features').rglob('*.npy'):
      stamp = path.stat()
      found.append((stamp.st_mtime_ns, stamp.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
      if total <= _MOST_BYTES:
        break
      path.unlink(missing_ok=True)
      total -= size


class Recent:
  """The results of a function for the last few arguments."""

  def __init__(self, function, most):
    self._function, self._most = function, most
    self._found = collections.OrderedDict()

  def __call__(self, argument):
    """Returns the function's result."""
    if argument not in self._found:
      found = self._function(argument)
      while len(self._found) >= self._most:
        self._found.popitem(last=False)
      self._found[argument] = found
    self._found.move_to_end(argument)
    return self._found[argument]
