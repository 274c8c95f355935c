"""The device mesh, how arrays lie on it, and XLA's options.

Each device takes its share of the batch, whatever its place on the mesh. The
axis 'model' is for what a device keeps between updates: along it, parameters
and the optimizer's state are split (as in FSDP), and gathered when needed.
"""

import functools
import math

import jax
from jax.sharding import AxisType
from jax.sharding import NamedSharding
import numpy as np

from scribble_jax.errors import UserError

AXES = ('data', 'model')
# Smaller arrays stay whole: to gather them costs more than they take.
_MIN_SPLIT_SIZE = 2**10


def make_mesh(shape=None, devices=None):
  """Returns a mesh with the axes 'data' and 'model'.

  Args:
    shape: {axis: number of devices}, -1 once for what is left; all devices
      along 'data' unless given.
    devices: All of the job unless given.

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
  """Returns a mesh of this process's devices, for work of its own."""
  return make_mesh(devices=jax.local_devices())


def replicated(mesh):
  """Returns the sharding of what each device holds the whole of."""
  return NamedSharding(mesh, jax.P())


def by_batch(mesh):
  """Returns the sharding of what is split by its first axis, over all."""
  return NamedSharding(mesh, jax.P(AXES))


def of_state(mesh, state):
  """Returns how a state lies on the mesh: each array split along 'model'.

  Args:
    mesh: From `make_mesh`.
    state: Tree of arrays or their shapes. The longest side that can be split
      evenly is; small arrays and those without such a side are replicated.
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
  """Returns a tree that this process can use alone. All must call it.

  Args:
    tree: Of arrays that may be spread over the devices of all processes.
  """
  if jax.process_count() == 1:
    return tree
  mesh = jax.tree.leaves(tree)[0].sharding.mesh
  return jax.tree.map(
      lambda leaf: np.asarray(leaf.addressable_data(0)),
      _make_replicate(mesh)(tree))


@functools.cache
def _make_replicate(mesh):
  """Returns a compiled function that gives each device the whole of a tree."""
  return jax.jit(lambda tree: tree, out_shardings=replicated(mesh))


def local_rows(mesh, batch_size):
  """Returns which rows of a global batch this process's devices take.

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
  """Returns the compiler options that leave these operations to YNNPACK."""
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
  """Whether this jaxlib still has them: they are experimental."""
  program = jax.jit(lambda x: x).lower(0.0)
  try:
    program.compile(compiler_options=_cpu_options(libraries))
  except jax.errors.JaxRuntimeError:
    return False
  return True


def shard_batch(batch, mesh):
  """Turns each host's numpy batch into its part of global arrays."""
  # With several hosts JAX counts this as an implicit transfer.
  with jax.transfer_guard('allow'):
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(by_batch(mesh), x),
        batch)
