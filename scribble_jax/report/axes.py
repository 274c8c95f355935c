"""Sweeps over an axis: its lines, and what they lose between its ends."""

from typing import NamedTuple

from scribble_jax.report.sweeps import Point


class Line(NamedTuple):
  """What one series does along an axis: its label, {x: point} in order."""
  label: str
  points: dict[float, Point]


def lines(study, axis):
  """Returns the lines over an axis, of points with finished runs.

  Args:
    study: A Study.
    axis: Name of one of its axes.

  Returns:
    A Line a series; several where a series crosses the axis more than once (a
    grid), told apart by the other axes.
  """
  series = {}
  for point in study.finished:
    if axis in point.axes:
      series.setdefault(point.series, []).append(point)
  found = []
  for label, points in series.items():
    xs = [point.axes[axis] for point in points]
    if len(set(xs)) == len(xs):
      found.append(_line(label, points, axis))
    else:
      found += _grid_lines(study, label, points, axis)
  return found


def _grid_lines(study, label, points, axis):
  """Splits points by where they lie on the other axes."""
  groups = {}
  for point in points:
    others = tuple((name, x) for name, x in sorted(point.axes.items())
                   if name != axis)
    groups.setdefault(others, []).append(point)
  return [_line(', '.join([label, *(
      f'{study.axis_label(name)} {x:g}' for name, x in others)]), group, axis)
          for others, group in sorted(groups.items(), key=lambda item: item[0])]


def _line(label, points, axis):
  return Line(label, {point.axes[axis]: point for point in sorted(
      points, key=lambda point: point.axes[axis])})


def positions(found):
  """Returns the x of all lines, in order."""
  return sorted({x for line in found for x in line.points})


def ends(found):
  """Returns [(label, mIoU at the smallest x, mIoU at the largest x)].

  Args:
    found: Lines of one axis.

  Returns:
    Of the lines that have both ends; per cent, means over the seeds.
  """
  xs = positions(found)
  if len(xs) < 2:
    return []
  return [(line.label, line.points[xs[0]].miou.mean,
           line.points[xs[-1]].miou.mean)
          for line in found if xs[0] in line.points and xs[-1] in line.points]
