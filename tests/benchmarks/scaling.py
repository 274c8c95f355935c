"""What more chips bring: an estimate from a step's time and its collectives.

    python tests/benchmarks/scaling.py --step_seconds=0.15 [--topology v5e:2x4]
    python tests/benchmarks/scaling.py --smoke

A step on n chips, each with as many images as the one that was measured, takes

    t(n) = t(1) + 2 (n - 1) / n * bytes / bandwidth + collectives * latency

where t(1) is `s a step` of train_step.py on one chip, and a ring reduces the
bytes of every all-reduce of the compiled program: gradients, BatchNorm's
statistics, LoRM's sums. Nothing is assumed to overlap, so it is a floor.
"""

import pathlib
import re
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from scribble_jax import sharding
from tests.benchmarks import harness
from tests.benchmarks import train_step

CHIPS = (8, 16, 32, 64, 128, 256)


def main():
  args = harness.parse_args('scaling', __doc__, _add_arguments)
  train_step.complete(args)
  mesh = sharding.make_mesh(devices=train_step.devices_of(args.topology))
  if mesh.size < 2:
    raise SystemExit('error: one device reduces nothing. Name a --topology, or '
                     'set JAX_NUM_CPU_DEVICES=2.')
  count, num_bytes = collectives(
      train_step.compile_step(args, args.batch_size * mesh.size, False, mesh))
  rows = [_row(args, chips, count, num_bytes) for chips in (1, *CHIPS)]
  harness.report(
      args, rows, network=f'ResNet-{args.depth} {args.head}', **args.size,
      images_a_chip=args.batch_size, dtype=args.dtype,
      all_reduce_megabytes=num_bytes / 1e6, all_reduces=count,
      step_seconds=args.step_seconds, gigabytes_a_second=args.bandwidth,
      latency_microseconds=args.latency,
      compiled_for=args.topology or args.device)


def _add_arguments(parser):
  train_step.add_arguments(parser)
  parser.add_argument('--step_seconds', type=float, default=0.15,
                      help='measured on one chip, with --batch_size images')
  parser.add_argument('--bandwidth', type=float, default=50.0,
                      help='GB/s between neighbours, one direction')
  parser.add_argument('--latency', type=float, default=20.0,
                      help='microseconds of a collective')


def _row(args, chips, count, num_bytes):
  if chips == 1:
    reducing = 0.0
  else:
    reducing = (2 * (chips - 1) / chips * num_bytes / (args.bandwidth * 1e9)
                + count * args.latency * 1e-6)
  seconds = args.step_seconds + reducing
  return {'chips': chips, 'images a step': chips * args.batch_size,
          's a step': seconds, 'reducing ms': reducing * 1e3,
          'images/s': chips * args.batch_size / seconds,
          'efficiency': args.step_seconds / seconds}


def collectives(compiled):
  """Returns how many all-reduces a program has, and the bytes they reduce.

  One in a loop counts once; this program has none there.
  """
  count = total = 0
  for line in compiled.as_text().splitlines():
    match = re.search(r'= (.*?) all-reduce(?:-start)?\(', line)
    if match:
      count += 1
      for dtype, shape in re.findall(r'([a-z]+\d+)\[([\d,]*)\]', match[1]):
        sides = [int(side) for side in shape.split(',') if side]
        total += int(np.prod(sides)) * int(re.search(r'\d+', dtype)[0]) // 8
  return count, total


if __name__ == '__main__':
  main()
