"""Propagation of scores against loops in float64, by hand, and properties."""

import functools
import math

import hypothesis
from hypothesis import strategies
from hypothesis.extra import numpy as arrays
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax.pseudo_labels import propagation
from tests.oracles import propagation as loops

few_examples = hypothesis.settings(
    derandomize=True, deadline=None, max_examples=15)
# Every other size, number of channels, or setting that isn't `contrast` or
# `restart` takes seconds to compile.
SIZE = 32
SETTINGS = {'strides': (4, 2, 1), 'dilations': (1,), 'iterations': 5,
            'contrast': 0.7}

images = arrays.arrays(np.uint8, (SIZE, SIZE, 3))
priors = arrays.arrays(
    np.float32, (SIZE, SIZE, 3),
    elements=strategies.floats(0, 1, width=32, allow_subnormal=False))
strokes = arrays.arrays(
    np.int32, (SIZE, SIZE), elements=strategies.integers(-1, 2),
    fill=strategies.just(-1))
restarts = strategies.sampled_from([0.0, 0.1, 1.0])


def random_case(height, width, channels, seed=0):
  """Noise on top of a flat rectangle; every tenth pixel has a stroke."""
  rng = np.random.default_rng(seed)
  image = np.full([height, width, 3], 90)
  image[height // 3:, width // 4:] = [200, 40, 120]
  image += rng.integers(-40, 41, image.shape)
  prior = rng.random([height, width, channels])
  seeds = rng.integers(0, channels, [height, width])
  seeds[rng.random(seeds.shape) < 0.9] = -1
  return image.astype(np.uint8), prior.astype(np.float32), seeds


@functools.partial(jax.jit, static_argnums=4)
def propagate(image, prior, seeds, valid, walk):
  """Spreads [H, W, K] over [H, W, 3], both padded; seeds are channels."""
  image = jnp.moveaxis(image, -1, 0).astype(jnp.float32)
  grids = propagation.make_grids(image, valid, walk)
  return jnp.stack([
      propagation.spread(grids, jnp.where(valid, prior[..., channel], 0.0),
                         seeds == channel, seeds >= 0, walk, walk.restart)
      for channel in range(prior.shape[-1])], axis=-1)


def refine(image, prior, seeds, sides=None, **settings):
  """Spreads [H, W, K] scores over an image of any size.

  Args:
    image: [H, W, 3] uint8.
    prior: [H, W, K] in [0, 1].
    seeds: [H, W] int, the channel that a stroke holds at 1, -1 for no stroke.
    sides: (height, width) that it is padded to; a multiple of 32 unless given.
    **settings: Of Walk.

  Returns:
    [H, W, K] float32.
  """
  walk = propagation.Walk(**settings)
  height, width = seeds.shape
  multiple = math.lcm(32, walk.strides[0])
  sides = sides or [side + -side % multiple for side in seeds.shape]
  pad = lambda x, value=0: np.pad(
      x, ((0, sides[0] - height), (0, sides[1] - width))
      + ((0, 0),) * (x.ndim - 2), constant_values=value)
  return np.asarray(propagate(
      pad(image), pad(prior), pad(seeds, -1), pad(np.ones(seeds.shape, bool)),
      walk))[:height, :width]


def assert_agrees(case, **settings):
  settings = SETTINGS | settings
  actual = refine(*case, **settings)
  expected = loops.refine(*case, **settings)
  assert actual.dtype == np.float32
  np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('restart', [0.0, 0.2])
@pytest.mark.parametrize('height, width, channels',
                         [(32, 32, 3), (19, 30, 3), (40, 37, 2), (33, 35, 1)])
def test_random_images_agree_with_loops(height, width, channels, restart):
  assert_agrees(random_case(height, width, channels), restart=restart)


@pytest.mark.parametrize(
    'channels, strides, dilations, iterations',
    [(4, (1,), (2,), 6), (4, (2, 1), (1, 9), 2), (5, (3, 1), (1,), 0)])
def test_other_grids_agree_with_loops(
    channels, strides, dilations, iterations):
  assert_agrees(random_case(30, 21, channels), restart=0.1, strides=strides,
                dilations=dilations, iterations=iterations)


@pytest.mark.parametrize('contrast', [0.05, 0.2, 3.0])
def test_other_contrasts_agree_with_loops(contrast):
  assert_agrees(random_case(24, 31, 3), restart=0.05, contrast=contrast)


@pytest.mark.parametrize('height, width', [(1, 1), (1, 30), (32, 1), (2, 3)])
def test_narrow_images_agree_with_loops(height, width):
  assert_agrees(random_case(height, width, 3), restart=0.3)


def test_images_of_one_colour_agree_with_loops():
  image, prior, seeds = random_case(20, 30, 3)
  assert_agrees((np.full_like(image, 255), prior, seeds), restart=0.1)


@pytest.mark.parametrize('channel', [-1, 1])
def test_all_or_no_pixels_with_strokes_agree_with_loops(channel):
  image, prior, seeds = random_case(20, 30, 3)
  assert_agrees((image, prior, np.full_like(seeds, channel)), restart=0.1)


@pytest.mark.parametrize('size', [(32, 48), (21, 30)])
def test_probabilities_are_refined_as_scores_without_strokes(size):
  image, prior, seeds = random_case(*size, 3)
  prior[..., 0] += 0.5
  prior /= prior.sum(-1, keepdims=True)
  walk = propagation.Walk(**SETTINGS, restart=0.1)
  pad = lambda x, value: np.pad(
      x, ((0, 40 - size[0]), (0, 50 - size[1]), (0, 0)), constant_values=value)
  refined = np.asarray(jax.jit(propagation.refine, static_argnums=3)(
      pad(prior, 0.7), pad(image, 9), np.int32(size), walk))
  assert refined.shape == (40, 50, 3)
  refined = refined[:size[0], :size[1]]
  expected = loops.refine(image, prior, np.full_like(seeds, -1), **SETTINGS,
                          restart=0.1)
  np.testing.assert_allclose(refined, expected, atol=1e-5)
  np.testing.assert_allclose(refined.sum(-1), 1, atol=1e-5)
  assert np.abs(refined - prior).max() > 0.1


def test_classes_that_are_likely_nowhere_stay_as_they_are():
  image, prior, _ = random_case(32, 32, 3)
  prior = np.stack([prior[..., 0], 1 - prior[..., 0], prior[..., 1]], -1) * [
      0.67, 0.67, 0.33]
  walk = propagation.Walk(**SETTINGS, restart=0.1)
  refined = np.asarray(propagation.refine(
      np.float32(prior), image, np.int32([32, 32]), walk))
  np.testing.assert_allclose(refined[..., 2], prior[..., 2], atol=1e-5)
  assert np.abs(refined - prior)[..., :2].max(axis=(0, 1)).min() > 0.1


def three_pixels():
  """Squared differences of 9, 16 and 25; a fourth pixel is invalid."""
  image = np.array([[[0, 0, 0], [3, 0, 0], [3, 4, 0], [255, 255, 255]]])
  return image.astype(np.float32), np.array([[True, True, True, False]])


def affinities(*args):
  image, *others = args
  return np.asarray(jax.jit(propagation.affinities, static_argnums=3)(
      np.moveaxis(image, -1, 0), *others))


def test_affinities_of_three_pixels_by_hand():
  actual = affinities(*three_pixels(), 1.0, (1,))
  weights = np.exp([-9 / 25, -16 / 25])
  expected = np.zeros([8, 1, 4])
  expected[3, 0, 1:3] = weights[0] / weights.sum(), 1  # To the left.
  expected[4, 0, :2] = 1, weights[1] / weights.sum()
  np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_affinities_at_two_distances_by_hand():
  actual = affinities(*three_pixels(), 2.0, (1, 2))
  near, far, across = np.exp([-9 * 3 / 400, -16 * 3 / 400, -25 * 3 / 400])
  expected = np.zeros([16, 1, 4])
  expected[4, 0, 0], expected[12, 0, 0] = near, across
  expected[3, 0, 1], expected[4, 0, 1] = near, far
  expected[3, 0, 2], expected[11, 0, 2] = far, across
  expected[..., :3] /= expected[..., :3].sum(0)
  np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize('contrast', [0.01, 0.15, 1.0])
def test_affinities_sum_to_one_unless_there_are_no_neighbours(contrast):
  image, prior, _ = random_case(12, 9, 1)
  valid = prior[..., 0] < 0.2
  actual = affinities(image.astype(np.float32), valid, contrast, (1, 3))
  near = loops.neighbours(valid, (1, 3))
  alone = np.ones(valid.shape, bool)
  for cell in near:
    alone[cell] = not near[cell]
  assert np.any(alone & valid) and np.all(actual >= 0)
  np.testing.assert_allclose(actual.sum(0), ~alone, rtol=0, atol=1e-6)


def test_what_lies_outside_takes_no_part():
  image, prior, seeds = random_case(SIZE, SIZE, 3)
  valid = np.zeros([SIZE, SIZE], bool)
  valid[:21, :18] = True
  seeds[~valid] = -1
  others = random_case(SIZE, SIZE, 3, seed=1)
  results = [
      np.asarray(propagate(
          np.where(valid[..., None], image, outside_image),
          np.where(valid[..., None], prior, outside_prior),
          seeds, valid, propagation.Walk(restart=0.1, **SETTINGS)))
      for outside_image, outside_prior in [(image, prior), others[:2]]]
  np.testing.assert_array_equal(results[0], results[1])
  assert np.all(results[0][~valid] == 0) and np.any(results[0][valid] > 0)


@pytest.mark.parametrize('sides', [(64, 64), (32, 96)])
def test_more_padding_changes_nothing(sides):
  case = random_case(19, 30, 3)
  np.testing.assert_allclose(
      refine(*case, sides=sides, restart=0.1, **SETTINGS),
      refine(*case, sides=(20, 32), restart=0.1, **SETTINGS), rtol=0,
      atol=1e-6)


@pytest.mark.parametrize('strides, side, padded', [
    ((8, 4, 2, 1), 1, 128), ((8, 4, 2, 1), 129, 256), ((1,), 500, 512),
    ((1,), 513, 768), ((8, 1), 1025, 1536), ((5, 1), 500, 515)])
def test_sides_are_padded_to_few_lengths(strides, side, padded):
  walk = propagation.Walk(strides, (1,), 5, 0.7, 0.1)
  assert walk.padded(side) == padded


@few_examples
@hypothesis.given(images, priors, strokes, restarts)
def test_strokes_keep_their_channel_and_scores_stay_within_bounds(
    image, prior, seeds, restart):
  scores = refine(
      image, prior, seeds, restart=restart, **SETTINGS)
  assert scores.shape == prior.shape
  held = seeds >= 0
  np.testing.assert_array_equal(scores[held], np.eye(3)[seeds[held]])
  assert np.all(scores >= 0) and np.all(scores <= 1 + 1e-6)


@few_examples
@hypothesis.given(images, strategies.floats(0, 1, width=16), restarts)
def test_a_constant_prior_stays_without_strokes(image, constant, restart):
  prior = np.full([SIZE, SIZE, 3], constant, np.float32)
  scores = refine(
      image, prior, np.full([SIZE, SIZE], -1), restart=restart, **SETTINGS)
  np.testing.assert_allclose(scores, constant, rtol=0, atol=1e-5)


@pytest.mark.parametrize('restart', [0.0, 0.1])
def test_a_constant_prior_stays_up_to_the_border_of_any_size(restart):
  image, _, _ = random_case(40, 37, 1)
  scores = refine(
      image, np.ones([40, 37, 2], np.float32), np.full([40, 37], -1),
      restart=restart, **SETTINGS)
  np.testing.assert_allclose(scores, 1, rtol=0, atol=1e-5)


@few_examples
@hypothesis.given(images, priors, strokes, restarts,
                  strategies.sampled_from([(0,), (1,), (0, 1)]))
def test_mirrored_images_get_mirrored_scores(
    image, prior, seeds, restart, axes):
  scores = refine(
      image, prior, seeds, restart=restart, **SETTINGS)
  mirrored = refine(
      *(np.flip(x, axes) for x in (image, prior, seeds)), restart=restart,
      **SETTINGS)
  np.testing.assert_allclose(
      np.flip(mirrored, axes), scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize('restart', [0.0, 0.05])
@pytest.mark.parametrize('edge', [16, 13, 22])
@pytest.mark.parametrize('turned', [False, True])
def test_colour_edges_stop_the_walk(turned, edge, restart):
  image = np.zeros([SIZE, SIZE, 3], np.uint8)
  image[:, :edge], image[:, edge:] = [220, 30, 30], [20, 60, 200]
  seeds = np.full([SIZE, SIZE], -1)
  seeds[4, 2], seeds[28, edge + 3] = 0, 1
  halves = np.broadcast_to(np.arange(SIZE) >= edge, [SIZE, SIZE])
  if turned:
    image, seeds, halves = image.swapaxes(0, 1), seeds.T, halves.T
  scores = refine(
      image, np.zeros([SIZE, SIZE, 2], np.float32), seeds, strides=(4, 2, 1),
      dilations=(1,), iterations=20, contrast=0.3, restart=restart)
  assert np.all(scores.max(-1) > 0)
  np.testing.assert_array_equal(scores.argmax(-1), halves)
