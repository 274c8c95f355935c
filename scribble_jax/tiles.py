"""Windows cut of an image and put back, on the device: pure functions.

What a `windows.Layout` says, carried out. An image's sum is filled a tile at a
time, and only where a window reaches.
"""

import jax
import jax.numpy as jnp

from scribble_jax.normalization import IMAGENET_MEAN
from scribble_jax.windows import TILE
from scribble_jax.windows import Samples


def cut(image, layout, number):
  """Returns a window of a padded view, [rows, columns, 3], 0 to 255.

  Args:
    image: [H, W, 3] uint8, as large as its bucket.
    layout: Its `windows.Layout`.
    number: Of the window.
  """
  view, top, left = layout.windows[number]
  rows, columns = (
      _slice(jax.tree.map(lambda x: x[view], axis.of_image), start,
             len(axis.taper))
      for axis, start in ((layout.rows, top), (layout.columns, left)))
  pixels = sampled(sampled(image, rows, 0), columns, 1)
  inside = (jnp.any(rows.weight, -1)[:, None, None]
            & jnp.any(columns.weight, -1)[None, :, None])
  return jnp.where(inside, pixels, 255 * IMAGENET_MEAN[None, None])


def add(totals, slot, maps, layout, number, is_window):
  """Adds a window's maps to the sum of its image, weighted for their mean.

  Args:
    totals: [G, H, W, C] float32, sums of images of one bucket.
    slot: Number of the image.
    maps: [rows, columns, C] float32.
    layout: The image's `windows.Layout`.
    number: Of the window.
    is_window: [] bool; otherwise nothing is added.

  Returns:
    totals.
  """
  view, top, left = layout.windows[number]
  rows, columns = (
      _of_window(jax.tree.map(lambda x: x[view], axis.of_view), start,
                 len(axis.taper))
      for axis, start in ((layout.rows, top), (layout.columns, left)))
  maps = (maps * layout.rows.taper[:, None, None]
          * layout.columns.taper[None, :, None])
  first_column, end_column = _reached_tiles(columns)

  def add_rows(i, totals):
    """Adds to a row of tiles."""
    strip = sampled(maps, _slice(rows, i * TILE, TILE), 0)

    def add_tile(j, totals):
      part = sampled(strip, _slice(columns, j * TILE, TILE), 1)[None]
      place = slot, i * TILE, j * TILE, 0
      return jax.lax.dynamic_update_slice(
          totals, part + jax.lax.dynamic_slice(totals, place, part.shape),
          place)

    return jax.lax.fori_loop(first_column, end_column, add_tile, totals)

  first_row, end_row = _reached_tiles(rows)
  return jax.lax.fori_loop(
      first_row, jnp.where(is_window, end_row, first_row), add_rows, totals)


def _slice(samples, start, length):
  """Returns the Samples of some places."""
  return jax.tree.map(
      lambda x: jax.lax.dynamic_slice_in_dim(x, start, length), samples)


def _of_window(samples, start, length):
  """Returns Samples of a view as those of a window that starts in it."""
  index = samples.index - start
  neighbours = index[:, None] + jnp.arange(2)[None]
  return Samples(index, jnp.where(
      (neighbours >= 0) & (neighbours < length), samples.weight, 0.0))


def _reached_tiles(samples):
  """Returns the first tile that has weight, and the one behind the last."""
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
  """`sampled` for CPUs, on which it takes a 25th of a product's time."""
  broadcast = (1, 2) if axis == 0 else (0, 2)
  return sum(
      jnp.take(x, samples.index + side, axis, mode='clip').astype(jnp.float32)
      * jnp.expand_dims(samples.weight[:, side], broadcast)
      for side in range(2))


def _multiplied(x, samples, axis):
  """`sampled` for accelerators, which look values up one by one."""
  place = jnp.arange(x.shape[axis])[None]
  matrix = sum(
      jnp.where(samples.index[:, None] + side == place,
                samples.weight[:, side, None], 0.0) for side in range(2))
  return jnp.einsum('nh,hwk->nwk' if axis == 0 else 'nw,hwk->hnk', matrix,
                    x.astype(jnp.float32), precision='highest')
