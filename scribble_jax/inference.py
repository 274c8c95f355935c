"""Whole images through a network of one compiled shape (METHOD 6).

An image is resized to several scales, each of which is cut into windows. The
windows' probabilities are averaged where they overlap, the scales' over all.
Windows of all scales and of several images share a batch, which is split over
the devices.
"""

import collections
import dataclasses
import functools
import math

import jax
import numpy as np

from scribble_jax import resize
from scribble_jax import sharding
from scribble_jax.normalization import IMAGENET_MEAN
from scribble_jax.normalization import normalize

_BLOCK_ROWS = 256  # Resized at a time; bounds the memory of large images.


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How whole images are predicted.

  Attributes:
    window: Side of the square windows that the network sees, in pixels.
    scales: Of the image, one pass each.
    long_side: Of the image at scale 1, in pixels; None for its own.
    flip: Whether the mirrored image is predicted too, at every scale.
  """
  window: int
  scales: tuple[float, ...]
  long_side: int | None
  flip: bool


def multi_scale_probabilities(model, variables, image, protocol, *,
                              batch_size, mesh=None):
  """Returns the class probabilities of one image.

  Args:
    model: Network that returns (logits, features).
    variables: 'params' and 'batch_stats'.
    image: [H, W, 3] uint8 RGB.
    protocol: A Protocol.
    batch_size: Windows a batch over all devices.
    mesh: Mesh with a 'data' axis; all devices unless given.

  Returns:
    [H, W, C] float32.
  """
  predict = make_predict(model, mesh or sharding.make_mesh(), protocol,
                         batch_size=batch_size)
  (prediction,) = predict(variables, [image])
  return prediction.probabilities()


def make_predict(model, mesh, protocol, *, batch_size, maps=None):
  """Returns `(variables, images) -> iterator of Predictions`, in their order.

  Images are [H, W, 3] uint8 RGB of any sizes, the same on every host; a pair
  of image and channel indices asks for some of the maps alone.

  Args:
    model: Network.
    mesh: Mesh with a 'data' axis.
    protocol: A Protocol.
    batch_size: Windows a batch over all devices; rounded up so that each of
      them gets as many.
    maps: What to average over windows and views: `(model, variables,
      normalised [B, H, W, 3]) -> [B, H, W, C]`; `class_probabilities` unless
      given.
  """
  maps = maps or class_probabilities
  batch_size = mesh.size * math.ceil(batch_size / mesh.size)
  window_maps = _make_window_maps(maps, model, protocol.window, mesh)

  def run_batch(variables, queue):
    """Takes a batch of windows off the queue and adds what comes of them."""
    batch = [queue.popleft() for _ in range(min(batch_size, len(queue)))]
    pixels = np.zeros([batch_size, protocol.window, protocol.window, 3],
                      np.float32)
    pixels[:len(batch)] = [window for *_, window in batch]
    results = jax.device_get(window_maps(
        variables, sharding.shard_whole_batch(pixels, mesh)))
    for (view, row, column, _), result in zip(batch, results, strict=False):
      view.add(row, column, result)

  def predict(variables, images):
    """Yields Predictions as soon as their windows are back."""
    variables = jax.device_put(variables, sharding.replicated(mesh))
    under_way, queue = collections.deque(), collections.deque()
    for image in images:
      image, channels = (image if isinstance(image, tuple)
                         else (image, slice(None)))
      prediction = Prediction(image, protocol, channels)
      under_way.append(prediction)
      for view in prediction.views(image, protocol):
        queue.extend((view, *window) for window in view.windows)
        del view.windows  # The queue is their only holder.
        while len(queue) >= batch_size:
          run_batch(variables, queue)
      while under_way and under_way[0].complete:
        yield under_way.popleft()
    while queue:
      run_batch(variables, queue)
    yield from under_way

  return predict


def class_probabilities(model, variables, images):
  """What stage 2's network says of normalised [B, H, W, 3]: [B, H, W, C]."""
  logits, _ = model.apply(variables, images, train=False)
  return jax.nn.softmax(
      resize.resize_corners_aligned(logits, images.shape[1:3]))


@functools.lru_cache(maxsize=8)
def _make_window_maps(maps, model, window, mesh):
  """Returns a compiled `(variables, [B, window, window, 3]) -> [..., C]`."""
  def window_maps(variables, images):
    return maps(model, variables, normalize(images))

  replicated, by_batch = sharding.replicated(mesh), sharding.by_batch(mesh)
  return jax.jit(window_maps, in_shardings=(replicated, by_batch),
                 out_shardings=replicated)


