"""Statistics of the scores of several seeds."""

import statistics
from typing import NamedTuple


class Spread(NamedTuple):
  """Statistics of the scores of several seeds, all in one unit.

  Attributes:
    mean: Mean.
    low: Smallest value.
    high: Largest value.
    deviation: Sample standard deviation; None for a single value.
    values: All values.
  """
  mean: float
  low: float
  high: float
  deviation: float | None
  values: tuple[float, ...]


def spread(values):
  """Returns the Spread of one or more numbers."""
  values = tuple(values)
  return Spread(
      statistics.fmean(values), min(values), max(values),
      statistics.stdev(values) if len(values) > 1 else None, values)


class Pair(NamedTuple):
  """Scores of two settings, over the seeds that both have finished.

  Attributes:
    first: Spread of the first setting's score in per cent.
    second: Spread of the second setting's score in per cent.
    difference: Spread of second minus first, seed by seed, in points.
    is_partial: Whether one setting has finished seeds that the other has not.
  """
  first: Spread
  second: Spread
  difference: Spread
  is_partial: bool


def pair(first, second):
  """Returns the Pair of two Settings; None without a common seed."""
  ours, theirs = first.by_seed, second.by_seed
  common = [seed for seed in ours if seed in theirs]
  if not common:
    return None
  return Pair(spread(ours[seed] for seed in common),
              spread(theirs[seed] for seed in common),
              spread(theirs[seed] - ours[seed] for seed in common),
              ours.keys() != theirs.keys())
