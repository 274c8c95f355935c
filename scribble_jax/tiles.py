"""The mean of an image's windows, kept on the devices that made them.

All that follows a network is linear and separable: the mean where windows
overlap, padding taken off, mirroring back, resizing to the image's size, the
mean over views. So a row of the image is two weighted rows of a window, and a
column likewise (`Samples`). One compiled program adds any batch of windows to a
tile of any image; tiles of one shape cover images of all sizes. Each device
sums its own windows; the devices' sums meet when the image is asked for. Until
then an image takes 4 bytes a pixel and map on each, sides rounded up to tiles.
"""

import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribble_jax import memory
from scribble_jax import resize
from scribble_jax import sharding

REMEDY = ('Lower --config.evaluation.batch_size, or --config.data.crop_size; '
          'cut images of many megapixels into tiles.')
_SIDE_MULTIPLE = 128  # Vector registers and matrix units are as wide.


class Samples(NamedTuple):
  """What the rows, or the columns, of an image take of one window.

  Attributes:
    index: [..., 2] int32, two of the window's rows for each of the image's.
    weight: [..., 2] float32, 0 where the window does not reach.
  """
  index: np.ndarray
  weight: np.ndarray


def tile_side(window):
  """Returns the side of the tiles for windows of a side, both in pixels."""
  return _SIDE_MULTIPLE * math.ceil(window / _SIDE_MULTIPLE)


def make_samples(length, scaled, padding, starts, window, mirrored=False):
  """Returns what an axis of an image takes of the windows of a view.

  Args:
    length: Of the image along the axis, in pixels.
    scaled: Of the view, without its padding.
    padding: (before, after) of the view.
    starts: Of the windows, in pixels of the padded view.
    window: Side of a window.
    mirrored: Whether the view runs the other way.

  Returns:
    {start: Samples of [tiles, tile_side, 2]}. A pixel's weights sum to 1 over
    all starts; behind the image's end they are 0.
  """
  left, right, fraction = resize.half_pixel_samples(scaled, length)
  place = np.stack([left, right], axis=-1)
  weight = np.stack([1 - fraction, fraction], axis=-1)
  if mirrored:
    place = scaled - 1 - place
  place = place + padding[0]
  count = np.zeros(scaled + sum(padding), np.float32)
  for start in starts:
    count[start:start + window] += 1
  weight = weight / count[place]
  side = tile_side(window)
  shape = [math.ceil(length / side), side, 2]
  samples = {}
  for start in starts:
    index = place - start
    inside = (index >= 0) & (index < window)
    part = Samples(np.zeros(shape, np.int32), np.zeros(shape, np.float32))
    part.index.reshape(-1, 2)[:length] = np.where(inside, index, 0)
    part.weight.reshape(-1, 2)[:length] = np.where(inside, weight, 0)
    samples[start] = part
  return samples


