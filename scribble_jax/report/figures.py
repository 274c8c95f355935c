"""Figures of the report, drawn with matplotlib; no display is needed."""

import math

from matplotlib.colors import PowerNorm
import numpy as np

from scribble_jax import results
from scribble_jax.report import plot_style
from scribble_jax.report import sweep_axes

_MARKERS = 'osD^vP'
_MAX_ANNOTATED = 8  # Classes of a confusion matrix with figures in its cells.


@plot_style.styled
def score_bars(rows, measure, reference=None, differences=()):
  """Draws the score of settings as bars, and how far they are from one of them.

  Args:
    measure: What the score is: 'mIoU'.
    rows: [(label, Spread in per cent, or None without a result)].
    reference: Label of the row that differences are taken to; None for no
      differences.
    differences: Their Spreads in points, as many as rows; None without one.
  """
  figure = plot_style.new_figure(9, 0.9 + 0.36 * len(rows))
  panels = figure.subplots(1, 1 if reference is None else 2, sharey=True,
                           squeeze=False)[0]
  _bars(panels[0], [spread for _, spread in rows])
  _write_means(panels[0], [spread for _, spread in rows])
  panels[0].set_xlim(0, 100)
  panels[0].set_xlabel(f'{measure} (%)')
  panels[0].set_yticks(
      range(len(rows)), [plot_style.short(label) for label, _ in rows])
  panels[0].set_ylim(len(rows) - 0.5, -0.5)  # The first on top.
  if reference is not None:
    _bars(panels[1], differences)
    panels[1].axvline(0, color='#555', linewidth=1)
    panels[1].set_xlabel(
        f'Difference to “{plot_style.short(reference)}” (points)')
  for panel in panels:
    panel.grid(axis='y', visible=False)
    panel.tick_params(axis='y', length=0)
  return figure


def _bars(panel, spreads):
  """Draws means, their range and the single seeds; nothing for None."""
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


def _write_means(panel, spreads):
  """Writes the means beside their bars."""
  for y, spread in enumerate(spreads):
    if spread is None:
      panel.text(1, y, 'no result yet', va='center', color='#777', fontsize=9)
    else:
      panel.annotate(f'{spread.mean:.1f}', (spread.high, y), (7, 0),
                     textcoords='offset points', va='center', fontsize=9)


@plot_style.styled
def axis_plot(lines, label, measure, logarithmic):
  """Draws scores over an axis: means, the range of the seeds, single seeds.

  Args:
    lines: Of `sweep_axes.lines`.
    label: Of the x axis.
    measure: What the score is: 'mIoU'.
    logarithmic: Whether its scale is to be logarithmic.
  """
  figure = plot_style.new_figure(8, 4.4)
  panel = figure.subplots()
  xs = sweep_axes.positions(lines)
  styles = zip(lines, plot_style.line_styles(), strict=False)
  for i, (line, style) in enumerate(styles):
    spreads = [(x, setting.score) for x, setting in line.settings.items()]
    where = [x for x, _ in spreads]
    panel.plot(where, [spread.mean for _, spread in spreads],
               label=plot_style.short(line.label), linewidth=1.8,
               marker=_MARKERS[i % len(_MARKERS)], markersize=5.5, **style)
    if any(len(spread.values) > 1 for _, spread in spreads):
      panel.fill_between(where, [spread.low for _, spread in spreads],
                         [spread.high for _, spread in spreads],
                         color=style['color'], alpha=0.14, linewidth=0)
    dots = [(x, value) for x, spread in spreads
            for value in spread.values if len(spread.values) > 1]
    panel.plot([x for x, _ in dots], [value for _, value in dots], 'o',
               color=style['color'], alpha=0.45, markersize=3.5,
               markeredgewidth=0)
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
  """Draws a run's loss terms and its validation over its updates.

  Args:
    scalars: {tag: [(step, value), ...]}.
    measure: Key of `results.MEASURES`; None without validation.
  """
  validated = scalars.get(f'val/{measure}')
  terms = {tag.removeprefix('loss/'): points for tag, points in scalars.items()
           if tag.startswith('loss/')}
  panels, figure = _two_panels(terms, measure if validated else None)
  for (term, points), style in zip(
      sorted(terms.items(), key=lambda item: item[0] != 'total'),
      plot_style.line_styles(), strict=False):
    _curve(panels[0], points, plot_style.short(term.replace('_', ' ')), style)
  panels[0].set_title('Loss terms, unweighted; total, weighted')
  if validated:
    _curve(panels[-1], validated, None,
           {'color': plot_style.COLOURS[0], 'marker': 'o'}, 100)
  panels[0].legend(fontsize=8.5, loc='upper left', bbox_to_anchor=(0, -0.16),
                   ncols=2)
  return figure


