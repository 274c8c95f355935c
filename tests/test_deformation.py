"""METHOD 10's deformations keep their promises on any scribble."""

import hashlib

import hypothesis
from hypothesis import strategies
from hypothesis.extra import numpy as numpy_strategies
import numpy as np
import pytest
from scipy import ndimage

from scribble_jax.data import dataset_files
from scribble_jax.data import input_pipeline
from scribble_jax.data import records
from scribble_jax.files import masks
from scribble_jax.pseudo_labels import config_rules
from scribble_jax.weak_labels import seeding
from scribble_jax.weak_labels.deformation import deform
from tests.conftest import tiny_config

IGNORE = 255
scribbles = numpy_strategies.arrays(
    np.uint8, numpy_strategies.array_shapes(
        min_dims=2, max_dims=2, min_side=1, max_side=24),
    elements=strategies.sampled_from([0, 1, 2, IGNORE, IGNORE]))
ratios = strategies.floats(0, 1)
keys = strategies.tuples(strategies.integers(0, 9), strategies.text(max_size=9))
on_any = hypothesis.settings(deadline=None, max_examples=60)


def kept(scribble):
  return scribble != IGNORE


def parts_by_class(scribble):
  """Number of connected parts of each class, counted anew."""
  return {label: ndimage.label(scribble == label, np.ones([3, 3]))[1]
          for label in np.unique(scribble[kept(scribble)])}


def num_strokes(scribble):
  return sum(parts_by_class(scribble).values())


@on_any
@hypothesis.given(scribbles, keys)
def test_nothing_shrunk_or_dropped_is_the_identity(scribble, key):
  np.testing.assert_array_equal(
      deform(scribble, shrink=0, drop=0, key=key), scribble)
  # So it is by way of the general case.
  np.testing.assert_array_equal(
      deform(scribble, shrink=0, drop=1e-300, key=key), scribble)
  np.testing.assert_array_equal(
      deform(scribble, shrink=1e-300, drop=0, key=key), scribble)


@on_any
@hypothesis.given(scribbles, ratios, ratios, keys)
def test_labels_never_change(scribble, shrink, drop, key):
  before = scribble.copy()
  deformed = deform(scribble, shrink=shrink, drop=drop, key=key)
  where = kept(deformed)
  np.testing.assert_array_equal(deformed[where], scribble[where])
  np.testing.assert_array_equal(scribble, before)


@on_any
@hypothesis.given(scribbles, ratios, ratios, keys)
def test_shrinking_keeps_one_connected_part_of_each_stroke(
    scribble, low, high, key):
  low, high = sorted([low, high])
  less, more = (deform(scribble, shrink=ratio, drop=0, key=key)
                for ratio in (low, high))
  assert not np.any(kept(more) & ~kept(less))  # Nested.
  assert parts_by_class(scribble) == parts_by_class(less)
  assert parts_by_class(scribble) == parts_by_class(more)


@on_any
@hypothesis.given(scribbles, ratios, ratios, keys)
def test_dropping_takes_whole_strokes_and_never_the_last(
    scribble, low, high, key):
  low, high = sorted([low, high])
  less, more = (deform(scribble, shrink=0, drop=ratio, key=key)
                for ratio in (low, high))
  assert not np.any(kept(more) & ~kept(less))  # Nested.
  assert kept(more).any() == kept(scribble).any()
  for label in np.unique(scribble[kept(scribble)]):
    parts, count = ndimage.label(scribble == label, np.ones([3, 3]))
    for number in range(1, count + 1):
      assert len(np.unique(kept(more)[parts == number])) == 1


@on_any
@hypothesis.given(scribbles, ratios, keys)
def test_shrinking_commutes_with_dropping(scribble, ratio, key):
  dropped = deform(scribble, shrink=0, drop=0.5, key=key)
  shrunk = deform(scribble, shrink=ratio, drop=0, key=key)
  both = deform(scribble, shrink=ratio, drop=0.5, key=key)
  np.testing.assert_array_equal(
      kept(both), kept(dropped) & kept(shrunk))


