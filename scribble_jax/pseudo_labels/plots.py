"""Plots of stage 1: heat maps, and mIoU over the threshold."""

from matplotlib import colormaps
from matplotlib.figure import Figure
import numpy as np

from scribble_jax.files import atomic
from scribble_jax.pseudo_labels.calibration import THRESHOLDS

_COLOURS = {'raw': 'tab:blue', 'refined': 'tab:orange'}


def heat_map(image, score):
  """Returns an image blended with the colours of a score, [H, W, 3] uint8.

  Args:
    image: [H, W, 3] uint8.
    score: [H, W] uint8, in units of 1/256.
  """
  colours = 255 * colormaps['inferno'](score)[..., :3]
  return np.uint8(0.35 * image + 0.65 * colours)


def write_curve(path, calibration, final, hidden_strokes):
  """Draws mIoU over the threshold and marks the chosen ones.

  Args:
    path: PNG to write, whole or not at all.
    calibration: From `label_quality.calibrate`.
    final: 'raw' or 'refined', the variant that is written as pseudo-labels.
    hidden_strokes: Name of the strokes that the thresholds were chosen by.
  """
  figure = Figure(figsize=(7, 4.2), dpi=120, layout='constrained')
  axes = figure.subplots()
  for stage, colour in _COLOURS.items():
    curves = calibration[stage]
    name = f'{stage} (the pseudo-labels)' if stage == final else stage
    for key, style, against in (
        ('ground_truth_curve', '-', 'ground truth'),
        ('hidden_strokes_curve', ':', hidden_strokes)):
      if curves[key] is not None:
        axes.plot(THRESHOLDS, 100 * np.array(curves[key]), style, color=colour,
                  label=f'{name}, {against}')
    for threshold in sorted(set(curves['thresholds'][1:])):
      axes.axvline(threshold, color=colour, linewidth=1, alpha=0.6)
  axes.set_xlabel('Threshold of the foreground score (chosen: vertical lines)')
  axes.set_ylabel('mIoU (%)')
  axes.set_xlim(0, 1)
  axes.set_ylim(0, 100)
  axes.grid(alpha=0.3)
  if axes.get_legend_handles_labels()[0]:
    axes.legend(fontsize=8)
  with atomic.whole_file(path) as partial:
    figure.savefig(partial, format='png')
