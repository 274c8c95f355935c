"""Scores and the labels made of them, by hand and by their constraints."""

import hypothesis
from hypothesis import strategies
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest

from scribble_jax.pseudo_labels import scores

NUM_CLASSES = 21
SHAPE = (5, 6)

fractions = strategies.floats(0, 1, width=32, allow_subnormal=False)
scribbles = arrays.arrays(
    np.uint8, SHAPE, elements=strategies.sampled_from([0, 1, 2, 7, 20, 255]),
    fill=strategies.just(255))
thresholds = arrays.arrays(np.float32, NUM_CLASSES, elements=fractions)


def test_classes_are_the_background_and_the_scribbled():
  scribble = np.array([[255, 7, 7], [20, 255, 2]], np.uint8)
  classes = scores.classes_of(scribble)
  assert classes.dtype == np.uint8
  np.testing.assert_array_equal(classes, [0, 2, 7, 20])


@pytest.mark.parametrize('labels', [[255, 255], [0, 255], [0, 0]])
def test_without_foreground_strokes_only_the_background_is_left(labels):
  classes = scores.classes_of(np.array([labels], np.uint8))
  np.testing.assert_array_equal(classes, [0])


def test_seeds_are_the_channels_of_strokes():
  scribble = np.array([[255, 7, 0], [20, 255, 2]], np.uint8)
  seeds = scores.seeds_of(scribble, np.array([0, 2, 7, 20], np.uint8))
  np.testing.assert_array_equal(seeds, [[-1, 2, 0], [3, -1, 1]])


def network_maps():
  """Two pixels, two foreground classes, of which the second is silent."""
  return np.array([[[2, 0, 0.1, 0.1, 0.2],
                    [8, 0, 0.5, 0.0, 0.0]]], np.float32)


@pytest.mark.parametrize('branch, expected', [
    ('cam', [[0, 0.25, 0], [0, 1, 0]]),
    ('segmentation', [[0.25, 0.25, 0.5], [1, 0, 0]]),
    ('both', [[0.125, 0.25, 0.25], [0.5, 0.5, 0]])])
def test_network_scores_by_hand(branch, expected):
  maps = network_maps()
  actual = scores.network_scores(maps, 2, branch)
  assert actual.dtype == np.float32
  np.testing.assert_allclose(actual, [expected], rtol=1e-6)
  np.testing.assert_array_equal(maps, network_maps())


def test_activations_need_no_segmentation_branch():
  maps = network_maps()
  np.testing.assert_array_equal(
      scores.network_scores(maps[..., :2], 2, 'cam'),
      scores.network_scores(maps, 2, 'cam'))


def test_silent_networks_score_zero():
  maps = np.zeros([2, 3, 5], np.float32)
  for branch in ('cam', 'segmentation', 'both'):
    np.testing.assert_array_equal(scores.network_scores(maps, 2, branch), 0)


def test_foreground_by_hand():
  values = np.array([[[0.1, 0.3, 0.2], [0.4, 0.3, 0.6], [0.7, 0.1, 0.6]]],
                    np.float32)
  channel, score = scores.foreground(values)
  assert score.dtype == np.float32
  np.testing.assert_array_equal(channel, [[1, 2, 2]])
  np.testing.assert_array_equal(score, np.float32([[0.3, 0.6, 0]]))


def test_foreground_of_the_background_alone_is_nothing():
  channel, score = scores.foreground(np.ones([2, 3, 1], np.float32))
  np.testing.assert_array_equal(channel, np.zeros([2, 3]))
  np.testing.assert_array_equal(score, np.zeros([2, 3]))


def label_row(values, undecided, scribble=None, unnamed=None):
  """Labels of a row of pixels by their scores for class 3, threshold 0.5."""
  values = np.float32([[[0, value] for value in values]])
  classes = np.array([0, 3], np.uint8)
  if scribble is None:
    scribble = [255] * values.shape[1]
  seeds = scores.seeds_of(np.array([scribble], np.uint8), classes)
  labels = scores.label(
      values, np.array([0, 0, 0, 0.5]), seeds, classes, undecided,
      np.zeros(seeds.shape, bool) if unnamed is None else np.array([unnamed]))
  assert labels.dtype == np.uint8
  return labels[0].tolist()


def test_scores_above_the_threshold_are_foreground():
  assert label_row([0, 0.49, 0.5, 0.51, 1], 0.0) == [0, 0, 0, 3, 3]


def test_scores_close_to_the_threshold_are_undecided():
  row = [0, 0.25, 0.26, 0.5, 0.74, 0.75, 1]
  assert label_row(row, 0.25) == [0, 0, 255, 255, 255, 3, 3]


def test_strokes_are_never_undecided():
  assert label_row([0.5, 0.5, 0.5, 1, 0], 0.25,
                   [255, 0, 3, 0, 3]) == [255, 0, 3, 0, 3]


def test_background_of_an_unnamed_class_is_undecided():
  row, unnamed = [0.2, 0.2, 0.8, 0.2, 0.8], [True, False, True, True, True]
  assert label_row(row, 0.0, [255, 255, 255, 0, 3], unnamed) == [
      255, 0, 3, 0, 3]


def test_unnamed_classes_by_hand():
  named = np.float32([[[0.5, 0.1], [0.3, 0.3], [0.1, 0.4]]])
  others = np.float32([[[0.4, 0.0], [0.0, 0.4], [0.3, 0.2]]])
  np.testing.assert_array_equal(
      scores.unnamed(named, others), [[False, True, False]])
  assert not scores.unnamed(named, others[..., :0]).any()


def test_every_class_has_its_own_threshold():
  values = np.float32([[[0, 0.4, 0.3], [0, 0.3, 0.4], [0.5, 0.2, 0.4]]])
  classes = np.array([0, 2, 5], np.uint8)
  limits = np.array([0, 0, 0.5, 0, 0, 0.25])
  labels = scores.label(values, limits, np.full([1, 3], -1), classes, 0.0,
                        np.zeros([1, 3], bool))
  np.testing.assert_array_equal(labels, [[0, 5, 0]])


@hypothesis.settings(derandomize=True, deadline=None, max_examples=60)
@hypothesis.given(strategies.data(), scribbles, thresholds, fractions)
def test_labels_keep_strokes_and_add_no_class(
    data, scribble, limits, undecided):
  classes = scores.classes_of(scribble)
  values = data.draw(arrays.arrays(
      np.float32, (*SHAPE, len(classes)), elements=fractions))
  labels = scores.label(values, limits, scores.seeds_of(scribble, classes),
                        classes, undecided, np.zeros(SHAPE, bool))
  assert labels.dtype == np.uint8 and labels.shape == SHAPE
  stroke = scribble != 255
  np.testing.assert_array_equal(labels[stroke], scribble[stroke])
  assert set(np.unique(labels)) <= {0, 255, *np.unique(scribble)}


@hypothesis.settings(derandomize=True, deadline=None, max_examples=30)
@hypothesis.given(strategies.data(), scribbles, thresholds)
def test_without_a_margin_every_pixel_is_decided(data, scribble, limits):
  classes = scores.classes_of(scribble)
  values = data.draw(arrays.arrays(
      np.float32, (*SHAPE, len(classes)), elements=fractions))
  labels = scores.label(values, limits, scores.seeds_of(scribble, classes),
                        classes, 0.0, np.zeros(SHAPE, bool))
  assert not np.any(labels == 255)
