"""The report on runs and sweeps."""

import base64
import csv
import html.parser
import io
import json
import math
import pathlib
import subprocess
import sys

from clu import metric_writers
import numpy as np
from PIL import Image
import pytest
from tensorboard.summary import Writer

from scribble_jax import published
from scribble_jax import results
from scribble_jax.errors import UserError
from scribble_jax.report import axes
from scribble_jax.report import events
from scribble_jax.report import files
from scribble_jax.report import page
from scribble_jax.report import runs
from scribble_jax.report import summaries
from scribble_jax.report import sweeps
from scribble_jax.report.__main__ import write_report
from scribble_jax.report.tables import Table

HOSTILE = '<blink>"\'& $x_{'


def write_json(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(content))


def write_run(folder, iou, *, evaluated=False, config=None, **figures):
  """Leaves what a finished run leaves, with the given {class: IoU}."""
  figures = {'step': 33100, 'pixel_accuracy': 0.9, 'iou': iou, 'miou': float(
      np.mean([value for value in iou.values() if value is not None]))
  } | figures
  write_json(folder / 'config.json', {
      'seed': 0, 'num_steps': 33100, 'model': {
          'head': 'deeplabv3plus', 'backbone': 'resnet101'}} | (config or {}))
  write_json(folder / 'metrics.json',
             figures | ({'miou': 0.5} if evaluated else {}))
  if evaluated:
    write_json(folder / 'evaluation/metrics.json', figures | {
        'num_images': 1449, 'protocol': {
            'scales': [0.5, 1.0], 'long_side': 512, 'window': 465,
            'flip': False}})


def write_everything(folder):
  """Leaves a run with all that a run may leave, under hostile names."""
  write_run(folder, {'background': 0.9, HOSTILE: 0.5},
            confusion=[[6, 2], [0, 0]], best_miou=0.8, best_step=20,
            images_per_second=12.34, config={HOSTILE: HOSTILE})
  write_json(folder / 'run.json', {
      'command': ['python', '-m', 'scribble_jax.main', HOSTILE],
      'versions': {'jax': '0.10.2', HOSTILE: HOSTILE}, 'cores': 2,
      'processor': HOSTILE, 'started': '2024-02-20T10:00:00', 'seconds': 3723})
  for name in ('train', 'val', 'best', 'worst'):
    results.write_png(folder / f'panels_{name}.png',
                      np.full([4, 1500, 3], len(name), np.uint8))
  (folder / 'val_images.csv').write_text(
      'id,miou,pixel_accuracy\n"a,<i>",0.25,0.5\nb,1.0,1.0\nempty,,\n')
  with_scalars(folder)


def with_scalars(folder, steps=(20, 40)):
  writer = Writer(str(folder))
  for step in steps:
    for tag in ('loss/total', 'loss/lorm', 'val/miou'):
      writer.add_scalar(tag, 1 / step, step)
  writer.close()


def point(name, series, mious, **axes):
  return {'name': name, 'series': series, 'label': f'{series} {axes}',
          'axes': axes, 'overrides': {}}, mious


def write_sweep(folder, *points, seeds=(0, 1)):
  """Leaves a sweep of `point`s with one IoU a seed; None for no run."""
  write_json(folder / 'sweep.json', {
      'title': f'Robustness {HOSTILE}', 'question': f'Why {HOSTILE}?',
      'base': 'configs/demo.py', 'flags': [], 'seeds': list(seeds),
      'command': ['python', '-m', 'scribble_jax.sweep', HOSTILE],
      'points': [entry for entry, _ in points],
      'axis_labels': {'shrink': f'Shrink {HOSTILE}'}, 'log_axes': ['shrink']})
  for entry, mious in points:
    for seed, miou in zip(seeds, mious, strict=True):
      if miou is not None:
        write_run(folder / entry['name'] / f'seed_{seed}',
                  {'background': miou, 'cat': miou},
                  config={'seed': seed, 'name': entry['name'], 'same': 1})


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
      'message': f'loss is nan\n  {HOSTILE}', 'exit_code': 1, 'log': 'x.log'})
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