class Prediction:
  """What the network says about one image, once all its windows are back."""

  def __init__(self, image, protocol, channels):
    self._size = image.shape[:2]
    self._channels = channels
    self._sum = None  # Over the views that are complete, [H, W, C].
    self._views = [(scale, mirrored) for scale in protocol.scales
                   for mirrored in ((False, True) if protocol.flip
                                    else (False,))]
    self._missing = len(self._views)

  def views(self, image, protocol):
    """Yields the image's views, made one at a time: big images take memory."""
    long_side = protocol.long_side or max(self._size)
    for scale, mirrored in self._views:
      pixels = resize.resize_half_pixel(
          image, scaled_size(self._size, scale, long_side))
      yield _View(self, pixels, mirrored, protocol.window, self._channels)

  def add(self, probabilities):
    """Adds what came of a view, [h, w, C]."""
    if self._sum is None:
      self._sum = np.zeros(
          [*self._size, probabilities.shape[-1]], np.float32)
    for row in range(0, self._size[0], _BLOCK_ROWS):
      rows = slice(row, row + _BLOCK_ROWS)
      self._sum[rows] += resize.resize_half_pixel(
          probabilities, self._size, rows)
    self._missing -= 1

  @property
  def complete(self):
    return not self._missing

  def probabilities(self):
    """Returns [H, W, C] float32, the mean over all views."""
    return self._sum / np.float32(len(self._views))

  def classes(self):
    """Returns [H, W] uint8, the most probable class of each pixel."""
    return self._sum.argmax(-1).astype(np.uint8)


class _View:
  """An image at one scale: sums its windows and hands on their mean."""

  def __init__(self, prediction, image, mirrored, window, channels):
    self._prediction = prediction
    self._channels = channels
    self._size = image.shape[:2]
    self._mirrored = mirrored
    self._window = window
    self.windows, self._padding = cut_windows(
        image[:, ::-1] if mirrored else image, window)
    self._missing = len(self.windows)
    self._sum = None

  def add(self, row, column, probabilities):
    """Adds a window's [window, window, C] at a place in the padded image."""
    probabilities = probabilities[..., self._channels]
    if self._sum is None:
      size = [side + sum(padding)
              for side, padding in zip(self._size, self._padding, strict=True)]
      self._sum = np.zeros([*size, probabilities.shape[-1]], np.float32)
      self._count = np.zeros([*size, 1], np.float32)
    area = np.s_[row:row + self._window, column:column + self._window]
    self._sum[area] += probabilities
    self._count[area] += 1
    self._missing -= 1
    if not self._missing:
      self._sum /= self._count
      (top, _), (left, _) = self._padding
      mean = self._sum[top:top + self._size[0], left:left + self._size[1]]
      self._prediction.add(mean[:, ::-1] if self._mirrored else mean)


def scaled_size(size, scale, long_side):
  """Returns the (height, width) of an image at a scale, in pixels.

  Args:
    size: (height, width) in pixels.
    scale: Factor.
    long_side: Of the image at scale 1, in pixels.
  """
  target = round(long_side * scale)
  return tuple(max(1, round(target * side / max(size))) for side in size)


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
    image: [H, W, 3], values 0 to 255.
    window: Side of a window in pixels.

  Returns:
    windows: [(row, column, [window, window, 3] float32), ...], positions in
      pixels of the padded image.
    padding: ((top, bottom), (left, right)) in pixels.
  """
  missing = [max(window - side, 0) for side in image.shape[:2]]
  padding = tuple((side // 2, side - side // 2) for side in missing)
  (top, bottom), (left, right) = padding
  height, width = image.shape[:2]
  padded = np.empty([top + height + bottom, left + width + right, 3],
                    np.float32)
  padded[:] = 255 * IMAGENET_MEAN
  padded[top:top + height, left:left + width] = image
  windows = [
      (row, column, padded[row:row + window, column:column + window])
      for row in window_starts(padded.shape[0], window)
      for column in window_starts(padded.shape[1], window)]
  return windows, padding


def predict_pairs(predict, variables, pairs):
  """Yields (anything, its Prediction), in their order.

  Args:
    predict: From `make_predict`.
    variables: 'params' and 'batch_stats'.
    pairs: Iterable of (anything, what `predict` takes for an image).
  """
  under_way = collections.deque()

  def images():
    """Yields the images and remembers what they belong to."""
    for companion, image in pairs:
      under_way.append(companion)
      yield image

  for prediction in predict(variables, images()):
    yield under_way.popleft(), prediction


def with_predictions(predict, variables, examples):
  """Yields the examples with their 'prediction', [H, W] uint8.

  Args:
    predict: From `make_predict`.
    variables: 'params' and 'batch_stats'.
    examples: Iterable of dicts with an 'image', [H, W, 3] uint8.
  """
  pairs = ((example, example['image']) for example in examples)
  for example, prediction in predict_pairs(predict, variables, pairs):
    yield example | {'prediction': prediction.classes()}
