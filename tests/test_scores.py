"""Scores and the labels made of them, by hand and by their constraints."""

import hypothesis
from hypothesis import strategies
from hypothesis.extra import numpy as arrays
import jax
import jax.numpy as jnp
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


def network_maps():
  """Two pixels, three foreground classes, of which the third is silent."""
  return jnp.array([[[2, 9, 0, 0.1, 0.1, 0.6, 0.2],
                     [8, 9, 0, 0.5, 0.0, 0.5, 0.0]]])


CLASSES = np.array([0, 1, 3, 0], np.uint8)  # The second one is not scribbled.


@pytest.mark.parametrize('branch, expected', [
    ('cam', [[0, 0.25, 0], [0, 1, 0]]),
    ('segmentation', [[0.25, 0.25, 0.5], [1, 0, 0]]),
    ('both', [[0.125, 0.25, 0.25], [0.5, 0.5, 0]])])
def test_network_scores_by_hand(branch, expected):
  score = scores.make_network_scores(network_maps(), CLASSES, branch)
  actual = np.stack([score(label) for label in CLASSES[:3]], -1)
  assert actual.dtype == np.float32
  np.testing.assert_allclose(actual, [expected], rtol=1e-6)


def test_activations_need_no_segmentation_branch():
  score, alone = (scores.make_network_scores(maps, CLASSES, 'cam') for maps in (
      network_maps(), network_maps()[..., :3]))
  for label in CLASSES[:3]:
    np.testing.assert_array_equal(score(label), alone(label))


def test_silent_networks_score_zero():
  for branch in ('cam', 'segmentation', 'both'):
    score = scores.make_network_scores(jnp.zeros([2, 3, 7]), CLASSES, branch)
    for label in CLASSES[:3]:
      np.testing.assert_array_equal(score(label), 0)


def best_of(values, classes):
  """Returns the Best of [H, W, K]."""
  best = scores.no_class_yet(values.shape[:2])
  for number, label in enumerate(classes):
    best = best.with_class(number, label, values[..., number])
  return best


def test_foreground_by_hand():
  values = np.array([[[0.1, 0.3, 0.2], [0.4, 0.3, 0.6], [0.7, 0.1, 0.6],
                      [0.0, 0.2, 0.2]]], np.float32)
  best = best_of(values, np.array([0, 4, 200], np.uint8))
  assert best.label.dtype == np.uint8 and best.score().dtype == np.float32
  np.testing.assert_array_equal(best.label, [[4, 200, 200, 4]])
  np.testing.assert_array_equal(best.score(), np.float32([[0.3, 0.6, 0, 0.2]]))


def test_foreground_of_the_background_alone_is_nothing():
  best = best_of(np.ones([2, 3, 1], np.float32), np.zeros(1, np.uint8))
  np.testing.assert_array_equal(best.label, np.zeros([2, 3]))
  np.testing.assert_array_equal(best.score(), np.zeros([2, 3]))


def label(values, limits, scribble, undecided, unnamed=False):
  """Returns the label of [H, W, K], scores of the scribble's classes."""
  return label_of(values, scores.classes_of(scribble), limits, scribble,
                  undecided, unnamed)


@jax.jit
def label_of(values, classes, limits, scribble, undecided, unnamed):
  best = best_of(values, classes)
  return scores.label(
      best.score(), best.label, limits, scribble, undecided, unnamed)


def label_row(values, undecided, scribble=None, unnamed=None):
  """Labels of a row of pixels by their scores for class 3, threshold 0.5."""
  values = np.float32([[[0, value] for value in values]])
  if scribble is None:
    scribble = [255] * values.shape[1]
  labels = label_of(
      values, np.array([0, 3], np.uint8), np.array([0, 0, 0, 0.5]),
      np.array([scribble], np.uint8), undecided,
      False if unnamed is None else np.array([unnamed]))
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
  probabilities = np.float32([[[0.5, 0.1, 0.4, 0.0], [0.3, 0.3, 0.0, 0.4],
                               [0.1, 0.4, 0.3, 0.2]]])
  maps = np.concatenate([np.ones([1, 3, 3], np.float32), probabilities], -1)
  np.testing.assert_array_equal(
      scores.unnamed(maps, np.array([0, 1, 0, 0])), [[False, True, False]])
  assert not scores.unnamed(maps, np.array([0, 1, 2, 3])).any()


def test_every_class_has_its_own_threshold():
  values = np.float32([[[0, 0.4, 0.3], [0, 0.3, 0.4], [0.5, 0.2, 0.4]]])
  labels = label_of(
      values, np.array([0, 2, 5], np.uint8),
      np.array([0, 0, 0.5, 0, 0, 0.25]), np.full([1, 3], 255, np.uint8), 0.0,
      False)
  np.testing.assert_array_equal(labels, [[0, 5, 0]])


@hypothesis.settings(derandomize=True, deadline=None, max_examples=60)
@hypothesis.given(strategies.data(), scribbles, thresholds, fractions)
def test_labels_keep_strokes_and_add_no_class(
    data, scribble, limits, undecided):
  num_classes = len(scores.classes_of(scribble))
  values = data.draw(arrays.arrays(
      np.float32, (*SHAPE, num_classes), elements=fractions))
  labels = label(values, limits, scribble, undecided)
  assert labels.dtype == np.uint8 and labels.shape == SHAPE
  stroke = scribble != 255
  np.testing.assert_array_equal(labels[stroke], scribble[stroke])
  assert set(np.unique(labels)) <= {0, 255, *np.unique(scribble)}


@hypothesis.settings(derandomize=True, deadline=None, max_examples=30)
@hypothesis.given(strategies.data(), scribbles, thresholds)
def test_without_a_margin_every_pixel_is_decided(data, scribble, limits):
  num_classes = len(scores.classes_of(scribble))
  values = data.draw(arrays.arrays(
      np.float32, (*SHAPE, num_classes), elements=fractions))
  labels = label(values, limits, scribble, 0.0)
  assert not np.any(np.asarray(labels) == 255)
