"""Reads HDF5 files in a process of their own.

A damaged file may let the HDF5 library hang or crash.
"""

import atexit
import contextlib
import functools
import io
import json
import multiprocessing
import multiprocessing.connection
import os
import resource
import subprocess
import sys

import numpy as np

_MEMORY = 4 * 2**30  # Bytes that the process may allocate.
_SECONDS = 20  # Per file.
_MAX_VALUES, _MAX_DATASETS, _MAX_DEPTH = 2**27, 10**5, 9


def read(path, names):
  """Reads parts of a file.

  Args:
    path: Path of a file on this machine.
    names: Names of datasets, and of groups, which are read recursively.

  Returns:
    {path in the file: array of numbers or texts}; a text attribute NAME of a
    dataset is at PATH@NAME. Missing names, and data of other types, are left
    out.

  Raises:
    ValueError: The file is damaged or too large, or refers to another file.
  """
  process, connection = _start()
  try:
    connection.send_bytes(json.dumps([os.fspath(path), names]).encode())
    if not connection.poll(_SECONDS):
      raise EOFError
    content = connection.recv_bytes()
  except (EOFError, OSError):
    _end(process)
    _start.cache_clear()
    raise ValueError('is damaged so that HDF5 crashes or hangs') from None
  if not content.startswith(b'PK'):
    raise ValueError(content.decode())
  with np.load(io.BytesIO(content), allow_pickle=False) as found:
    return {json.loads(f'"{name}"'): found[name] for name in found}


@functools.cache
def _start():
  """Returns the process and the connection to it."""
  here, there = multiprocessing.Pipe()
  process = subprocess.Popen(  # -P: nothing is imported from this folder.
      [sys.executable, '-P', __file__, str(there.fileno())],
      pass_fds=[there.fileno()])
  there.close()
  atexit.register(_end, process)
  here.recv_bytes()  # Waits until the process is ready.
  return process, here


def _end(process):
  process.kill()
  process.wait()


def _serve(connection):
  """Answers requests until the other end closes the connection."""
  import h5py
  with contextlib.suppress(ValueError, OSError):
    resource.setrlimit(resource.RLIMIT_DATA, (
        _MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
  connection.send_bytes(b'')
  while True:
    path, names = json.loads(connection.recv_bytes())
    try:
      with h5py.File(path, 'r') as file:
        found = {}
        for name in names:
          _collect(h5py, file, name, found)
      content = io.BytesIO()
      np.savez(content, **found)
      content = content.getvalue()
    except Exception as error:  # For damaged files, h5py raises any class.
      text = ' '.join(str(error).split())
      content = f'is damaged or of another kind ({text})'.encode()
    connection.send_bytes(content)


def _collect(h5py, file, name, found, depth=0):
  """Adds the datasets at and below a name to the dict `found`."""
  if name not in file:
    return
  item = file[name]
  if item.file.filename != file.filename:
    raise ValueError(f'{name} lies in another file')
  if isinstance(item, h5py.Group):
    if depth > _MAX_DEPTH:
      raise ValueError(f'{name} has too many groups')
    for key in item:
      _collect(h5py, file, f'{name}/{key}', found, depth + 1)
    return
  if item.is_virtual or item.external:
    raise ValueError(f'{name} lies in another file')
  taken = sum(array.size for array in found.values())
  if len(found) > _MAX_DATASETS or max(item.size, np.prod(
      item.chunks or (), dtype=float)) + taken > _MAX_VALUES:
    raise ValueError(f'{name} is too large')
  is_text = h5py.check_string_dtype(item.dtype) is not None
  if not is_text and item.dtype.kind not in 'iuf':
    return
  key = json.dumps(name)[1:-1]
  found[key] = (np.asarray(item.asstr('utf-8')[()], str) if is_text
                else np.asarray(item[()]))
  for attribute, value in item.attrs.items():
    if isinstance(value, str | bytes):
      found[f'{key}@{attribute}'] = np.array(
          value.decode() if isinstance(value, bytes) else value)


if __name__ == '__main__':
  with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
    _serve(multiprocessing.connection.Connection(int(sys.argv[1])))
