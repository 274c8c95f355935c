"""Reads the scalars in TensorBoard's event files without TensorFlow.

TensorBoard's own readers import TensorFlow if it is installed, which takes
seconds.
"""

import contextlib

from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2
from tensorboard.compat.proto import types_pb2
from tensorboard.util import tensor_util

from scribble_jax.data import tfrecords


def read_scalars(folder):
  """Returns the scalars that a run has logged.

  Args:
    folder: Path with event files of any number of processes. If a resumed run
      has logged a step again, the later event is used.

  Returns:
    {tag: [(step, value), ...]} with increasing steps; {} without event files.
  """
  latest = {}  # (tag, step) -> (time, value)
  for path in sorted(folder.glob('events.out.tfevents.*')):
    for event in _events(path):
      for summary in event.summary.value:
        value = _scalar(summary)
        key = (summary.tag, event.step)
        if value is not None and event.wall_time >= latest.get(key, (0,))[0]:
          latest[key] = (event.wall_time, value)
  series = {}
  for (tag, step), (_, value) in sorted(latest.items()):
    series.setdefault(tag, []).append((step, value))
  return series


def last_step(scalars):
  """Returns the last step in the result of `read_scalars`, or 0."""
  return max((points[-1][0] for points in scalars.values()), default=0)


def _events(path):
  """Yields the events of a file up to its end or the first damaged one."""
  with contextlib.suppress(tfrecords.DamagedError, DecodeError):
    for content in tfrecords.read_all(path.read_bytes()):
      yield event_pb2.Event.FromString(content)


def _scalar(summary):
  """Returns a summary's value as a float; None if it is not a scalar."""
  kind = summary.WhichOneof('value')
  if kind == 'simple_value':
    return summary.simple_value
  if (kind == 'tensor' and summary.tensor.dtype == types_pb2.DT_FLOAT
      and not summary.tensor.tensor_shape.dim):
    return float(tensor_util.make_ndarray(summary.tensor))
  return None
