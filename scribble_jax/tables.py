"""Tables for the report's page, CSV files and the terminal."""

import csv
import dataclasses
import io
import re

_NUMBER = re.compile(r'-|[-+]?[\d,]*\.?\d+(e[-+]?\d+)?')


@dataclasses.dataclass(frozen=True)
class Table:
  """Texts in rows and columns.

  Attributes:
    columns: Title of each column.
    rows: Rows with a text for each column; '' for an empty cell.
    emphasised: Indices of rows that are emphasised.
    bars: Index of a column of percentages that are also drawn as bars, or None.
  """
  columns: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]
  emphasised: frozenset[int] = frozenset()
  bars: int | None = None

  def is_number(self, column):
    """Returns whether a column has only numbers, which are right-aligned."""
    found = [row[column] for row in self.rows if row[column]]
    return bool(column and found) and all(map(_NUMBER.fullmatch, found))

  def csv(self):
    """Returns the table as comma-separated values."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerows([self.columns, *self.rows])
    return text.getvalue()

  def text(self):
    """Returns the table for a terminal."""
    lines = [self.columns, *self.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligns = ['>' if self.is_number(i) else '<' for i in range(len(widths))]
    aligned = ['  '.join(
        f'{cell:{align}{width}}' for cell, align, width in zip(
            line, aligns, widths, strict=True)).rstrip() for line in lines]
    return '\n'.join([aligned[0], '-' * max(map(len, aligned)), *aligned[1:]])


def number(value, form='.2f'):
  """Returns a number in some format, with two decimals unless given.

  None becomes ''.
  """
  return '' if value is None else format(value, form)


def per_cent(share):
  """Returns a share in per cent with two decimals, '-' for None."""
  return '-' if share is None else number(100 * share)
