"""Reads JSON, and writes JSON, PNG and CSV files atomically."""

import csv
import io
import json

from PIL import Image

from scribble_jax.files import atomic


def parse_json(content, **options):
  """As `json.loads`, with a ValueError for JSON that is nested too deeply.

  Raises:
    ValueError: The text or bytes hold no JSON.
  """
  try:
    return json.loads(content, **options)
  except RecursionError as error:
    raise ValueError(str(error)) from error


def read_json(path):
  """Returns the JSON in a file; None if the file is missing or no JSON."""
  try:
    return parse_json(path.read_text())
  except (FileNotFoundError, ValueError):
    return None


def write_json(path, content, indent=2):
  """Writes `content` as JSON, atomically.

  Args:
    path: File to make.
    content: Value that JSON can hold.
    indent: Blanks per level; None for one line.

  Raises:
    ValueError: The content has NaN or an infinity, which JSON lacks.
  """
  with atomic.whole_file(path) as partial, open(partial, 'w') as f:
    json.dump(content, f, indent=indent, allow_nan=False)
    f.write('\n')


def write_png(path, pixels):
  """Writes [H, W, 3] uint8 pixels as PNG, atomically."""
  with atomic.whole_file(path) as partial:
    Image.fromarray(pixels).save(partial, 'PNG')


def encode_png(pixels):
  """Encodes [H, W, 3] uint8 pixels as a PNG, fast rather than small."""
  content = io.BytesIO()
  Image.fromarray(pixels).save(content, 'PNG', compress_level=1)
  return content.getvalue()


def write_csv(path, columns, rows):
  """Writes column titles and rows as CSV, atomically."""
  with (atomic.whole_file(path) as partial,
        open(partial, 'w', newline='', encoding='utf-8') as f):
    csv.writer(f).writerows([columns, *rows])
