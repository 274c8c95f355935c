"""Communication between the processes of a job, one process per host.

All processes must call these functions, in the same order. In a job of one
process they return at once.
"""

import contextlib
import pickle

import jax
from jax.sharding import AxisType
from jax.sharding import Mesh
from jax.sharding import NamedSharding
import numpy as np

from scribble_jax import sharding
from scribble_jax.errors import UserError


def is_first():
  """Whether this is process 0, which writes the files of the job."""
  return not jax.process_index()


def share(items):
  """Returns the contiguous part of a sequence that this process works on."""
  index, count = jax.process_index(), jax.process_count()
  return items[len(items) * index // count:len(items) * (index + 1) // count]


def gather(value):
  """Returns the values of all processes, ordered by process index.

  Args:
    value: Any object that can be pickled.
  """
  if jax.process_count() == 1:
    return [value]
  data = np.frombuffer(pickle.dumps(value), np.uint8)
  with jax.transfer_guard('allow'):
    sizes = _gather_rows(np.array(len(data), np.int32))
    everything = _gather_rows(np.pad(data, (0, sizes.max() - len(data))))
  return [pickle.loads(row[:size].tobytes())
          for row, size in zip(everything, sizes, strict=True)]


def _gather_rows(row):
  """Returns [processes, ...]: the stacked arrays of all processes.

  Args:
    row: Array of the same shape in every process.
  """
  devices = sorted(jax.devices(), key=lambda device: device.process_index)
  mesh = Mesh(np.reshape(devices, (jax.process_count(), -1)),
              ('process', 'device'), axis_types=(AxisType.Auto,) * 2)
  rows = jax.make_array_from_process_local_data(
      NamedSharding(mesh, jax.P('process')), row[None])
  return sharding.on_this_host(rows)


def wait_for_all():
  """Waits until every process has called this."""
  gather(None)


@contextlib.contextmanager
def together():
  """Raises one process's UserError in all processes when the block ends."""
  problem = None
  try:
    yield
  except UserError as error:
    problem = error
  for error in filter(None, [problem, *gather(problem)]):
    raise error


def first_then_others(function):
  """Returns `function()`; process 0 calls it first, then the others.

  Args:
    function: Function that makes files, or finds them if they exist.

  Raises:
    UserError: If it was raised in any process.
  """
  result = None
  for turn in ((True, False) if jax.process_count() > 1 else (True,)):
    with together():
      if is_first() == turn:
        result = function()
  return result
