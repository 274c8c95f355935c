"""What is learned from all pictures: samples of strokes, features of the rest.

A thread computes features of pictures that no page has open, while no page
waits for a mask.
"""

import threading
import time

from absl import logging
import numpy as np

from scribble_jax.annotate import cell_classifier
from scribble_jax.annotate import suggest
from scribble_jax.annotate.photographs import UnreadableError

_MAX_GLANCES = 500  # Pictures whose certainty is compared.
_QUIET = 2.0  # Seconds without a mask, after which the thread starts to work.


class Learner:
  """Keeps the samples of drawn pictures, and ranks the others by certainty.

  Attributes:
    paused: Whether the thread waits, as while a training runs.
    ahead: Id of the picture that a page is likely to open next, or None.
  """

  def __init__(self, store, photographs):
    """Makes a learner without samples; `start` starts its thread.

    Args:
      store: `store.Store`.
      photographs: `photographs.Photographs`.
    """
    self.paused = False
    self.ahead = None
    self._store, self._photographs = store, photographs
    self._samples, self._glances = {}, {}
    self._unreadable = set()  # Ids of pictures.
    self._fitted = None
    self._last_mask = 0.0
    self._closed = threading.Event()
    self._thread = None

  def start(self, cache):
    """Starts the thread.

    Args:
      cache: `feature_cache.FeatureCache`.
    """
    self._cache = cache
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._thread.start()

  def close(self):
    """Ends the thread after its current computation."""
    self._closed.set()
    if self._thread:
      self._thread.join(timeout=10)

  def learn(self, name, version, features, labels):
    """Keeps samples of a picture's strokes, for the masks of all others.

    Args:
      name: Id of the picture.
      version: Version of the strokes.
      features: As of `cell_classifier.samples_of`.
      labels: As of `cell_classifier.samples_of`.
    """
    self._last_mask = time.monotonic()
    samples = cell_classifier.samples_of(
        features, labels, cell_classifier.OTHER_SAMPLES,
        cell_classifier.SAMPLES_PER_CLASS)
    samples = cell_classifier.Samples(np.float16(samples.x), samples.labels)
    self._samples[name] = samples
    self._cache.keep_samples(name, version, samples)

  def others(self, name=None):
    """Returns `cell_classifier.pooled` of all pictures but one."""
    return cell_classifier.pooled([
        samples for other, samples in sorted(dict(self._samples).items())
        if other != name and len(samples.labels)])

  def fit(self, classes):
    """Fits the classifier of pictures without strokes.

    Args:
      classes: Identifiers of the classes.
    """
    pooled = self.others()
    if pooled is not None and len(np.unique(pooled.labels)) > 1:
      nothing = cell_classifier.Samples(pooled.x[:0], pooled.labels[:0])
      self._fitted = cell_classifier.fit_classes(nothing, pooled, classes)
    self._last_mask = time.monotonic()

  def forget(self, name):
    """Forgets the strokes of a picture, which have changed."""
    self._samples.pop(name, None)

  def forget_all(self):
    """Forgets all strokes, as after a class was deleted."""
    self._samples, self._fitted = {}, None

  def least_sure(self):
    """Returns the id of the picture without strokes to draw on next.

    Returns:
      Of the pictures with a glance, the one with the smallest
      `cell_classifier.confidence`; the first picture if nothing was learned
      yet; None if all have strokes.
    """
    listed, glances = self._store.listed, dict(self._glances)
    names = [name for name in self._photographs.paths
             if name not in listed and name not in self._unreadable]
    found = [name for name in names if name in glances]
    if self._fitted is None or not found:
      return next(iter(names), None)
    sure = cell_classifier.confidence(
        np.stack([glances[name] for name in found]), *self._fitted)
    return found[int(np.argmin(sure))]

  def status(self):
    """Returns how many pictures have a glance, ready for JSON."""
    return {'glances': len(self._glances),
            'glances_wanted': len(self._wanted_glances())}

  def _run(self):
    while not self._closed.is_set():
      wait = self._last_mask + _QUIET - time.monotonic()
      name, task = (None, None) if self.paused or wait > 0 else self._next()
      if name is None:
        self._closed.wait(max(0.2, min(wait, _QUIET)))
        continue
      try:
        task(name)
      except UnreadableError:
        self._unreadable.add(name)
      except Exception:
        logging.exception('%s: nothing can be learned.', name)
        self._unreadable.add(name)

  def _next(self):
    """Returns the next task as (id, function of the id), or Nones."""
    ahead, self.ahead = self.ahead, None
    if ahead:
      return ahead, self._cache.features
    drawn = self._store.listed - self._samples.keys() - self._unreadable
    if drawn:
      return min(drawn), self._learn_from
    if self._fitted is not None:
      for name in self._wanted_glances():
        if name not in self._glances and name not in self._unreadable:
          return name, self._glance
    return None, None

  def _learn_from(self, name):
    """Gets the samples of a drawn picture that no page has open."""
    version = self._store.read(name).version
    samples = self._cache.samples(name, version)
    if samples is not None:
      self._samples.setdefault(name, samples)
      return
    size = suggest.working_size(self._photographs.size(name))
    self.learn(name, version, np.float32(self._cache.features(name)),
               self._store.labels(name, size))
    self._last_mask = 0.0  # No page waits for this one.

  def _glance(self, name):
    self._glances[name] = self._cache.glance(name)

  def _wanted_glances(self):
    """Returns the ids of the pictures to compare, evenly chosen."""
    names = [*self._photographs.paths]
    count = min(len(names), _MAX_GLANCES)
    return [names[i * len(names) // count] for i in range(count)]
