"""How long training stands still for a checkpoint, and how long one takes.

    python tests/benchmarks/checkpoint.py [--backbone resnet50] [--folder DIR]

A save copies the state off the devices and is written beside the next updates;
it stands still for more only where the one before is not finished. To be
compared with `s a step` of train_step.py.
"""

import pathlib
import statistics
import sys
import tempfile
import time

import jax

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from etils import epath

from scribble_jax import sharding
from scribble_jax.weights import checkpoint
from tests.benchmarks import harness
from tests.benchmarks import train_step


def main():
  args = harness.parse_args('checkpoint', __doc__, _add_arguments)
  train_step.complete(args)
  state = train_step.make_state(args, sharding.make_mesh())
  with tempfile.TemporaryDirectory(dir=args.folder) as folder:
    stalls, totals = _save_repeatedly(state, epath.Path(folder), args.repeats)
  leaves = jax.tree.leaves(state)
  harness.report(
      args, [{'s standing still': stall, 's until it is complete': total}
             for stall, total in zip(stalls, totals, strict=True)],
      network=f'{args.backbone} {args.head}', **args.size,
      arrays=len(leaves), megabytes=sum(x.nbytes for x in leaves) / 1e6,
      median_seconds_standing_still=statistics.median(stalls))


def _add_arguments(parser):
  train_step.add_arguments(parser)
  parser.add_argument('--folder', help='where to write; a new one below it')


def _save_repeatedly(state, folder, repeats):
  """Returns seconds until `save` returned, and until each was complete."""
  stalls, totals = [], []
  with checkpoint.open_manager(
      folder, intervals=[1], keep=1, last_step=repeats) as manager:
    for step in range(1, repeats + 2):
      start = time.perf_counter()
      checkpoint.save(manager, step, state, {})
      stalls.append(time.perf_counter() - start)
      manager.wait_until_finished()
      totals.append(time.perf_counter() - start)
  return stalls[1:], totals[1:]  # The first one has to import and to start.


if __name__ == '__main__':
  main()
