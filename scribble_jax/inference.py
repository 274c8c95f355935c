"""Prediction of whole images, computed on the device (METHOD 6).

An image is copied to the device once, at its own size. There it is resized to
several scales, and each scale is cut into windows. The windows' probabilities
are averaged where they overlap, and then over the scales. All images of a
bucket of sizes (windows.py) share one compiled program, which runs on all
devices and on several images at a time.
"""

import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribble_jax import device_batches
from scribble_jax import memory
from scribble_jax import resize
from scribble_jax import sharding
from scribble_jax import tiles
from scribble_jax import windows

_REMEDY = ('Lower --config.evaluation.batch_size, or --config.data.crop_size; '
           'cut images of many megapixels into tiles.')
# Windows that a device computes at once. On two cores of a CPU 1 takes 2.3 s,
# 2 take 4.6 s and more memory (ResNet-50, DeepLabV2, 465 pixels).
_BATCH_SIZE, _BATCH_SIZE_ON_CPU = 16, 1
# Pixels of all images that a device holds at once; their sums take memory.
_MAX_PIXELS = 2**22


class _Work(NamedTuple):
  """The arrays of an image that are copied to the device.

  Attributes:
    image: [H, W, 3] uint8, padded to its bucket.
    layouts: A Layout of each of the protocol's passes.
    inputs: Tree of arrays for `finish`.
  """
  image: np.ndarray
  layouts: tuple[windows.Layout, ...]
  inputs: Any


def multi_scale_probabilities(model, variables, image, protocol, *,
                              batch_size=None, mesh=None):
  """Returns the class probabilities of one image.

  Args:
    model: Network that returns (logits, features).
    variables: 'params' and 'batch_stats'.
    image: [H, W, 3] uint8 RGB.
    protocol: `windows.Protocol`.
    batch_size: As of `make_predict`.
    mesh: Mesh of this process's devices; all of them by default.

  Returns:
    [H, W, C] float32.
  """
  predict = make_predict(
      model, mesh or sharding.local_mesh(), protocol, batch_size=batch_size,
      finish=probabilities)
  ((_, mean),) = predict(variables, [(None, image, ())])
  return mean


def make_predict(model, mesh, protocol, *, batch_size=None, maps=None,
                 finish=None):
  """Returns the function `(variables, images) -> iterator`.

  `images` is an iterable of (companion, image, inputs): any object, which is
  returned with the result; [H, W, 3] uint8 RGB of any size; a tree of arrays
  for `finish`. The iterator yields (companion, result) in the same order; the
  result is what `finish` returns, as NumPy arrays. A result depends only on its
  image, not on the other images of its batch, nor on the number of devices.
  Each process predicts its own images.

  Args:
    model: Network.
    mesh: Mesh of this process's devices.
    protocol: `windows.Protocol`.
    batch_size: Number of windows that a device computes at once, which decides
      how much memory it needs; None chooses it by platform.
    maps: What is averaged over windows and views: `(model, variables, pixels
      [B, H, W, 3] in [0, 255]) -> [B, H, W, C]`; `class_probabilities` by
      default.
    finish: What is computed from the average: `(mean [H, W, C], image
      [H, W, 3], size [2], inputs) -> tree of [H, W, ...]`, all as large as the
      image's bucket; the results are cropped to `size`. `most_probable` by
      default.
  """
  if batch_size is None:
    batch_size = (
        _BATCH_SIZE_ON_CPU if sharding.on_cpu(mesh) else _BATCH_SIZE)
  program = _Program(
      _make_add_windows(maps or class_probabilities, model, mesh, batch_size),
      make_finish(finish or most_probable, mesh, len(protocol.views)), mesh)

  def predict(variables, images):
    """Returns an iterator of (companion, result)."""
    variables = jax.device_put(variables, sharding.replicated(mesh))
    return device_batches.run_on_images(
        functools.partial(program, variables), mesh, images,
        functools.partial(_to_work, protocol),
        functools.partial(_num_slots, batch_size))

  return predict


class _Program:
  """The programs that compute the results of a batch of images."""

  def __init__(self, add_windows, finish, mesh):
    """Args: from `_make_add_windows` and `make_finish`, and their mesh."""
    self._add_windows, self._finish, self._mesh = add_windows, finish, mesh
    self._checked = set()  # Shapes that are known to fit into memory.

  @memory.shortage_named(_REMEDY)
  def __call__(self, variables, work):
    """Returns the results for a _Work whose arrays are stacked and sharded."""
    totals = None
    for layout in work.layouts:
      args = variables, work.image, layout, totals
      self._check_memory(args)
      totals = self._add_windows(*args)
    return self._finish(totals, work.image, layout.size, work.inputs)

  def _check_memory(self, args):
    """Raises UserError if the machine has too little memory for a call."""
    shapes = str(jax.tree.map(jnp.shape, args[1:]))
    if shapes not in self._checked:  # The call reuses what is compiled here.
      memory.require(
          self._add_windows.lower(*args).compile(), self._mesh, _REMEDY)
      self._checked.add(shapes)


