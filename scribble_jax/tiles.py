"""Cuts windows out of an image and adds their maps up, on the device.

Pure functions that follow a `windows.Layout`. An image's sum is computed a tile
at a time, and only in the tiles that a window reaches.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from scribble_jax.normalization import IMAGENET_MEAN
from scribble_jax.windows import TILE
from scribble_jax.windows import Samples


class Window(NamedTuple):
  """A window of one of a device's G images; the fields may be stacked.

  Attributes:
    slot: Index of the image.
    number: Index of the window in the image's `windows.Layout`.
    exists: False for a place of a batch that no window is left for.
  """
  slot: jax.Array
  number: jax.Array
  exists: jax.Array


def batch_of_windows(counts, start, batch_size):
  """Returns `batch_size` of a device's windows, in the order of the images.

  Args:
    counts: [G] number of windows of each image.
    start: Number of windows in earlier batches.
    batch_size: B.

  Returns:
    Window of arrays [B].
  """
  ends = jnp.cumsum(counts)
  places = start + jnp.arange(batch_size)
  passed = places[:, None] >= ends[None]  # Images whose windows come before.
  return Window(
      slot=jnp.minimum(jnp.sum(passed, 1), len(counts) - 1),
      number=places - jnp.sum(jnp.where(passed, counts[None], 0), 1),
      exists=places < ends[-1])


def cut(image, layout, number):
  """Returns a window of a padded view, [rows, columns, 3], 0 to 255.

  Args:
    image: [H, W, 3] uint8, as large as its bucket.
    layout: Its `windows.Layout`.
    number: Index of the window.
  """
  view, top, left = layout.windows[number]
  rows = _slice(at(layout.rows.of_image, view), top,
                len(layout.rows.taper))
  columns = _slice(at(layout.columns.of_image, view), left,
                   len(layout.columns.taper))
  pixels = sampled(sampled(image, rows, 0), columns, 1)
  inside = (jnp.any(rows.weight, -1)[:, None, None]
            & jnp.any(columns.weight, -1)[None, :, None])
  return jnp.where(inside, pixels, 255 * IMAGENET_MEAN[None, None])


def add(totals, window, maps, layout):
  """Returns the sums with a window's weighted maps added to its image.

  Args:
    totals: [G, H, W, C] float32, the sums of images of one bucket.
    window: Window; nothing is added if it does not exist.
    maps: [rows, columns, C] float32.
    layout: The image's `windows.Layout`.
  """
  view, top, left = layout.windows[window.number]
  rows = _of_window(at(layout.rows.of_view, view), top,
                    len(layout.rows.taper))
  columns = _of_window(at(layout.columns.of_view, view), left,
                       len(layout.columns.taper))
  maps = (maps * layout.rows.taper[:, None, None]
          * layout.columns.taper[None, :, None])
  first_column, end_column = _reached_tiles(columns)

  def add_row_of_tiles(i, totals):
    strip = sampled(maps, _slice(rows, i * TILE, TILE), 0)

    def add_tile(j, totals):
      part = sampled(strip, _slice(columns, j * TILE, TILE), 1)[None]
      place = window.slot, i * TILE, j * TILE, 0
      return jax.lax.dynamic_update_slice(
          totals, part + jax.lax.dynamic_slice(totals, place, part.shape),
          place)

    return jax.lax.fori_loop(first_column, end_column, add_tile, totals)

  first_row, end_row = _reached_tiles(rows)
  return jax.lax.fori_loop(
      first_row, jnp.where(window.exists, end_row, first_row),
      add_row_of_tiles, totals)


def at(tree, index):
  """Returns a tree with one entry of each array, along its first axis."""
  return jax.tree.map(lambda x: x[index], tree)


def _slice(samples, start, length):
  """Returns the Samples of `length` places from `start` on."""
  return jax.tree.map(
      lambda x: jax.lax.dynamic_slice_in_dim(x, start, length), samples)


def _of_window(samples, start, length):
  """Returns Samples from a view as Samples from one of its windows."""
  index = samples.index - start
  neighbours = index[:, None] + jnp.arange(2)[None]
  return Samples(index, jnp.where(
      (neighbours >= 0) & (neighbours < length), samples.weight, 0.0))


def _reached_tiles(samples):
  """Returns the half-open range of the tiles that have weight."""
  reached = jnp.any(samples.weight.reshape(-1, 2 * TILE), -1)
  return jnp.argmax(reached), len(reached) - jnp.argmax(reached[::-1])


def sampled(x, samples, axis):
  """Returns the weighted sum of two neighbours for each place along an axis.

  Args:
    x: [h, w, K] uint8 or float32.
    samples: `windows.Samples` of N places.
    axis: 0 or 1.

  Returns:
    [N, w, K] or [h, N, K], float32.
  """
  return jax.lax.platform_dependent(
      x, samples, cpu=lambda *args: _looked_up(*args, axis),
      default=lambda *args: _multiplied(*args, axis))


def _looked_up(x, samples, axis):
  """`sampled` for CPUs: 25 times as fast there as a matrix product."""
  broadcast = (1, 2) if axis == 0 else (0, 2)
  return sum(
      jnp.take(x, samples.index + side, axis, mode='clip').astype(jnp.float32)
      * jnp.expand_dims(samples.weight[:, side], broadcast)
      for side in range(2))


def _multiplied(x, samples, axis):
  """`sampled` for accelerators, where a gather reads value by value."""
  place = jnp.arange(x.shape[axis])[None]
  matrix = sum(
      jnp.where(samples.index[:, None] + side == place,
                samples.weight[:, side, None], 0.0) for side in range(2))
  return jnp.einsum('nh,hwk->nwk' if axis == 0 else 'nw,hwk->hnk', matrix,
                    x.astype(jnp.float32), precision='highest')
