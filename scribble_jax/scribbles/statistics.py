"""Tables of many images' Measures, beside what METHOD 9 says of ScribbleSup."""

import numpy as np

from scribble_jax.files import formats
from scribble_jax.tables import Table
from scribble_jax.tables import number

# METHOD 9's figures of VOC.
_SCRIBBLESUP = {
    'pixels covered (%)': 3.0,
    'foreground classes per image': 1.46,
    'foreground (%), mean': 30.0,
    'foreground (%), 10th percentile': 4.0,
    'foreground (%), 50th percentile': 26.0,
    'foreground (%), 90th percentile': 59.0,
}
# By percentile; None is the mean.
_FOREGROUND = {
    None: 'foreground (%), mean', 10: 'foreground (%), 10th percentile',
    50: 'foreground (%), 50th percentile',
    90: 'foreground (%), 90th percentile'}
_OF_MASKS = ('stroke pixels that disagree with the mask (%)',
             "distance to the region's border (pixels), median",
             "mask's foreground classes without a stroke (%)")


def summarise(measures):
  """Returns {what: number or None} of a list of Measures, in a table's order.

  Args:
    measures: Of at least one image; shares become per cent, and what needs
      dense masks None without them.
  """
  lengths = np.concatenate([one.lengths for one in measures])
  relative = np.concatenate([one.lengths / one.side for one in measures])
  widths = np.concatenate([one.widths for one in measures])
  foreground = [len(set(one.classes) - {0}) for one in measures]
  percent = lambda values: 100 * float(np.mean(values))
  median = lambda values: float(np.median(values)) if len(values) else None
  figures = {
      'images': len(measures),
      'pixels covered (%)': percent(
          [one.covered / one.pixels for one in measures]),
      'strokes per image': len(lengths) / len(measures),
      'foreground classes per image': float(np.mean(foreground)),
      'images without background stroke (%)': percent(
          [0 not in one.classes for one in measures]),
      'images without foreground stroke (%)': percent(
          [count == 0 for count in foreground]),
      'stroke length (pixels), median': median(lengths),
      'stroke length (% of longer side), median': (
          100 * median(relative) if len(relative) else None),
      'stroke width (pixels), median': median(widths),
  }
  return figures | _compared_with_masks(
      [one for one in measures if one.foreground is not None])


def _compared_with_masks(measures):
  """Returns the figures that need dense masks."""
  if not measures:
    return dict.fromkeys([*_FOREGROUND.values(), *_OF_MASKS])
  shares = [100 * one.foreground for one in measures]
  total = lambda name: sum(getattr(one, name) for one in measures)
  percent = lambda part, whole: 100 * part / whole if whole else None
  distances = [one.distance for one in measures if one.distance is not None]
  return {
      **{name: float(
          np.mean(shares) if quantile is None
          else np.percentile(shares, quantile))
         for quantile, name in _FOREGROUND.items()},
      _OF_MASKS[0]: percent(total('wrong'), total('compared')),
      _OF_MASKS[1]: float(np.median(distances)) if distances else None,
      _OF_MASKS[2]: percent(total('absent'), total('present'))}


def table(figures):
  """Returns `summarise`'s figures as a Table, next to ScribbleSup's.

  Args:
    figures: {what: number or None}.
  """
  show = lambda value: (
      str(value) if isinstance(value, int) else number(value) or '-')
  return Table(('', 'scribbles', 'ScribbleSup on VOC'), tuple(
      (what, show(value), show(_SCRIBBLESUP.get(what)))
      for what, value in figures.items()))


def write_csv(path, measures):
  """Writes a line for each image, whole or not at all.

  Args:
    path: File to make or replace.
    measures: List of Measures.
  """
  median = lambda values: f'{np.median(values):.3f}' if len(values) else ''
  blank = lambda value: '' if value is None else value
  formats.write_csv(path, (
      'id', 'covered', 'strokes', 'classes', 'median_length', 'median_width',
      'foreground', 'wrong', 'median_border_distance', 'absent_classes'), [
          (one.id, f'{one.covered / one.pixels:.6f}', len(one.lengths),
           ' '.join(map(str, one.classes)), median(one.lengths),
           median(one.widths), blank(one.foreground), blank(one.wrong),
           blank(one.distance), blank(one.absent)) for one in measures])