@pytest.mark.parametrize('width', range(1, 6))
def test_what_stays_of_a_line(width):
  scribble = np.full([9, 120], IGNORE, np.uint8)
  scribble[2:2 + width, 10:110] = 3
  for ratio in (0.2, 0.5, 0.8):
    deformed = deform(scribble, shrink=ratio, drop=0, key=(0, 'line'))
    columns = np.flatnonzero(kept(deformed).any(0))
    assert np.sum(kept(deformed)) == round(100 * width * (1 - ratio))
    assert np.ptp(columns) + 1 <= 100 * (1 - ratio) + width  # A straight cut.
  spot = deform(scribble, shrink=1, drop=0, key=(0, 'line'))
  assert np.sum(kept(spot)) == width**2
  if width % 2:
    rows, columns = np.nonzero(kept(spot))
    assert np.ptp(rows) == np.ptp(columns) == width - 1  # A square.


def test_a_spot_stays_as_it_is():
  scribble = np.full([20, 20], IGNORE, np.uint8)
  scribble[5:8, 9:12] = 1
  scribble[0, 0] = 2
  np.testing.assert_array_equal(
      deform(scribble, shrink=1, drop=0, key=(0, 'spots')), scribble)


def test_places_and_survivors_are_uniform():
  line = np.full([1, 101], IGNORE, np.uint8)
  line[:] = 1
  places = np.concatenate([
      np.flatnonzero(kept(deform(line, shrink=1, drop=0, key=(0, str(i)))))
      for i in range(2_000)])
  assert len(places) == 2_000
  # Standard errors: 0.65 of the mean, 0.4 of the deviation.
  assert abs(places.mean() - 50) < 3
  assert abs(places.std() - 101 / 12**0.5) < 2
  many = np.full([1, 2_000], IGNORE, np.uint8)
  many[0, ::2] = 1
  for ratio in (0.1, 0.5, 0.9):
    survivors = num_strokes(deform(many, shrink=0, drop=ratio, key=(1, 'x')))
    assert abs(survivors / 1_000 - (1 - ratio)) < 0.05


def test_numbers_depend_on_seed_and_image_alone():
  scribble = np.full([30, 30], IGNORE, np.uint8)
  scribble[::6] = 1
  outcomes = {key: deform(scribble, shrink=0.9, drop=0.3, key=key).tobytes()
              for key in [(0, 'a'), (0, 'b'), (1, 'a')]}
  assert len(set(outcomes.values())) == 3
  # SHA-256 as eight 32-bit numbers behind the seed.
  digest = hashlib.sha256(b'2007_000032').hexdigest()
  expected = np.random.default_rng(
      [3, *(int(digest[i:i + 8], 16) for i in range(0, 64, 8))])
  assert (seeding.generator(3, '2007_000032').random()
          == expected.random())


def test_training_reads_the_deformed_scribbles(config):
  config.data.scribble_shrink, config.data.scribble_drop = 0.7, 0.5
  examples = dataset_files.list_examples(config.data, True)['train']
  prepared = records.prepare(config.data)
  for example, record in zip(
      examples, input_pipeline.whole_examples(prepared, 'train'), strict=True):
    whole = masks.read_mask(example.scribble)
    expected = deform(whole, shrink=0.7, drop=0.5, key=(0, example.id))
    np.testing.assert_array_equal(record['scribble'], expected)
    foreground = kept(expected) & (expected > 0)
    np.testing.assert_array_equal(
        record['scribble_distance'] == 255, foreground)


def test_image_level_labels_are_those_of_the_deformed_scribbles(config):
  config.data.scribble_drop, config.data.scribble_seed = 0.9, 4
  examples = dataset_files.list_examples(
      config.data, False, ('train',))['train']
  stage1 = config_rules.stage1_config(config)
  dataset = records.prepare(stage1.data, False, splits=('train',))
  lost = 0
  for example, decoded in zip(
      examples, input_pipeline.whole_examples(dataset, 'train'), strict=True):
    whole = masks.read_mask(example.scribble)
    expected = deform(whole, shrink=0, drop=0.9, key=(4, example.id))
    found = np.asarray(input_pipeline.scribbled_classes(decoded['scribble']))
    np.testing.assert_array_equal(np.flatnonzero(found), np.unique(expected))
    lost += len(np.unique(whole)) - len(np.unique(expected))
  assert lost > 5


def test_other_ratios_make_the_records_anew(root, caplog):
  config = tiny_config(root)
  records.prepare(config.data)
  config.data.scribble_drop = 0.5
  records.prepare(config.data)
  assert 'differ in scribble_drop.' in caplog.text
