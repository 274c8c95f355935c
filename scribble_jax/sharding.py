"""The device mesh, the two shardings this program uses, and XLA's options."""

import functools

import jax
from jax.sharding import AxisType
from jax.sharding import NamedSharding


def make_mesh(devices=None):
  """Returns a mesh with one axis, 'data', over every device of the job."""
  devices = devices or jax.devices()
  # make_mesh defaults to Explicit axes, under which scatters and contractions
  # over the batch need a hand-written out_sharding. Auto leaves them to XLA.
  return jax.make_mesh((len(devices),), ('data',), devices=devices,
                       axis_types=(AxisType.Auto,))


def replicated(mesh):
  return NamedSharding(mesh, jax.P())


def by_batch(mesh):
  return NamedSharding(mesh, jax.P('data'))


# By default XLA has YNNPACK do a CPU's convolutions, whose gradients by kernels
# take 3 to 8 times as long there as in Eigen (jaxlib 0.10.2).
_CPU_OPTIONS = {
    'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_DOT'}


def compiler_options(mesh):
  """Returns the compiler options for networks on this mesh."""
  on_cpu = mesh.devices.flat[0].platform == 'cpu'
  return _CPU_OPTIONS if on_cpu and _knows_cpu_options() else None


@functools.cache
def _knows_cpu_options():
  """Whether this jaxlib still has them: they are experimental."""
  program = jax.jit(lambda x: x).lower(0.0)
  try:
    program.compile(compiler_options=_CPU_OPTIONS)
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


def shard_whole_batch(batch, mesh):
  """Spreads arrays that every host holds whole over the devices.

  Args:
    batch: Tree of [B, ...] NumPy arrays, the same on every host.
    mesh: Mesh with a 'data' axis, whose hosts may lie in any order.

  Returns:
    Global arrays with the rows of `batch` in their order.
  """
  with jax.transfer_guard('allow'):
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(
            x.shape, by_batch(mesh), lambda index: x[index]), batch)
