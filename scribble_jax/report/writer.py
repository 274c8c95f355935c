"""A report as a whole: from folders of runs and sweeps to one folder."""

from scribble_jax.errors import UserError
from scribble_jax.files import storage
from scribble_jax.report import chapters
from scribble_jax.report import comparison
from scribble_jax.report import page
from scribble_jax.report import report_files
from scribble_jax.report import run_tables
from scribble_jax.report import runs
from scribble_jax.report import score_tables
from scribble_jax.report import studies


def write_report(folders, output=None):
  """Writes a report, whole or not at all.

  Args:
    folders: Of runs and sweeps; runs share a chapter, a sweep has its own.
    output: Folder for report.html and the other files; an earlier report there
      is replaced. FIRST_FOLDER/report unless given.

  Returns:
    (tables and remarks as text, the page's path).

  Raises:
    UserError: A folder holds no results, or the report can't be written.
  """
  if not folders:
    raise UserError('Name the folder of a run or a sweep.')
  command = ['python', '-m', 'scribble_jax.report', *map(str, folders)]
  if output:
    command.append(f'--output={output}')
  output = storage.path(output or storage.path(folders[0], 'report'))
  report_files.check_output(output)  # Before the long work starts.
  found = _read_studies(folders)
  files = report_files.Files()
  written = [
      (study.title, chapters.Chapter(
          study, files, i,
          study.title if len(found) > 1 else '').html(command))
      for i, study in enumerate(found, 1)]
  title = ', '.join(study.title for study in found)
  if found[0].best:
    title += f': {found[0].best.score.mean:.2f} % {found[0].measure}'
  document = page.document(title, written)
  report_files.write(output, files.contents | {
      'report.html': document.encode()})
  return '\n\n'.join(map(_text, found)), output / 'report.html'


def _read_studies(folders):
  """Returns the runs as one study, and every sweep as its own."""
  # A folder that is named twice counts once.
  paths = list(dict.fromkeys(map(storage.resolve, folders)))
  single = []
  found = []
  for path in paths:
    if (path / 'sweep.json').exists():
      found.append(studies.read_sweep(path))
    elif (path / 'config.json').exists():
      single.append(path)
    else:
      raise UserError(f'{path} is no run and no sweep: config.json is missing, '
                      'and so is sweep.json.')
  return [studies.study_of_runs(single)] * bool(single) + found


def _text(study):
  """Returns what the terminal shows of a study."""
  parts = [study.title, score_tables.results(study).text()]
  lacking = score_tables.unfinished(study)
  if lacking.rows:
    parts.append(lacking.text())
  if len(study.runs) == 1 and not study.is_sweep and (
      run_tables.has_published(study)):
    parts += [run_tables.published(study).text(),
              comparison.comparability(study.runs)]
  parts += score_tables.findings(study) if study.is_sweep else []
  return '\n'.join([*parts, runs.describe_evaluation(study.runs)])
