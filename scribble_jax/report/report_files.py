"""The files of a report, which are written together or not at all."""

import dataclasses
import io
import re

from PIL import Image

from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import listings
from scribble_jax.report import plot_style
from scribble_jax.report.page import blocks

_LIST = 'files.txt'  # Lists the files, which identifies a report's folder.


@dataclasses.dataclass
class Files:
  """Files of a report, collected in memory.

  Attributes:
    contents: {file name: bytes}, shared by all chapters.
    prefix: Prefix of the names of one chapter's tables and figures.
  """
  contents: dict[str, bytes] = dataclasses.field(default_factory=dict)
  prefix: str = ''

  def add(self, name, content):
    """Adds a file and returns its name, `name_2.csv` if `name.csv` exists."""
    stem, suffix = name.rsplit('.', 1)
    stem = re.sub(r'[^\w.+-]+', '_', stem)
    number = 2
    name = f'{stem}.{suffix}'
    while name in self.contents:
      name, number = f'{stem}_{number}.{suffix}', number + 1
    self.contents[name] = content
    return name

  def csv(self, stem, table):
    """Adds a Table as CSV and returns the file's name."""
    return self.add(f'{self.prefix}{stem}.csv', table.csv().encode())

  def table(self, stem, table):
    """Adds a Table as PNG and CSV and returns it as HTML."""
    self.add(f'{self.prefix}{stem}_table.png',
             plot_style.png(plot_style.table(table)))
    return blocks.table(table, self.csv(stem, table))

  def figure(self, stem, figure, description):
    """Adds a matplotlib Figure as PNG and returns it as HTML."""
    content = plot_style.png(figure)
    with Image.open(io.BytesIO(content)) as image:
      width, height = (round(side / plot_style.SCALE) for side in image.size)
    return blocks.plot(content, description, self.add(
        f'{self.prefix}{stem}.png', content), width, height)


def check_output(output):
  """Raises UserError unless a report may be written to a folder.

  Args:
    output: Folder, from `storage.path`.

  Raises:
    UserError: It is a file, or contains other files than an earlier report.
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
  """Writes a report; an earlier one is replaced once everything is written.

  Args:
    output: Folder, from `storage.path`.
    contents: {name: bytes}.

  Raises:
    UserError: The folder contains other files or can't be written.
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
