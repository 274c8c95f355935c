"""The device mesh, the sharding of arrays, and XLA's options.

The batch is split over all devices of the mesh. Parameters and the optimizer's
state are split along the axis 'model', and gathered when needed, as in FSDP.
"""

import functools
import math

import jax
from jax.sharding import AxisType
from jax.sharding import NamedSharding
import numpy as np

from scribble_jax.errors import UserError

AXES = ('data', 'model')
# Smaller arrays are replicated: gathering them costs more than their memory.
_MIN_SPLIT_SIZE = 2**10


def make_mesh(shape=None, devices=None):
  """Returns a mesh with the axes 'data' and 'model'.

  Args:
    shape: {axis: number of devices}; one may be -1, for the remaining devices.
      By default all devices are along 'data'.
    devices: Devices of the mesh; all devices of the job by default.

  Raises:
    UserError: The shape does not fit the number of devices.
  """
  devices = devices or jax.devices()
  sizes = [(shape or {'data': -1, 'model': 1})[axis] for axis in AXES]
  rest = len(devices) // max(1, math.prod(n for n in sizes if n > 0))
  sizes = [rest if n == -1 else n for n in sizes]
  if min(sizes) < 1 or math.prod(sizes) != len(devices):
    raise UserError(
        f'config.mesh is {dict(shape)}, which does not fit {len(devices)} '
        'device(s). Choose sizes whose product is that number; -1 once stands '
        'for what is left.')
  # make_mesh defaults to Explicit axes, under which scatters and contractions
  # over the batch need a hand-written out_sharding. Auto leaves them to XLA.
  return jax.make_mesh(sizes, AXES, devices=devices,
                       axis_types=(AxisType.Auto,) * len(AXES))


def local_mesh():
  """Returns a mesh of this process's devices."""
  return make_mesh(devices=jax.local_devices())


def replicated(mesh):
  """Returns the sharding of arrays of which each device holds a copy."""
  return NamedSharding(mesh, jax.P())


def by_batch(mesh):
  """Returns the sharding that splits the first axis over all devices."""
  return NamedSharding(mesh, jax.P(AXES))


def of_state(mesh, state):
  """Returns the shardings of a state, whose arrays are split along 'model'.

  Args:
    mesh: From `make_mesh`.
    state: Tree of arrays or their shapes. An array is split along its longest
      axis that divides evenly. Small arrays and those without such an axis are
      replicated.
  """
  parts = mesh.shape['model']

  def sharding(leaf):
    sides = [axis for axis, size in enumerate(leaf.shape) if not size % parts]
    if parts == 1 or not sides or math.prod(leaf.shape) < _MIN_SPLIT_SIZE:
      return replicated(mesh)
    split = max(sides, key=lambda axis: leaf.shape[axis])
    return NamedSharding(mesh, jax.P(*[None] * split, 'model'))

  return jax.tree.map(sharding, state)


def on_this_host(tree):
  """Returns a tree on this process's host. All processes must call it.

  Args:
    tree: Tree of arrays that may be split over the devices of all processes.
  """
  if jax.process_count() == 1:
    return tree
  mesh = jax.tree.leaves(tree)[0].sharding.mesh
  return jax.tree.map(
      lambda leaf: np.asarray(leaf.addressable_data(0)),
      _make_replicate(mesh)(tree))


@functools.cache
def _make_replicate(mesh):
  """Returns a compiled function that replicates a tree on all devices."""
  return jax.jit(lambda tree: tree, out_shardings=replicated(mesh))


def local_rows(mesh, batch_size):
  """Returns the rows of a global batch that this process's devices hold.

  Args:
    mesh: From `make_mesh`.
    batch_size: A multiple of the number of devices.

  Returns:
    Row numbers in ascending order, as `shard_batch` expects them.
  """
  rows = np.arange(batch_size)
  indices = by_batch(mesh).addressable_devices_indices_map((batch_size,))
  return np.sort(np.concatenate([rows[index] for index in indices.values()]))


def _cpu_options(libraries):
  """Returns compiler options that leave only these operations to YNNPACK."""
  return {'xla_cpu_experimental_ynn_fusion_type': ','.join(
      f'LIBRARY_FUSION_TYPE_{name}' for name in libraries)}


def on_cpu(mesh):
  """Whether the devices of a mesh are CPUs."""
  return mesh.devices.flat[0].platform == 'cpu'


def compiler_options(mesh, cpu_libraries):
  """Returns the compiler options for a network's gradients on this mesh.

  Args:
    mesh: From `make_mesh`.
    cpu_libraries: As of `models.backbones.family.Backbone`.
  """
  if on_cpu(mesh) and _knows_cpu_options(cpu_libraries):
    return _cpu_options(cpu_libraries)
  return None


@functools.cache
def _knows_cpu_options(libraries):
  """Whether this jaxlib has the options, which are experimental."""
  program = jax.jit(lambda x: x).lower(0.0)
  try:
    program.compile(compiler_options=_cpu_options(libraries))
  except jax.errors.JaxRuntimeError:
    return False
  return True


def shard_batch(batch, mesh):
  """Returns global arrays made of each host's part, a batch of NumPy arrays."""
  # With several hosts JAX counts this as an implicit transfer.
  with jax.transfer_guard('allow'):
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(by_batch(mesh), x),
        batch)
