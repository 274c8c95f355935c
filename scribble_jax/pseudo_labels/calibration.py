"""Thresholds between foreground and background: counted, compared, chosen."""

import numpy as np
from scipy import ndimage

from scribble_jax import hosts
from scribble_jax import metrics
from scribble_jax.labels import IGNORE_LABEL

NUM_BINS = 100
THRESHOLDS = np.arange(NUM_BINS) / NUM_BINS
TOLERANCE = 0.01  # Of the mIoU.
# Share of a stroke. With a half of it hidden, the other half spreads less far
# than the whole, which makes the threshold too low.
HIDDEN = 1 / 8


class ScoreHistogram:
  """Counts pixels by label, best foreground class and score.

  It is all that a confusion matrix at any threshold takes; its size does not
  depend on the number of images.
  """

  def __init__(self, num_classes):
    self._counts = np.zeros([num_classes, num_classes, NUM_BINS], np.int64)

  def add(self, labels, predictions, bins):
    """Adds an image.

    Args:
      labels: [H, W] classes; IGNORE_LABEL is not counted.
      predictions: [H, W] classes, of pixels above the threshold.
      bins: [H, W], scores in units of 1 / NUM_BINS, rounded down; a score of 1
        is in the last one.
    """
    counted = labels != IGNORE_LABEL
    size = len(self._counts)
    cells = ((labels[counted].astype(int) * size + predictions[counted])
             * NUM_BINS + bins[counted])
    self._counts += np.bincount(cells, minlength=self._counts.size).reshape(
        self._counts.shape)

  def add_other_hosts(self):
    """Adds what the other processes have counted. All must call it."""
    self._counts = sum(hosts.gather(self._counts))

  @property
  def empty(self):
    """Whether nothing was added."""
    return not self._counts.any()

  def confusions(self):
    """Returns [NUM_BINS, C, C], the confusion matrix at each threshold."""
    above = self._counts[..., ::-1].cumsum(-1)[..., ::-1]
    confusions = np.moveaxis(above, -1, 0).copy()
    confusions[..., 0] += self._counts.sum((1, 2)) - confusions.sum(-1)
    return confusions

  def confusion(self, thresholds):
    """Returns [C, C], the confusion matrix with [C] thresholds by class."""
    confusions = self.confusions()
    rows = np.arange(len(thresholds))
    bins = np.round(np.asarray(thresholds) * NUM_BINS).astype(int)
    chosen = confusions[bins, :, rows].T
    chosen[:, 0] = self._counts.sum((1, 2)) - chosen[:, 1:].sum(-1)
    return chosen

  def miou(self):
    """Returns [NUM_BINS], the mIoU at each of THRESHOLDS."""
    return np.array([metrics.mean_iou(c) for c in self.confusions()])


def choose_thresholds(histogram, *, per_class, fallback):
  """Returns the thresholds that agree best with hidden strokes.

  What counts is the mIoU on the strokes, or a class's IoU for its own
  threshold. Of all thresholds within TOLERANCE of the best the middle one is
  taken: strokes run where things are clear, so they leave a wide choice, of
  which the ends fit them alone.

  Args:
    histogram: ScoreHistogram of the strokes.
    per_class: Whether each class gets its own, as far as it has strokes.
    fallback: Threshold where strokes of one kind are lacking.

  Returns:
    [C] thresholds, by class; the background's has no meaning.
  """
  confusions = histogram.confusions()  # [NUM_BINS, C, C].
  strokes = confusions[0].sum(-1)
  thresholds = np.full(len(strokes), fallback, float)
  if not strokes[0] or not strokes[1:].any():
    return thresholds
  thresholds[:] = _middle_of_best(histogram.miou())
  if per_class:
    iou = np.array([metrics.iou_per_class(c) for c in confusions])
    for label in np.flatnonzero(strokes[1:]) + 1:
      thresholds[label] = _middle_of_best(iou[:, label])
  return thresholds


def _middle_of_best(agreement):
  """Returns the threshold amid those of almost the highest [NUM_BINS]."""
  good = agreement >= agreement.max() - TOLERANCE
  runs, _ = ndimage.label(good)  # Only those without a gap to the best.
  best = THRESHOLDS[runs == runs[agreement.argmax()]]
  return round(best.mean() * NUM_BINS) / NUM_BINS


def hide_strokes(rng, scribble, background_probability):
  """Hides a part of the strokes, to see how well the rest foretells them.

  HIDDEN of each stroke is hidden, at one end; all background strokes at once
  as often as images of the data set have none.

  Args:
    rng: np.random.Generator.
    scribble: [H, W] uint8.
    background_probability: That the image keeps background strokes.

  Returns:
    shown, hidden: [H, W] uint8 each; IGNORE_LABEL where they have no stroke.
  """
  shown = scribble.copy()
  if rng.random() >= background_probability:
    shown[scribble == 0] = IGNORE_LABEL
  for label in np.unique(shown[shown != IGNORE_LABEL]):
    strokes, count = ndimage.label(scribble == label, np.ones([3, 3]))
    for stroke in range(1, count + 1):
      points = np.argwhere(strokes == stroke)
      if len(points) > 1:
        offset = points - points.mean(0)
        along = np.linalg.svd(offset, full_matrices=False)[2][0]
        position = offset @ along * rng.choice([-1, 1])
        end = position > np.quantile(position, 1 - HIDDEN)
        shown[tuple(points[end].T)] = IGNORE_LABEL
  hidden = np.where(shown == IGNORE_LABEL, scribble, IGNORE_LABEL)
  return shown, hidden.astype(np.uint8)
