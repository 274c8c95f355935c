"""What a network comes to: its figures, and a table of them."""

import math

from scribble_jax import metrics
from scribble_jax.tables import Table
from scribble_jax.tables import per_cent


def summary(class_names, confusion):
  """Returns the figures of a confusion matrix, ready for JSON.

  Args:
    class_names: Background first.
    confusion: [C, C] counts.

  Returns:
    'miou', 'pixel_accuracy' and 'iou' by class name, all in [0, 1]; None for a
    class that does not occur. 'confusion' as nested lists, by label, then by
    prediction.
  """
  return {
      'miou': metrics.mean_iou(confusion),
      'pixel_accuracy': metrics.pixel_accuracy(confusion),
      'iou': by_class(class_names, metrics.iou_per_class(confusion)),
      'confusion': confusion.tolist(),
  }


def by_class(class_names, values):
  """Returns {class name: float}, None for NaN, of [C] values."""
  return {name: None if math.isnan(value) else float(value)
          for name, value in zip(class_names, values, strict=True)}


def iou_table(figures):
  """Returns `summary`'s figures as a Table, IoU in per cent."""
  return Table(('class', 'IoU (%)'), tuple(
      (name, per_cent(iou)) for name, iou in (
          *figures['iou'].items(), ('mIoU', figures['miou']))))
