"""The report on runs, its files and the scalars that it reads."""

import pathlib

from clu import metric_writers
import numpy as np
from PIL import Image
import pytest
from tensorboard.summary import Writer

from scribble_jax import dataset_classes
from scribble_jax.errors import UserError
from scribble_jax.report import comparison
from scribble_jax.report import events
from scribble_jax.report import report_files
from scribble_jax.report.writer import write_report
from tests.reported import parsed
from tests.reported import rows_of
from tests.reported import with_scalars
from tests.reported import write_run

# Runs


def test_report_compares_with_the_published_figures(tmp_path):
  write_run(tmp_path / 'run', dict.fromkeys(dataset_classes.VOC_CLASSES, 0.75),
            evaluated=True)
  text, path = write_report([tmp_path / 'run'])
  lines = [' '.join(line.split()) for line in text.splitlines()]
  assert 'this run DeepLabV3+ ResNet-101 75.00 measured here' in lines
  assert ('CDSP (BMP pseudo-labels) DeepLabV3+ ResNet-101 75.85 published '
          '-0.85') in lines
  assert ('CDSP (BMP pseudo-labels) DeepLabV2 ResNet-50 73.92 published '
          '+1.08') in lines
  assert 'scales 0.5, 1 of a long side of 512 pixels' in text
  assert 'no flip.' in text
  assert path == tmp_path / 'run/report/report.html'
  rows = rows_of(path.parent, 'published.csv')
  mious = [float(row[2]) for row in rows[1:]]
  assert mious == sorted(mious, reverse=True)
  assert ['person', '75.00'] in rows_of(path.parent, 'iou.csv')


@pytest.mark.parametrize(('backbone', 'name'), [
    ('resnet50', 'Linear ResNet-50'),
    ('efficientnet_lite0', 'Linear EfficientNet-Lite0'),
    ('dinov2_small_reg', 'Linear DINOv2 small reg')])
def test_networks_are_named_as_people_write_them(backbone, name):
  assert comparison.network(
      {'model': {'head': 'linear', 'backbone': backbone}}) == name


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
      'report.html', 'files.txt', 'iou.png', *(
          f'{table}{suffix}' for suffix in ('.csv', '_table.png')
          for table in ('results', 'published', 'iou', 'config', 'times'))}
  with Image.open(path.parent / 'iou_table.png') as picture:
    assert picture.height == 3 * 0.25 * 200  # A title and two rows.
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
    ('metrics.json', '{"step": 3, "miou": 0.5}',
     "metrics.json has no number as 'pixel_accuracy'"),
    ('metrics.json', '{"step": 3, "miou": "x"}', "has no number as 'miou'"),
    ('metrics.json', '{"step": 3, "stroke_accuracy": 0.5}',
     "lacks 'stroke_accuracy_by_class' or 'step'"),
    ('run.json', '[]', 'run.json holds no JSON object'),
    ('val_images.csv', 'name,iou\na,1\n', 'lacks the columns id, miou'),
    ('sweep.json', '{"seeds": [0]}', 'sweep.json describes no sweep'),
    ('sweep.json', '{"seeds": [0], "points": [{"name": "a", "axes": '
     '{"x": "much"}}]}', 'sweep.json describes no sweep'),
    ('sweep.json', '{"seeds": [0], "points": []}', 'no finished run yet'),
    ('sweep.json', '[]', 'sweep.json holds no JSON object'),
    ('sweep.json', '{"points": []}', r"describes no sweep \(KeyError\('seeds'"),
    ('sweep.json', '{"seeds": "01", "points": []}', 'describes no sweep'),
    ('sweep.json', '{"seeds": [Infinity], "points": []}', 'no sweep'),
    ('sweep.json', '{"seeds": [0], "points": [], "log_axes": 3}',
     'describes no sweep .*log_axes is 3'),
    ('sweep.json', '{"seeds": [0], "points": [], "axis_labels": ["x"]}',
     'describes no sweep .*axis_labels'),
    ('evaluation/metrics.json', '{"miou": 1, "pixel_accuracy": 1, "iou": {}, '
     '"step": 1}', "lacks 'protocol'"),
])
def test_damaged_file_is_named(tmp_path, name, content, message):
  write_run(tmp_path, {'background': 0.9, 'cat': 0.5})
  (tmp_path / name).parent.mkdir(exist_ok=True)
  (tmp_path / name).write_text(content)
  with pytest.raises(UserError, match=message) as error:
    write_report([tmp_path])
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'report').exists()


def test_report_of_a_run_that_was_evaluated_before_its_end(tmp_path):
  write_run(tmp_path, {'background': 0.9, 'cat': 0.5}, evaluated=True)
  (tmp_path / 'metrics.json').unlink()
  assert 'Measured after 33,100 updates' in write_report([tmp_path])[0]


@pytest.mark.parametrize(('strengths', 'said'), [
    ((0.0, 0.0), 'no flip.'),
    ((0.1, 0.1), 'no flip, refined by the walk of stage 1.'),
    ((0.0, 0.1), 'no flip, some refined by the walk of stage 1.')])
def test_report_says_what_is_refined(tmp_path, strengths, said):
  for name, refine in zip('xy', strengths, strict=True):
    write_run(tmp_path / name, {'background': 0.9, 'cat': 0.5}, evaluated=True,
              protocol={'refine': refine})
  assert said in write_report([tmp_path / 'x', tmp_path / 'y'])[0]


def test_page_says_that_different_evaluations_do_not_compare(tmp_path):
  for name, scales in (('x', [1.0]), ('y', [0.5, 1.0])):
    write_run(tmp_path / name, {'background': 0.9, 'cat': 0.5}, evaluated=True,
              protocol={'scales': scales})
    (tmp_path / name / 'metrics.json').unlink()
  text, path = write_report([tmp_path / 'x', tmp_path / 'y'])
  for shown in (text, path.read_text()):
    assert ('The evaluations differ in: scales. Their figures do not compare.'
            in shown)


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
  report_files.write(
      tmp_path / 'out', {'report.html': b'1', 'confusion.csv': b'1'})
  report_files.write(tmp_path / 'out', {'report.html': b'2', 'iou.csv': b'2'})
  assert {path.name for path in (tmp_path / 'out').iterdir()} == {
      'report.html', 'iou.csv', 'files.txt'}
  assert (tmp_path / 'out/report.html').read_text() == '2'


def test_interrupted_report_leaves_the_earlier_one(tmp_path, monkeypatch):
  report_files.write(tmp_path / 'out', {'report.html': b'1'})
  write = pathlib.Path.write_bytes

  def interrupted(path, content):
    write(path, content[:1])
    raise KeyboardInterrupt

  monkeypatch.setattr(pathlib.Path, 'write_bytes', interrupted)
  for output in ('out', 'new'):
    with pytest.raises(KeyboardInterrupt):
      report_files.write(tmp_path / output, {'report.html': b'22'})
  assert [path.name for path in tmp_path.iterdir()
          if path.suffix != '.lock'] == ['out']
  assert (tmp_path / 'out/report.html').read_bytes() == b'1'


def test_report_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match=r'Cannot write .*--output'):
    report_files.write(tmp_path / 'file/out', {'report.html': b'1'})


def test_files_of_one_name_get_numbers():
  kept = report_files.Files()
  assert [kept.add('a/b.csv', b'') for _ in range(3)] == [
      'a_b.csv', 'a_b_2.csv', 'a_b_3.csv']
