"""Where the windows of whole images lie, as tables for the device (METHOD 6).

An image has views: it at each scale, mirrored or not. A view is padded to at
least a window and covered with windows. All steps from the image to a window's
pixels and back are linear and separable, so what a row or a column takes of
another grid is two of its neighbours, with weights. The tables say which. Those
of images of one `bucket` have one shape, so that they share programs.
"""

import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from scribble_jax import resize

TILE = 128  # Sides of buckets are multiples: vector registers are as wide.
_WHOLE = 64  # Likewise of views that are not cut into windows.
BLENDS = ('uniform', 'tapered')


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How whole images are predicted.

  Attributes:
    window: Side of the square windows that the network sees, in pixels; None
      for the whole image at once.
    scales: Of the image, one pass each.
    long_side: Of the image at scale 1, in pixels; None for its own.
    flip: Whether the mirrored image is predicted too, at every scale.
    blend: How windows weigh where they overlap: 'uniform', or 'tapered', less
      towards their borders, which leaves no seams.
  """
  window: int | None
  scales: tuple[float, ...]
  long_side: int | None
  flip: bool
  blend: str = 'uniform'

  @property
  def passes(self):
    """Protocols whose sum this one is, each with windows of one size."""
    if self.window is not None:
      return (self,)
    return tuple(dataclasses.replace(self, scales=(scale,))
                 for scale in self.scales)

  @property
  def views(self):
    """((scale, mirrored), ...)."""
    return tuple(itertools.product(
        self.scales, (False, True) if self.flip else (False,)))


class Samples(NamedTuple):
  """Two neighbours on a grid for each place of another one.

  Attributes:
    index: [..., N] int32, the first one's; the second one follows it.
    weight: [..., N, 2] float32 of both; 0 where there is nothing to take.
  """
  index: np.ndarray
  weight: np.ndarray


class Axis(NamedTuple):
  """The rows, or the columns, of an image and of its V views.

  Attributes:
    of_image: [V, P], what each place of a padded view takes of the image.
    of_view: [V, S], what each place of the image takes of a padded view; where
      windows overlap, their mean is in the weights.
    taper: [window] float32, how much each place of a window weighs.
  """
  of_image: Samples
  of_view: Samples
  taper: np.ndarray


class Layout(NamedTuple):
  """All windows of an image.

  Attributes:
    size: [2] int32, (height, width) of the image in pixels.
    rows: Axis.
    columns: Axis.
    windows: [N, 3] int32, each one's view and first row and column there.
    count: [] int32, how many they are; the others are void.
  """
  size: np.ndarray
  rows: Axis
  columns: Axis
  windows: np.ndarray
  count: np.ndarray


def bucket(size, protocol):
  """Returns the (height, width) that an image is padded to, in pixels.

  Each side is the window's, or 1.5, 2, 3, 4, 6, ... times as long, so that
  there are few: one for all images of VOC.

  Args:
    size: (height, width) of the image in pixels.
    protocol: Protocol.
  """
  base = math.ceil((protocol.window or 1) / TILE)
  sides = [TILE * math.ceil(base * factor * 2**octave)
           for octave in range(24) for factor in (1, 1.5)]
  return tuple(next(s for s in sides if s >= side) for side in size)


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


def taper(window, blend):
  """Returns how much each row or column of a window weighs, [window] float32.

  Args:
    window: Side of a window in pixels.
    blend: Of BLENDS.
  """
  if blend == 'uniform':
    return np.ones(window, np.float32)
  place = (np.arange(window) + 0.5) / window
  return np.float32(np.sin(np.pi * place) ** 2)


@functools.lru_cache(maxsize=64)
def layout(size, protocol):
  """Returns the Layout of an image, its tables as long as its bucket needs.

  Args:
    size: (height, width) in pixels.
    protocol: Protocol; without a window, of one scale.
  """
  sides, views = bucket(size, protocol), protocol.views
  scaled = [scaled_size(size, scale, protocol.long_side or max(size))
            for scale, _ in views]
  if protocol.window is None:
    window = tuple(_WHOLE * math.ceil(side / _WHOLE) for side in scaled[0])
    padded, num_windows = window, len(views)
  else:
    window = protocol.window, protocol.window
    padded, num_windows = _capacity(sides, protocol)
  axes = tuple(_empty_axis(len(views), *lengths, protocol.blend)
               for lengths in zip(padded, sides, window, strict=True))
  windows = []
  for view, (_, mirrored) in enumerate(views):
    starts = [_fill_axis(axis, view, size[i], scaled[view][i],
                         mirrored and i == 1) for i, axis in enumerate(axes)]
    windows += [(view, *place) for place in itertools.product(*starts)]
  table = np.zeros([num_windows, 3], np.int32)
  table[:len(windows)] = windows
  return Layout(np.int32(size), *axes, table, np.int32(len(windows)))


def _capacity(sides, protocol):
  """Returns ((rows, columns) of the largest padded views, number of windows).

  Args:
    sides: (height, width) of a bucket, of whose images these hold.
    protocol: Protocol.
  """
  lengths = [
      [max(protocol.window, math.ceil(scale * (protocol.long_side or side)) + 1)
       for side in sides] for scale, _ in protocol.views]
  return (tuple(map(max, zip(*lengths, strict=True))), sum(
      math.prod(len(window_starts(length, protocol.window)) for length in pair)
      for pair in lengths))


def _empty_axis(num_views, padded, side, window, blend):
  samples = lambda length: Samples(
      np.zeros([num_views, length], np.int32),
      np.zeros([num_views, length, 2], np.float32))
  return Axis(samples(padded), samples(side), taper(window, blend))


def _fill_axis(axis, view, length, scaled, mirrored):
  """Fills an Axis for a view; returns where windows start in it.

  Args:
    axis: Axis.
    view: Its number.
    length: Of the image along the axis, in pixels.
    scaled: Of the view, without its padding.
    mirrored: Whether the view runs the other way.
  """
  window = len(axis.taper)
  before = max(window - scaled, 0) // 2
  starts = window_starts(max(window, scaled), window)

  low, weight = resize.half_pixel_samples(length, scaled)
  order = slice(None, None, -1 if mirrored else 1)
  inside = slice(before, before + scaled)
  axis.of_image.index[view, inside] = low[order]
  axis.of_image.weight[view, inside] = weight[order]

  total = np.zeros(max(window, scaled), np.float32)
  for start in starts:
    total[start:start + window] += axis.taper
  low, weight = resize.half_pixel_samples(scaled, length)
  if mirrored:  # The second neighbour comes first.
    low, weight = scaled - 2 - low, weight[:, ::-1]
  low = low + before
  axis.of_view.index[view, :length] = low
  axis.of_view.weight[view, :length] = weight / total[
      np.clip(low[:, None] + np.arange(2), 0, len(total) - 1)]
  return starts
