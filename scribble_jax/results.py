"""What a network comes to: its figures, and a table of them."""

import math

from scribble_jax import metrics
from scribble_jax.tables import Table
from scribble_jax.tables import per_cent

# What runs are ranked by, as figures name it and as people do; the first one
# that figures have.
MEASURES = {'miou': 'mIoU', 'stroke_accuracy': 'stroke accuracy'}


def measure(figures):
  """Returns the key of MEASURES that figures are ranked by, or None."""
  return next((key for key in MEASURES if figures.get(key) is not None), None)


def summary(class_names, confusion):
  """Returns the figures of a confusion matrix, ready for JSON.

  Args:
    class_names: Background first.
    confusion: [C, C] counts.

  Returns:
    'miou', 'pixel_accuracy' and 'iou' by class name, all in [0, 1]; None for a
    class that does not occur, or without a labelled pixel. 'confusion' as
    nested lists, by label, then by prediction.
  """
  return {
      'miou': metrics.mean_iou(confusion),
      'pixel_accuracy': metrics.pixel_accuracy(confusion),
      'iou': by_class(class_names, metrics.iou_per_class(confusion)),
      'confusion': confusion.tolist(),
  }


def stroke_summary(class_names, confusion):
  """Returns the figures of predictions that are compared with strokes alone.

  Strokes leave out the borders, where most mistakes are: no figure here
  compares with one of a dense ground truth.

  Args:
    class_names: Background first.
    confusion: [C, C] counts of the stroke pixels.

  Returns:
    'stroke_accuracy', the share of the stroke pixels that are right, and
    'stroke_accuracy_by_class', of each class's own stroke pixels, in [0, 1];
    None where there is no stroke. 'confusion' as of `summary`.
  """
  _, recall = metrics.precision_and_recall(confusion)
  return {
      'stroke_accuracy': metrics.pixel_accuracy(confusion),
      'stroke_accuracy_by_class': by_class(class_names, recall),
      'confusion': confusion.tolist(),
  }


def by_class(class_names, values):
  """Returns {class name: float}, None for NaN, of [C] values."""
  return {name: None if math.isnan(value) else float(value)
          for name, value in zip(class_names, values, strict=True)}


def table(figures):
  """Returns `summary`'s or `stroke_summary`'s figures as a Table."""
  if 'iou' in figures:
    column, last = 'IoU (%)', ('mIoU', figures['miou'])
  else:
    column = 'accuracy on stroke pixels (%)'
    last = 'all strokes', figures['stroke_accuracy']
  by_class = figures.get('iou') or figures['stroke_accuracy_by_class']
  return Table(('class', column), tuple(
      (name, per_cent(share)) for name, share in (*by_class.items(), last)))
