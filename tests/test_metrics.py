"""Figures worked out by hand."""

import json

import numpy as np
import pytest

from scribble_jax import metrics
from scribble_jax import report

CONFUSION = np.array([[1, 0, 0], [2, 1, 0], [0, 0, 0]])


def test_confusion_matrix_leaves_out_ignored_pixels():
  labels = np.array([[0, 1, 255], [1, 1, 255]], np.uint8)
  predictions = np.array([[0, 0, 1], [0, 1, 2]], np.uint8)
  np.testing.assert_array_equal(
      metrics.confusion_matrix(labels, predictions, 3), CONFUSION)


def test_iou_of_an_absent_class_does_not_count():
  np.testing.assert_array_equal(
      metrics.iou_per_class(CONFUSION), [1 / 3, 1 / 3, np.nan])
  assert metrics.mean_iou(CONFUSION) == pytest.approx(1 / 3)
  assert metrics.pixel_accuracy(CONFUSION) == 0.5


def test_counts_beyond_32_bits():
  assert metrics.mean_iou(CONFUSION.astype(np.int64) * 2**40) == (
      pytest.approx(1 / 3))


def test_table_shows_per_cent_and_a_dash_for_absent_classes():
  figures = report.summary(['background', 'cat', 'dog'], CONFUSION)
  assert report.iou_table(figures).splitlines() == [
      'class       IoU (%)',
      'background    33.33',
      'cat           33.33',
      'dog               -',
      '-------------------',
      'mIoU          33.33',
  ]


def test_written_figures_are_json_without_nan(tmp_path):
  figures = report.summary(['background', 'cat', 'dog'], CONFUSION)
  report.write_json(tmp_path / 'metrics.json', figures)
  text = (tmp_path / 'metrics.json').read_text()
  assert json.loads(text)['iou'] == {
      'background': 1 / 3, 'cat': 1 / 3, 'dog': None}
  assert [path.name for path in tmp_path.iterdir()] == ['metrics.json']


def test_panels_leave_out_columns_that_say_nothing():
  mask = np.ones([40, 60], np.uint8)
  example = {
      'image': np.zeros([40, 60, 3], np.uint8), 'prediction': mask,
      'scribble': np.full_like(mask, 255), 'scribble_distance': mask,
      'pseudo_label': mask, 'pseudo_label_distance': mask,
      'ground_truth': np.full_like(mask, 255)}
  with_four = report.draw_panels([example], ['background', 'cat'])
  with_seven = report.draw_panels(
      [example | {'scribble': mask, 'ground_truth': mask}],
      ['background', 'cat'])
  # Magnified to 180 pixels, with gaps of 6.
  assert with_four.shape[1] == 4 * 186 + 6
  assert with_seven.shape[1] == 7 * 186 + 6
