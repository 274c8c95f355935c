"""What the processes of one job, a host each, agree on and share.

Everything here is called by all of them, or none. Alone, a process does not
wait for anything.
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
  """Whether this process writes what is written once."""
  return not jax.process_index()


def share(items):
  """Returns this process's stretch of a sequence; in order they make it up."""
  index, count = jax.process_index(), jax.process_count()
  return items[len(items) * index // count:len(items) * (index + 1) // count]


def gather(value):
  """Returns a list of the values that the processes have, in their order.

  Args:
    value: Anything that pickles.
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
  """Returns [processes, ...]: the arrays of one shape that they have."""
  devices = sorted(jax.devices(), key=lambda device: device.process_index)
  mesh = Mesh(np.reshape(devices, (jax.process_count(), -1)),
              ('process', 'device'), axis_types=(AxisType.Auto,) * 2)
  rows = jax.make_array_from_process_local_data(
      NamedSharding(mesh, jax.P('process')), row[None])
  return sharding.on_this_host(rows)


def wait_for_all():
  """Returns once every process has come here."""
  gather(None)


@contextlib.contextmanager
def together():
  """Lets a UserError of one process end the block on all of them."""
  problem = None
  try:
    yield
  except UserError as error:
    problem = error
  for error in filter(None, [problem, *gather(problem)]):
    raise error


def first_then_others(function):
  """Returns `function()`, which the others call when the first one is done.

  Args:
    function: Makes files, or finds those that are there.

  Raises:
    UserError: On all processes, of any of them.
  """
  result = None
  for turn in ((True, False) if jax.process_count() > 1 else (True,)):
    with together():
      if is_first() == turn:
        result = function()
  return result
