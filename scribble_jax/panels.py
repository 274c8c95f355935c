"""Draws examples: image, labels, maps and prediction side by side."""

import math

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from scribble_jax.files.masks import voc_palette
from scribble_jax.labels import IGNORE_LABEL

_COLUMNS = {
    'image': 'image',
    'scribble': 'scribble',
    'heat_map': 'foreground score',
    'raw_pseudo_label': 'before refinement',
    'pseudo_label': 'pseudo-label',
    'scribble_distance': 'distance to scribble',
    'pseudo_label_distance': 'distance to contour',
    'prediction': 'prediction',
    'ground_truth': 'ground truth',
    'error': 'errors',
}
_MAX_COLUMNS = 8  # Panels on one line.
_GAP = 6  # Pixels between the panels.
_LINE = 22  # Height of a line of text in pixels.
_WRONG = (220, 20, 60)  # Colour of errors; the other pixels are faded.
_UNKNOWN = (160, 160, 160)  # Colour of pixels without ground truth.
_MIN_SIDE = 180  # Pixels; smaller pictures are magnified.


def draw_panels(rows, class_names):
  """Draws examples as a grid with titles and a legend.

  A line has the panels of one example, or of several if there is room.

  Args:
    rows: List with a dict for each example: 'image' [H, W, 3], 'prediction'
      [H, W] and any other key of _COLUMNS, all uint8. A map without a labelled
      pixel in any example is left out. Errors are drawn if both prediction and
      ground truth are given. A 'title' is written above its example.
    class_names: Class names, background first.

  Returns:
    [height, width, 3] uint8.
  """
  rows = [row | {'error': _error_picture(row)}
          if {'prediction', 'ground_truth'} <= row.keys() else row
          for row in rows]
  columns = [name for name in _COLUMNS if any(
      name in row and not _is_blank(name, row) for row in rows)]
  beside = max(1, _MAX_COLUMNS // len(columns))  # Examples on one line.
  grid = [[_picture(name, row) for row in rows[i:i + beside]
           for name in columns] for i in range(0, len(rows), beside)]
  widths = [max(line[i].width for line in grid if i < len(line))
            for i in range(len(grid[0]))]
  title_height = _LINE if any('title' in row for row in rows) else 0
  heights = [title_height + max(picture.height for picture in line)
             for line in grid]
  total_width = sum(widths) + _GAP * (len(widths) + 1)
  legend = _legend(class_names, total_width - 2 * _GAP)
  canvas = Image.new('RGB', (
      total_width,
      _LINE + sum(heights) + _GAP * (len(heights) + 2) + legend.height),
      'white')
  draw = ImageDraw.Draw(canvas)
  lefts = [_GAP + sum(widths[:i]) + _GAP * i for i in range(len(widths))]
  for i, left in enumerate(lefts):
    title = _COLUMNS[columns[i % len(columns)]]
    draw.text((left, 3), title, 'black', _font())
  top = _LINE
  for i, (line, height) in enumerate(zip(grid, heights, strict=True)):
    for j, (picture, left) in enumerate(zip(line, lefts, strict=False)):
      if not j % len(columns):  # The last line may be short.
        title = rows[i * beside + j // len(columns)].get('title', '')
        draw.text((left, top + 3), title, 'black', _font())
      canvas.paste(picture, (left, top + title_height))
    top += height + _GAP
  canvas.paste(legend, (_GAP, top))
  return np.asarray(canvas)


def overlay(image, mask):
  """Returns an image covered by the half transparent colours of its classes.

  Args:
    image: [H, W, 3] uint8.
    mask: [H, W] uint8 classes; the background is not coloured.

  Returns:
    [H, W, 3] uint8.
  """
  mixed = (image.astype(np.uint16) + voc_palette()[mask]) // 2
  return np.where(mask[..., None] > 0, mixed, image).astype(np.uint8)


def _font():
  return ImageFont.load_default(14)


def _faded(image):
  return 255 - (255 - image.astype(int)) // 3


def _error_picture(row):
  """Returns [H, W, 3] uint8: where prediction and ground truth differ."""
  truth = row['ground_truth'][..., None]
  wrong = np.where(row['prediction'][..., None] != truth, _WRONG,
                   _faded(row['image']))
  return np.uint8(np.where(truth == IGNORE_LABEL, _UNKNOWN, wrong))


def _is_blank(name, row):
  """Returns whether a mask, or the mask of a map, has no labelled pixel."""
  source = ('ground_truth' if name == 'error'
            else name.removesuffix('_distance'))
  return name != 'image' and bool(np.all(row[source] == IGNORE_LABEL))


def _picture(name, row):
  """Returns one panel; small ones are magnified."""
  values = row[name]
  if name == 'scribble':  # Strokes over the faded image.
    labelled = (values != IGNORE_LABEL)[..., None]
    values = np.where(labelled, voc_palette()[values],
                      _faded(row['image'])).astype(np.uint8)
  elif not name.endswith('_distance') and values.ndim == 2:
    values = voc_palette()[values]
  picture = Image.fromarray(values).convert('RGB')
  factor = math.ceil(_MIN_SIDE / max(picture.size))
  return picture.resize(
      (picture.width * factor, picture.height * factor), Image.NEAREST)


def _legend(class_names, width):
  """Returns a picture with the colours and names of the classes."""
  entries = [*enumerate(class_names), (IGNORE_LABEL, 'unlabelled')]
  picture = Image.new('RGB', (width, _LINE * len(entries)), 'white')
  draw = ImageDraw.Draw(picture)
  x, y = 0, 0
  for index, name in entries:
    needed = 24 + int(_font().getlength(name)) + 14
    if x and x + needed > width:
      x, y = 0, y + _LINE
    draw.rectangle([x, y + 4, x + 18, y + 16], outline='grey',
                   fill=tuple(voc_palette()[index].tolist()))
    draw.text((x + 24, y + 2), name, 'black', _font())
    x += needed
  return picture.crop((0, 0, width, y + _LINE))
