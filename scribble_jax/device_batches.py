"""Batched computation on all of this process's devices.

Items whose arrays have the same shapes are computed in one batch. Each item has
a slot of its own on one device. The program of a slot depends neither on the
number of devices nor on the other slots, and so does the result.
"""

import collections

import jax
import numpy as np

from scribble_jax import sharding

_AHEAD = 1  # Batches that wait on the devices while one is computed.
_PATIENCE = 4  # Batches' worth of items that an item of rare shape waits for.


def run(program, mesh, work, num_slots):
  """Yields (companion, result) of each item, in their order.

  Args:
    program: `tree of [mesh.size * slots, ...] -> tree` likewise, split over the
      mesh by their first axis; compiled for each combination of shapes. Empty
      slots hold zeros.
    mesh: Mesh of this process's devices.
    work: Iterable of items (companion, tree of NumPy arrays), consumed one by
      one. The companion is any object.
    num_slots: `tree -> slots a device`, a function of the shapes.
  """
  batches = _Batches(program, mesh, num_slots)
  for companion, tree in work:
    batches.add(companion, tree)
    yield from batches.take(_AHEAD)
  batches.begin_all()
  yield from batches.take(0)


def run_on_images(program, mesh, images, to_work, num_slots):
  """Yields (companion, result) of each image, in their order.

  Args:
    program: As of `run`. An image's results are [H, W, ...], at least as large
      as the image, and are cropped to its size.
    mesh: As of `run`.
    images: Iterable of (companion, image [H, W, 3], inputs).
    to_work: `(image, inputs) -> tree` of an image's arrays.
    num_slots: As of `run`.
  """
  work = (((companion, image.shape[:2]), to_work(image, inputs))
          for companion, image, inputs in images)
  for (companion, size), result in run(program, mesh, work, num_slots):
    yield companion, _at(result, tuple(map(slice, size)))


def padded(x, sides, value=0):
  """Returns [H, W, ...] padded to [*sides, ...] at the bottom and the right."""
  result = np.full([*sides, *x.shape[2:]], value, x.dtype)
  result[:x.shape[0], :x.shape[1]] = x
  return result


def _at(tree, index):
  return jax.tree.map(lambda x: x[index], tree)


class _Batches:
  """Items in three stages: waiting for a full batch, on the devices, done."""

  def __init__(self, program, mesh, num_slots):
    """Args: As of `run`."""
    self._program, self._mesh, self._num_slots = program, mesh, num_slots
    self._waiting = {}  # {shapes: [(position, companion, tree)]}, oldest first.
    self._begun = collections.deque()  # (batch as above, results on devices).
    self._done = {}  # {position: (companion, result)}
    self._added, self._taken = 0, 0

  def add(self, companion, tree):
    """Takes an item; begins batches that are full or have waited too long."""
    shapes = tuple((x.shape, x.dtype) for x in jax.tree.leaves(tree))
    batch = self._waiting.setdefault(shapes, [])
    batch.append((self._added, companion, tree))
    capacity = self._mesh.size * self._num_slots(tree)
    if len(batch) == capacity:
      self._begin(shapes)
    if self._waiting:
      oldest, ((position, *_), *_) = next(iter(self._waiting.items()))
      if self._added - position >= _PATIENCE * capacity:
        self._begin(oldest)
    self._added += 1

  def begin_all(self):
    """Begins all batches, full or not."""
    for shapes in list(self._waiting):
      self._begin(shapes)

  def take(self, ahead):
    """Yields the next results in order, so far as they are done.

    Args:
      ahead: Number of batches that may stay on the devices; others are waited
        for.
    """
    while len(self._begun) > ahead:
      self._finish()
    while self._taken in self._done:
      yield self._done.pop(self._taken)
      self._taken += 1

  def _begin(self, shapes):
    batch = self._waiting.pop(shapes)
    results = self._program(self._stacked([tree for *_, tree in batch]))
    for leaf in jax.tree.leaves(results):
      leaf.copy_to_host_async()
    self._begun.append((batch, results))

  def _finish(self):
    batch, results = self._begun.popleft()
    results = jax.device_get(results)
    for slot, (position, companion, _) in zip(
        self._slots(batch[0][-1]), batch, strict=False):
      self._done[position] = companion, _at(results, slot)

  def _slots(self, tree):
    """Returns the slots of a batch in the order in which they are filled.

    Devices take turns, so that a batch that is not full is spread over them.
    """
    slots = np.arange(self._mesh.size * self._num_slots(tree))
    return slots.reshape(self._mesh.size, -1).T.reshape(-1)

  def _stacked(self, trees):
    """Returns the trees as one, stacked by slot and split over the mesh."""
    slots = self._slots(trees[0])

    def stack(*leaves):
      stacked = np.zeros([len(slots), *leaves[0].shape], leaves[0].dtype)
      stacked[slots[:len(leaves)]] = leaves
      return stacked

    return jax.device_put(jax.tree.map(stack, *trees),
                          sharding.by_batch(self._mesh))
