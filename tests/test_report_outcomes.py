"""What the report compares: seeds in pairs, figures measured alike."""

import pytest

from scribble_jax.report import drawing
from scribble_jax.report import figures
from scribble_jax.report import outcomes
from scribble_jax.report import runs
from scribble_jax.report import studies
from scribble_jax.report.writer import write_report
from tests.reported import point
from tests.reported import rows_of
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
      args) or drawing.new_figure(1, 1))
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
  assert not outcomes.seeds_note(studies.read_sweep(tmp_path))


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
