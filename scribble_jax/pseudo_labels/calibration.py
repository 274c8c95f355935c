"""Choice of the thresholds between foreground and background."""

import numpy as np
from scipy import ndimage

from scribble_jax import hosts
from scribble_jax import metrics
from scribble_jax.labels import IGNORE_LABEL

NUM_BINS = 100
THRESHOLDS = np.arange(NUM_BINS) / NUM_BINS
TOLERANCE = 0.01  # Difference in mIoU that does not matter.
# Share of a stroke. If a half of it were hidden, the other half would spread
# less far than the whole stroke, and the threshold would be too low.
HIDDEN = 1 / 8


class ScoreHistogram:
  """Counts pixels by label, best foreground class and score.

  The confusion matrix at any threshold follows from these counts. Their size
  does not depend on the number of images.
  """

  def __init__(self, num_classes):
    self._counts = np.zeros([num_classes, num_classes, NUM_BINS], np.int64)

  def add(self, labels, predictions, bins):
    """Adds an image.

    Args:
      labels: [H, W] classes; pixels with IGNORE_LABEL are not counted.
      predictions: [H, W] classes that the pixels have above the threshold.
      bins: [H, W] scores in units of 1 / NUM_BINS, rounded down; a score of 1
        belongs to the last bin.
    """
    counted = labels != IGNORE_LABEL
    size = len(self._counts)
    cells = ((labels[counted].astype(int) * size + predictions[counted])
             * NUM_BINS + bins[counted])
    self._counts += np.bincount(cells, minlength=self._counts.size).reshape(
        self._counts.shape)

  def add_other_hosts(self):
    """Adds the counts of the other processes; all of them must call it."""
    self._counts = sum(hosts.gather(self._counts))

  @property
  def empty(self):
    """Whether no pixel was counted."""
    return not self._counts.any()

  def confusions(self):
    """Returns the confusion matrix at each threshold, [NUM_BINS, C, C]."""
    above = self._counts[..., ::-1].cumsum(-1)[..., ::-1]
    confusions = np.moveaxis(above, -1, 0).copy()
    confusions[..., 0] += self._counts.sum((1, 2)) - confusions.sum(-1)
    return confusions

  def confusion(self, thresholds):
    """Returns the confusion matrix [C, C] for [C] thresholds by class."""
    confusions = self.confusions()
    rows = np.arange(len(thresholds))
    bins = np.round(np.asarray(thresholds) * NUM_BINS).astype(int)
    chosen = confusions[bins, :, rows].T
    chosen[:, 0] = self._counts.sum((1, 2)) - chosen[:, 1:].sum(-1)
    return chosen

  def miou(self):
    """Returns the mIoU at each of THRESHOLDS, [NUM_BINS]."""
    return np.array([metrics.mean_iou(c) for c in self.confusions()])


def choose_thresholds(histogram, *, per_class, fallback):
  """Returns the thresholds that agree best with hidden strokes.

  The criterion is the mIoU on the hidden strokes, or the IoU of a class for its
  own threshold. Strokes lie where the classes are clear, so a wide range of
  thresholds is almost equally good. The middle of the range within TOLERANCE of
  the best is chosen, because its ends are fitted to the strokes alone.

  Args:
    histogram: ScoreHistogram of the strokes.
    per_class: Whether each class that has strokes gets its own threshold.
    fallback: Threshold if there are no strokes of the background, or none of
      other classes.

  Returns:
    [C] thresholds by class; the background's is not used.
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
  """Returns the middle of the thresholds around the highest [NUM_BINS]."""
  good = agreement >= agreement.max() - TOLERANCE
  runs, _ = ndimage.label(good)  # Only those without a gap to the best count.
  best = THRESHOLDS[runs == runs[agreement.argmax()]]
  return round(best.mean() * NUM_BINS) / NUM_BINS


def hide_strokes(rng, scribble, background_probability):
  """Hides a part of the strokes, to test how well the rest predicts it.

  A share HIDDEN of each stroke is hidden, at one end. All background strokes of
  an image are hidden as often as images of the data set have none.

  Args:
    rng: np.random.Generator.
    scribble: [H, W] uint8.
    background_probability: Probability that the image keeps its background
      strokes.

  Returns:
    shown, hidden: [H, W] uint8 each; IGNORE_LABEL without a stroke.
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
