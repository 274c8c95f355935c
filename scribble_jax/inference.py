"""Whole images through a network, wholly on the device (METHOD 6).

An image goes up once, as it is. There it is resized to several scales, each of
which is cut into windows; the windows' probabilities are averaged where they
overlap, the scales' over all. That is one compiled program for all images of a
bucket of sizes (windows.py), on all devices, several images at a time.
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
# Windows at once on a device. On two cores of a CPU 1 takes 2.3 s, 2 take 4.6 s
# and more memory (ResNet-50, DeepLabV2, 465 pixels).
_BATCH_SIZE, _BATCH_SIZE_ON_CPU = 16, 1
_MAX_PIXELS = 2**22  # Of images at once on a device: their sums take memory.


class _Work(NamedTuple):
  """What is done with an image: all that goes to the device."""
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
    mesh: Of this process's devices; all of them unless given.

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
  """Returns `(variables, images) -> iterator`, in their order.

  `images` are (companion, image, inputs): anything, which comes back with the
  result; [H, W, 3] uint8 RGB of any size; a tree of arrays for `finish`. The
  iterator yields (companion, result), what `finish` returns, as NumPy arrays.
  A result depends on its image alone, not on those that share a batch with it,
  nor on the number of devices. Each process predicts on its own.

  Args:
    model: Network.
    mesh: Of this process's devices.
    protocol: `windows.Protocol`.
    batch_size: Windows at once on a device, which decide the memory. None:
      what suits the platform.
    maps: What to average over windows and views: `(model, variables, pixels
      [B, H, W, 3] in [0, 255]) -> [B, H, W, C]`; `class_probabilities` unless
      given.
    finish: What to make of that: `(mean [H, W, C], image [H, W, 3], size [2],
      inputs) -> tree of [H, W, ...]`, of arrays as large as the image's bucket,
      whose results are cut to `size`; `most_probable` unless given.
  """
  if batch_size is None:
    batch_size = (
        _BATCH_SIZE_ON_CPU if sharding.on_cpu(mesh) else _BATCH_SIZE)
  add_windows = _make_add_windows(
      maps or class_probabilities, model, mesh, batch_size)
  finish_all = make_finish(
      finish or most_probable, mesh, len(protocol.views))
  compiled = set()

  @memory.shortage_named(_REMEDY)
  def compute(variables, work):
    """Returns what `finish` makes of a batch of images."""
    totals = None
    for layout in work.layouts:
      args = variables, work.image, layout, totals
      shapes = str(jax.tree.map(jnp.shape, args[1:]))
      if shapes not in compiled:  # The call below finds the program compiled.
        memory.require(add_windows.lower(*args).compile(), mesh, _REMEDY)
        compiled.add(shapes)
      totals = add_windows(*args)
    return finish_all(totals, work.image, layout.size, work.inputs)

  def predict(variables, images):
    """Returns an iterator of (companion, result)."""
    variables = jax.device_put(variables, sharding.replicated(mesh))
    return device_batches.run_on_images(
        functools.partial(compute, variables), mesh, images,
        functools.partial(_to_work, protocol),
        functools.partial(_num_slots, batch_size))

  return predict


def _to_work(protocol, image, inputs):
  """Returns the _Work of [H, W, 3]."""
  size = image.shape[:2]
  return _Work(
      device_batches.padded(image, windows.bucket(size, protocol)),
      tuple(windows.layout(size, part) for part in protocol.passes), inputs)


def _num_slots(batch_size, work):
  """Returns how many images of a bucket a device takes at once."""
  pixels = work.image.shape[0] * work.image.shape[1]
  return max(1, min(batch_size, _MAX_PIXELS // pixels))


def class_probabilities(model, variables, images):
  """What stage 2's network says of pixels [B, H, W, 3]: [B, H, W, C]."""
  logits, _ = model.apply(
      variables, model.backbone.normalize(images), train=False)
  return jax.nn.softmax(resize.to_pixels(
      logits, images.shape[1:3], model.backbone.patch))


