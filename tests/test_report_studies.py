"""The report on sweeps, and the page with everything on it."""

import base64
import csv
import io
import math
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from scribble_jax.errors import UserError
from scribble_jax.report import page
from scribble_jax.report import run_tables
from scribble_jax.report import runs
from scribble_jax.report import studies
from scribble_jax.report import sweep_axes
from scribble_jax.report.writer import write_report
from scribble_jax.tables import Table
from tests.reported import HOSTILE
from tests.reported import Parser
from tests.reported import parsed
from tests.reported import point
from tests.reported import rows_of
from tests.reported import with_scalars
from tests.reported import write_everything
from tests.reported import write_json
from tests.reported import write_run
from tests.reported import write_sweep


@pytest.fixture(scope='module')
def partial(tmp_path_factory):
  """A sweep with finished, failed, unfinished and missing runs."""
  folder = tmp_path_factory.mktemp('sweep') / 'sweep'
  write_sweep(
      folder, point('a0', 'full', [0.70, 0.74], shrink=0, drop=0),
      point('a1', 'full', [0.66, 0.60], shrink=1),
      point('b0', HOSTILE, [0.60, None], shrink=0),
      point('b1', HOSTILE, [0.30, 0.40], shrink=1),
      point('a2', 'full', [None, None], drop=0.5))
  write_json(folder / 'b0/seed_1.failed.json', {
      'message': f'loss is nan\n  {HOSTILE}', 'log': 'x.log'})
  running = folder / 'a2/seed_0'
  write_json(running / 'config.json', {'num_steps': 1200})
  with_scalars(running, [20, 400])
  return folder


@pytest.fixture(scope='module')
def partial_report(partial, tmp_path_factory):
  """(printed text, folder) of that sweep's report."""
  text, path = write_report(
      [partial], tmp_path_factory.mktemp('report') / 'out')
  return text, path.parent


@pytest.fixture(scope='module')
def run_report(tmp_path_factory):
  """The same of a run with everything."""
  folder = tmp_path_factory.mktemp('run') / f'run {HOSTILE}'
  write_everything(folder)
  text, path = write_report([folder])
  return text, path.parent


# Sweeps


def test_spread_against_hand_computed_values():
  assert studies.spread([70.0, 74.0, 75.0]) == (
      73.0, 70.0, 75.0, pytest.approx(math.sqrt(7)), (70.0, 74.0, 75.0))
  assert studies.spread([70.0]) == (70.0, 70.0, 70.0, None, (70.0,))


def test_results_of_a_partial_sweep(partial_report):
  text, folder = partial_report
  rows = rows_of(folder, 'results.csv')
  assert [row[1:] for row in rows[1:]] == [
      ['2 of 2', '72.00', '2.83', '', '', '70.00', '74.00'],
      ['2 of 2', '63.00', '4.24', '-9.00', '7.07', '66.00', '60.00'],
      ['1 of 2', '60.00', '', '-10.00', '', '60.00', ''],
      ['2 of 2', '35.00', '7.07', '-37.00', '4.24', '30.00', '40.00'],
      ['0 of 2', '', '', '', '', '', '']]
  assert rows[0][-2:] == ['Seed 0', 'Seed 1']
  assert [row[1:] for row in rows_of(folder, 'unfinished.csv')[1:]] == [
      ['1', 'failed', f'loss is nan {HOSTILE} Log: x.log'],
      ['0', 'not finished', 'at step 400 of 1,200'],
      ['1', 'not started', '']]
  shown = ' '.join(parsed(folder).texts)
  assert '3 of 10 runs are missing here: 1 failed, 1 not finished' in shown
  assert '72.00 %' in shown and 'loss is nan' in text


def test_axes_of_a_partial_sweep(partial_report):
  _, folder = partial_report
  rows = rows_of(folder, 'robustness_shrink.csv')
  assert rows[1:] == [
      ['0', '72.00', '2.83', '60.00', '', '-10.00', ''],
      ['1', '63.00', '4.24', '35.00', '7.07', '-28.00', '11.31']]
  assert rows_of(folder, 'robustness_shrink_ends.csv')[1:] == [
      ['full', '2', '72.00', '63.00', '9.00', '7.07'],
      [HOSTILE, '1', '60.00', '30.00', '30.00', '']]
  # The other end of this axis has no result yet.
  assert rows_of(folder, 'robustness_drop.csv')[1:] == [['0', '72.00', '2.83']]
  assert not (folder / 'robustness_drop_ends.csv').exists()
  shown = ' '.join(parsed(folder).texts)
  assert '72.00 → 63.00 % (-9.00 points)' in shown
  assert '60.00 → 30.00 % (-30.00 points over 1 common seed)' in shown


