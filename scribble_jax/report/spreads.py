"""What several seeds come to: mean, range and deviation."""

import statistics
from typing import NamedTuple


class Spread(NamedTuple):
  """What the seeds of a setting came to.

  Attributes:
    mean: Of the values, as the others in their unit.
    low: The smallest.
    high: The largest.
    deviation: Sample standard deviation; None of a single value.
    values: All of them.
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
