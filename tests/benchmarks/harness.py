"""What the benchmarks share: taking turns, ceilings, a table and a JSON file.

No TensorFlow: they run where only JAX and PyTorch are installed.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from tests.peers import torch

_CEILING_SIZE = {'cpu': 2048, 'gpu': 8192, 'tpu': 8192}  # Rows of a square.


def parse_args(name, description, add_arguments=lambda parser: None):
  """Reads the command line that all benchmarks have in common.

  Args:
    name: Of the benchmark, and of its JSON file.
    description: Whose first line becomes the help.
    add_arguments: Adds what this benchmark has besides, to its parser.

  Returns:
    Namespace with 'device', 'repeats', 'smoke', 'json' and the rest.
  """
  parser = argparse.ArgumentParser(
      description=description.splitlines()[0])
  parser.add_argument(
      '--device', default='', choices=['', 'cpu', 'gpu', 'tpu'],
      help='what JAX runs on; the best there is unless given')
  parser.add_argument('--repeats', type=int, default=3,
                      help='timed turns of each contestant')
  parser.add_argument('--smoke', action='store_true',
                      help='tiny sizes: shows that it runs, measures nothing')
  parser.add_argument(
      '--json', type=pathlib.Path,
      default=pathlib.Path('runs', 'benchmarks', f'{name}.json'))
  add_arguments(parser)
  args = parser.parse_args()
  # Both programs need room on one accelerator.
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
  if args.device:
    jax.config.update('jax_platforms',
                      {'gpu': 'cuda'}.get(args.device, args.device))
  args.device = jax.default_backend()
  return args


def torch_device(device):
  """Returns PyTorch's device beside JAX's; the CPU where it has no other."""
  # Fixed shapes: both programs may look for the fastest convolutions, and both
  # multiply float32 in the matrix units.
  torch.backends.cudnn.benchmark = True
  torch.set_float32_matmul_precision('high')
  return torch.device('cuda' if device == 'gpu' else 'cpu')


@dataclasses.dataclass(frozen=True)
class Timing:
  """Seconds of one contestant.

  Attributes:
    first: The first call, compilation included where there is any.
    median: Of the later ones.
    spread: Largest minus smallest of the later ones.
  """
  first: float
  median: float
  spread: float


def take_turns(contestants, repeats):
  """Times functions alternately, so that a machine's moods meet them all.

  Args:
    contestants: {name: function that returns when its work is done}.
    repeats: Timed calls of each, after one that is kept apart.

  Returns:
    {name: Timing}.
  """
  seconds = {name: [] for name in contestants}
  for _ in range(repeats + 1):
    for name, function in contestants.items():
      start = time.perf_counter()
      function()
      seconds[name].append(time.perf_counter() - start)
  return {
      name: Timing(first, statistics.median(later), max(later) - min(later))
      for name, (first, *later) in seconds.items()}


def blocking(function, *args):
  """Returns a function without arguments that waits for JAX's result."""
  return lambda: jax.block_until_ready(function(*args))


def torch_blocking(function, device):
  """Returns a function without arguments that waits for PyTorch's result."""
  def call():
    result = function()
    if device.type == 'cuda':
      torch.cuda.synchronize()
    return result
  return call


def ceilings(device, repeats=5):
  """Measures what the machine can do at best, in both programs.

  Args:
    device: JAX's backend.
    repeats: Calls, of which the fastest counts.

  Returns:
    {'jax float32', 'torch float32', ... : FLOP/s of a large matrix product,
    'copy': bytes read and written per second}; bfloat16 on accelerators only.
  """
  size = _CEILING_SIZE[device]
  measured = {}
  peer = torch_device(device)
  for dtype in ('float32', 'bfloat16') if device != 'cpu' else ('float32',):
    x = jnp.ones([size, size], dtype)
    y = torch.ones([size, size], dtype=getattr(torch, dtype), device=peer)
    for name, function in {
        'jax': blocking(jax.jit(jnp.matmul), x, x),
        'torch': torch_blocking(lambda y=y: y @ y, peer)}.items():
      measured[f'{name} {dtype}'] = 2 * size**3 / _fastest(function, repeats)
  x = jnp.ones([64 * 2**20 if device == 'cpu' else 512 * 2**20], jnp.float32)
  copy = _fastest(blocking(jax.jit(lambda x: x + 1), x), repeats)
  measured['copy'] = 2 * x.nbytes / copy
  return measured


def _fastest(function, repeats):
  function()
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    function()
    seconds.append(time.perf_counter() - start)
  return min(seconds)


def peak_bytes(device):
  """Returns the peaks of device memory so far, of all contestants together.

  {} where nothing counts them.
  """
  counted = jax.local_devices()[0].memory_stats()
  if device == 'cpu' or not counted:
    return {}
  peaks = {'jax': counted['peak_bytes_in_use']}
  if device == 'gpu':
    peaks['torch'] = torch.cuda.max_memory_allocated()
  return peaks


def machine(device):
  """Describes what the figures were measured on."""
  return {
      'device': jax.devices()[0].device_kind if device != 'cpu' else _cpu(),
      'devices': jax.device_count(),
      'cores': num_cores(),
      'jax': jax.__version__,
      'torch': str(torch.__version__),
      'numpy': np.__version__,
      'python': platform.python_version(),
      'date': time.strftime('%Y-%m-%d'),
  }


def num_cores():
  """Returns the number of cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):  # Not everywhere.
    return len(os.sched_getaffinity(0))
  return os.cpu_count()


def _cpu():
  """Returns the processor's name."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    return platform.processor()
  names = [line.split(':')[1].strip() for line in lines
           if line.startswith('model name')]
  return names[0] if names else platform.processor()


def report(args, rows, **figures):
  """Prints a table and writes it, with all else, as JSON.

  Args:
    args: From `parse_args`.
    rows: List of {column: str or number}, alike in their columns.
    **figures: What the JSON holds besides; scalars are printed too.
  """
  columns = list(rows[0])
  lines = [columns, *([_shown(row[name]) for name in columns] for row in rows)]
  widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
  for line in lines:
    print('  '.join(cell.ljust(width) if i == 0 else cell.rjust(width)
                    for i, (cell, width) in enumerate(
                        zip(line, widths, strict=True))))
  for name, value in figures.items():
    if not isinstance(value, (dict, list)):
      print(f'{name}: {_shown(value)}')
  args.json.parent.mkdir(parents=True, exist_ok=True)
  args.json.write_text(json.dumps(
      {'machine': machine(args.device), 'smoke': args.smoke, 'rows': rows,
       **figures}, indent=2) + '\n')
  print(f'Written to {args.json}.')


def _shown(value):
  if value is None:
    return '-'
  if isinstance(value, float):
    return f'{value:.3g}' if abs(value) < 100 else f'{value:.0f}'
  return str(value)