class Parser(html.parser.HTMLParser):
  """Collects tags, addresses, visible text and tables of a page."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.addresses, self.texts = set(), [], []
    self.tables = {}  # CSV's name -> rows.
    self.saved = {}  # CSV's name -> its text in the page.
    self._rows, self._cell = [], None
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    self.tags.add(tag)
    self.addresses += [attrs[key] for key in ('src', 'href', 'srcset', 'data')
                       if key in attrs]
    if tag == 'table':
      self._rows = []
    elif tag == 'tr':
      self._rows.append([])
    elif tag in ('td', 'th'):
      self._cell = None if attrs.get('class') == 'bar' else ''
    if 'download' in attrs:
      self.tables[attrs['download']] = self._rows
      data = attrs['href'].removeprefix('data:text/csv;base64,')
      self.saved[attrs['download']] = base64.b64decode(data).decode()

  def handle_endtag(self, tag):
    if tag in ('td', 'th') and self._cell is not None:
      self._rows[-1].append(self._cell)
      self._cell = None

  def handle_data(self, text):
    self.texts.append(text)
    if self._cell is not None:
      self._cell += text


def parsed(folder):
  return Parser((folder / 'report.html').read_text())


def rows_of(folder, name):
  return list(csv.reader(io.StringIO((folder / name).read_text())))


# Runs


def test_report_compares_with_the_published_figures(tmp_path):
  write_run(tmp_path / 'run', dict.fromkeys(published.VOC_CLASSES, 0.75),
            evaluated=True)
  text, path = write_report([tmp_path / 'run'])
  lines = [' '.join(line.split()) for line in text.splitlines()]
  assert 'this run DeepLabV3+ ResNet-101 75.00 measured here' in lines
  assert ('CDSP (BMP pseudo-labels) DeepLabV3+ ResNet-101 75.85 published '
          '-0.85') in lines
  assert ('CDSP (BMP pseudo-labels) DeepLabV2 ResNet-50 73.92 published '
          '+1.08') in lines
  assert 'scales 0.5, 1 of a long side of 512 pixels' in text
  assert path == tmp_path / 'run/report/report.html'
  rows = rows_of(path.parent, 'published.csv')
  mious = [float(row[2]) for row in rows[1:]]
  assert mious == sorted(mious, reverse=True)
  assert ['person', '75.00'] in rows_of(path.parent, 'iou.csv')


def test_report_of_other_classes_shows_no_difference(tmp_path):
  write_run(tmp_path / 'run', {'background': 0.9, 'cat': 0.1})
  text, path = write_report([tmp_path / 'run'])
  assert '50.00' in text and 'validation of training' in text
  assert 'no difference is shown' in text
  rows = rows_of(path.parent, 'published.csv')
  assert rows[0] == ['Method', 'Network', 'mIoU (%)', 'Origin']
  assert rows[1][0] == 'this run'  # First, as it can't be ranked.


def test_run_that_left_little_shows_little(tmp_path):
  write_run(tmp_path / 'run', {'background': 0.9, 'cat': None})
  _, path = write_report([tmp_path / 'run'])
  assert {entry.name for entry in path.parent.iterdir()} == {
      'report.html', 'files.txt', 'results.csv', 'published.csv', 'iou.csv',
      'iou.png', 'config.csv', 'times.csv'}
  titles = ' '.join(parsed(path.parent).texts)
  assert 'Confusion' not in titles and 'curves' not in titles


@pytest.mark.parametrize('missing, message', [
    ('config.json', 'no run and no sweep: config.json is missing'),
    ('metrics.json', 'metrics.json is missing or unreadable. Train to the end'),
])
def test_report_of_an_unfinished_run(tmp_path, missing, message):
  write_run(tmp_path, {'background': 0.9, 'cat': 0.5})
  (tmp_path / missing).unlink()
  with pytest.raises(UserError, match=message):
    write_report([tmp_path])
  assert not (tmp_path / 'report').exists()


@pytest.mark.parametrize('name, content, message', [
    ('metrics.json', '{"step": 3', 'metrics.json is missing or unreadable'),
    ('metrics.json', '{"step": 3}', "metrics.json has no number as 'miou'"),
    ('run.json', '[]', 'run.json holds no JSON object'),
    ('val_images.csv', 'name,iou\na,1\n', 'lacks the columns id, miou'),
    ('sweep.json', '{"seeds": [0]}', 'sweep.json describes no sweep'),
    ('sweep.json', '{"seeds": [0], "points": [{"name": "a", "axes": '
     '{"x": "much"}}]}', 'sweep.json describes no sweep'),
    ('sweep.json', '{"seeds": [0], "points": []}', 'no finished run yet'),
])
def test_damaged_file_is_named(tmp_path, name, content, message):
  write_run(tmp_path, {'background': 0.9, 'cat': 0.5})
  (tmp_path / name).write_text(content)
  with pytest.raises(UserError, match=message) as error:
    write_report([tmp_path])
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'report').exists()


def test_report_of_a_run_that_was_evaluated_before_its_end(tmp_path):
  write_run(tmp_path, {'background': 0.9, 'cat': 0.5}, evaluated=True)
  (tmp_path / 'metrics.json').unlink()
  assert 'Measured after 33,100 updates' in write_report([tmp_path])[0]


def test_everything_that_a_run_left_is_shown(run_report):
  text, folder = run_report
  shown = parsed(folder)
  texts = ' '.join(shown.texts)
  assert f"scribble_jax.main '{HOSTILE[:8]}" in texts  # Ready for a shell.
  assert '1:02:03' in texts and '2024-02-20T10:00:00' in texts
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


def test_runs_side_by_side(tmp_path):
  for name, miou in (('x/seed_0', 0.5), ('y/seed_0', 0.6)):
    write_run(tmp_path / name, {'background': miou, 'cat': miou},
              config={'lr': miou, 'seed': miou})
  folders = [tmp_path / 'x/seed_0', tmp_path / 'y/seed_0',
             tmp_path / 'y/../x/seed_0']
  _, path = write_report(folders, tmp_path / 'out')
  rows = rows_of(path.parent, 'results.csv')
  assert [row[0] for row in rows[1:]] == ['x/seed_0', 'y/seed_0']
  assert rows_of(path.parent, 'config_differences.csv') == [
      ['Run', 'lr'], ['x/seed_0', '0.5'], ['y/seed_0', '0.6']]


# Sweeps


def test_spread_against_hand_computed_values():
  assert sweeps.spread([70.0, 74.0, 75.0]) == (
      73.0, 70.0, 75.0, pytest.approx(math.sqrt(7)), (70.0, 74.0, 75.0))
  assert sweeps.spread([70.0]) == (70.0, 70.0, 70.0, None, (70.0,))


def test_results_of_a_partial_sweep(partial_report):
  text, folder = partial_report
  rows = rows_of(folder, 'results.csv')
  assert [row[1:] for row in rows[1:]] == [
      ['2 of 2', '72.00', '70.00', '74.00', '2.83', ''],
      ['2 of 2', '63.00', '60.00', '66.00', '4.24', '-9.00'],
      ['1 of 2', '60.00', '60.00', '60.00', '', '-12.00'],
      ['2 of 2', '35.00', '30.00', '40.00', '7.07', '-37.00'],
      ['0 of 2', '', '', '', '', '']]
  assert [row[1:] for row in rows_of(folder, 'unfinished.csv')[1:]] == [
      ['1', 'failed', f'loss is nan {HOSTILE} (exit code 1) Log: x.log'],
      ['0', 'not finished', 'at step 400 of 1,200'],
      ['1', 'not started', '']]
  shown = ' '.join(parsed(folder).texts)
  assert '3 of 10 runs are missing here: 1 failed, 1 not finished' in shown
  assert '72.00 %' in shown and 'loss is nan' in text


def test_axes_of_a_partial_sweep(partial_report):
  _, folder = partial_report
  rows = rows_of(folder, 'robustness_shrink.csv')
  assert rows[1:] == [
      ['0', '72.00', '2.83', '60.00', '', '-12.00'],
      ['1', '63.00', '4.24', '35.00', '7.07', '-28.00']]
  assert rows_of(folder, 'robustness_shrink_ends.csv')[1:] == [
      ['full', '72.00', '63.00', '9.00'], [HOSTILE, '60.00', '35.00', '25.00']]
  # The other end of this axis has no result yet.
  assert rows_of(folder, 'robustness_drop.csv')[1:] == [['0', '72.00', '2.83']]
  assert not (folder / 'robustness_drop_ends.csv').exists()
  shown = ' '.join(parsed(folder).texts)
  assert '72.00 → 63.00 % (-9.00 points)' in shown


def test_only_what_differs_is_listed(partial_report):
  rows = rows_of(partial_report[1], 'config_differences.csv')
  assert rows[0] == ['Point', 'name']
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


def test_figures_of_one_sweep_are_all_of_one_kind(tmp_path):
  write_sweep(tmp_path, point('a', 'all', [0.5, 0.6]))
  write_run(tmp_path / 'a/seed_0', {'background': 0.9}, evaluated=True)
  assert sweeps.read_sweep(tmp_path).points[0].miou.values == (50.0, 60.0)
  write_run(tmp_path / 'a/seed_1', {'background': 0.7}, evaluated=True)
  assert sweeps.read_sweep(tmp_path).points[0].miou.values == (90.0, 70.0)


def test_run_of_a_sweep_counts_once_it_was_trained_to_its_end(tmp_path):
  write_sweep(tmp_path, point('a', 'all', [0.5, 0.6]))
  write_run(tmp_path / 'a/seed_0', {'background': 0.9}, evaluated=True)
  (tmp_path / 'a/seed_0/metrics.json').unlink()
  found = sweeps.read_sweep(tmp_path).points[0]
  assert found.seeds == (1,) and found.unfinished[0].state == 'not finished'


def test_iou_of_a_point_is_the_mean_over_the_seeds_that_have_the_class():
  several = [
      runs.Run('', pathlib.Path(), {}, None, None, {'iou': iou}, {})
      for iou in ({'a': 0.5, 'b': None, 'c': None}, {'a': 0.7, 'b': 0.2,
                                                     'c': None})]
  found = sweeps.Point('', '', {}, tuple(several), (0, 1)).iou()
  assert found == {'a': pytest.approx(60), 'b': pytest.approx(20), 'c': None}


def test_grid_gets_a_line_for_each_place_on_the_other_axis(tmp_path):
  write_sweep(
      tmp_path, *(point(f'{x}{y}', 'full', [0.5 + x / 10 + y / 100], x=x, y=y)
                  for x in (1, 0) for y in (0, 1)), seeds=[0])
  study = sweeps.read_sweep(tmp_path)
  found = {line.label: [point.miou.mean for point in line.points.values()]
           for line in axes.lines(study, 'x')}
  assert found == {'full, y 0': pytest.approx([50, 60]),
                   'full, y 1': pytest.approx([51, 61])}


def test_sweep_and_runs_in_one_report_keep_their_files_apart(tmp_path):
  write_sweep(tmp_path / 'sweep', point('a', 'all', [0.5, 0.6]))
  write_run(tmp_path / 'run', {'background': 0.9, 'cat': 0.5})
  _, path = write_report([tmp_path / 'sweep', tmp_path / 'run'])
  names = {entry.name for entry in path.parent.glob('*results.csv')}
  assert len(names) == 2 and 'run_results.csv' in names


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
  figures = list(folder.glob('*.png'))
  assert {path.name for path in figures} >= {
      'robustness_shrink.png', 'robustness_drop.png', 'iou.png'}
  for path in figures:
    with Image.open(path) as image:
      assert image.width > 800  # Sharp on dense screens.
    data = base64.b64encode(path.read_bytes()).decode()
    assert f'data:image/png;base64,{data}' in shown.addresses


def test_numbers_are_set_flush_right():
  table = Table(('Name', 'A', 'B', 'C'), (
      ('1', '-1.5', '2 of 2', ''), ('2', '', '1', '')))
  assert [table.is_number(i) for i in range(4)] == [False, True, False, False]
  assert table.text().splitlines()[0].split() == ['Name', 'A', 'B', 'C']
  assert page.table(table, 'x.csv').count('<td class="number">') == 2


# Event files


def test_events_of_a_resumed_run_the_later_wins(tmp_path):
  for time, values in ((100.0, {1: 5.0, 2: 4.0}), (200.0, {2: 3.0, 3: 2.0})):
    writer = Writer(str(tmp_path))
    for step, value in values.items():
      writer.add_scalar('loss/total', value, step, wall_time=time)
    writer.close()
  expected = {'loss/total': [(1, 5.0), (2, 3.0), (3, 2.0)]}
  assert events.read_scalars(tmp_path) == expected
  first, second = sorted(tmp_path.iterdir())
  first.rename(second.with_name(f'{second.name}.later'))
  assert events.read_scalars(tmp_path) == expected
  assert events.last_step(expected) == 3


def test_events_as_training_writes_them(tmp_path):
  writer = metric_writers.SummaryWriter(str(tmp_path))
  writer.write_scalars(20, {'loss/total': 1.5})
  writer.write_images(20, {'panels/val': np.zeros([1, 8, 8, 3], np.uint8)})
  writer.write_scalars(40, {'loss/total': 0.5, 'val/miou': 0.25})
  writer.close()
  assert events.read_scalars(tmp_path) == {
      'loss/total': [(20, 1.5), (40, 0.5)], 'val/miou': [(40, 0.25)]}


def test_events_up_to_where_writing_stopped(tmp_path):
  with_scalars(tmp_path, [20, 40])
  path, = tmp_path.iterdir()
  content = path.read_bytes()
  for damaged in (content[:-3], content + b'\xff' * 40):
    path.write_bytes(damaged)
    assert events.last_step(events.read_scalars(tmp_path)) == 40
  path.write_bytes(content[:40])
  assert events.read_scalars(tmp_path) == {}


# The folder


def test_report_never_replaces_a_folder_of_other_files(tmp_path):
  write_run(tmp_path / 'run', {'background': 0.9, 'cat': 0.5})
  _, path = write_report([tmp_path / 'run'], tmp_path / 'out')
  (tmp_path / 'out/thesis.tex').write_text('precious')
  (tmp_path / 'file').write_text('precious')
  for output in (tmp_path / 'out', tmp_path / 'run', tmp_path / 'file'):
    with pytest.raises(UserError, match='holds other files than a report'):
      write_report([tmp_path / 'run'], output)
  assert (tmp_path / 'out/thesis.tex').read_text() == 'precious'
  assert (tmp_path / 'run/config.json').exists() and path.exists()


def test_earlier_report_is_replaced_with_all_its_files(tmp_path):
  files.write(tmp_path / 'out', {'report.html': b'1', 'confusion.csv': b'1'})
  files.write(tmp_path / 'out', {'report.html': b'2', 'iou.csv': b'2'})
  assert {path.name for path in (tmp_path / 'out').iterdir()} == {
      'report.html', 'iou.csv', 'files.txt'}
  assert (tmp_path / 'out/report.html').read_text() == '2'


def test_interrupted_report_leaves_the_earlier_one(tmp_path, monkeypatch):
  files.write(tmp_path / 'out', {'report.html': b'1'})
  write = pathlib.Path.write_bytes

  def interrupted(path, content):
    write(path, content[:1])
    raise KeyboardInterrupt

  monkeypatch.setattr(pathlib.Path, 'write_bytes', interrupted)
  for output in ('out', 'new'):
    with pytest.raises(KeyboardInterrupt):
      files.write(tmp_path / output, {'report.html': b'22'})
  assert [path.name for path in tmp_path.iterdir()
          if path.suffix != '.lock'] == ['out']
  assert (tmp_path / 'out/report.html').read_bytes() == b'1'


def test_report_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match=r'Cannot write .*--output'):
    files.write(tmp_path / 'file/out', {'report.html': b'1'})


def test_files_of_one_name_get_numbers():
  kept = files.Files()
  assert [kept.add('a/b.csv', b'') for _ in range(3)] == [
      'a_b.csv', 'a_b_2.csv', 'a_b_3.csv']


def test_confusion_is_summed_over_the_seeds():
  several = [
      runs.Run('', pathlib.Path(), {}, None, None,
               {'iou': {'a': 1, 'b': 1}, 'confusion': counts}, {})
      for counts in ([[1, 0], [0, 4]], [[1, 2], [0, 0]], None)]
  shares, names, num_runs = summaries.confusion_shares(
      sweeps.Point('', '', {}, tuple(several), (0, 1, 2)))
  np.testing.assert_allclose(shares, [[50, 50], [0, 100]])
  assert (names, num_runs) == (['a', 'b'], 2)


def test_report_does_not_import_tensorflow(partial, tmp_path):
  code = ('import sys\n'
          'from scribble_jax.report.__main__ import write_report\n'
          f'write_report([{str(partial)!r}], {str(tmp_path / "out")!r})\n'
          'assert "tensorflow" not in sys.modules\n')
  subprocess.run([sys.executable, '-c', code], check=True,
                 cwd=pathlib.Path(__file__).parent.parent)
