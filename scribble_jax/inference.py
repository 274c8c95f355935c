"""Whole images through a network of one compiled shape (METHOD 6).

An image is cut into windows of the crop size; their probabilities are averaged
where they overlap. Windows of several images share a batch, which is split
over the devices.
"""

import collections
import math

import jax
import numpy as np

from scribble_jax import resize
from scribble_jax import sharding
from scribble_jax.normalization import MEAN_PIXEL
from scribble_jax.normalization import normalize


def make_window_probabilities(model, window, mesh):
  """Returns a compiled `(variables, [B, window, window, 3]) -> probabilities`.

  Args:
    model: Network that returns (logits, features).
    window: Side of a window in pixels.
    mesh: Mesh with a 'data' axis; B must be a multiple of its size.

  Returns:
    A function to [B, window, window, C] float32, whole on every host.
  """
  def probabilities(variables, images):
    logits, _ = model.apply(variables, normalize(images), train=False)
    return jax.nn.softmax(
        resize.resize_corners_aligned(logits, (window, window)))

  replicated, by_batch = sharding.replicated(mesh), sharding.by_batch(mesh)
  return jax.jit(probabilities, in_shardings=(replicated, by_batch),
                 out_shardings=replicated)


def window_starts(length, window):
  """Returns where windows start along a side, in pixels.

  They are ceil(2/3 window) apart; the last one is flush with the border.

  Args:
    length: Of the side, at least `window`.
    window: Side of a window.
  """
  stride = math.ceil(window * 2 / 3)
  last = length - window
  return [*range(0, last, stride), last]


def cut_windows(image, window):
  """Pads an image with the ImageNet mean to at least a window and cuts it.

  Args:
    image: [H, W, 3] uint8.
    window: Side of a window in pixels.

  Returns:
    windows: [(row, column, [window, window, 3] uint8), ...], positions in
      pixels of the padded image.
    padding: ((top, bottom), (left, right)) in pixels.
  """
  missing = [max(window - side, 0) for side in image.shape[:2]]
  padding = tuple((side // 2, side - side // 2) for side in missing)
  padded = np.stack(
      [np.pad(image[..., channel], padding, constant_values=value)
       for channel, value in enumerate(MEAN_PIXEL)], axis=-1)
  windows = [
      (row, column, padded[row:row + window, column:column + window])
      for row in window_starts(padded.shape[0], window)
      for column in window_starts(padded.shape[1], window)]
  return windows, padding


class _Canvas:
  """Sums the window probabilities of one image."""

  def __init__(self, image, window):
    self.windows, self._padding = cut_windows(image, window)
    self._window = window
    self._size = image.shape[:2]
    self._missing = len(self.windows)
    self._sum = None

  def add(self, row, column, probabilities):
    """Adds a window's [window, window, C] at a place in the padded image."""
    if self._sum is None:
      size = [side + sum(padding)
              for side, padding in zip(self._size, self._padding, strict=True)]
      self._sum = np.zeros([*size, probabilities.shape[-1]], np.float32)
      self._count = np.zeros([*size, 1], np.float32)
    area = np.s_[row:row + self._window, column:column + self._window]
    self._sum[area] += probabilities
    self._count[area] += 1
    self._missing -= 1

  @property
  def complete(self):
    return not self._missing

  def mean(self):
    (top, _), (left, _) = self._padding
    area = np.s_[top:top + self._size[0], left:left + self._size[1]]
    return self._sum[area] / self._count[area]


def image_probabilities(window_probabilities, variables, images, *, window,
                        batch_size, mesh):
  """Yields the class probabilities of whole images, in their order.

  Args:
    window_probabilities: From `make_window_probabilities`.
    variables: 'params' and 'batch_stats'.
    images: Iterable of [H, W, 3] uint8, of any sizes, the same on every host.
    window: Side of a window in pixels.
    batch_size: Windows a batch over all devices.
    mesh: Mesh with a 'data' axis.

  Yields:
    [H, W, C] float32 for each image.
  """
  canvases, queue = collections.deque(), collections.deque()

  def run_batch():
    count = min(batch_size, len(queue))
    batch = [queue.popleft() for _ in range(count)]
    pixels = np.zeros([batch_size, window, window, 3], np.uint8)
    pixels[:count] = [entry[-1] for entry in batch]
    local = np.split(pixels, jax.process_count())[jax.process_index()]
    results = jax.device_get(
        window_probabilities(variables, sharding.shard_batch(local, mesh)))
    for (canvas, row, column, _), result in zip(
        batch, results[:count], strict=True):
      canvas.add(row, column, result)

  for image in images:
    canvas = _Canvas(image, window)
    canvases.append(canvas)
    queue.extend((canvas, *entry) for entry in canvas.windows)
    while len(queue) >= batch_size:
      run_batch()
    while canvases and canvases[0].complete:
      yield canvases.popleft().mean()
  while queue:
    run_batch()
  for canvas in canvases:
    yield canvas.mean()
