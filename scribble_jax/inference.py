"""Whole images through a network of one compiled shape (METHOD 6).

An image is resized to several scales, each of which is cut into windows. The
windows' probabilities are averaged where they overlap, the scales' over all.
Windows of all scales and of several images share a batch, which is split over
the devices; what comes of them stays there (tiles.py).
"""

import collections
import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

import jax
import numpy as np

from scribble_jax import memory
from scribble_jax import resize
from scribble_jax import sharding
from scribble_jax import tiles
from scribble_jax.normalization import IMAGENET_MEAN
from scribble_jax.normalization import normalize

_MAX_PIXELS = 2**25  # Of images that share a batch: their sums take memory.
# Windows a batch unless given. On two cores of a CPU 2 take 1.8 s each, 4 take
# 1.8 s too and twice the memory (ResNet-50, DeepLabV2, 465 pixels).
_BATCH_SIZE, _BATCH_SIZE_ON_CPU = 16, 2


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
                              batch_size=None, mesh=None):
  """Returns the class probabilities of one image.

  Args:
    model: Network that returns (logits, features).
    variables: 'params' and 'batch_stats'.
    image: [H, W, 3] uint8 RGB.
    protocol: A Protocol.
    batch_size: As of `make_predict`.
    mesh: Of this process's devices; all of them unless given.

  Returns:
    [H, W, C] float32.
  """
  predict = make_predict(model, mesh or sharding.local_mesh(), protocol,
                         batch_size=batch_size)
  (prediction,) = predict(variables, [image])
  return prediction.probabilities()


def make_predict(model, mesh, protocol, *, batch_size=None, maps=None):
  """Returns `(variables, images) -> iterator of Predictions`, in their order.

  Images are [H, W, 3] uint8 RGB of any sizes; a pair of image and channel
  indices asks for some of the maps alone. Each process predicts on its own.

  Args:
    model: Network.
    mesh: Of this process's devices.
    protocol: A Protocol.
    batch_size: Windows a batch over all of them; rounded up so that each of
      them gets as many. It decides the memory, not the result. None: what
      suits the platform.
    maps: What to average over windows and views: `(model, variables,
      normalised [B, H, W, 3]) -> [B, H, W, C]`; `class_probabilities` unless
      given.
  """
  maps = maps or class_probabilities
  batch_size = _rounded_batch_size(batch_size, mesh)
  window_maps = _make_window_maps(maps, model, protocol.window, mesh)

  def predict(variables, images):
    """Yields Predictions as soon as their windows are under way."""
    variables = jax.device_put(variables, sharding.replicated(mesh))
    incomplete, batch, before = collections.deque(), [], None

    @memory.shortage_named(tiles.REMEDY)
    def flush():
      """Runs the windows that wait."""
      nonlocal before, batch
      pixels = np.zeros([batch_size, protocol.window, protocol.window, 3],
                        np.float32)
      for place, (_, window) in enumerate(batch):
        pixels[place] = window.pixels
      pixels = jax.device_put(pixels, sharding.by_batch(mesh))
      if before is None:  # The call below finds the program compiled.
        memory.require(
            window_maps.lower(variables, pixels).compile(), mesh, tiles.REMEDY)
      results = window_maps(variables, pixels)
      _add_to_images(results, batch)
      jax.block_until_ready(before)  # Or a large image would pile up.
      before, batch = results, []

    for image in images:
      image, channels = image if isinstance(image, tuple) else (image, None)
      prediction = tiles.Prediction(image.shape[:2], protocol, mesh, channels)
      incomplete.append(prediction)
      for window in _windows(image, protocol):
        batch.append((prediction, window))
        if len(batch) == batch_size:
          flush()
      if batch and sum(x.num_pixels for x in incomplete) > _MAX_PIXELS:
        flush()
      while incomplete and not (batch and batch[0][0] is incomplete[0]):
        yield incomplete.popleft()
    if batch:
      flush()
    yield from incomplete

  return predict


def _rounded_batch_size(batch_size, mesh):
  """Returns how many windows make a batch; see `make_predict`."""
  if batch_size is None:
    on_cpu = mesh.devices.flat[0].platform == 'cpu'
    batch_size = _BATCH_SIZE_ON_CPU if on_cpu else _BATCH_SIZE
  return mesh.size * math.ceil(batch_size / mesh.size)


def _add_to_images(results, batch):
  """Adds what came of a batch's (Prediction, _Window) pairs to their images."""
  for prediction, group in itertools.groupby(
      enumerate(batch), key=lambda item: item[1][0]):
    prediction.add(results, {place: (window.rows, window.columns)
                             for place, (_, window) in group})


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
  # Without `sharding.compiler_options`: they are for gradients, and would take
  # five times the memory on a CPU.
  return jax.jit(window_maps, in_shardings=(replicated, by_batch),
                 out_shardings=by_batch)


class _Window(NamedTuple):
  """What the network sees of an image, and what the image takes of it."""
  pixels: np.ndarray  # [window, window, 3].
  rows: tiles.Samples
  columns: tiles.Samples


def _windows(image, protocol):
  """Yields an image's windows, view by view: those of big images take memory.

  Args:
    image: [H, W, 3] uint8.
    protocol: A Protocol.
  """
  long_side = protocol.long_side or max(image.shape[:2])
  mirrorings = (False, True) if protocol.flip else (False,)
  for scale, mirrored in itertools.product(protocol.scales, mirrorings):
    size = scaled_size(image.shape[:2], scale, long_side)
    view = resize.resize_half_pixel(image, size)
    cut, padding = cut_windows(
        view[:, ::-1] if mirrored else view, protocol.window)
    rows, columns = (
        tiles.make_samples(
            image.shape[axis], size[axis], padding[axis],
            window_starts(size[axis] + sum(padding[axis]), protocol.window),
            protocol.window, mirrored=mirrored and axis == 1)
        for axis in range(2))
    for row, column, pixels in cut:
      yield _Window(pixels, rows[row], columns[column])


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
