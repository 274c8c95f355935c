"""What the report compares: seeds in pairs, figures measured alike."""

import pytest

from scribble_jax.report import figures
from scribble_jax.report import plot_style
from scribble_jax.report import runs
from scribble_jax.report import score_tables
from scribble_jax.report import studies
from scribble_jax.report.writer import write_report
from tests.reported import parsed
from tests.reported import point
from tests.reported import rows_of
from tests.reported import with_scalars
from tests.reported import write_json
from tests.reported import write_run
from tests.reported import write_sweep


def test_settings_without_a_common_seed_have_no_difference(tmp_path):
  write_sweep(
      tmp_path, point('a0', 'a', [0.7, None], x=0),
      point('a1', 'a', [None, 0.6], x=1), point('b0', 'b', [None, 0.5], x=0),
      point('b1', 'b', [None, 0.4], x=1))
  text, path = write_report([tmp_path])
  rows = rows_of(path.parent, 'results.csv')[1:]
  assert [row[4] for row in rows] == [''] * 4
  assert [row[-1] for row in rows_of(path.parent, 'robustness_x.csv')[1:]] == [
      '', '-20.00']
  assert rows_of(path.parent, 'robustness_x_ends.csv')[1:] == [
      ['a', '0', '', '', '', ''], ['b', '1', '50.00', '40.00', '10.00', '']]
  assert 'b 50.00 → 40.00 %' in text and 'a 70.00' not in text


def test_bars_of_differences_are_paired(monkeypatch, tmp_path):
  write_sweep(tmp_path, point('a', 'all', [0.5, 0.7]),
              point('b', 'none', [0.4, None]), point('c', 'late', [None, None]))
  drawn = []
  monkeypatch.setattr(figures, 'score_bars', lambda *args: drawn.append(
      args) or plot_style.new_figure(1, 1))
  write_report([tmp_path])
  (_, _, _, differences), = drawn
  assert [each and each.values for each in differences] == [
      (0, 0), (pytest.approx(-10),), None]


@pytest.mark.parametrize('flags, overrides, shown', [
    ((), {}, True), (['--config.data.scribble_seed=1'], {}, False),
    ((), {'stage1.seed': 1}, False)])
def test_page_says_what_the_spread_over_seeds_covers(
    tmp_path, flags, overrides, shown):
  entry, mious = point('a', 'all', [0.5, 0.7])
  entry['overrides'] = overrides
  write_sweep(tmp_path, (entry, mious), flags=flags)
  _, path = write_report([tmp_path])
  assert ('Seeds vary the training of stage 2' in path.read_text()) == shown


def test_single_seeds_need_no_note(tmp_path):
  write_sweep(tmp_path, point('a', 'all', [0.5]), seeds=[0])
  assert not score_tables.seeds_note(studies.read_sweep(tmp_path))


def test_figures_of_one_sweep_are_all_of_one_kind(tmp_path):
  write_sweep(tmp_path, point('a', 'all', [0.5, 0.6]))
  write_run(tmp_path / 'a/seed_0', {'background': 0.9}, evaluated=True)
  assert studies.read_sweep(tmp_path).settings[0].score.values == (50.0, 60.0)
  write_run(tmp_path / 'a/seed_1', {'background': 0.7}, evaluated=True)
  assert studies.read_sweep(tmp_path).settings[0].score.values == (90.0, 70.0)


@pytest.mark.parametrize('others, differing', [
    ({'protocol': {'scales': [1.0]}}, 'scales'),
    ({'protocol': {'long_side': None, 'flip': True}}, 'long_side, flip'),
    ({'protocol': {'window': 321}}, 'window'),
    ({'num_images': 20}, 'number of images')])
def test_evaluations_by_different_protocols_give_way_to_validation(
    tmp_path, others, differing):
  write_sweep(tmp_path, point('a', 'all', [None, None]))
  write_run(tmp_path / 'a/seed_0', {'background': 0.9}, evaluated=True)
  write_run(tmp_path / 'a/seed_1', {'background': 0.7}, evaluated=True,
            **others)
  study = studies.read_sweep(tmp_path)
  assert study.settings[0].score.values == (50.0, 50.0)
  assert (f'The evaluations differ in: {differing}; they are not shown.'
          in runs.describe_evaluation(study.runs))


def test_evaluations_in_other_batches_are_alike(tmp_path):
  write_sweep(tmp_path, point('a', 'all', [None, None]))
  for seed in (0, 1):
    write_run(tmp_path / f'a/seed_{seed}', {'background': 0.9}, evaluated=True,
              protocol={'batch_size': 8 + seed})
  assert studies.read_sweep(tmp_path).settings[0].score.values == (90.0, 90.0)


# Without mIoU


