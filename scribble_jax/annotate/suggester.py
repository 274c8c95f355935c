"""The worker that makes masks: what is asked for first, the rest in between.

One thread computes. It takes, in this order: masks that a page waits for, the
picture that a page has opened, drawn pictures that nobody has learned from yet,
and glances at pictures without strokes, for "the least sure".
"""

import collections
import concurrent.futures
import dataclasses
import threading

from absl import logging
import numpy as np

from scribble_jax.annotate import classifier
from scribble_jax.annotate import feature_cache
from scribble_jax.annotate import layout
from scribble_jax.annotate import suggest
from scribble_jax.annotate.photographs import UnreadableError
from scribble_jax.errors import UserError
from scribble_jax.labels import IGNORE_LABEL

_IN_MEMORY = 3  # Pictures; each takes up to 80 MB.
_MOST_GLANCES = 500  # Pictures without strokes that are looked at.
_FEW_CLASSES = ('Draw a stroke of a second class, or of the background, and '
                'the mask appears.')
_LOADING, _READY, _UNAVAILABLE = 'loading', 'ready', 'unavailable'


class NoMaskError(Exception):
  """There is no mask; the text says why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Answer:
  """What a picture comes to.

  Attributes:
    scores: `suggest.Scores`; None where a network's prediction is shown.
    mask: `suggest.Mask`, as the page shows it.
    version: Of the strokes that it was made from.
    is_prediction: Whether it is a network's, and nothing is drawn yet.
  """
  scores: suggest.Scores | None
  mask: suggest.Mask
  version: int
  is_prediction: bool = False


class Suggester:
  """Makes masks in a thread of its own."""

  def __init__(self, store, photographs, backbone, checkpoint=None):
    """Starts the thread, which first loads the network.

    Args:
      store: `store.Store`.
      photographs: `photographs.Photographs`.
      backbone: As of `networks.load`.
      checkpoint: Likewise.
    """
    self._store, self._photographs = store, photographs
    self._network = backbone, checkpoint
    self._state, self._reason = _LOADING, 'The network is being loaded.'
    self._changed = threading.Condition()
    self._asked = collections.deque()  # (id, future)
    self._opened = None  # Id of the picture to prepare.
    self._samples, self._glances = {}, {}
    self._hopeless = set()  # Ids of pictures that cannot be read.
    self._last_fit = None
    self._closed = self.paused = False
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._thread.start()

  def close(self):
    """Ends the thread after what it is computing now."""
    with self._changed:
      self._closed = True
      self._changed.notify()
    self._thread.join(timeout=10)

  def status(self):
    """Returns the state of the worker, ready for JSON."""
    return {'state': self._state, 'reason': self._reason,
            'glances': len(self._glances),
            'glances_wanted': len(self._wanted_glances())}

  def open(self, name):
    """Prepares a picture, so that its first mask takes no longer than others.

    Programs of its size are compiled on the way.
    """
    with self._changed:
      self._opened = name
      self._changed.notify()

  def ask(self, name):
    """Returns a future of the Answer for a picture.

    It raises NoMaskError where there is none, UnreadableError for a broken
    picture.
    """
    future = concurrent.futures.Future()
    with self._changed:
      if self._state == _UNAVAILABLE:
        future.set_exception(NoMaskError(self._reason))
      else:
        self._asked.append((name, future))
        self._changed.notify()
    return future

  def forget_strokes(self):
    """Learns from all strokes anew, as after a class was deleted."""
    self._samples = {}
    self._last_fit = None

  def least_sure(self):
    """Returns the id of the picture without strokes to draw on next.

    Returns:
      The one that the classifier is least sure of, of those looked at; the
      first one if it has learned nothing yet; None if all have strokes.
    """
    listed = self._store.listed
    names = [name for name in self._photographs.paths
             if name not in listed and name not in self._hopeless]
    glances = {name: self._glances[name] for name in names
               if name in self._glances}
    if self._last_fit is None or not glances:
      return next(iter(names), None)
    sure = classifier.sureness(np.stack([*glances.values()]), *self._last_fit)
    return [*glances][int(np.argmin(sure))]

  def _run(self):
    # It takes a second to load, and pages need not wait for it.
    from scribble_jax.annotate import networks
    try:
      self._backbone, self._variables, digest = networks.load(*self._network)
    except UserError as error:
      self._give_up(str(error))
      return
    except Exception:
      logging.exception('The network cannot be loaded.')
      self._give_up('The network cannot be loaded; see the terminal.')
      return
    self._cache = feature_cache.FeatureCache(
        self._store.files.folder / layout.CACHE, digest, self._photographs)
    self._prepared = feature_cache.Recent(self._prepare, _IN_MEMORY)
    self._state, self._reason = _READY, ''
    while not self._closed:
      self._work()

  def _give_up(self, reason):
    with self._changed:
      self._state, self._reason = _UNAVAILABLE, reason
      while self._asked:
        self._asked.popleft()[1].set_exception(NoMaskError(reason))
    logging.warning('No masks: %s', reason)

  def _work(self):
    """Does the most urgent piece of work, or waits for one."""
    with self._changed:
      asked = self._asked.popleft() if self._asked else None
      opened, self._opened = (None, self._opened) if asked else (
          self._opened, None)
    if asked:
      self._answer(*asked)
      return
    name, task = opened, self._prepared
    if name is None:
      name, task = self._idle_task()
    if name is not None:
      self._attempt(name, task)
      return
    with self._changed:
      if not (self._asked or self._opened or self._closed):
        self._changed.wait(timeout=2)

  def _idle_task(self):
    """Returns (id, function of it) of what is worth doing, or Nones."""
    if self.paused:
      return None, None
    for name in sorted(self._store.listed - self._samples.keys()
                       - self._hopeless):
      return name, self._learn_from
    if self._last_fit is not None:
      for name in self._wanted_glances():
        if name not in self._glances and name not in self._hopeless:
          return name, self._look_at
    return None, None

  def _attempt(self, name, task):
    """Runs a task on a picture; one that fails is not tried again."""
    try:
      task(name)
    except UnreadableError:
      self._hopeless.add(name)
    except Exception:
      logging.exception('%s: no mask can be prepared.', name)
      self._hopeless.add(name)

  def _answer(self, name, future):
    if not future.set_running_or_notify_cancel():
      return
    try:
      future.set_result(self._make(name))
    except (NoMaskError, UnreadableError) as error:
      future.set_exception(error)
    except Exception as error:
      logging.exception('%s: no mask can be made.', name)
      future.set_exception(NoMaskError(f'{type(error).__name__}: {error}'))

  def _make(self, name):
    """Returns the Answer for a picture."""
    shown = suggest.shown_size(self._photographs.size(name))
    document, palette = self._store.read(name), self._store.palette
    predicted = self._store.prediction(name)
    if document.is_blank and predicted is not None:
      return Answer(None, suggest.mask_of_prediction(predicted, shown),
                    document.version, is_prediction=True)
    prepared = self._prepared(name)
    labels = self._store.labels(name, prepared.size)
    self._learn(name, document.version, prepared, labels)
    others = classifier.pooled([
        samples for other, samples in sorted(self._samples.items())
        if other != name and len(samples.labels)])
    if predicted is not None:
      predicted = suggest.mask_of_prediction(predicted, prepared.size).labels
    classes = [one.label for one in palette.classes]
    scores = suggest.suggest(prepared, labels, others, classes, predicted)
    if scores is None:
      raise NoMaskError(_FEW_CLASSES)
    self._fit_all(classes)
    return Answer(scores, suggest.to_mask(scores, shown), document.version)

  def _prepare(self, name):
    """Returns the `suggest.Prepared` of a picture."""
    size = suggest.working_size(self._photographs.size(name))
    image = suggest.scaled(self._photographs.read(name), size)
    prepared = suggest.prepare(image, self._cache.features(
        name, lambda: suggest.features_of(
            self._backbone, self._variables, image)))
    # Compiles the walk of this size, if that has not happened yet.
    blank = np.full(size, IGNORE_LABEL, np.uint8)
    suggest.suggest(prepared, blank, None, [0, 1], np.zeros_like(blank))
    return prepared

  def _learn_from(self, name):
    """Gets the samples of a drawn picture that no page has open."""
    version = self._store.read(name).version
    samples = self._cache.samples(name, version)
    if samples is not None:
      self._samples[name] = samples
      return
    prepared = self._prepared(name)
    self._learn(name, version, prepared,
                self._store.labels(name, prepared.size))

  def _learn(self, name, version, prepared, labels):
    """Keeps a picture's samples for all others."""
    samples = classifier.samples_of(
        prepared.features, labels, classifier.OTHER_SAMPLES,
        classifier.SAMPLES_PER_CLASS)
    samples = classifier.Samples(np.float16(samples.x), samples.labels)
    self._samples[name] = samples
    self._cache.keep_samples(name, version, samples)

  def _fit_all(self, classes):
    """Fits the classifier of pictures without strokes."""
    pooled = classifier.pooled(
        [samples for _, samples in sorted(self._samples.items())])
    if pooled is None or len(np.unique(pooled.labels)) < 2:
      return
    nothing = classifier.Samples(pooled.x[:0], pooled.labels[:0])
    self._last_fit = classifier.fit_classes(nothing, pooled, classes)

  def _look_at(self, name):
    size = suggest.working_size(
        self._photographs.size(name), suggest.GLANCE_SIDE)
    self._glances[name] = self._cache.glance(name, lambda: suggest.glance(
        self._backbone, self._variables,
        suggest.scaled(self._photographs.read(name), size)))

  def _wanted_glances(self):
    """Returns the ids of pictures that are looked at, evenly chosen."""
    names = [*self._photographs.paths]
    if len(names) <= _MOST_GLANCES:
      return names
    return [names[i * len(names) // _MOST_GLANCES]
            for i in range(_MOST_GLANCES)]
