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
  waiting = {}  # {shapes: [(position, companion, tree)]}, the oldest first.
  begun = collections.deque()  # (batch as above, results on the devices).
  finished = {}  # {position: (companion, result)}
  turn = 0  # Position of the next one to yield.

  def begin(shapes):
    batch = waiting.pop(shapes)
    results = program(_stacked(
        [tree for *_, tree in batch], mesh, num_slots(batch[0][-1])))
    for leaf in jax.tree.leaves(results):
      leaf.copy_to_host_async()
    begun.append((batch, results))

  def finish():
    batch, results = begun.popleft()
    results = jax.device_get(results)
    num_slots = len(jax.tree.leaves(results)[0]) // mesh.size
    for number, (position, companion, _) in enumerate(batch):
      place = _place(number, mesh.size, num_slots)
      finished[position] = companion, jax.tree.map(
          lambda x, place=place: x[place], results)

  for position, (companion, tree) in enumerate(work):
    shapes = tuple((x.shape, x.dtype) for x in jax.tree.leaves(tree))
    batch = waiting.setdefault(shapes, [])
    batch.append((position, companion, tree))
    capacity = mesh.size * num_slots(tree)
    if len(batch) == capacity:
      begin(shapes)
    oldest = next(iter(waiting), None)
    if oldest and position - waiting[oldest][0][0] >= _PATIENCE * capacity:
      begin(oldest)
    while len(begun) > _AHEAD:
      finish()
    while turn in finished:
      yield finished.pop(turn)
      turn += 1
  for shapes in list(waiting):
    begin(shapes)
  while begun:
    finish()
    while turn in finished:
      yield finished.pop(turn)
      turn += 1


def _place(number, num_devices, num_slots):
  """Returns the place of a batch's next piece: devices take turns."""
  return number % num_devices * num_slots + number // num_devices


def _stacked(trees, mesh, num_slots):
  """Returns trees as one, stacked and split over the mesh."""
  places = [_place(number, mesh.size, num_slots)
            for number in range(len(trees))]

  def stack(*leaves):
    stacked = np.zeros([mesh.size * num_slots, *leaves[0].shape],
                       leaves[0].dtype)
    stacked[places] = leaves
    return stacked

  return jax.device_put(jax.tree.map(stack, *trees), sharding.by_batch(mesh))