class Prediction:
  """What the network says about one image, once all its windows are added."""

  def __init__(self, size, protocol, mesh, channels=None):
    """Covers an image with tiles.

    Args:
      size: (height, width) of the image in pixels.
      protocol: `inference.Protocol`.
      mesh: Of this process's devices.
      channels: Indices of the maps to keep; all unless given.
    """
    self._size = size
    self._side = tile_side(protocol.window)
    self._num_views = len(protocol.scales) * (1 + protocol.flip)
    self._mesh = mesh
    self._channels = (
        None if channels is None else np.asarray(channels, np.int32))
    self._tiles = {}  # {(row, column): a sum on each device}.

  def add(self, maps, windows):
    """Adds windows of a batch.

    Args:
      maps: [B, window, window, C], its batch split over the mesh.
      windows: {place in the batch: (Samples of rows, Samples of columns)}.
    """
    rows, columns = (
        _batched(dict(zip(windows, samples, strict=True)), len(maps))
        for samples in zip(*windows.values(), strict=True))
    add = _make_add(self._mesh)
    for i, j in itertools.product(
        range(len(rows.index)), range(len(columns.index))):
      of_rows, of_columns = (Samples(samples.index[tile], samples.weight[tile])
                             for samples, tile in ((rows, i), (columns, j)))
      if np.any(_reach(of_rows) & _reach(of_columns)):
        tile = self._tiles.pop((i, j), None)
        if tile is None:
          tile = self._empty_tile(maps)
        self._tiles[i, j] = add(tile, maps, *jax.device_put(
            (of_rows, of_columns), sharding.by_batch(self._mesh)),
                                self._channels)

  def _empty_tile(self, maps):
    num_channels = (
        maps.shape[-1] if self._channels is None else len(self._channels))
    return jnp.zeros(
        [self._mesh.size, self._side, self._side, num_channels],
        device=sharding.by_batch(self._mesh))

  @property
  def num_pixels(self):
    """Of the image."""
    return math.prod(self._size)

  def probabilities(self):
    """Returns [H, W, C] float32, the mean over all views.

    To be called on every host, as the next one is.
    """
    total = self._assembled(_make_total(self._mesh))
    total /= np.float32(self._num_views)
    return total

  def classes(self):
    """Returns [H, W] uint8, the most probable class of each pixel."""
    return self._assembled(_make_classes(self._mesh))

  @memory.shortage_named(REMEDY)
  def _assembled(self, finish):
    """Returns [H, W, ...] of what `finish` makes of each tile, in its turn."""
    result = None
    for (i, j), tile in self._tiles.items():
      values = jax.device_get(finish(tile))
      if result is None:
        result = np.empty([*self._size, *values.shape[2:]], values.dtype)
      row, column = i * self._side, j * self._side
      area = result[row:row + self._side, column:column + self._side]
      area[...] = values[:area.shape[0], :area.shape[1]]
    return result


def _batched(samples_by_place, batch_size):
  """Returns Samples [tiles, B, tile_side, 2], 0 at places without any."""
  (tiles, *shape) = next(iter(samples_by_place.values())).index.shape
  shape = [tiles, batch_size, *shape]
  batched = Samples(np.zeros(shape, np.int32), np.zeros(shape, np.float32))
  for place, samples in samples_by_place.items():
    batched.index[:, place] = samples.index
    batched.weight[:, place] = samples.weight
  return batched


def _reach(samples):
  """Returns which of a batch's windows have weight in a tile, [B] bool."""
  return samples.weight.any((-2, -1))


@functools.lru_cache(maxsize=8)
def _make_add(mesh):
  """Returns a compiled `(tile, maps, rows, columns, channels) -> tile`."""
  def add(tile, maps, rows, columns, channels):
    """Adds a device's [b, window, window, C] to its [1, side, side, C]."""
    def add_window(tile, one):
      maps, rows, columns = one
      if channels is not None:
        maps = maps[..., channels]
      return tile + _sampled(_sampled(maps, rows, 0), columns, 1)

    def add_reaching(tile, one):
      _, rows, columns = one
      return jax.lax.cond(_reach(rows) & _reach(columns), add_window,
                          lambda tile, one: tile, tile, one), None

    tile, _ = jax.lax.scan(add_reaching, tile[0], (maps, rows, columns))
    return tile[None]

  split = jax.P(mesh.axis_names)
  return jax.jit(
      jax.shard_map(add, mesh=mesh, out_specs=split,
                    in_specs=(split, split, split, split, jax.P())),
      donate_argnums=0)


def _sampled(x, samples, axis):
  """Returns the weighted sum of two samples of x for each along an axis."""
  # On a CPU looking two values up is 25 times as fast as a product with a
  # matrix of the weights, nearly all of them 0.
  broadcast = (1, 2) if axis == 0 else (0, 2)
  return sum(
      jnp.take(x, samples.index[:, side], axis, mode='clip')
      * jnp.expand_dims(samples.weight[:, side], broadcast)
      for side in range(2))


@functools.lru_cache(maxsize=8)
def _make_total(mesh):
  """Returns a compiled `tile -> [side, side, C]`, the devices' sum."""
  return jax.jit(lambda tile: jnp.sum(tile, axis=0),
                 out_shardings=sharding.replicated(mesh))


@functools.lru_cache(maxsize=8)
def _make_classes(mesh):
  """Returns a compiled `tile -> [side, side] uint8`, the largest sum's."""
  return jax.jit(
      lambda tile: jnp.argmax(jnp.sum(tile, axis=0), -1).astype(jnp.uint8),
      out_shardings=sharding.replicated(mesh))