def test_only_what_differs_is_listed(partial_report):
  rows = rows_of(partial_report[1], 'config_differences.csv')
  assert rows[0] == ['Setting', 'name']
  assert [row[1] for row in rows[1:]] == ['a0', 'a1', 'b0', 'b1']


def test_points_without_axes_are_bars(tmp_path):
  write_sweep(tmp_path, point('a', 'all', [0.5, 0.6]),
              point('b', 'none', [0.4, 0.4]), point('c', 'late', [None, None]))
  text, path = write_report([tmp_path])
  assert (path.parent / 'miou.png').exists()
  assert 'Furthest from all {}: none {}, by -15.00 points' in text


def test_sweep_without_any_result(tmp_path):
  write_sweep(tmp_path, point('a', 'all', [None, None]))
  write_json(tmp_path / 'a/seed_0.failed.json', {'message': 'no memory'})
  with pytest.raises(
      UserError, match=r'no finished run yet \(1 failed, 1 not started\)'):
    write_report([tmp_path])


def test_run_of_a_sweep_counts_once_it_was_trained_to_its_end(tmp_path):
  write_sweep(tmp_path, point('a', 'all', [0.5, 0.6]))
  write_run(tmp_path / 'a/seed_0', {'background': 0.9}, evaluated=True)
  (tmp_path / 'a/seed_0/metrics.json').unlink()
  found = studies.read_sweep(tmp_path).settings[0]
  assert found.seeds == (1,) and found.unfinished[0].state == 'not finished'


def test_times_of_a_sweep_are_added_up(tmp_path):
  write_sweep(tmp_path, point('a', 'all', [0.5, 0.6, 0.5]), seeds=(0, 1, 2))
  for seed, seconds in enumerate((3600, 60, None)):
    write_json(tmp_path / f'a/seed_{seed}/run.json', {'seconds': seconds})
  text, = run_tables.whole_time(studies.read_sweep(tmp_path))
  assert text.startswith('The training of stage 2 took 1:01:00 in 2 runs with')
  assert ' 0:30:30 in the median' in text


def test_iou_of_a_point_is_the_mean_over_the_seeds_that_have_the_class():
  several = [
      runs.Run('', pathlib.Path(), {}, None, None, {'iou': iou}, {}, 'miou')
      for iou in ({'a': 0.5, 'b': None, 'c': None}, {'a': 0.7, 'b': 0.2,
                                                     'c': None})]
  found = studies.Setting('', '', {}, tuple(several), (0, 1)).by_class()
  assert found == {'a': pytest.approx(60), 'b': pytest.approx(20), 'c': None}


def test_grid_gets_a_line_for_each_place_on_the_other_axis(tmp_path):
  write_sweep(
      tmp_path, *(point(f'{x}{y}', 'full', [0.5 + x / 10 + y / 100], x=x, y=y)
                  for x in (1, 0) for y in (0, 1)), seeds=[0])
  study = studies.read_sweep(tmp_path)
  found = {line.label: [
      setting.score.mean for setting in line.settings.values()]
           for line in sweep_axes.lines(study, 'x')}
  assert found == {'full, y 0': pytest.approx([50, 60]),
                   'full, y 1': pytest.approx([51, 61])}


def test_sweep_and_runs_in_one_report_keep_their_files_apart(tmp_path):
  write_sweep(tmp_path / 'sweep', point('a', 'all', [0.5, 0.6]))
  write_run(tmp_path / 'run', {'background': 0.9, 'cat': 0.5})
  _, path = write_report([tmp_path / 'sweep', tmp_path / 'run'])
  names = {entry.name for entry in path.parent.glob('*results.csv')}
  assert len(names) == 2 and 'run_results.csv' in names
  text = path.read_text()
  anchors = [address[1:] for address in Parser(text).addresses
             if address.startswith('#')]
  assert 'chapter-2' in anchors
  assert all(text.count(f'id="{anchor}"') == 1 for anchor in anchors)


def test_confusion_is_summed_over_the_seeds():
  several = [
      runs.Run('', pathlib.Path(), {}, None, None,
               {'iou': {'a': 1, 'b': 1}, 'confusion': counts}, {}, 'miou')
      for counts in ([[1, 0], [0, 4]], [[1, 2], [0, 0]], None)]
  shares, names, num_runs = run_tables.confusion_shares(
      studies.Setting('', '', {}, tuple(several), (0, 1, 2)))
  np.testing.assert_allclose(shares, [[50, 50], [0, 100]])
  assert (names, num_runs) == (['a', 'b'], 2)


