"""Scalars in TensorBoard's event files, read without TensorFlow."""

import struct

from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2
from tensorboard.compat.proto import types_pb2
from tensorboard.util import tensor_util

# TensorBoard's own readers import TensorFlow if they find it, which takes
# seconds. A record is: length, its checksum, content, checksum.
_HEADER, _FOOTER = 12, 4  # Bytes.


def read_scalars(folder):
  """Returns what a run wrote over its steps.

  Args:
    folder: Path with event files of any number of processes. Where a
      resumed run wrote a step again, the later event wins.

  Returns:
    {tag: [(step, value), ...]} with steps in order; {} without event files.
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
  """Returns the last step that `read_scalars` found, 0 for none."""
  return max((points[-1][0] for points in scalars.values()), default=0)


def _events(path):
  """Yields the events of a file up to its end, or to where writing stopped."""
  content, start = path.read_bytes(), _HEADER
  while start <= len(content):
    length, = struct.unpack_from('<Q', content, start - _HEADER)
    end = start + length
    if end + _FOOTER > len(content):  # Or no record: the file is damaged.
      return
    try:
      yield event_pb2.Event.FromString(content[start:end])
    except DecodeError:
      return
    start = end + _FOOTER + _HEADER


def _scalar(summary):
  """Returns a float, or None for a picture and the like."""
  kind = summary.WhichOneof('value')
  if kind == 'simple_value':
    return summary.simple_value
  if (kind == 'tensor' and summary.tensor.dtype == types_pb2.DT_FLOAT
      and not summary.tensor.tensor_shape.dim):
    return float(tensor_util.make_ndarray(summary.tensor))
  return None
