r"""Runs the points of a sweep: changes to a config, with several seeds each.

python -m scribble_jax.sweep --config=configs/robustness.py \
    --workdir=runs/robustness --set=data.root=VOC2012

--set changes the config of every run. Each run is a process with its own
folder, WORKDIR/POINT/seed_SEED. If the command is started again, it skips
finished runs and resumes interrupted ones. A failed run is reported and does
not stop the others. At the end a report is written to WORKDIR/report.
"""

from absl import flags

from scribble_jax import command_line
from scribble_jax.report import writer
from scribble_jax.sweep import runner
from scribble_jax.sweep import sweep_points


def main(argv):
  """Runs what is missing; returns 1 if a run failed, else 0."""
  del argv
  command_line.end_on_sigterm()  # The runs must end too, with a checkpoint.
  sweep = runner.Sweep(_CONFIG.value, _WORKDIR.value, _SET.value,
                       reused=_REUSE.value, evaluate=_EVALUATE.value)
  chosen = sweep_points.choose(_CONFIG.value.points, _ONLY.value)
  if _LIST.value:
    print('\n'.join(sweep.describe(point) for point in chosen))
    return 0
  complete = sweep.run(chosen, parallel=_PARALLEL.value)
  if sweep.has_results() and not _ONLY.value:
    text, page = writer.write_report([sweep.workdir])
    print(f'\n{text}\nThe page is {page}.')
  return int(not complete)


if __name__ == '__main__':
  _CONFIG = command_line.define_config()
  _WORKDIR = flags.DEFINE_string(
      'workdir', None, 'Folder of the sweep.', required=True)
  _SET = flags.DEFINE_multi_string(
      'set', [], 'KEY=VALUE of the config of every run, such as '
      '--set=data.root=DIR; may be given several times.')
  _ONLY = flags.DEFINE_list(
      'only', None, 'Names of the points to run, with commas between; all '
      'unless given. For schedulers: jobs of one host each may share a '
      'workdir.')
  _EVALUATE = flags.DEFINE_bool(
      'evaluate', False, "Evaluate each trained network by the paper's "
      'protocol, as scribble_jax.evaluate does; the report shows that.')
  _REUSE = flags.DEFINE_list(
      'reuse', [], 'Other sweeps, with commas between: their finished runs of '
      'the same settings are linked instead of repeated.')
  _LIST = flags.DEFINE_bool(
      'list', False, 'Only list the points, their finished seeds and their '
      'commands.')
  _PARALLEL = flags.DEFINE_integer(
      'parallel', 1, 'Runs at a time. On CPUs they share the cores evenly; '
      'leave it at 1 where a run needs an accelerator.', lower_bound=1)
  command_line.run(main, interrupted=(
      'Finished runs are kept; the same command goes on.'))
