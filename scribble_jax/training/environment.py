"""A record of the software and hardware that a run was made with."""

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
_KEPT = {'started', 'seconds', 'starts'}  # Keys that a resumed run adds to.
_PACKAGES = (
    'scribble-jax', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint',
    'numpy', 'scipy', 'tensorflow-cpu', 'tensorflow', 'tensorflow-datasets')


@contextlib.contextmanager
def recorded(workdir, resuming):
  """Writes a description of a run, with the total time of all its starts.

  Args:
    workdir: pathlib.Path of the run, to whose run.json it is written.
    resuming: Whether to add to the run.json of an earlier start.
  """
  if jax.process_index():  # The first host writes for all.
    yield
    return
  path, start = workdir / _FILE, time.monotonic()
  description = describe()
  earlier = formats.read_json(path) if resuming else None
  if isinstance(earlier, dict) and earlier.keys() >= _KEPT:
    description |= {'started': earlier['started'],
                    'seconds': earlier['seconds'],
                    'starts': earlier['starts'] + 1}
  formats.write_json(path, description)
  try:
    yield
  finally:  # Interrupted starts count too.
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
  """Returns the arguments of `python` that start this process again."""
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
  """Returns the program's git commit, or None; ends in + if files differ."""
  git = lambda *arguments: subprocess.run(
      ['git', '-C', str(pathlib.Path(__file__).parent), *arguments],
      capture_output=True, text=True, check=True).stdout.strip()
  try:
    # An installed copy may lie in an ignored folder of another repository.
    git('ls-files', '--error-unmatch', __file__)
    changed = git('status', '--porcelain', '--untracked-files=no')
    return git('rev-parse', '--short', 'HEAD') + ('+' if changed else '')
  except (OSError, subprocess.CalledProcessError):
    return None


def _processor():
  """Returns the CPU's name, or its architecture if the name is unknown."""
  with contextlib.suppress(OSError):
    for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
      if line.startswith('model name'):
        return line.partition(':')[2].strip()
  return platform.processor() or platform.machine()
