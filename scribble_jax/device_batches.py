"""Work of few shapes, in batches, on all of this process's devices.

Each piece of work has a slot of its own on one device, whose program does not
depend on the number of devices or on what is in the other slots: nor does what
comes of it.
"""

import collections

import jax
import numpy as np

from scribble_jax import sharding

_AHEAD = 1  # Batches that wait on the devices while one is being computed.
_PATIENCE = 4  # Batches that may come before a piece of work of rare shape.


def run(program, mesh, work, num_slots):
  """Yields (companion, result) of each piece of work, in their order.

  Args:
    program: `tree of [mesh.size * slots, ...] -> tree` likewise, split over the
      mesh by their first axis; compiled for each tuple of shapes. Slots
      without work hold zeros.
    mesh: Of this process's devices.
    work: Iterable of (companion, tree of NumPy arrays), used up one by one. The
      companion is anything; arrays of the same shapes share batches.
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
      as the image, and are cut to its size.
    mesh: As of `run`.
    images: Iterable of (companion, image [H, W, 3], inputs).
    to_work: `(image, inputs) -> tree`, an image's piece of work.
    num_slots: As of `run`.
  """
  for (companion, size), result in run(
      program, mesh,
      (((companion, image.shape[:2]), to_work(image, inputs))
       for companion, image, inputs in images), num_slots):
    yield companion, jax.tree.map(
        lambda x, size=size: x[:size[0], :size[1]], result)


def padded(x, sides, value=0):
  """Returns [H, W, ...] as [*sides, ...], with a value behind it."""
  result = np.full([*sides, *x.shape[2:]], value, x.dtype)
  result[:x.shape[0], :x.shape[1]] = x
  return result


class _Batches:
  """Work on its way: waiting for its like, on the devices, done."""

  def __init__(self, program, mesh, num_slots):
    """Args: As of `run`."""
    self._program, self._mesh, self._num_slots = program, mesh, num_slots
    self._waiting = {}  # {shapes: [(position, companion, tree)]}, oldest first.
    self._begun = collections.deque()  # (batch as above, results on devices).
    self._done = {}  # {position: (companion, result)}
    self._added, self._taken = 0, 0

  def add(self, companion, tree):
    """Takes a piece of work; begins batches that should not wait longer."""
    shapes = tuple((x.shape, x.dtype) for x in jax.tree.leaves(tree))
    batch = self._waiting.setdefault(shapes, [])
    batch.append((self._added, companion, tree))
    capacity = self._mesh.size * self._num_slots(tree)
    if len(batch) == capacity:
      self._begin(shapes)
    for oldest, ((position, *_), *_) in list(self._waiting.items())[:1]:
      if self._added - position >= _PATIENCE * capacity:
        self._begin(oldest)
    self._added += 1

  def begin_all(self):
    """Begins the batches that are not full either."""
    for shapes in list(self._waiting):
      self._begin(shapes)

  def take(self, ahead):
    """Yields what is done and due; waits until few enough are under way."""
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
    for place, (position, companion, _) in zip(
        self._places(batch[0][-1]), batch, strict=False):
      self._done[position] = companion, jax.tree.map(
          lambda x, place=place: x[place], results)

  def _places(self, tree):
    """Returns the slots of a batch, in turns from device to device."""
    slots = np.arange(self._mesh.size * self._num_slots(tree))
    return slots.reshape(self._mesh.size, -1).T.reshape(-1)

  def _stacked(self, trees):
    """Returns trees as one, stacked and split over the mesh."""
    places = self._places(trees[0])

    def stack(*leaves):
      stacked = np.zeros([len(places), *leaves[0].shape], leaves[0].dtype)
      stacked[places[:len(leaves)]] = leaves
      return stacked

    return jax.device_put(jax.tree.map(stack, *trees),
                          sharding.by_batch(self._mesh))
