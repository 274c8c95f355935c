"""The worker that makes masks, in a thread of its own.

Masks that a page waits for come first, then the preparation of the picture that
a page has opened. `learner` keeps what is learned from other pictures.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import queue
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

NO_NETWORK = 'none'  # Instead of the name of a backbone.
_IN_MEMORY = 3  # Prepared pictures; each takes up to 80 MB.
_FEW_CLASSES = ('Draw a stroke of a second class, or of the background, and '
                'the mask appears.')
_READY = 'ready'
_CLOSE, _MASK, _OPEN = range(3)  # Tasks, the most urgent one first.


class NoMaskError(Exception):
  """There is no mask; the text gives the reason and what to do."""


@dataclasses.dataclass(frozen=True)
class Answer:
  """The mask of a picture.

  Attributes:
    scores: `suggest.Scores`; None where a network's prediction is shown.
    mask: `suggest.Mask`, as the page shows it.
    version: Version of the strokes that it was made from.
    is_prediction: Whether it is a network's prediction, because nothing is
      drawn yet.
  """
  scores: suggest.Scores | None
  mask: suggest.Mask
  version: int
  is_prediction: bool = False


class Suggester:
  """Makes masks in a thread of its own.

  Attributes:
    learner: `learner.Learner`.
  """

  def __init__(self, store, photographs, backbone, checkpoint=None):
    """Starts the thread, which first loads the network.

    Args:
      store: `store.Store`.
      photographs: `photographs.Photographs`.
      backbone: As of `feature_network.load`, or NO_NETWORK: there are no masks.
      checkpoint: As of `feature_network.load`.
    """
    self._store, self._photographs = store, photographs
    self._state, self._reason = 'loading', 'The network is being loaded.'
    # (urgency, number, id, future); the number keeps the order of arrival.
    self._tasks, self._numbers = queue.PriorityQueue(), itertools.count()
    self._opened = None  # Id of the picture that was opened last.
    self._prepared = functools.lru_cache(_IN_MEMORY)(self._prepare)
    self.learner = learner.Learner(store, photographs)
    self._thread = threading.Thread(
        target=self._run, args=(backbone, checkpoint), daemon=True)
    self._thread.start()

  def close(self):
    """Ends the thread after its current computation."""
    self._add(_CLOSE, None, None)
    self._thread.join(timeout=10)
    self.learner.close()

  def status(self):
    """Returns the state of the worker, ready for JSON."""
    return {'state': self._state, 'reason': self._reason
            } | self.learner.status()

  def open(self, name):
    """Prepares a picture, so that its first mask takes no longer than others.

    This includes the compilation of programs for its size.
    """
    self._opened = name
    self._add(_OPEN, name, concurrent.futures.Future())

  def ask(self, name):
    """Returns a future of the Answer for a picture.

    It raises NoMaskError if there is no mask, UnreadableError for a broken
    picture.
    """
    future = concurrent.futures.Future()
    self._add(_MASK, name, future)
    return future

  def _add(self, urgency, name, future):
    self._tasks.put((urgency, next(self._numbers), name, future))

  def _run(self, backbone, checkpoint):
    """Loads the network, then does the most urgent task until `close`."""
    self._load(backbone, checkpoint)
    while True:
      urgency, _, name, future = self._tasks.get()
      if urgency == _CLOSE:
        return
      if urgency == _MASK:
        self._do(self._make, name, future)
      elif name == self._opened:  # Nobody reads the future.
        self._do(self._prepared, name, future)

  def _load(self, backbone, checkpoint):
    # It takes a second to load, and pages need not wait for it.
    from scribble_jax.annotate import feature_network
    try:
      if (backbone, checkpoint) == (NO_NETWORK, None):
        raise UserError(f'Masks are switched off by --backbone={NO_NETWORK}.')
      self._cache = feature_cache.FeatureCache(
          self._store.files.folder / layout.CACHE, self._photographs,
          *feature_network.load(backbone, checkpoint))
      self.learner.start(self._cache)
      self._state, self._reason = _READY, ''
      return
    except UserError as error:
      self._reason = str(error)
    except Exception:
      logging.exception('The network cannot be loaded.')
      self._reason = 'The network cannot be loaded; see the terminal.'
    self._state = 'unavailable'
    logging.warning('No masks: %s', self._reason)

  def _do(self, task, name, future):
    """Sets the result of a task in its future."""
    if not future.set_running_or_notify_cancel():
      return
    try:
      if self._state != _READY:
        raise NoMaskError(self._reason)
      future.set_result(task(name))
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

  def _prepare(self, name):
    """Returns the `suggest.Prepared` of a picture."""
    image = self._cache.image(name)
    prepared = suggest.prepare(image, self._cache.features(name, image))
    # Compiles the walk of this size, if that has not happened yet.
    blank = np.full(prepared.size, IGNORE_LABEL, np.uint8)
    suggest.suggest(prepared, blank, None, [0, 1], np.zeros_like(blank))
    return prepared
