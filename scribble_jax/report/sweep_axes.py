"""The lines of a sweep along an axis, and the values at their ends."""

from typing import NamedTuple

from scribble_jax.report.spreads import pair
from scribble_jax.report.studies import Setting


class Line(NamedTuple):
  """One series along an axis: its label and {x: setting}, x increasing."""
  label: str
  settings: dict[float, Setting]


def lines(study, axis):
  """Returns the lines along an axis, of the settings with a score.

  Args:
    study: A Study.
    axis: Name of one of its axes.

  Returns:
    A list with a Line for each series. A series that has several settings at
    one x (a grid) is split by the places on the other axes.
  """
  series = {}
  for setting in study.measured:
    if axis in setting.axes:
      series.setdefault(setting.series, []).append(setting)
  found = []
  for label, settings in series.items():
    settings.sort(key=lambda setting: setting.axes[axis])
    groups = {(): settings}
    if len({setting.axes[axis] for setting in settings}) < len(settings):
      groups = {}
      for setting in settings:
        others = tuple((name, x) for name, x in sorted(setting.axes.items())
                       if name != axis)
        groups.setdefault(others, []).append(setting)
    for others, group in sorted(groups.items()):
      parts = [label, *(f'{study.axis_label(name)} {x:g}'
                        for name, x in others)]
      found.append(Line(', '.join(parts), {
          setting.axes[axis]: setting for setting in group}))
  return found


def positions(found):
  """Returns every x of some lines, in increasing order."""
  return sorted({x for line in found for x in line.settings})


def has_several_seeds(found):
  """Returns whether a setting on some lines has several runs."""
  return any(len(setting.runs) > 1 for line in found
             for setting in line.settings.values())


def ends(found):
  """Returns the scores of lines at the smallest and the largest x.

  Args:
    found: The lines along one axis.

  Returns:
    [(label, Pair)] of the lines that have both ends; None instead of a Pair
    for ends without a common seed.
  """
  xs = positions(found)
  if len(xs) < 2:
    return []
  return [(line.label, pair(line.settings[xs[0]], line.settings[xs[-1]]))
          for line in found
          if xs[0] in line.settings and xs[-1] in line.settings]
