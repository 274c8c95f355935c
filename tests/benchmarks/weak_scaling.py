r"""Weak scaling of training over TPU v5e chips, computed: nothing is run.

python tests/benchmarks/tpu.py --rows '^step, v5e:2x2, batch 16$'
python tests/benchmarks/weak_scaling.py

From what the TPU compiler says of a step with four images a chip (tpu.py's
JSON): the milliseconds that it estimates, and how many collectives of how many
bytes there are. Assumed besides, as the constants say: the interconnect, the
latency of a collective, and the CPU time that an image takes
(input_pipeline.py). Collectives are taken not to overlap with anything.
"""

import json
import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.benchmarks import harness
from tests.benchmarks import hlo

IMAGES_A_CHIP = 4
# Chips: (rows, columns, whether ends are joined), as v5e's slices are.
SLICES = {4: (2, 2, False), 8: (2, 4, False), 16: (4, 4, False),
          64: (8, 8, False), 256: (16, 16, True)}
LINK_BYTES = 1600e9 / 8  # A second and chip, over all its links: data sheet.
HOP_SECONDS, START_SECONDS = 1e-6, 5e-6  # Assumed: of each, a collective.
CORES_A_CHIP = 28  # Google's hosts have 112 for four chips, 224 for eight.


def add_arguments(parser):
  parser.add_argument('--tpu', type=pathlib.Path, default=pathlib.Path(
      'runs', 'benchmarks', 'tpu.json'), help="tpu.py's JSON")
  parser.add_argument('--row', default='step, v5e:2x2, batch 16')
  parser.add_argument('--step_milliseconds', type=float,
                      help="measured on one chip, instead of the compiler's")
  parser.add_argument('--image_milliseconds', type=float, default=8.0,
                      help='CPU time that an image takes on one core')


def collective_seconds(chips, count, num_bytes):
  """Returns what collectives take over a slice.

  Args:
    chips: Their number.
    count: Of collectives, one after another.
    num_bytes: Of all of them together, as if all were all-reduces.
  """
  rows, columns, joined = SLICES[chips]
  hops = (rows + columns) / 2 if joined else rows + columns - 2
  rings = 2 * num_bytes * (chips - 1) / chips / LINK_BYTES
  return count * (START_SECONDS + 2 * hops * HOP_SECONDS) + rings


def row_of(chips, figures, step_milliseconds, image_milliseconds):
  """Returns a row of the table."""
  compute = (step_milliseconds or figures['milliseconds']) / 1e3
  collectives = collective_seconds(
      chips, sum(figures['count'][kind] for kind in hlo.COLLECTIVES),
      sum(figures['collective bytes'].values()))
  rate = chips * IMAGES_A_CHIP / (compute + collectives)
  return {
      'chips': str(chips), 'batch': chips * IMAGES_A_CHIP,
      'compute (ms)': 1e3 * compute, 'collectives (ms)': 1e3 * collectives,
      'images/s': rate,
      'efficiency (%)': 100 * compute / (compute + collectives),
      'cores that feed them': math.ceil(rate * image_milliseconds / 1e3),
      'cores there': chips * CORES_A_CHIP}


def main():
  args = harness.parse_args('weak_scaling', __doc__, add_arguments)
  figures = json.loads(args.tpu.read_text())['programs'][args.row]
  harness.report(
      args, [row_of(chips, figures, args.step_milliseconds,
                    args.image_milliseconds) for chips in SLICES],
      row=args.row)


if __name__ == '__main__':
  main()
