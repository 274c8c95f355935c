"""What a run comes to: figures, a table, files."""

import csv
import json
import math

from PIL import Image

from scribble_jax import atomic
from scribble_jax import metrics


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
  """Returns `summary`'s figures as text, IoU in per cent."""
  width = max(map(len, ['class', *figures['iou']]))
  line = lambda name, value: (
      f'{name:<{width}} ' + (f'{"-":>8}' if value is None
                             else f'{100 * value:8.2f}'))
  return '\n'.join([
      f'{"class":<{width}}  IoU (%)',
      *(line(name, iou) for name, iou in figures['iou'].items()),
      '-' * (width + 9), line('mIoU', figures['miou'])])


def read_json(path):
  """Returns the JSON in a file; None without one, or if it is none."""
  try:
    return json.loads(path.read_text())
  except (FileNotFoundError, ValueError):
    return None


def write_json(path, content):
  """Writes `content` as JSON, whole or not at all."""
  with atomic.whole_file(path) as partial, open(partial, 'w') as f:
    json.dump(content, f, indent=2)
    f.write('\n')


def write_png(path, pixels):
  """Writes [H, W, 3] uint8 pixels as PNG, whole or not at all."""
  with atomic.whole_file(path) as partial:
    Image.fromarray(pixels).save(partial, 'PNG')


def write_csv(path, columns, rows):
  """Writes titles and rows as CSV, whole or not at all."""
  with (atomic.whole_file(path) as partial,
        open(partial, 'w', newline='', encoding='utf-8') as f):
    csv.writer(f).writerows([columns, *rows])