def most_probable(mean, image, size, inputs):
  """Finishes with each pixel's class, [H, W] uint8."""
  del image, size, inputs
  return jnp.argmax(mean, -1).astype(jnp.uint8)


def probabilities(mean, image, size, inputs):
  """Finishes with the mean itself, [H, W, C]."""
  del image, size, inputs
  return mean


def both(mean, *args):
  """Finishes with the class of each pixel and the probabilities."""
  return most_probable(mean, *args), probabilities(mean, *args)


@functools.lru_cache(maxsize=8)
def _make_add_windows(maps, model, mesh, batch_size):
  """Returns a compiled `(variables, images, layouts, totals) -> totals`.

  Of images [B, H, W, 3], their stacked Layouts, and [B, H, W, C] sums, None
  for those without any yet.
  """
  def add_windows(variables, images, layouts, totals):
    """Adds the windows of a device's G images, some at a time."""
    ends = jnp.cumsum(layouts.count)
    size = [len(axis.taper[0]) for axis in (layouts.rows, layouts.columns)]
    window_maps = lambda pixels: maps(model, variables, pixels)
    if totals is None:
      shape = jax.eval_shape(window_maps, jax.ShapeDtypeStruct(
          (batch_size, *size, 3), jnp.float32))
      totals = jnp.zeros([*images.shape[:3], shape.shape[-1]])

    def of_image(slot, tree):
      return jax.tree.map(lambda x: x[slot], tree)

    def add_some(carry):
      """Adds the windows from `start` on, as many as make a batch."""
      start, totals = carry
      places = start + jnp.arange(batch_size)
      passed = places[:, None] >= ends[None]
      slots = jnp.minimum(jnp.sum(passed, 1), len(images) - 1)
      numbers = places - jnp.sum(jnp.where(passed, layouts.count[None], 0), 1)
      pixels = jax.lax.map(lambda window: tiles.cut(
          images[window[0]], of_image(window[0], layouts), window[1]),
                           (slots, numbers))

      def add_one(totals, window):
        slot, number, place, maps = window
        return tiles.add(totals, slot, maps, of_image(slot, layouts), number,
                         place < ends[-1]), None

      totals, _ = jax.lax.scan(
          add_one, totals, (slots, numbers, places, window_maps(pixels)))
      return start + batch_size, totals

    return jax.lax.while_loop(lambda carry: carry[0] < ends[-1], add_some,
                              (jnp.int32(0), totals))[1]

  # Without `sharding.compiler_options`: they are for gradients, and would take
  # five times the memory on a CPU.
  split = jax.P(mesh.axis_names)
  return jax.jit(jax.shard_map(
      add_windows, mesh=mesh, in_specs=(jax.P(), split, split, split),
      out_specs=split, check_vma=False), donate_argnums=3)


@functools.lru_cache(maxsize=8)
def make_finish(finish, mesh, num_views=1):
  """Returns a compiled `(totals, images, sizes, inputs, shared=())` -> results.

  `shared` is a tuple of what `finish` gets besides, the same for all images.

  Args:
    finish: As of `make_predict`; called for each slot with an image.
    mesh: Of this process's devices.
    num_views: What totals are divided by. Where they are None, without a
      network, `finish` gets None.
  """
  def finish_one(shared, image):
    """Returns the results of a slot, 0 if it holds no image."""
    totals, image, size, inputs = image
    mean = None if totals is None else totals / num_views
    run = lambda: finish(mean, image, size, inputs, *shared)
    nothing = jax.eval_shape(run)
    return jax.lax.cond(size[0] > 0, run, lambda: jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), nothing))

  split = jax.P(mesh.axis_names)
  finish_all = jax.shard_map(
      lambda images, shared: jax.lax.map(
          functools.partial(finish_one, shared), images),
      mesh=mesh, in_specs=(split, jax.P()), out_specs=split, check_vma=False)
  return jax.jit(
      lambda *images, shared=(): finish_all(images, shared))


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
