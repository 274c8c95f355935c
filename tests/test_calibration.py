"""Thresholds on constructed scores; counting against brute force."""

import numpy as np
import pytest

from scribble_jax import metrics
from scribble_jax.pseudo_labels import calibration
from scribble_jax.pseudo_labels import label_quality

C = 4


def random_image(seed):
  rng = np.random.default_rng(seed)
  labels = rng.choice([0, 1, 2, 3, 255], [20, 30]).astype(np.uint8)
  return labels, rng.integers(1, C, labels.shape), rng.random(labels.shape)


def histogram_of(*images):
  histogram = calibration.ScoreHistogram(C)
  for labels, predictions, scores in images:
    histogram.add(labels, predictions,
                  np.minimum(scores * 100, 99).astype(np.uint8))
  return histogram


@pytest.mark.parametrize('index', [1, 37, 99])
def test_confusions_equal_counting_at_that_threshold(index):
  images = [random_image(seed) for seed in range(3)]
  threshold = calibration.THRESHOLDS[index]
  expected = sum(metrics.confusion_matrix(
      labels, np.where(scores * 100 >= index, predictions, 0), C)
                 for labels, predictions, scores in images)
  histogram = histogram_of(*images)
  np.testing.assert_array_equal(histogram.confusions()[index], expected)
  np.testing.assert_array_equal(
      histogram.confusion(np.full(C, threshold)), expected)
  assert histogram.miou()[index] == metrics.mean_iou(expected)


def test_a_threshold_for_each_class():
  image = labels, predictions, scores = random_image(0)
  thresholds = np.array([0.0, 0.2, 0.5, 0.8])
  expected = metrics.confusion_matrix(labels, np.where(
      scores * 100 >= np.round(100 * thresholds[predictions]), predictions, 0),
                                      C)
  np.testing.assert_array_equal(
      histogram_of(image).confusion(thresholds), expected)


def test_pixels_without_a_score_are_background_at_every_threshold():
  labels = np.array([[0, 1]], np.uint8)
  histogram = histogram_of((labels, np.array([[0, 0]]), np.zeros([1, 2])))
  assert (histogram.confusions()[:, :, 0].sum(-1) == 2).all()


def scored(label, predictions, scores):
  scores = np.asarray(scores, float)[None]
  return (np.full(scores.shape, label, np.uint8),
          np.broadcast_to(predictions, scores.shape), scores)


def choose(histogram, **options):
  return calibration.choose_thresholds(
      histogram, **{'per_class': False, 'fallback': 0.9} | options)


def test_the_middle_between_background_and_foreground_is_chosen():
  histogram = histogram_of(
      scored(0, 1, np.linspace(0.01, 0.4, 50)),
      scored(1, 1, np.linspace(0.6, 0.99, 50)))
  assert choose(histogram)[1:] == pytest.approx(0.5, abs=0.02)


def test_the_threshold_of_highest_agreement_is_chosen():
  # Above 0.5 one background pixel of two is right, at the cost of a foreground
  # pixel of ten: mIoU (1/2 + 9/10) / 2 or so, against (0 + 10/12) / 2 below.
  histogram = histogram_of(
      scored(0, 1, [0.495, 0.805]),
      scored(1, 1, [0.4] + [0.6] * 9))
  assert 0.5 <= choose(histogram)[1] <= 0.6


def test_each_class_has_its_own_threshold_as_far_as_it_has_strokes():
  histogram = histogram_of(
      scored(0, 1, [0.1] * 5), scored(1, 1, [0.3] * 5),
      scored(0, 2, [0.7] * 5), scored(2, 2, [0.9] * 5))
  thresholds = choose(histogram, per_class=True)
  assert thresholds[1] == pytest.approx(0.2, abs=0.02)
  assert thresholds[2] == pytest.approx(0.8, abs=0.02)
  assert thresholds[3] == choose(histogram)[3]


def test_without_background_strokes_the_fixed_threshold_is_taken():
  histogram = histogram_of(scored(1, 1, [0.3] * 5))
  assert (choose(histogram) == 0.9).all()
  assert (choose(histogram_of(), per_class=True) == 0.9).all()


@pytest.mark.parametrize('seed', range(5))
def test_hidden_and_shown_strokes_make_up_the_scribble(seed):
  rng = np.random.default_rng(seed)
  scribble = np.full([30, 40], 255, np.uint8)
  scribble[3:6, 3:20], scribble[20:22, 5:30], scribble[10:25, 35:38] = 1, 2, 0
  shown, hidden = calibration.hide_strokes(rng, scribble, seed % 2)
  np.testing.assert_array_equal(np.minimum(shown, hidden), scribble)
  assert ((shown == 255) | (hidden == 255)).all()
  for label in (1, 2):  # One end of each.
    share = np.mean(hidden[scribble == label] == label)
    assert 0 < share < 0.2
  assert np.any(shown == 0) == bool(seed % 2)


def test_what_is_hidden_of_an_image_does_not_depend_on_damaged_others():
  """Which a host may leave out: all must hide the same, whatever they read."""
  scribble = np.full([40, 40], 255, np.uint8)
  scribble[5, 3:37] = 0
  scribble[20, 3:37] = 2
  examples = [{'record': record, 'scribble': scribble,
               'ground_truth': np.full_like(scribble, 255)}
              for record in (3, 8, 20, 21)]

  def shown(examples):
    asked = {}

    def label_images(questions, thresholds):
      del thresholds
      asked.update((example['record'], scribbles[1])
                   for example, scribbles in questions)
      return ()

    label_quality.calibrate(
        label_images, examples, {'calibration': 'none', 'threshold': 0.5},
        num_classes=C, seed=5, sample=np.array([3, 8, 20, 21]),
        background_share=1.0)
    return asked

  everything, rest = shown(examples), shown(examples[1::2])
  assert len({part.tobytes() for part in everything.values()}) > 1
  assert rest.keys() == {8, 21}
  for record, part in rest.items():
    np.testing.assert_array_equal(part, everything[record])
