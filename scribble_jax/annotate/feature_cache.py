"""Cache of what is computed from pictures: files with a bound on their size."""

import contextlib
import os

import numpy as np

from scribble_jax.annotate import cell_classifier
from scribble_jax.annotate import suggest
from scribble_jax.files import atomic

_MAX_BYTES = 2 * 2**30  # Of the files of features.
_DAMAGED = (OSError, ValueError, EOFError, KeyError)


class FeatureCache:
  """Arrays computed from pictures, in files that may be deleted at any time.

  The files' names contain the size and the modification time of the picture,
  so a changed picture is computed again.
  """

  def __init__(self, folder, photographs, backbone, variables, digest):
    """Sets the network and the folder.

    Args:
      folder: Folder for the files.
      photographs: `photographs.Photographs`.
      backbone: As returned by `feature_network.load`.
      variables: As returned by `feature_network.load`.
      digest: As returned by `feature_network.load`.
    """
    self._folder, self._photographs = folder / digest, photographs
    self._network = backbone, variables

  def image(self, name, side=suggest.SIDE):
    """Returns a picture at its `suggest.working_size`, [h, w, 3] uint8."""
    return suggest.scaled(
        self._photographs.read(name),
        suggest.working_size(self._photographs.size(name), side))

  def features(self, name, image=None):
    """Returns the [h, w, D] float16 features of a picture.

    Args:
      name: Id of the picture.
      image: What `image` returns, if the caller has it.
    """
    path = self._path('features', name)
    with contextlib.suppress(*_DAMAGED):
      found = np.load(path)
      os.utime(path)  # The least recently used files are deleted first.
      return found
    image = self.image(name) if image is None else image
    found = np.float16(suggest.features_of(*self._network, image))
    _save(path, np.save, found)
    self._delete_oldest()
    return found

  def glance(self, name):
    """Returns the `suggest.glance` of a picture."""
    path = self._path('glances', name)
    with contextlib.suppress(*_DAMAGED):
      return np.load(path)
    found = suggest.glance(
        *self._network, self.image(name, suggest.GLANCE_SIDE))
    _save(path, np.save, found)
    return found

  def samples(self, name, version):
    """Returns `cell_classifier.Samples` of a version of strokes, or None."""
    with (contextlib.suppress(*_DAMAGED),
          np.load(self._path('samples', name, '.npz')) as found):
      if found['version'] == version:
        return cell_classifier.Samples(found['x'], found['labels'])
    return None

  def keep_samples(self, name, version, samples):
    """Stores the `cell_classifier.Samples` of a version of strokes."""
    _save(self._path('samples', name, '.npz'), np.savez, version=version,
          **samples._asdict())

  def _path(self, kind, name, suffix='.npy'):
    stat = self._photographs.paths[name].stat()
    return self._folder / kind / (
        f'{name}.{stat.st_size}.{stat.st_mtime_ns}{suffix}')

  def _delete_oldest(self):
    """Deletes files of features until the rest have at most _MAX_BYTES."""
    found = []
    for path in (self._folder / 'features').rglob('*.npy'):
      stat = path.stat()
      found.append((stat.st_mtime_ns, stat.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
      if total <= _MAX_BYTES:
        break
      path.unlink(missing_ok=True)
      total -= size


def _save(path, save, *values, **named):
  """Writes a file by `save(file, *values, **named)`, or none if that fails."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with (contextlib.suppress(OSError),  # A full disk only costs time.
        atomic.whole_file(path) as partial, open(partial, 'wb') as file):
    save(file, *values, **named)
