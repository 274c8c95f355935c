"""The style of the report's figures, and how they become PNGs."""

import functools
import io
import itertools
import textwrap
import warnings

import matplotlib
from matplotlib.figure import Figure

DPI = 200  # Twice what the page shows.
# Okabe and Ito's colours, which the colour-blind tell apart; the yellow, too
# pale for a line, is left out.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00',
            '#000000')
_DASHES = ('-', '--', ':', '-.')
_RC = {
    'font.size': 10,
    'text.parse_math': False,  # Names may hold a $.
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.axisbelow': True,
    'axes.grid': True,
    'grid.color': '#e2e4e8',
    'axes.edgecolor': '#888c94',
    'axes.titlesize': 10.5,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'legend.frameon': False,
}
_MAX_LABEL = 44  # Characters.
_CHARACTER, _LINE = 0.1, 0.25  # Inches that a table's text takes.


def styled(draw):
  """Makes a function of a Figure draw in the house's style."""
  @functools.wraps(draw)
  def draw_styled(*args, **kwargs):
    """Draws."""
    with matplotlib.rc_context(_RC):
      return draw(*args, **kwargs)
  return draw_styled


@styled
def png(figure):
  """Returns a matplotlib Figure as the bytes of a PNG."""
  content = io.BytesIO()
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', 'Glyph')  # Names in any script.
    figure.savefig(content, format='png', dpi=DPI)
  return content.getvalue()


def new_figure(width, height):
  """Returns an empty Figure of so many inches."""
  return Figure(figsize=(width, height), layout='constrained')


@styled
def table(content):
  """Draws a `tables.Table`, for slides and papers.

  Args:
    content: The Table; long texts are shortened.

  Returns:
    Figure.
  """
  lines = [[short(cell) for cell in line]
           for line in (content.columns, *content.rows)]
  widths = [2 + max(map(len, column)) for column in zip(*lines, strict=True)]
  edges = [*itertools.accumulate(widths, initial=0)]
  figure = Figure(figsize=(_CHARACTER * edges[-1], _LINE * len(lines)))
  axes = figure.add_axes(
      (0, 0, 1, 1), xlim=(0, edges[-1]), ylim=(len(lines), 0))
  axes.axis('off')
  for i, line in enumerate(lines):
    bold = i == 0 or i - 1 in content.emphasised
    for j, cell in enumerate(line):
      flush_right = content.is_number(j)
      axes.text(edges[j + 1] - 1 if flush_right else edges[j] + 1, i + 0.5,
                cell, ha='right' if flush_right else 'left', va='center',
                weight='bold' if bold else 'normal')
  axes.plot([1, edges[-1] - 1], [1, 1], color='#888c94', linewidth=0.8)
  return figure


def short(label):
  """Returns a label that leaves room for the figure."""
  return textwrap.shorten(label, _MAX_LABEL, placeholder=' …') or ' '


def line_styles():
  """Yields endless keyword arguments of `plot`, all different at first."""
  for dashes in itertools.cycle(_DASHES):
    for colour in COLOURS:
      yield {'color': colour, 'linestyle': dashes}
