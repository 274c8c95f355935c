"""Statistics of many images' Measures, beside ScribbleSup's (METHOD 9)."""

import numpy as np

from scribble_jax.files import formats
from scribble_jax.tables import Table
from scribble_jax.tables import number

# Figures of ScribbleSup on VOC, from METHOD 9.
_SCRIBBLESUP = {
    'pixels covered (%)': 3.0,
    'foreground classes per image': 1.46,
    'foreground (%), mean': 30.0,
    'foreground (%), 10th percentile': 4.0,
    'foreground (%), 50th percentile': 26.0,
    'foreground (%), 90th percentile': 59.0,
}


def summarise(measures):
  """Returns statistics of images as {name: number or None}.

  Args:
    measures: Measures of at least one image. Without dense masks, the
      statistics that need them are None.
  """
  def median(values):
    return float(np.median(values)) if len(values) else None

  def percent(part, whole):
    return 100 * part / whole if whole else None

  lengths = np.concatenate([one.lengths for one in measures])
  relative = np.concatenate(
      [100 * one.lengths / one.side for one in measures])
  widths = np.concatenate([one.widths for one in measures])
  count = len(measures)
  num_foreground = [len(set(one.classes) - {0}) for one in measures]
  masked = [one for one in measures if one.foreground is not None]
  foreground = [100 * one.foreground for one in masked]
  total = lambda name: sum(getattr(one, name) for one in masked)
  return {
      'images': count,
      'pixels covered (%)': 100 * float(np.mean(
          [one.covered / one.pixels for one in measures])),
      'strokes per image': len(lengths) / count,
      'foreground classes per image': sum(num_foreground) / count,
      'images without background stroke (%)': percent(
          sum(0 not in one.classes for one in measures), count),
      'images without foreground stroke (%)': percent(
          num_foreground.count(0), count),
      'stroke length (pixels), median': median(lengths),
      'stroke length (% of longer side), median': median(relative),
      'stroke width (pixels), median': median(widths),
      'foreground (%), mean': float(np.mean(foreground)) if masked else None,
      **{f'foreground (%), {quantile}th percentile': (
          float(np.percentile(foreground, quantile)) if masked else None)
         for quantile in (10, 50, 90)},
      'stroke pixels that disagree with the mask (%)': percent(
          total('wrong'), total('compared')),
      "distance to the region's border (pixels), median": median(
          [one.distance for one in masked if one.distance is not None]),
      "mask's foreground classes without a stroke (%)": percent(
          total('absent'), total('present')),
  }


def table(figures):
  """Returns the result of `summarise` as a Table, beside ScribbleSup's."""
  show = lambda value: (
      str(value) if isinstance(value, int) else number(value) or '-')
  return Table(('', 'scribbles', 'ScribbleSup on VOC'), tuple(
      (name, show(value), show(_SCRIBBLESUP.get(name)))
      for name, value in figures.items()))


def write_csv(path, measures):
  """Writes a line for each image, all or none.

  Args:
    path: File to make or replace.
    measures: List of Measures.
  """
  median = lambda values: f'{np.median(values):.3f}' if len(values) else ''
  formats.write_csv(path, (
      'id', 'covered', 'strokes', 'classes', 'median_length', 'median_width',
      'foreground', 'wrong', 'median_border_distance', 'absent_classes'), [
          (one.id, f'{one.covered / one.pixels:.6f}', len(one.lengths),
           ' '.join(map(str, one.classes)), median(one.lengths),
           median(one.widths), one.foreground, one.wrong, one.distance,
           one.absent) for one in measures])
