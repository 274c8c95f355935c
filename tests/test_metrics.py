"""Figures worked out by hand."""

import numpy as np
import pytest

from scribble_jax import metrics

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


def test_figures_of_no_pixel_are_none_and_warn_of_nothing():
  nothing = np.zeros([3, 3], np.int64)
  assert metrics.mean_iou(nothing) is None
  assert metrics.pixel_accuracy(nothing) is None
