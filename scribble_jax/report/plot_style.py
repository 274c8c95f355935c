"""Style of the report's figures, and their conversion to PNG."""

import io
import itertools
import textwrap
import warnings

import matplotlib
from matplotlib.figure import Figure

SCALE = 2  # Pixels of a PNG for one pixel of the page.
# The colours of Okabe and Ito, which colour-blind readers can distinguish,
# without the yellow, which is too pale for lines.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00',
            '#000000')
_DASHES = ('-', '--', ':', '-.')
_MAX_LABEL = 44  # Characters.
_CHARACTER, _LINE = 0.1, 0.25  # Inches for a table's character and line.

# Decorator of functions that draw a Figure.
styled = matplotlib.rc_context({
    'font.size': 10,
    'text.parse_math': False,  # Names may contain a $.
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
})


@styled
def png(figure):
  """Returns a matplotlib Figure as the bytes of a PNG."""
  content = io.BytesIO()
  with warnings.catch_warnings():
    # Fonts lack the glyphs of some scripts.
    warnings.filterwarnings('ignore', 'Glyph')
    figure.savefig(content, format='png', dpi=100 * SCALE)
  return content.getvalue()


def new_figure(width, height):
  """Returns an empty Figure; its width and height are in inches."""
  return Figure(figsize=(width, height), layout='constrained')


@styled
def table(content):
  """Draws a `tables.Table` as a Figure, for slides and papers.

  Args:
    content: The Table; long texts are shortened.
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
  """Returns a label of at most 44 characters; longer ones end in ' …'."""
  return textwrap.shorten(label, _MAX_LABEL, placeholder=' …') or ' '


def line_styles():
  """Yields keyword arguments of `plot` without end, 28 different ones first."""
  for dashes, colour in itertools.cycle(itertools.product(_DASHES, COLOURS)):
    yield {'color': colour, 'linestyle': dashes}