@plot_style.styled
def curves_of_several(scalars, measure):
  """Draws the total loss and the validation of several runs.

  Args:
    scalars: {run's label: {tag: [(step, value), ...]}}.
    measure: Key of `results.MEASURES`; None without validation.
  """
  losses = {label: found.get('loss/total', [])
            for label, found in scalars.items()}
  panels, figure = _two_panels(losses, measure, height=4 + 0.1 * len(scalars))
  for (label, found), style in zip(
      scalars.items(), plot_style.line_styles(), strict=False):
    _curve(panels[0], losses[label], plot_style.short(label), style)
    _curve(panels[-1], found.get(f'val/{measure}', []), None,
           style | {'marker': '.'}, 100)
  panels[0].set_title('Total loss')
  figure.legend(loc='outside lower left', fontsize=8.5, ncols=3)
  return figure


def _two_panels(losses, measure, height=4.2):
  """Returns (panels, figure) for losses and, if there is any, validation."""
  figure = plot_style.new_figure(9, height)
  panels = figure.subplots(1, 2 if measure else 1, squeeze=False)[0]
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
  return panels, figure


def _curve(panel, points, label, style, factor=1):
  if points:
    panel.plot([step for step, _ in points],
               [factor * value for _, value in points], label=label,
               linewidth=1.5, **style)


def classes(rows, class_names, measure):
  """Draws a figure of each class: one setting as bars, several as a map.

  Args:
    rows: [(label, {class: per cent or None})].
    class_names: Columns of the map.
    measure: What it is: 'IoU'.
  """
  if len(rows) == 1:
    return _class_bars(rows[0][1], measure)
  return _class_map(rows, class_names, measure)


@plot_style.styled
def _class_bars(by_class, measure):
  figure = plot_style.new_figure(7.5, 0.9 + 0.3 * len(by_class))
  panel = figure.subplots()
  for y, value in enumerate(by_class.values()):
    if value is not None:
      panel.barh(y, value, height=0.65, color=plot_style.COLOURS[0], alpha=0.8)
    panel.annotate('does not occur' if value is None else f'{value:.1f}',
                   (value or 0, y), (4, 0), textcoords='offset points',
                   va='center', fontsize=9)
  panel.set_xlim(0, 100)
  panel.set_xlabel(f'{measure} (%)')
  panel.set_yticks(range(len(by_class)), map(plot_style.short, by_class))
  panel.invert_yaxis()
  panel.grid(axis='y', visible=False)
  panel.tick_params(axis='y', length=0)
  return figure


@plot_style.styled
def _class_map(rows, class_names, measure):
  values = np.array([[math.nan if found.get(name) is None else found[name]
                      for name in class_names] for _, found in rows])
  figure = plot_style.new_figure(
      3.2 + 0.38 * max(len(class_names), 8), 1.7 + 0.3 * len(rows))
  panel = figure.subplots()
  _cells(panel, values, '{:.0f}')
  panel.set_xticks(range(len(class_names)), map(plot_style.short, class_names),
                   rotation=45, ha='right', rotation_mode='anchor')
  panel.set_yticks(
      range(len(rows)), [plot_style.short(label) for label, _ in rows])
  panel.set_title(f'{measure} (%)')
  return figure


def _cells(panel, values, form):
  """Draws per cents as colours; `form` writes them as well, None does not."""
  # Without figures the few per cent of a confusion have to show by colour.
  picture = panel.imshow(values, cmap='cividis', aspect='auto',
                         norm=PowerNorm(1 if form else 0.5, 0, 100))
  panel.grid(visible=False)
  panel.spines[:].set_visible(False)
  panel.tick_params(length=0)
  if form is None:
    return picture
  for (row, column), value in np.ndenumerate(values):
    panel.text(column, row, '-' if math.isnan(value) else form.format(value),
               ha='center', va='center', fontsize=8.5,
               color='white' if value < 50 else 'black')
  return picture


@plot_style.styled
def confusion(shares, class_names):
  """Draws a confusion matrix.

  Args:
    shares: [C, C] per cent of each ground-truth class; NaN for a class without
      pixels.
    class_names: Background first.
  """
  size = len(class_names)
  annotated = size <= _MAX_ANNOTATED
  side = 2 + (0.7 if annotated else 0.27) * size
  figure = plot_style.new_figure(side + 1.4, side)
  panel = figure.subplots()
  picture = _cells(
      panel, np.asarray(shares), '{:.1f}' if annotated else None)
  names = list(map(plot_style.short, class_names))
  panel.set_xticks(range(size), names, rotation=45, ha='right',
                   rotation_mode='anchor')
  panel.set_yticks(range(size), names)
  panel.set_xlabel('Prediction')
  panel.set_ylabel('Ground truth')
  if not annotated:
    bar = figure.colorbar(picture, shrink=0.8)
    bar.set_label("Share of the class's pixels (%)")
    bar.outline.set_visible(False)
  return figure
