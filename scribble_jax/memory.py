"""Checks that programs fit into memory; errors that name a remedy."""

import contextlib
import pathlib

import jax

from scribble_jax.errors import UserError

_MEMINFO = pathlib.Path('/proc/meminfo')
_CGROUP = pathlib.Path('/sys/fs/cgroup')


def require(compiled, mesh, remedy):
  """Raises UserError if a program needs more memory than is free.

  Only CPUs are checked. An accelerator raises an error itself; on a CPU the
  kernel would kill the process without a message.

  Args:
    compiled: A program that is compiled for the mesh.
    mesh: Mesh of devices.
    remedy: A sentence that names the setting to lower.

  Raises:
    UserError: There is too little memory.
  """
  local = [device for device in mesh.devices.flat
           if device.process_index == jax.process_index()]
  analysis, free = compiled.memory_analysis(), free_bytes()
  if local[0].platform != 'cpu' or analysis is None or free is None:
    return
  needed = len(local) * (
      analysis.temp_size_in_bytes + analysis.output_size_in_bytes
      - analysis.alias_size_in_bytes)
  if needed > free:
    raise UserError(
        f'The program takes {needed / 1e9:.2f} GB of memory, and '
        f'{free / 1e9:.2f} GB are free. {remedy}')


def free_bytes():
  """Returns the memory that this process can still use; None if unknown."""
  limits = []
  with contextlib.suppress(OSError, ValueError, KeyError):
    sizes = {line.split(':')[0]: 1024 * int(line.split()[1])
             for line in _MEMINFO.read_text().splitlines()}
    limits.append(sizes['MemAvailable'] + sizes['SwapFree'])
  with contextlib.suppress(OSError, ValueError, KeyError):  # 'max': no limit.
    statistics = dict(line.split() for line in (
        _CGROUP / 'memory.stat').read_text().splitlines())
    limits.append(int((_CGROUP / 'memory.max').read_text())
                  - int((_CGROUP / 'memory.current').read_text())
                  # The cache of files, which is freed when needed.
                  + int(statistics['inactive_file']))
  return min(limits, default=None)


@contextlib.contextmanager
def shortage_named(remedy):
  """Turns an out-of-memory error of a device into a UserError.

  Args:
    remedy: A sentence that names the setting to lower.

  Raises:
    UserError: A device has run out of memory.
  """
  try:
    yield
  except (jax.errors.JaxRuntimeError, MemoryError) as error:
    if (isinstance(error, jax.errors.JaxRuntimeError)
        and 'RESOURCE_EXHAUSTED' not in str(error)):
      raise
    device = jax.local_devices()[0].device_kind
    raise UserError(f'Out of memory on {device}. {remedy}') from error
