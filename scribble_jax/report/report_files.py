"""The files of a report: gathered first, then written whole or not at all."""

import csv
import io
import re

from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import listings
from scribble_jax.report import page
from scribble_jax.report import plot_style

_LIST = 'files.txt'  # Tells a report's folder from any other.


class Files:
  """Contents by name, the same as what the page shows."""

  def __init__(self):
    """Starts without any."""
    self.contents = {}  # Name -> bytes.

  def add(self, name, content):
    """Keeps `content`, bytes, under the first free name like `name`."""
    stem, suffix = name.rsplit('.', 1)
    stem = re.sub(r'[^\w.+-]+', '_', stem)
    number = 2
    name = f'{stem}.{suffix}'
    while name in self.contents:
      name, number = f'{stem}_{number}.{suffix}', number + 1
    self.contents[name] = content
    return name

  def table(self, stem, table):
    """Keeps a Table as CSV and PNG and returns it as HTML."""
    self.add(f'{stem}_table.png', plot_style.png(plot_style.table(table)))
    name = self.add(f'{stem}.csv', table.csv().encode())
    return page.table(table, name)

  def figure(self, stem, figure, description):
    """Keeps a matplotlib Figure as PNG and returns it as HTML."""
    content = plot_style.png(figure)
    name = self.add(f'{stem}.png', content)
    return page.chart(content, description, name, plot_style.DPI / 100)

  def rows(self, stem, columns, rows):
    """Keeps rows that no page would hold as CSV; returns the file's name."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([columns, *rows])
    return self.add(f'{stem}.csv', text.getvalue().encode())


def check_output(output):
  """Refuses to replace a folder with anything but an earlier report.

  Args:
    output: From `storage.path`.

  Raises:
    UserError: It holds other files, or is a file.
  """
  atomic.discard_unfinished(output)
  if not output.exists():
    return
  listing = output / _LIST
  known = ({_LIST, *listing.read_text(encoding='utf-8').splitlines()}
           if listing.is_file() else set())
  if not output.is_dir() or any(
      path.name not in known and not listings.is_junk(path.name)
      for path in output.iterdir()):
    raise UserError(f'{output} holds other files than a report. Name a new '
                    'folder with --output.')


def write(output, contents):
  """Writes a report; an earlier one stays as it is until all is written.

  Args:
    output: Folder, from `storage.path`.
    contents: {name: bytes}.

  Raises:
    UserError: The folder holds other files or can't be written.
  """
  try:
    check_output(output)
    with (atomic.only_one_process(output),
          atomic.whole_folder(output) as folder):
      for name, content in contents.items():
        (folder / name).write_bytes(content)
      (folder / _LIST).write_text(
          '\n'.join(contents) + '\n', encoding='utf-8')
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f'Cannot write {output}: {error}. Name another folder with '
                    '--output.') from error
