"""The worker that makes masks, in a thread of its own.

Masks that a page waits for come first, then the preparation of the picture that
a page has opened. What other pictures teach is the `learner`'s.
"""

import collections
import concurrent.futures
import dataclasses
import threading

from absl import logging
import numpy as np

from scribble_jax.annotate import feature_cache
from scribble_jax.annotate import layout
from scribble_jax.annotate import learner
from scribble_jax.annotate import suggest
from scribble_jax.annotate.photographs import UnreadableError
from scribble_jax.errors import UserError
from scribble_jax.labels import IGNORE_LABEL

_IN_MEMORY = 3  # Pictures; each takes up to 80 MB.
_FEW_CLASSES = ('Draw a stroke of a second class, or of the background, and '
                'the mask appears.')
_LOADING, _READY, _UNAVAILABLE = 'loading', 'ready', 'unavailable'


NO_NETWORK = 'none'  # In place of a backbone.


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
      backbone: As of `feature_network.load`, or NO_NETWORK: there are no masks.
      checkpoint: Likewise.
    """
    self._store, self._photographs = store, photographs
    self._network = backbone, checkpoint
    self._state, self._reason = _LOADING, 'The network is being loaded.'
    self._changed = threading.Condition()
    self._asked = collections.deque()  # (id, future)
    self._opened = None  # Id of the picture to prepare.
    self._closed = False
    self.learner = learner.Learner(store, photographs)
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._thread.start()

  def close(self):
    """Ends the thread after what it is computing now."""
    with self._changed:
      self._closed = True
      self._changed.notify()
    self._thread.join(timeout=10)
    self.learner.close()

  def status(self):
    """Returns the state of the worker, ready for JSON."""
    return {'state': self._state, 'reason': self._reason
            } | self.learner.status()

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

  def _run(self):
    # It takes a second to load, and pages need not wait for it.
    from scribble_jax.annotate import feature_network
    if self._network == (NO_NETWORK, None):
      self._give_up(f'Masks are switched off by --backbone={NO_NETWORK}.')
      return
    try:
      self._backbone, self._variables, digest = feature_network.load(
          *self._network)
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
    self.learner.start(
        self._features_of, lambda image: suggest.glance(
            self._backbone, self._variables, image), self._cache)
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
    if opened:
      self._open(opened)
      return
    with self._changed:
      if not (self._asked or self._opened or self._closed):
        self._changed.wait()

  def _open(self, name):
    """Prepares a picture; what is wrong with it is told to who asks."""
    try:
      self._prepared(name)
    except UnreadableError:
      pass
    except Exception:
      logging.exception('%s: no mask can be prepared.', name)

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
    self.learner.learn(
        name, document.version, prepared.features, labels)
    if predicted is not None:
      predicted = suggest.mask_of_prediction(predicted, prepared.size).labels
    classes = [one.label for one in palette.classes]
    scores = suggest.suggest(
        prepared, labels, self.learner.others(name), classes, predicted)
    if scores is None:
      raise NoMaskError(_FEW_CLASSES)
    self.learner.fit(classes)
    return Answer(scores, suggest.to_mask(scores, shown), document.version)

  def _features_of(self, image):
    return suggest.features_of(self._backbone, self._variables, image)

  def _prepare(self, name):
    """Returns the `suggest.Prepared` of a picture."""
    size = suggest.working_size(self._photographs.size(name))
    image = suggest.scaled(self._photographs.read(name), size)
    prepared = suggest.prepare(image, self._cache.features(
        name, lambda: self._features_of(image)))
    # Compiles the walk of this size, if that has not happened yet.
    blank = np.full(size, IGNORE_LABEL, np.uint8)
    suggest.suggest(prepared, blank, None, [0, 1], np.zeros_like(blank))
    return prepared
