"""Tables for the device with the windows of whole images (METHOD 6).

An image has views: the image at each scale, mirrored or not. A view is padded
to at least the size of a window and covered with windows. All steps from the
image to a window's pixels and back are linear and separable. Each row or column
is a weighted sum of two neighbours on another grid, and the tables hold their
indices and weights. Tables of images of one `bucket` have the same shape, so
that the images share compiled programs.
"""

import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from scribble_jax import resize

TILE = 128  # Divides the sides of buckets: the width of vector registers.
_WHOLE = 64  # Divides the sides of views that are not cut into windows.
BLENDS = ('uniform', 'tapered')


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Settings for the prediction of whole images.

  Attributes:
    window: Side of the network's square input windows in pixels; None for the
      whole image at once.
    scales: Scales at which the image is predicted.
    long_side: Longer side of the image at scale 1, in pixels; None for its own.
    flip: Whether the mirrored image is predicted too, at every scale.
    blend: Weights of overlapping windows: 'uniform', or 'tapered', smaller
      towards the borders of a window, which leaves no seams.
  """
  window: int | None
  scales: tuple[float, ...]
  long_side: int | None
  flip: bool
  blend: str = 'uniform'

  @property
  def passes(self):
    """Protocols with windows of one size each, which add up to this one."""
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
  """Two neighbours on a grid for each position on another grid.

  Attributes:
    index: [..., N] int32, index of the first neighbour; the second is the next.
    weight: [..., N, 2] float32, their weights; 0 for a missing neighbour.
  """
  index: np.ndarray
  weight: np.ndarray


class Axis(NamedTuple):
  """The rows, or the columns, of an image and of its V views.

  Attributes:
    of_image: [V, P] Samples of the image for each row of a padded view.
    of_view: [V, S] Samples of a padded view for each row of the image. The
      weights include the division by the sum of overlapping windows' tapers.
    taper: [window] float32, the weight of each row of a window.
  """
  of_image: Samples
  of_view: Samples
  taper: np.ndarray


class Layout(NamedTuple):
  """All windows of an image.

  Attributes:
    size: [2] int32, (height, width) of the image in pixels.
    rows: Axis of the rows.
    columns: Axis of the columns.
    windows: [N, 3] int32: a window's view, and its first row and column there.
    count: [] int32, number of windows; further entries are unused.
  """
  size: np.ndarray
  rows: Axis
  columns: Axis
  windows: np.ndarray
  count: np.ndarray


def bucket(size, protocol):
  """Returns the (height, width) that an image is padded to, in pixels.

  Each side is that of the window or 1.5, 2, 3, 4, 6, ... times as long, so that
  there are few buckets: one for all images of VOC.

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
    scale: Factor of the size.
    long_side: Longer side of the image at scale 1, in pixels.
  """
  target = round(long_side * scale)
  return tuple(max(1, round(target * side / max(size))) for side in size)


def window_starts(length, window):
  """Returns the first pixels of the windows along a side.

  Windows are ceil(2/3 window) apart; the last one ends at the border.

  Args:
    length: Length of the side in pixels, at least `window`.
    window: Side of a window in pixels.
  """
  stride = math.ceil(window * 2 / 3)
  last = length - window
  return [*range(0, last, stride), last]


def taper(window, blend):
  """Returns the weight of each row or column of a window, [window] float32.

  Args:
    window: Side of a window in pixels.
    blend: One of BLENDS.
  """
  if blend == 'uniform':
    return np.ones(window, np.float32)
  place = (np.arange(window) + 0.5) / window
  return np.float32(np.sin(np.pi * place) ** 2)


@functools.lru_cache(maxsize=64)
def layout(size, protocol):
  """Returns the Layout of an image, with tables of its bucket's size.

  Args:
    size: (height, width) in pixels.
    protocol: Protocol, with only one scale if it has no window.
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
  """Returns the limits ((rows, columns) of padded views, number of windows).

  Args:
    sides: (height, width) of the bucket, for whose images they hold.
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
  """Fills in an Axis for a view; returns the starts of windows in the view.

  Args:
    axis: Axis.
    view: Index of the view.
    length: Length of the image along the axis, in pixels.
    scaled: Length of the view without its padding, in pixels.
    mirrored: Whether the view is reversed along the axis.
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
  if mirrored:  # The two neighbours swap places.
    low, weight = scaled - 2 - low, weight[:, ::-1]
  low = low + before
  axis.of_view.index[view, :length] = low
  axis.of_view.weight[view, :length] = weight / total[
      np.clip(low[:, None] + np.arange(2), 0, len(total) - 1)]
  return starts
