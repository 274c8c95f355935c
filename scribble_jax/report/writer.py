"""Writes a whole report from folders of runs and sweeps."""

import re

from scribble_jax.errors import UserError
from scribble_jax.files import storage
from scribble_jax.report import chapters
from scribble_jax.report import comparison
from scribble_jax.report import page
from scribble_jax.report import report_files
from scribble_jax.report import runs
from scribble_jax.report import score_tables
from scribble_jax.report import studies


def write_report(folders, output=None):
  """Writes a report completely or not at all.

  Args:
    folders: Folders of runs and sweeps. All runs share a chapter; each sweep
      has its own.
    output: Folder for report.html and the other files; an earlier report there
      is replaced. FIRST_FOLDER/report unless given.

  Returns:
    text: Tables and remarks for the terminal.
    path: Path of the page.

  Raises:
    UserError: A folder has no results, or the report can't be written.
  """
  if not folders:
    raise UserError('Name the folder of a run or a sweep.')
  command = ['python', '-m', 'scribble_jax.report', *map(str, folders)]
  if output:
    command.append(f'--output={output}')
  output = storage.path(output or storage.path(folders[0], 'report'))
  report_files.check_output(output)  # Before the long work starts.
  found = _read_studies(folders)
  contents, written = {}, []
  for study in found:
    prefix = re.sub(r'\W+', '_', study.title) + '_' if len(found) > 1 else ''
    written.append(chapters.chapter(
        study, report_files.Files(contents, prefix), command))
  title = ', '.join(study.title for study in found)
  if found[0].best:
    title += f': {found[0].best.score.mean:.2f} % {found[0].measure}'
  document = page.document(title, written)
  report_files.write(output, contents | {'report.html': document.encode()})
  return '\n\n'.join(map(_text, found)), output / 'report.html'


def _read_studies(folders):
  """Returns a Study of all runs, if there are any, and one of each sweep."""
  single, found = [], []
  for path in dict.fromkeys(map(storage.resolve, folders)):
    if (path / 'sweep.json').exists():
      found.append(studies.read_sweep(path))
    elif (path / 'config.json').exists():
      single.append(path)
    else:
      raise UserError(f'{path} is no run and no sweep: config.json is missing, '
                      'and so is sweep.json.')
  return ([studies.study_of_runs(single)] if single else []) + found


def _text(study):
  """Returns what the terminal shows of a study."""
  parts = [study.title, score_tables.results(study).text()]
  if study.unfinished:
    parts.append(score_tables.unfinished(study).text())
  if (len(study.runs) == 1 and not study.is_sweep
      and study.measure == 'mIoU'):
    parts += [comparison.published(study).text(),
              comparison.comparability(study.runs)]
  return '\n'.join([*parts, *score_tables.findings(study),
                    runs.describe_evaluation(study.runs)])
