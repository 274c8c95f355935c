"""Sweeps over an axis: its lines, and what they lose between its ends."""

from typing import NamedTuple

from scribble_jax.report.studies import Setting
from scribble_jax.report.studies import pair


class Line(NamedTuple):
  """What one series does along an axis: its label, {x: setting} in order."""
  label: str
  settings: dict[float, Setting]


def lines(study, axis):
  """Returns the lines over an axis, of settings with a score.

  Args:
    study: A Study.
    axis: Name of one of its axes.

  Returns:
    A Line a series; several where a series crosses the axis more than once (a
    grid), told apart by the other axes.
  """
  series = {}
  for setting in study.measured:
    if axis in setting.axes:
      series.setdefault(setting.series, []).append(setting)
  found = []
  for label, settings in series.items():
    xs = [setting.axes[axis] for setting in settings]
    if len(set(xs)) == len(xs):
      found.append(_line(label, settings, axis))
    else:
      found += _grid_lines(study, label, settings, axis)
  return found


def _grid_lines(study, label, settings, axis):
  """Splits settings by where they lie on the other axes."""
  groups = {}
  for setting in settings:
    others = tuple((name, x) for name, x in sorted(setting.axes.items())
                   if name != axis)
    groups.setdefault(others, []).append(setting)
  return [_line(', '.join([label, *(
      f'{study.axis_label(name)} {x:g}' for name, x in others)]), group, axis)
          for others, group in sorted(groups.items(), key=lambda item: item[0])]


def _line(label, settings, axis):
  return Line(label, {setting.axes[axis]: setting for setting in sorted(
      settings, key=lambda setting: setting.axes[axis])})


def positions(found):
  """Returns the x of all lines, in order."""
  return sorted({x for line in found for x in line.settings})


def ends(found):
  """Returns [(label, Pair of the smallest and the largest x)].

  Args:
    found: Lines of one axis.

  Returns:
    Of the lines that have both ends; None for ends without a common seed.
  """
  xs = positions(found)
  if len(xs) < 2:
    return []
  return [(line.label, pair(line.settings[xs[0]], line.settings[xs[-1]]))
          for line in found
          if xs[0] in line.settings and xs[-1] in line.settings]
