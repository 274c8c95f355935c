r"""Writes a report on runs and sweeps as one HTML page.

python -m scribble_jax.report runs/scribblesup
python -m scribble_jax.report runs/ablation --output=reports/ablation

Each folder is a training run (it has a config.json) or a sweep (sweep.json),
finished or not. FIRST_FOLDER/report, or --output, gets report.html, which
contains everything it shows, and beside it every table as CSV and every figure
as PNG.
"""

from absl import flags

from scribble_jax import command_line
from scribble_jax.report import writer


def main(argv):
  """Writes the report on the folders in `argv` and prints its tables."""
  text, path = writer.write_report(argv[1:], _OUTPUT.value)
  print(text)
  print(f'The page is {path}.')


if __name__ == '__main__':
  _OUTPUT = flags.DEFINE_string(
      'output', None, "Folder for the report; the first folder's `report` "
      'unless given.')
  command_line.run(main, interrupted='An earlier report is as it was.',
                   takes_files=True)