def _to_work(protocol, image, inputs):
  """Returns the _Work of an image [H, W, 3]."""
  size = image.shape[:2]
  return _Work(
      device_batches.padded(image, windows.bucket(size, protocol)),
      tuple(windows.layout(size, part) for part in protocol.passes), inputs)


def _num_slots(batch_size, work):
  """Returns the number of images of a bucket that a device holds at once."""
  height, width, _ = work.image.shape
  return max(1, min(batch_size, _MAX_PIXELS // (height * width)))


def class_probabilities(model, variables, images):
  """Returns the probabilities [B, H, W, C] of pixels [B, H, W, 3]."""
  logits, _ = model.apply(
      variables, model.backbone.normalize(images), train=False)
  return jax.nn.softmax(resize.to_pixels(
      logits, images.shape[1:3], model.backbone.patch))


def most_probable(mean, image, size, inputs):
  """A `finish` that returns each pixel's class, [H, W] uint8."""
  del image, size, inputs
  return jnp.argmax(mean, -1).astype(jnp.uint8)


def probabilities(mean, image, size, inputs):
  """A `finish` that returns the mean itself, [H, W, C]."""
  del image, size, inputs
  return mean


def both(mean, *args):
  """A `finish` that returns each pixel's class and the mean."""
  return most_probable(mean, *args), probabilities(mean, *args)


@functools.lru_cache(maxsize=8)
def _make_add_windows(maps, model, mesh, batch_size):
  """Returns a compiled `(variables, images, layouts, totals) -> totals`.

  `images` are [B, H, W, 3], `layouts` their stacked Layouts, and `totals`
  [B, H, W, C] the sums so far, or None before the first pass.
  """
  def add_windows(variables, images, layouts, totals):
    """Adds all windows of one device's images, `batch_size` at a time."""
    compute_maps = functools.partial(maps, model, variables)
    if totals is None:
      totals = _zeros(compute_maps, images, layouts, batch_size)
    num_windows = jnp.sum(layouts.count)

    def add_batch(carry):
      start, totals = carry
      batch = tiles.batch_of_windows(layouts.count, start, batch_size)
      pixels = jax.lax.map(
          lambda window: tiles.cut(
              *tiles.at((images, layouts), window.slot), window.number), batch)
      totals, _ = jax.lax.scan(
          functools.partial(_add_window, layouts), totals,
          (batch, compute_maps(pixels)))
      return start + batch_size, totals

    _, totals = jax.lax.while_loop(
        lambda carry: carry[0] < num_windows, add_batch,
        (jnp.int32(0), totals))
    return totals

  # Without `sharding.compiler_options`: they are for gradients, and would take
  # five times the memory on a CPU.
  split = jax.P(mesh.axis_names)
  return jax.jit(jax.shard_map(
      add_windows, mesh=mesh, in_specs=(jax.P(), split, split, split),
      out_specs=split, check_vma=False), donate_argnums=3)


def _zeros(compute_maps, images, layouts, batch_size):
  """Returns the sums before the first window, [G, H, W, C]."""
  sides = [len(axis.taper[0]) for axis in (layouts.rows, layouts.columns)]
  maps = jax.eval_shape(compute_maps, jax.ShapeDtypeStruct(
      (batch_size, *sides, 3), jnp.float32))
  return jnp.zeros([*images.shape[:3], maps.shape[-1]])


def _add_window(layouts, totals, window_and_maps):
  """Adds a `tiles.Window` and its maps; a step of `jax.lax.scan`."""
  window, maps = window_and_maps
  return tiles.add(totals, window, maps, tiles.at(layouts, window.slot)), None


@functools.lru_cache(maxsize=8)
def make_finish(finish, mesh, num_views=1):
  """Returns a compiled `(totals, images, sizes, inputs, shared=())` -> results.

  `shared` is a tuple of further arguments of `finish`, the same for all images.

  Args:
    finish: As of `make_predict`; called for each slot that holds an image.
    mesh: Mesh of this process's devices.
    num_views: Number of views, by which totals are divided. Where totals are
      None, because no network was applied, `finish` gets None.
  """
  def finish_slot(shared, slot):
    """Returns the results of a slot, zeros if it holds no image."""
    totals, image, size, inputs = slot
    mean = None if totals is None else totals / num_views
    run = lambda: finish(mean, image, size, inputs, *shared)
    return jax.lax.cond(size[0] > 0, run, lambda: jax.tree.map(
        jnp.zeros_like, jax.eval_shape(run)))

  def finish_slots(slots, shared):
    return jax.lax.map(functools.partial(finish_slot, shared), slots)

  split = jax.P(mesh.axis_names)
  finish_all = jax.shard_map(
      finish_slots, mesh=mesh, in_specs=(split, jax.P()), out_specs=split,
      check_vma=False)
  return jax.jit(lambda *slots, shared=(): finish_all(slots, shared))


def with_predictions(predict, variables, examples):
  """Yields the examples with their 'prediction', [H, W] uint8.

  Args:
    predict: From `make_predict`.
    variables: 'params' and 'batch_stats'.
    examples: Iterable of dicts with an 'image', [H, W, 3] uint8.
  """
  for example, prediction in predict(variables, (
      (example, example['image'], ()) for example in examples)):
    yield example | {'prediction': prediction}
