"""Simulated strokes: inside their region in every style, and as before."""

import hashlib

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import ndimage

from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.weak_labels import seeding
from scribble_jax.weak_labels import simulation

LINES = ('medial', 'curve', 'boundary')


def blobs(rng, shape=(90, 120)):
  """A mask of classes 1, 2, 3 and 255 on background, in integers alone."""
  rows, columns = np.mgrid[:shape[0], :shape[1]]
  mask = np.zeros(shape, np.uint8)
  for label in (1, 2, 3, 255):
    row, column = rng.integers(10, shape[0] - 10), rng.integers(10, 110)
    radius = rng.integers(4, 30)
    mask[(rows - row)**2 + 2 * (columns - column)**2 < radius**2] = label
  return mask


def ragged(rng, height, width):
  """A mask with thin, tiny and split regions."""
  noise = ndimage.gaussian_filter(
      rng.standard_normal([height, width]), rng.uniform(0, 6))
  levels = np.quantile(noise, [0.3, 0.6, 0.8, 0.97])
  return np.array([0, 3, 255, 1, 2], np.uint8)[np.digitize(noise, levels)]


def disc(size=101, radius=45):
  rows, columns = np.mgrid[:size, :size] - size // 2
  return rows**2 + columns**2 <= radius**2


def test_default_strokes_are_those_that_the_demo_was_drawn_with():
  # Recorded from the program before there were styles.
  digest = hashlib.sha256()
  for seed in range(20):
    rng = np.random.default_rng(seed)
    mask = blobs(rng)
    for width in (1, 3, 4):
      digest.update(simulation.simulate_scribble(rng, mask, width).tobytes())
    digest.update(rng.bytes(8))
  assert digest.hexdigest() == (
      'b816d34af411fbec55a0740e2502dce24ce82638c73c0159d9809273e6bd831c')


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), style=st.sampled_from(simulation.STYLES),
       width=st.integers(1, 7), coverage=st.sampled_from([0, 0.05, 0.6, 1]),
       height=st.integers(1, 60), columns=st.integers(1, 60))
def test_strokes_stay_inside_in_every_style(
    seed, style, width, coverage, height, columns):
  rng = np.random.default_rng(seed)
  mask = ragged(rng, height, columns)
  scribble = simulation.simulate_scribble(
      rng, mask, width, style=style, coverage=coverage)
  drawn = scribble != IGNORE_LABEL
  np.testing.assert_array_equal(scribble[drawn], mask[drawn])
  assert {*np.unique(scribble)} - {IGNORE_LABEL} == (
      {*np.unique(mask)} - {IGNORE_LABEL})


@pytest.mark.parametrize('style', simulation.STYLES)
def test_a_stroke_is_one_piece(style):
  for seed in range(20):
    region = ragged(np.random.default_rng(seed), 70, 90) == 3
    stroke = simulation.draw_stroke(
        np.random.default_rng(seed), region, 3, style)
    assert ndimage.label(stroke, np.ones([3, 3]))[1] == 1


def depths(style):
  """Distances to the border of a disc's 20 strokes: means and deviations."""
  depth = ndimage.distance_transform_edt(disc())
  strokes = [depth[simulation.draw_stroke(
      np.random.default_rng(seed), disc(), 1, style)] for seed in range(20)]
  return (np.mean([stroke.mean() for stroke in strokes]),
          np.mean([stroke.std() for stroke in strokes]))


def test_styles_differ_in_how_far_they_keep_from_the_border():
  (medial, medial_spread), (curve, curve_spread), (boundary, spread) = (
      depths(style) for style in LINES)
  # Of 45. A random place of a disc is a third of the radius from its border.
  assert medial > 25
  assert 10 < curve < 20 and 8 < boundary < 18
  assert spread < 3 and min(medial_spread, curve_spread) > 4


def test_a_boundary_stroke_does_not_follow_the_edge_of_the_image():
  region = np.ones([80, 120], bool)
  region[:, :30] = False
  for seed in range(20):
    stroke = simulation.draw_stroke(
        np.random.default_rng(seed), region, 3, 'boundary')
    columns = np.nonzero(stroke)[1]
    assert columns.max() < 30 + 45


def test_a_spot_is_a_disc_of_the_strokes_width():
  stroke = simulation.draw_stroke(np.random.default_rng(0), disc(), 3, 'spot')
  rows, columns = np.nonzero(stroke)
  assert stroke.sum() == 9 and np.ptp(rows) == np.ptp(columns) == 2


@pytest.mark.parametrize('style', LINES)
def test_more_coverage_is_longer(style):
  region = np.zeros([60, 300], bool)
  region[10:50, 10:290] = True
  areas = [np.mean([simulation.draw_stroke(
      np.random.default_rng(seed), region, 3, style, coverage).sum()
                    for seed in range(10)]) for coverage in (0.1, 0.3, 0.6)]
  # No stroke is longer than 0.6 of the longer side.
  assert 1.5 * areas[0] < areas[1] and 1.3 * areas[1] < areas[2]


def test_no_background_strokes():
  scribble = simulation.simulate_scribble(
      np.random.default_rng(0), np.uint8(disc()), max_background_strokes=0)
  assert set(np.unique(scribble)) == {1, 255}


def test_random_numbers_depend_on_id_seed_and_round():
  draws = [seeding.generator(*key).integers(2**60) for key in (
      (0, 'a'), (0, 'b'), (1, 'a'), (0, 'a', 1), (0, 'a', 0, 'simulate'),
      (0, 'a', 0, 'boxes'), (0, 'a', 1, 'boxes'))]
  assert len(set(draws)) == 7
  assert seeding.generator(0, 'a', 0).integers(2**60) == draws[0]
