"""Intersection over union and accuracy, from confusion matrices."""

import numpy as np

from scribble_jax.labels import IGNORE_LABEL


def confusion_matrix(labels, predictions, num_classes):
  """Counts pixels by (label, prediction), leaving out IGNORE_LABEL pixels.

  Args:
    labels: [...] integer classes.
    predictions: [...] integer classes, the same shape.
    num_classes: Number of classes C.

  Returns:
    [C, C] int64 counts, which can be summed over images.
  """
  counted = labels != IGNORE_LABEL
  cells = (labels[counted].astype(np.int64) * num_classes
           + predictions[counted])
  counts = np.bincount(cells, minlength=num_classes**2)
  return counts.reshape(num_classes, num_classes)


def confusion_of_examples(examples, num_classes):
  """Returns the sum of the examples' confusion matrices.

  Args:
    examples: Iterable of dicts with 'prediction' and 'ground_truth', [H, W].
    num_classes: Number of classes C.

  Returns:
    [C, C] int64.
  """
  total = np.zeros([num_classes, num_classes], np.int64)
  for example in examples:
    total += confusion_matrix(
        example['ground_truth'], example['prediction'], num_classes)
  return total


def iou_per_class(confusion):
  """Returns [C] float64; NaN for classes in neither labels nor predictions."""
  confusion = np.asarray(confusion, np.float64)
  intersection = np.diag(confusion)
  union = confusion.sum(0) + confusion.sum(1) - intersection
  return np.divide(intersection, union, out=np.full_like(union, np.nan),
                   where=union > 0)


def precision_and_recall(confusion):
  """Returns two [C] float64, by class; NaN for classes without pixels."""
  confusion = np.asarray(confusion, np.float64)
  return tuple(
      np.divide(np.diag(confusion), counts, out=np.full_like(counts, np.nan),
                where=counts > 0)
      for counts in (confusion.sum(0), confusion.sum(1)))


def mean_iou(confusion):
  """Returns the mean IoU of the classes that occur, in [0, 1], or None."""
  iou = iou_per_class(confusion)
  return None if np.all(np.isnan(iou)) else float(np.nanmean(iou))


def pixel_accuracy(confusion):
  """Returns the share of correct pixels of the labelled ones, or None."""
  total = np.sum(confusion)
  return float(np.trace(confusion) / total) if total else None
