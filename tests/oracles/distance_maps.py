"""Distance maps by trying every pair of pixels."""

import numpy as np


def nearest_distance(marked):
  """Distance in pixels from each pixel to the nearest marked one.

  Args:
    marked: [H, W] bool.

  Returns:
    [H, W] float64; infinite everywhere if nothing is marked.
  """
  rows, columns = np.indices(marked.shape)
  squared = np.full(marked.shape, np.inf)
  for row, column in np.argwhere(marked):
    squared = np.minimum(
        squared, (rows - row) ** 2 + (columns - column) ** 2)
  return np.sqrt(squared)


def is_foreground(labels):
  """Neither background (0) nor ignored (255)."""
  return (labels >= 1) & (labels <= 254)


def contour(foreground):
  """Foreground pixels with a 4-neighbour that is not foreground.

  Args:
    foreground: [H, W] bool; beyond the edge of the image nothing is.

  Returns:
    [H, W] bool.
  """
  height, width = foreground.shape
  result = np.zeros_like(foreground)
  for row, column in np.argwhere(foreground):
    for i, j in ((row - 1, column), (row + 1, column),
                 (row, column - 1), (row, column + 1)):
      inside = 0 <= i < height and 0 <= j < width
      if not inside or not foreground[i, j]:
        result[row, column] = True
  return result


def scribble_distance_map(scribble, lambda_s):
  """d_s: 255 on a foreground stroke, less with distance; [H, W] uint8."""
  distance = np.sqrt(lambda_s) * nearest_distance(is_foreground(scribble))
  return (255 - np.minimum(255, np.trunc(distance))).astype(np.uint8)


def pseudo_label_distance_map(pseudo_label, lambda_c):
  """d_c: 0 on the contour, more with distance; [H, W] uint8."""
  marked = contour(is_foreground(pseudo_label))
  distance = np.sqrt(lambda_c) * nearest_distance(marked)
  return np.minimum(255, np.trunc(distance)).astype(np.uint8)
