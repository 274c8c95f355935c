"""JSON, PNG and CSV files, written whole or not at all."""

import csv
import io
import json

from PIL import Image

from scribble_jax.files import atomic


def parse_json(content, **options):
  """`json.loads`, for which JSON that is nested too deeply is wrong too.

  Raises:
    ValueError: The text or bytes hold no JSON.
  """
  try:
    return json.loads(content, **options)
  except RecursionError as error:
    raise ValueError(str(error)) from error


def read_json(path):
  """Returns the JSON in a file; None without one, or if it is none."""
  try:
    return parse_json(path.read_text())
  except (FileNotFoundError, ValueError):
    return None


def write_json(path, content, indent=2):
  """Writes `content` as JSON, whole or not at all.

  Args:
    path: File to make.
    content: What JSON can hold.
    indent: Blanks a level; None for one line.

  Raises:
    ValueError: It holds NaN or an infinity, which JSON does not know.
  """
  with atomic.whole_file(path) as partial, open(partial, 'w') as f:
    json.dump(content, f, indent=indent, allow_nan=False)
    f.write('\n')


def write_png(path, pixels):
  """Writes [H, W, 3] uint8 pixels as PNG, whole or not at all."""
  with atomic.whole_file(path) as partial:
    Image.fromarray(pixels).save(partial, 'PNG')


def encode_png(pixels):
  """[H, W, 3] uint8 pixels -> bytes of a PNG, made fast rather than small."""
  content = io.BytesIO()
  Image.fromarray(pixels).save(content, 'PNG', compress_level=1)
  return content.getvalue()


def write_csv(path, columns, rows):
  """Writes titles and rows as CSV, whole or not at all."""
  with (atomic.whole_file(path) as partial,
        open(partial, 'w', newline='', encoding='utf-8') as f):
    csv.writer(f).writerows([columns, *rows])
