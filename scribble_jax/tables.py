"""Tables: one object for the page, the CSV and the terminal."""

import csv
import dataclasses
import io
import re

_NUMBER = re.compile(r'-|[-+]?[\d,]*\.?\d+(e[-+]?\d+)?')


@dataclasses.dataclass(frozen=True)
class Table:
  """Texts in rows and columns, the same wherever they are shown.

  Attributes:
    columns: Titles.
    rows: As many texts each; '' where there is nothing.
    emphasised: Indices of rows to stand out.
    bars: Index of a column of per cents to draw as bars; None.
  """
  columns: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]
  emphasised: frozenset[int] = frozenset()
  bars: int | None = None

  def is_number(self, column):
    """Whether a column holds numbers, to be set flush right."""
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


def number(value):
  """Returns two decimals, '' for None."""
  return '' if value is None else f'{value:.2f}'


def per_cent(share):
  """Returns a share in per cent with two decimals, '-' for None."""
  return '-' if share is None else number(100 * share)


def signed(difference):
  """Returns two decimals with a sign, '' for None."""
  return '' if difference is None else f'{difference:+.2f}'