def leave_figures(folder, **figures):
  """Replaces the figures of a run that `write_run` left."""
  write_json(folder / 'metrics.json', {'step': 6, 'best_step': 6} | figures)


def on_strokes(accuracy):
  return {'stroke_accuracy': accuracy, 'best_stroke_accuracy': accuracy,
          'stroke_accuracy_by_class': {'background': accuracy, 'cat': None},
          'confusion': [[6, 2], [0, 0]]}


def page_texts(path):
  return ' '.join(parsed(path.parent).texts)


def test_sweep_on_strokes_is_shown_by_their_accuracy(tmp_path):
  write_sweep(tmp_path, point('a0', 'a', [0.5, 0.5], x=0),
              point('a1', 'a', [0.5, 0.5], x=1),
              point('b0', 'b', [0.5, 0.5], x=0), point('b1', 'b', [0.5, 0.5],
                                                       x=1))
  for name, accuracy in (('a0', 0.9), ('a1', 0.8), ('b0', 0.7), ('b1', 0.4)):
    for seed in (0, 1):
      leave_figures(tmp_path / f'{name}/seed_{seed}', **on_strokes(accuracy))
      (tmp_path / f'{name}/seed_{seed}/val_images.csv').write_text(
          'id,stroke_accuracy\nx,0.25\ny,0.125\n')
  text, path = write_report([tmp_path])
  rows = rows_of(path.parent, 'results.csv')
  assert rows[0][2] == 'Mean stroke accuracy (%)'
  assert [row[2] for row in rows[1:]] == ['90.00', '80.00', '70.00', '40.00']
  assert 'a 90.00 → 80.00 % (-10.00 points)' in text
  assert rows_of(path.parent, 'robustness_x_ends.csv')[0][2] == (
      'stroke accuracy at 0 (%)')
  assert rows_of(path.parent, 'images_worst.csv') == [
      ['Image', 'stroke accuracy (%)'], ['y', '12.50'], ['x', '25.00']]
  assert 'strokes of the images alone' in text
  assert not (path.parent / 'published.csv').exists()
  assert (path.parent / 'confusion.csv').exists()
  for shown in (text, page_texts(path)):
    assert 'mIoU' not in shown and 'nan' not in shown.lower().split()


def test_sweep_without_validation_shows_what_there_is(tmp_path):
  write_sweep(tmp_path, point('a0', 'a', [0.5, None], x=0),
              point('a1', 'a', [0.5, 0.5], x=1))
  for folder in tmp_path.glob('a?/seed_?'):
    leave_figures(folder, images_per_second=3.5)
    with_scalars(folder)
  text, path = write_report([tmp_path])
  assert rows_of(path.parent, 'results.csv') == [
      ['Setting', 'Seeds done'], ["a {'x': 0}", '1 of 2'],
      ["a {'x': 1}", '2 of 2']]
  assert 'Nothing was validated' in text
  assert 'Nothing was validated' in page_texts(path)
  assert 'mIoU' not in text and 'mIoU' not in page_texts(path)
  assert (path.parent / 'curves.png').exists()
  assert rows_of(path.parent, 'times.csv')[0][-1] == 'Images/s'


def test_mious_and_stroke_accuracies_share_no_column(tmp_path):
  for name in 'abc':
    write_run(tmp_path / name, {'background': 0.9, 'cat': 0.5})
  leave_figures(tmp_path / 'b', **on_strokes(0.99))
  leave_figures(tmp_path / 'c')
  text, path = write_report([tmp_path / name for name in 'bac'])
  rows = rows_of(path.parent, 'results.csv')
  assert rows[0][2] == 'mIoU (%)'
  assert [row[2] for row in rows[1:]] == ['', '70.00', '']
  assert '2 of 3 runs have no mIoU.' in text
  assert rows_of(path.parent, 'iou.csv')[1:] == [
      ['background', '90.00'], ['cat', '50.00']]
  assert '99.00' not in page_texts(path)


def test_evaluation_without_strokes_gives_way_to_validation(tmp_path):
  write_run(tmp_path, {'background': 0.9, 'cat': 0.5})
  write_json(tmp_path / 'evaluation/metrics.json', {
      'step': 6, 'num_images': 3, 'protocol': {'scales': [1.0]}})
  text, _ = write_report([tmp_path])
  assert '70.00' in text and 'validation' in text


def test_nan_of_an_earlier_version_is_no_figure(tmp_path):
  write_run(tmp_path, {'background': 0.9})
  (tmp_path / 'metrics.json').write_text(
      '{"step": 6, "miou": NaN, "pixel_accuracy": 0.0, "iou": {"a": null}}')
  text, path = write_report([tmp_path])
  assert 'Nothing was validated' in text and 'mIoU' not in text
  assert 'nan' not in page_texts(path).lower().split()
