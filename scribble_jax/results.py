"""The figures of a network: mIoU and others, and a table of them."""

import math

from scribble_jax import metrics
from scribble_jax.tables import Table
from scribble_jax.tables import per_cent

# The figures that rank runs, with their names; the first available one counts.
MEASURES = {'miou': 'mIoU', 'stroke_accuracy': 'stroke accuracy'}


def measure(figures):
  """Returns the key of MEASURES that ranks some figures, or None."""
  return next((key for key in MEASURES if figures.get(key) is not None), None)


def summary(class_names, confusion):
  """Returns the figures of a confusion matrix as JSON values.

  Args:
    class_names: Class names, background first.
    confusion: [C, C] counts by label and prediction.

  Returns:
    'miou', 'pixel_accuracy' and 'iou' by class name, all in [0, 1]; None for a
    class that does not occur, or without a labelled pixel. 'confusion' as
    nested lists.
  """
  return {
      'miou': metrics.mean_iou(confusion),
      'pixel_accuracy': metrics.pixel_accuracy(confusion),
      'iou': by_class(class_names, metrics.iou_per_class(confusion)),
      'confusion': confusion.tolist(),
  }


def stroke_summary(class_names, confusion):
  """Returns the figures of predictions that are compared only with strokes.

  Strokes leave out the borders, where most errors are. Hence these figures do
  not compare with figures on a dense ground truth.

  Args:
    class_names: Class names, background first.
    confusion: [C, C] counts of the stroke pixels by label and prediction.

  Returns:
    'stroke_accuracy', the share of correct stroke pixels, and
    'stroke_accuracy_by_class', the same for each class's strokes, in [0, 1];
    None without strokes. 'confusion' as in `summary`.
  """
  _, recall = metrics.precision_and_recall(confusion)
  return {
      'stroke_accuracy': metrics.pixel_accuracy(confusion),
      'stroke_accuracy_by_class': by_class(class_names, recall),
      'confusion': confusion.tolist(),
  }


def by_class(class_names, values):
  """Returns [C] values as {class name: float, or None for NaN}."""
  return {name: None if math.isnan(value) else float(value)
          for name, value in zip(class_names, values, strict=True)}


def table(figures):
  """Returns the figures of `summary` or `stroke_summary` as a Table."""
  if 'iou' in figures:
    column, shares = 'IoU (%)', figures['iou'] | {'mIoU': figures['miou']}
  else:
    column = 'accuracy on stroke pixels (%)'
    shares = figures['stroke_accuracy_by_class'] | {
        'all strokes': figures['stroke_accuracy']}
  return Table(('class', column), tuple(
      (name, per_cent(share)) for name, share in shares.items()))
