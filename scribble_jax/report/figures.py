"""Figures of the report, drawn with matplotlib without a display."""

import math

from matplotlib.colors import PowerNorm
import numpy as np

from scribble_jax import results
from scribble_jax.report import plot_style
from scribble_jax.report import sweep_axes

_MARKERS = 'osD^vP'
_MAX_ANNOTATED = 8  # Confusion matrices of more classes show no numbers.


@plot_style.styled
def score_bars(rows, measure, reference=None, differences=()):
  """Draws scores as bars, and their differences to one of them.

  Args:
    rows: [(label, Spread in per cent, or None without a result)].
    measure: Name of the score: 'mIoU'.
    reference: Label of the row from which differences are taken; None for no
      differences.
    differences: For each row, the Spread of its difference in points, or None.
  """
  figure = plot_style.new_figure(9, 0.9 + 0.36 * len(rows))
  panels = figure.subplots(1, 1 if reference is None else 2, sharey=True,
                           squeeze=False)[0]
  spreads = [spread for _, spread in rows]
  _spread_bars(panels[0], spreads)
  for y, spread in enumerate(spreads):
    if spread is None:
      panels[0].text(
          1, y, 'no result yet', va='center', color='#777', fontsize=9)
    else:
      _write_beside(panels[0], f'{spread.mean:.1f}', spread.high, y, 7)
  _name_bars(panels[0], [label for label, _ in rows], measure)
  panels[0].set_ylim(len(rows) - 0.5, -0.5)  # The first bar on top.
  if reference is not None:
    _spread_bars(panels[1], differences)
    panels[1].axvline(0, color='#555', linewidth=1)
    panels[1].set_xlabel(
        f'Difference to “{plot_style.short(reference)}” (points)')
    panels[1].grid(axis='y', visible=False)
    panels[1].tick_params(axis='y', length=0)
  return figure


def _spread_bars(panel, spreads):
  """Draws means, ranges and single seeds; nothing for None."""
  for y, spread in enumerate(spreads):
    if spread is None:
      continue
    panel.barh(y, spread.mean, height=0.62, color=plot_style.COLOURS[0],
               alpha=0.8)
    if len(spread.values) > 1:
      panel.plot([spread.low, spread.high], [y, y], color='black',
                 linewidth=1.4)
      panel.plot(spread.values, [y] * len(spread.values), 'o', color='white',
                 markersize=4.5, markeredgecolor='black', markeredgewidth=0.9,
                 clip_on=False)


def _write_beside(panel, text, x, y, points):
  """Writes a text some points to the right of a bar's end."""
  panel.annotate(text, (x, y), (points, 0), textcoords='offset points',
                 va='center', fontsize=9)


def _name_bars(panel, labels, measure):
  """Labels the axes of bars in per cent."""
  panel.set_xlim(0, 100)
  panel.set_xlabel(f'{measure} (%)')
  panel.set_yticks(range(len(labels)), map(plot_style.short, labels))
  panel.grid(axis='y', visible=False)
  panel.tick_params(axis='y', length=0)


@plot_style.styled
def axis_plot(lines, label, measure, logarithmic):
  """Draws scores along an axis: means, ranges of the seeds, single seeds.

  Args:
    lines: Lines from `sweep_axes.lines`.
    label: Label of the x axis.
    measure: Name of the score: 'mIoU'.
    logarithmic: Whether the x axis is logarithmic, if it starts above 0.
  """
  figure = plot_style.new_figure(8, 4.4)
  panel = figure.subplots()
  xs = sweep_axes.positions(lines)
  styles = zip(lines, plot_style.line_styles(), strict=False)
  for i, (line, style) in enumerate(styles):
    means, lows, highs, _, seeds = zip(
        *(setting.score for setting in line.settings.values()), strict=True)
    where = list(line.settings)
    panel.plot(where, means, label=plot_style.short(line.label), linewidth=1.8,
               marker=_MARKERS[i % len(_MARKERS)], markersize=5.5, **style)
    dots = [(x, value) for x, values in zip(where, seeds, strict=True)
            for value in values if len(values) > 1]
    if dots:
      panel.fill_between(where, lows, highs, color=style['color'], alpha=0.14,
                         linewidth=0)
      panel.plot(*zip(*dots, strict=True), 'o', color=style['color'],
                 alpha=0.45, markersize=3.5, markeredgewidth=0)
  if logarithmic and xs[0] > 0:
    panel.set_xscale('log')
    panel.minorticks_off()
  if len(xs) <= 12:
    panel.set_xticks(xs, [f'{x:.4g}' for x in xs])
  panel.set_xlabel(plot_style.short(label))
  panel.set_ylabel(f'{measure} (%)')
  if len(lines) > 1:
    figure.legend(loc='outside upper left', ncols=min(len(lines), 3))
  return figure


@plot_style.styled
def curves_of_run(scalars, measure):
  """Draws one run's loss terms and its validation over its steps.

  Args:
    scalars: {tag: [(step, value), ...]}.
    measure: Key of `results.MEASURES`; None without validation.
  """
  losses = {tag.removeprefix('loss/').replace('_', ' '): points
            for tag, points in scalars.items() if tag.startswith('loss/')}
  losses = dict(sorted(losses.items(), key=lambda item: item[0] != 'total'))
  validated = scalars.get(f'val/{measure}')
  # The validation gets the first curve's colour.
  figure, panel = _curves(losses, {next(iter(losses)): validated},
                          measure if validated else None, 'o')
  panel.set_title('Loss terms, unweighted; total, weighted')
  panel.legend(fontsize=8.5, loc='upper left', bbox_to_anchor=(0, -0.16),
               ncols=2)
  return figure