# The page


def test_page_loads_nothing(run_report, partial_report):
  for _, folder in (run_report, partial_report):
    shown = parsed(folder)
    assert shown.addresses
    assert all(address.startswith(('data:', '#'))
               for address in shown.addresses)
    assert not shown.tags & {'script', 'link', 'iframe', 'object', 'base'}
    style = (folder / 'report.html').read_text().split('</style>')[0]
    assert 'url(' not in style and '@import' not in style


def test_links_within_the_page_lead_somewhere(partial_report):
  text = (partial_report[1] / 'report.html').read_text()
  anchors = [address for address in Parser(text).addresses
             if address.startswith('#')]
  assert anchors
  assert all(f'id="{anchor[1:]}"' in text for anchor in anchors)


def test_hostile_names_are_text(run_report, partial_report):
  for _, folder in (run_report, partial_report):
    shown = parsed(folder)
    assert not shown.tags & {'blink', 'i'}
    assert HOSTILE in ''.join(shown.texts)


def test_tables_are_the_same_in_the_page_and_beside_it(
    run_report, partial_report):
  for _, folder in (run_report, partial_report):
    shown = parsed(folder)
    stored = {path.name for path in folder.glob('*.csv')} - {'curves.csv'}
    assert stored == set(shown.tables)
    for name in stored:
      text = (folder / name).read_text()
      assert text == shown.saved[name]
      head, *rows = shown.tables[name]
      rows.insert(0, [cell for cell in head if cell])  # Bars have no heading.
      assert rows == list(csv.reader(io.StringIO(text))), name


def test_figures_are_the_same_in_the_page_and_beside_it(partial_report):
  _, folder = partial_report
  shown = parsed(folder)
  drawn = [path for path in folder.glob('*.png')
           if not path.stem.endswith('_table')]
  assert {path.name for path in drawn} >= {
      'robustness_shrink.png', 'robustness_drop.png', 'iou.png'}
  for path in drawn:
    with Image.open(path) as image:
      assert image.width > 800  # Sharp on dense screens.
    data = base64.b64encode(path.read_bytes()).decode()
    assert f'data:image/png;base64,{data}' in shown.addresses


def test_numbers_are_set_flush_right():
  table = Table(('Name', 'A', 'B', 'C'), (
      ('1', '-1.5', '2 of 2', ''), ('2', '', '1', '')))
  assert [table.is_number(i) for i in range(4)] == [False, True, False, False]
  assert table.text().splitlines()[0].split() == ['Name', 'A', 'B', 'C']
  assert page.blocks.table(table, 'x.csv').count('<td class="number">') == 2


def test_everything_that_a_run_left_is_shown(run_report):
  text, folder = run_report
  shown = parsed(folder)
  texts = ' '.join(shown.texts)
  assert f"scribble_jax.main '{HOSTILE[:8]}" in texts  # Ready for a shell.
  times = dict(zip(*rows_of(folder, 'times.csv'), strict=True))
  assert times['Training of stage 2'] == '1:02:03' and times['Starts'] == '3'
  assert '2024-02-20 10:00' in texts
  for name in ('train', 'val', 'best', 'worst'):
    picture = (folder.parent / f'panels_{name}.png').read_bytes()
    data = f'data:image/png;base64,{base64.b64encode(picture).decode()}'
    assert data in shown.addresses
  assert rows_of(folder, 'images_worst.csv')[1:] == [
      ['a,<i>', '25.00', '50.00'], ['b', '100.00', '100.00']]
  assert rows_of(folder, 'images_best.csv')[1][0] == 'b'
  assert rows_of(folder, 'confusion.csv')[1:] == [
      ['background', '75.00', '25.00'], [HOSTILE, '', '']]
  curves = rows_of(folder, 'curves.csv')
  assert [f'run {HOSTILE}', 'loss/lorm', '20', '0.05'] in curves
  assert '70.00' in text


def test_report_does_not_import_tensorflow(partial, tmp_path):
  code = ('import sys\n'
          'from scribble_jax.report.writer import write_report\n'
          f'write_report([{str(partial)!r}], {str(tmp_path / "out")!r})\n'
          'assert "tensorflow" not in sys.modules\n')
  subprocess.run([sys.executable, '-c', code], check=True,
                 cwd=pathlib.Path(__file__).parent.parent)
