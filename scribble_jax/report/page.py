"""The report's HTML: the templates page.html and blocks.html.

Every `str` is shown as plain text; only what `blocks` returns is HTML.
"""

import base64
import pathlib

import jinja2

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    autoescape=True, trim_blocks=True, lstrip_blocks=True,
    undefined=jinja2.StrictUndefined)
_TEMPLATES.filters['base64'] = lambda data: base64.b64encode(data).decode()

# The macros of blocks.html as functions: `blocks.paragraph('A < B')`. Each
# returns a `markupsafe.Markup`.
blocks = _TEMPLATES.get_template('blocks.html').module


def document(title, chapters):
  """Returns the whole page as HTML.

  Args:
    title: Title of the page.
    chapters: List of results of `chapters.chapter`.
  """
  return _TEMPLATES.get_template('page.html').render(
      title=title, chapters=chapters)
