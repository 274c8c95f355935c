"""HTML: escaped texts, tables and pictures in one page that loads nothing."""

import base64
import html
import io
import pathlib

from PIL import Image

_CSS = pathlib.Path(__file__).with_name('page.css')
# Has the browser see to it that the page stays by itself.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_LONG = 48  # Characters of a cell from which on it is broken into lines.

escape = html.escape


def document(title, chapters):
  """Returns a whole page.

  Args:
    title: Plain text.
    chapters: [(title as plain text, HTML)].
  """
  body = navigation([(name, f'chapter-{i}') for i, (name, _) in enumerate(
      chapters, 1)]) if len(chapters) > 1 else ''
  body += ''.join(f'<article id="chapter-{i}">\n{chapter}</article>\n'
                  for i, (_, chapter) in enumerate(chapters, 1))
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="scribble_jax.report">
<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">
<title>{escape(title)}</title>
<style>
{_CSS.read_text(encoding='utf-8')}</style>
</head>
<body>
<main>
{body}</main>
</body>
</html>
"""


def paragraph(text, style=''):
  """Returns a paragraph of plain text; `style` is a class of page.css."""
  return f'<p{_class(style)}>{escape(text)}</p>\n'


def findings(sentences):
  """Returns a list of plain texts, '' for none."""
  items = ''.join(f'<li>{escape(text)}</li>\n' for text in sentences)
  return f'<ul class="findings">\n{items}</ul>\n' if items else ''


def heading(text, level):
  """Returns a heading of plain text; 1 is the largest."""
  return f'<h{level}>{escape(text)}</h{level}>\n'


def section(title, anchor, content, folded=False):
  """Returns a card with a title.

  Args:
    title: Plain text.
    anchor: Where links lead.
    content: HTML.
    folded: Whether the reader has to open it.
  """
  if folded:
    return (f'<details class="section" id="{escape(anchor)}"><summary>'
            f'{escape(title)}</summary>\n{content}</details>\n')
  return (f'<section id="{escape(anchor)}">\n{heading(title, 2)}{content}'
          '</section>\n')


def navigation(links):
  """Returns links within the page, [(title, anchor)]."""
  return '<nav>' + '\n'.join(
      f'<a href="#{escape(anchor)}">{escape(title)}</a>'
      for title, anchor in links) + '</nav>\n'


def folded(summary, content):
  """Returns HTML that opens at a click on a plain text."""
  return (f'<details><summary>{escape(summary)}</summary>\n{content}'
          '</details>\n')


def preformatted(text):
  """Returns plain text as it is, to be copied."""
  return f'<pre><code>{escape(text)}</code></pre>\n'


def table(content, name):
  """Returns a Table with a link that saves it.

  Args:
    content: A Table.
    name: Of its CSV.
  """
  numeric = [content.is_number(i) for i in range(len(content.columns))]
  head = ''.join(
      f'<th{_class("number" if numeric[i] else "")} scope="col">'
      f'{escape(column)}</th>' + ('<th></th>' if i == content.bars else '')
      for i, column in enumerate(content.columns))
  rows = ''.join(
      f'<tr{_class("ours" if i in content.emphasised else "")}>'
      + ''.join(_cell(cell, numeric[j], j == content.bars)
                for j, cell in enumerate(row)) + '</tr>\n'
      for i, row in enumerate(content.rows))
  data = base64.b64encode(content.csv().encode()).decode()
  return (f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
          f'<tbody>\n{rows}</tbody></table></div>\n'
          f'<p class="file">Saved as <a download="{escape(name)}" '
          f'href="data:text/csv;base64,{data}">{escape(name)}</a></p>\n')


def _cell(text, numeric, with_bar):
  style = 'number' if numeric else 'long' if len(text) > _LONG else ''
  bar = (f'<td class="bar"><div style="width:{float(text or 0):.1f}%"></div>'
         '</td>' if with_bar else '')
  return f'<td{_class(style)}>{escape(text)}</td>{bar}'


def chart(png, description, name, scale):
  """Returns a figure on white, so that dark pages show it as well.

  Args:
    png: Its bytes.
    description: For those who can't see it.
    name: Of its file.
    scale: Its pixels by a pixel of the page.
  """
  with Image.open(io.BytesIO(png)) as image:
    width, height = (round(side / scale) for side in image.size)
  return (f'<figure class="chart"><div class="card">'
          f'<img alt="{escape(description)}" width="{width}" height="{height}" '
          f'style="--width:{width}px" src="{_data(png)}"></div>'
          f'<figcaption class="file">Saved as {escape(name)}</figcaption>'
          '</figure>\n')


def pictures(png, title):
  """Returns a picture at its own size; a narrow page scrolls it sideways."""
  return (f'<figure class="pictures"><h3>{escape(title)}</h3>'
          f'<div class="card"><img alt="{escape(title)}" loading="lazy" '
          f'src="{_data(png)}"></div></figure>\n')


def _data(png):
  return f'data:image/png;base64,{base64.b64encode(png).decode()}'


def _class(style):
  return f' class="{style}"' if style else ''