@plot_style.styled
def curves_of_several(scalars, measure):
  """Draws the total loss and the validation of several runs.

  Args:
    scalars: {run's label: {tag: [(step, value), ...]}}.
    measure: Key of `results.MEASURES`; None without validation.
  """
  losses, validated = (
      {label: found.get(tag, []) for label, found in scalars.items()}
      for tag in ('loss/total', f'val/{measure}'))
  figure, panel = _curves(
      losses, validated, measure, '.', height=4 + 0.1 * len(scalars))
  panel.set_title('Total loss')
  figure.legend(loc='outside lower left', fontsize=8.5, ncols=3)
  return figure


def _curves(losses, validated, measure, marker, height=4.2):
  """Draws losses and, with a measure, the validation of the same labels.

  Args:
    losses: {label: [(step, value), ...]}.
    validated: The same for the measure, which is a share.
    measure: Key of `results.MEASURES` or None.
    marker: Marker of the validation's points.
    height: Height of the figure in inches.

  Returns:
    (figure, panel of the losses).
  """
  figure = plot_style.new_figure(9, height)
  panels = figure.subplots(1, 2 if measure else 1, squeeze=False)[0]
  for (label, points), style in zip(
      losses.items(), plot_style.line_styles(), strict=False):
    if points:
      panels[0].plot(*zip(*points, strict=True), linewidth=1.5,
                     label=plot_style.short(label), **style)
    if measure and validated.get(label):
      steps, shares = zip(*validated[label], strict=True)
      panels[1].plot(steps, [100 * share for share in shares], linewidth=1.5,
                     marker=marker, **style)
  positive = [value for points in losses.values() for _, value in points
              if value > 0]
  if positive and max(positive) > 30 * min(positive):
    panels[0].set_yscale('log')
    panels[0].yaxis.set_major_formatter(lambda value, _: f'{value:g}')
    panels[0].yaxis.set_minor_formatter('')
  panels[0].set_ylabel('Loss')
  if measure:
    panels[1].set_title('Validation')
    panels[1].set_ylabel(f'{results.MEASURES[measure]} (%)')
  for panel in panels:
    panel.set_xlabel('Step (completed updates)')
  return figure, panels[0]


@plot_style.styled
def classes(rows, class_names, measure):
  """Draws figures by class: bars for one setting, a map for several.

  Args:
    rows: [(label, {class: per cent or None})].
    class_names: Columns of the map.
    measure: Name of the figures: 'IoU'.
  """
  if len(rows) == 1:
    return _class_bars(rows[0][1], measure)
  values = np.array([[math.nan if found.get(name) is None else found[name]
                      for name in class_names] for _, found in rows])
  figure = plot_style.new_figure(
      3.2 + 0.38 * max(len(class_names), 8), 1.7 + 0.3 * len(rows))
  panel = figure.subplots()
  _cells(panel, values, '{:.0f}', [label for label, _ in rows], class_names)
  panel.set_title(f'{measure} (%)')
  return figure


def _class_bars(by_class, measure):
  figure = plot_style.new_figure(7.5, 0.9 + 0.3 * len(by_class))
  panel = figure.subplots()
  for y, value in enumerate(by_class.values()):
    if value is not None:
      panel.barh(y, value, height=0.65, color=plot_style.COLOURS[0], alpha=0.8)
    _write_beside(
        panel, 'does not occur' if value is None else f'{value:.1f}',
        value or 0, y, 4)
  _name_bars(panel, by_class, measure)
  panel.invert_yaxis()
  return figure


def _cells(panel, values, number_format, row_names, column_names):
  """Draws percentages as colours, with numbers unless the format is None."""
  # Without numbers, the colours have to show small percentages too.
  picture = panel.imshow(values, cmap='cividis', aspect='auto',
                         norm=PowerNorm(1 if number_format else 0.5, 0, 100))
  panel.grid(visible=False)
  panel.spines[:].set_visible(False)
  panel.tick_params(length=0)
  panel.set_xticks(
      range(len(column_names)), map(plot_style.short, column_names),
      rotation=45, ha='right', rotation_mode='anchor')
  panel.set_yticks(range(len(row_names)), map(plot_style.short, row_names))
  if number_format:
    for (row, column), value in np.ndenumerate(values):
      text = '-' if math.isnan(value) else number_format.format(value)
      panel.text(column, row, text, ha='center', va='center', fontsize=8.5,
                 color='white' if value < 50 else 'black')
  return picture


@plot_style.styled
def confusion(shares, class_names):
  """Draws a confusion matrix.

  Args:
    shares: [C, C] per cent of each ground-truth class; NaN for a class without
      pixels.
    class_names: Class names, background first.
  """
  size = len(class_names)
  annotated = size <= _MAX_ANNOTATED
  side = 2 + (0.7 if annotated else 0.27) * size
  figure = plot_style.new_figure(side + 1.4, side)
  panel = figure.subplots()
  picture = _cells(panel, shares, '{:.1f}' if annotated else None,
                   class_names, class_names)
  panel.set_xlabel('Prediction')
  panel.set_ylabel('Ground truth')
  if not annotated:
    bar = figure.colorbar(picture, shrink=0.8)
    bar.set_label("Share of the class's pixels (%)")
    bar.outline.set_visible(False)
  return figure
