"""Where and with what a run was made, for whoever repeats it."""

import contextlib
import datetime
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
import time

import jax

from scribble_jax.files import formats

_FILE = 'run.json'
_ADDED = {'started', 'seconds', 'starts'}  # What later starts go on with.
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy',
             'scipy', 'tensorflow-cpu', 'tensorflow', 'tensorflow-datasets')


@contextlib.contextmanager
def recorded(workdir, resuming):
  """Leaves a description of a run, and how long its starts took in all.

  Args:
    workdir: pathlib.Path of the run; its run.json is written.
    resuming: Whether to add to what an earlier start has left.
  """
  if jax.process_index():  # The first host writes for all.
    yield
    return
  path, start = workdir / _FILE, time.monotonic()
  description = describe()
  earlier = formats.read_json(path) if resuming else None
  if isinstance(earlier, dict) and earlier.keys() >= _ADDED:
    description |= {'started': earlier['started'],
                    'seconds': earlier['seconds'],
                    'starts': earlier['starts'] + 1}
  formats.write_json(path, description)
  try:
    yield
  finally:  # Interrupted ones count too.
    description['seconds'] += time.monotonic() - start
    formats.write_json(path, description)


def describe():
  """Returns command, versions and hardware of this process, ready for JSON."""
  devices = jax.devices()
  return {
      'command': [pathlib.Path(sys.executable).name, *_module_and_flags()],
      'versions': {'python': platform.python_version()} | _versions(),
      'commit': _commit(),
      'devices': f'{len(devices)} x {devices[0].device_kind}',
      'hosts': jax.process_count(),
      'processor': _processor(),
      'cores': os.cpu_count(),
      'platform': platform.platform(),
      'started': datetime.datetime.now(datetime.UTC).isoformat(
          timespec='seconds'),
      'seconds': 0.0,
      'starts': 1,
  }


def _module_and_flags():
  """Returns what follows `python` to start this process again."""
  module = getattr(sys.modules['__main__'], '__spec__', None)
  if module is None:
    return sys.argv
  name = module.name.removesuffix('.__main__')
  return ['-m', name, *sys.argv[1:]]


def _versions():
  found = {}
  for package in _PACKAGES:  # Only one of TensorFlow's two names is there.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[package] = importlib.metadata.version(package)
  return found


def _commit():
  """Returns the program's git commit, with + if files differ; None if none."""
  folder = pathlib.Path(__file__).parent
  ask = lambda *command: subprocess.run(
      ['git', '-C', str(folder), *command], capture_output=True, text=True,
      check=True).stdout.strip()
  try:
    changed = ask('status', '--porcelain', '--untracked-files=no')
    return ask('rev-parse', '--short', 'HEAD') + ('+' if changed else '')
  except (OSError, subprocess.CalledProcessError):
    return None


def _processor():
  """Returns the CPU's name; the architecture where the system hides it."""
  try:
    for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
      if line.startswith('model name'):
        return line.partition(':')[2].strip()
  except OSError:
    pass
  return platform.processor() or platform.machine()
