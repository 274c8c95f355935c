"""Pictures of examples: image, labels, maps and prediction side by side."""

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
_MAX_COLUMNS = 8  # On one line.
_GAP = 6  # Pixels between the panels.
_LINE = 22  # Pixels of a line of text.
_WRONG = (220, 20, 60)  # Of the errors; what is right stays faded.
_UNKNOWN = (160, 160, 160)  # Pixels without ground truth.
_MIN_SIDE = 180  # Pixels; smaller pictures are magnified.


def draw_panels(rows, class_names):
  """Draws examples as a grid with titles and a legend.

  An example's pictures stand side by side, two examples too if there is room.

  Args:
    rows: Dicts of an example: 'image' [H, W, 3], 'prediction' [H, W] and any
      other of the columns, all uint8. Maps without a labelled pixel in any row
      get no column; errors are shown where prediction and ground truth are
      there. A 'title' stands above its example.
    class_names: Background first.

  Returns:
    [height, width, 3] uint8.
  """
  columns = [name for name in _COLUMNS if any(
      _is_there(name, row) and not _is_blank(name, row) for row in rows)]
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
  """Returns an image under the half transparent colours of its classes.

  Args:
    image: [H, W, 3] uint8.
    mask: [H, W] uint8 classes; background stays as it is.

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


def _is_there(name, row):
  return {'prediction', 'ground_truth'} <= row.keys() if name == 'error' else (
      name in row)


def _is_blank(name, row):
  """Whether a map says nothing: an unlabelled mask, or a map made from it."""
  source = ('ground_truth' if name == 'error'
            else name.removesuffix('_distance'))
  return name != 'image' and bool(np.all(row[source] == IGNORE_LABEL))


def _picture(name, row):
  """Returns one panel, magnified to a size that people can see."""
  values = _error_picture(row) if name == 'error' else row[name]
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
  """Returns a picture of the classes' colours and names."""
  entries = [*enumerate(class_names), (IGNORE_LABEL, 'unlabelled')]
  positions, x, y = [], 0, 0
  for _, name in entries:
    needed = 24 + int(_font().getlength(name)) + 14
    if x and x + needed > width:
      x, y = 0, y + _LINE
    positions.append((x, y))
    x += needed
  picture = Image.new('RGB', (width, y + _LINE), 'white')
  draw = ImageDraw.Draw(picture)
  for (index, name), (x, y) in zip(entries, positions, strict=True):
    draw.rectangle([x, y + 4, x + 18, y + 16], outline='grey',
                   fill=tuple(int(v) for v in voc_palette()[index]))
    draw.text((x + 24, y + 2), name, 'black', _font())
  return picture
