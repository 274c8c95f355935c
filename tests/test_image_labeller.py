"""What an image comes to, against NumPy on all classes at once."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from scribble_jax.pseudo_labels import image_labeller
from scribble_jax.pseudo_labels import propagation
from scribble_jax.pseudo_labels import scores
from tests.oracles import labelling as oracle

C, SIZE = 5, (15, 22)
REFINEMENT = {'strides': (2, 1), 'dilations': (1, 2), 'iterations': 3,
              'contrast': 0.7, 'restart': 0.1}
LABELLER = image_labeller.ImageLabeller(
    propagation.Walk(**REFINEMENT), 'network', 'cam', undecided=0.0,
    open_unnamed=False)
THRESHOLDS = np.float32([[0, 0.3, 0.35, 0.4, 0.45], [0, 0.25, 0.3, 0.2, 0.35]])


@functools.cache
def compiled(labeller):
  return jax.jit(labeller)


def make_image(classes=(0, 1, 3), seed=0):
  """Returns noisy maps and pixels, and a scribble of the classes."""
  rng = np.random.default_rng(seed)
  image = np.full([*SIZE, 3], 90) + rng.integers(-40, 41, [*SIZE, 3])
  image[:, 12:] += 60
  maps = rng.random([*SIZE, 2 * C - 1]).astype(np.float32)
  scribble = np.full(SIZE, 255, np.uint8)
  for label in classes:
    scribble[1 + 3 * label, 2 + 3 * label:8 + 3 * label] = label
  return maps, image.astype(np.uint8), scribble


def labelled(labeller, maps, image, *scribbles, sides=(16, 24), bucket=(20, 30),
             named=None):
  """Returns the LabelledImage, cut to the image's size."""
  height, width = image.shape[:2]
  pad = lambda x, sides, value: np.pad(x, [
      (0, sides[0] - height), (0, sides[1] - width),
      *[(0, 0)] * (x.ndim - 2)], constant_values=value)
  found = scores.classes_of(scribbles[0] if named is None else named)
  classes = np.zeros(C, np.uint8)
  classes[:len(found)] = found
  inputs = image_labeller.Inputs(
      np.stack([pad(scribble, sides, 255) for scribble in scribbles]),
      classes, np.int32(len(found)), THRESHOLDS)
  # What lies beyond the image must not matter.
  result = compiled(labeller)(
      None if maps is None else pad(maps, bucket, 7.0),
      pad(image, bucket, 33), np.int32([height, width]), inputs)
  return jax.tree.map(lambda x: np.asarray(x)[:height, :width], result)


@pytest.mark.parametrize('source', ['network', 'diffusion', 'fusion'])
@pytest.mark.parametrize('branch, classes', [
    ('cam', (0, 1, 3)), ('segmentation', (0, 1, 2, 3, 4)), ('both', (2, 4))])
def test_labels_and_figures_equal_numpy(source, branch, classes):
  labeller = dataclasses.replace(
      LABELLER, source=source, branch=branch, open_unnamed=branch != 'cam',
      undecided=0.05)
  maps, image, scribble = make_image(classes)
  if source == 'diffusion':
    maps = None
  named = scores.classes_of(scribble)
  shown = np.where(scribble == named[-1], 255, scribble)
  result = labelled(labeller, maps, image, scribble, shown)
  network = (np.zeros([*SIZE, len(named)]) if maps is None else
             oracle.network_scores(np.float64(maps), named, C, branch))
  for number, strokes in enumerate((scribble, shown)):
    for variant, thresholds, values in zip(
        image_labeller.VARIANTS, THRESHOLDS, oracle.scores_by_variant(
            image, network, oracle.seeds_of(strokes, named), source,
            REFINEMENT), strict=True):
      best, score = oracle.foreground(values, named)
      stroke = strokes != 255
      score = np.where(stroke, strokes > 0, score)
      expected = np.where(score > 0, np.where(stroke, strokes, best), 0)
      found, bins = result.found[number][variant]
      # Ties of rounding: a neighbouring bin, two classes alike.
      assert np.mean(found == expected) > 0.99
      assert found.dtype == bins.dtype == np.uint8
      same = found == expected
      assert np.all(np.abs(bins - np.minimum(score * 100, 99))[same] < 1.001)
      assert np.mean(bins == np.floor(np.minimum(score * 100, 99))) > 0.99
      if number:
        continue
      is_unnamed = (oracle.unnamed(maps, named, C)
                    if maps is not None and branch != 'cam'
                    else np.zeros(SIZE, bool))
      label, _ = oracle.label(
          values, thresholds, strokes, named, 0.05, is_unnamed)
      assert result.labels[variant].dtype == np.uint8
      assert np.mean(result.labels[variant] == label) > 0.99
      if variant == 'raw':
        heat = values[..., 1:].max(-1, initial=0)
        np.testing.assert_allclose(result.heat / 256, heat, atol=1.01 / 256)


@pytest.mark.parametrize('source', ['fusion', 'diffusion'])
def test_padding_changes_nothing(source):
  maps, image, scribble = make_image()
  labeller = dataclasses.replace(LABELLER, source=source)
  if source == 'diffusion':
    maps = None
  small, large = (
      labelled(labeller, maps, image, scribble, sides=sides, bucket=bucket)
      for sides, bucket in (((16, 22), (15, 22)), ((64, 32), (20, 30))))
  jax.tree.map(np.testing.assert_array_equal, small.labels, large.labels)
  jax.tree.map(np.testing.assert_array_equal, small.found, large.found)


def test_a_scribble_without_strokes_is_undecided_and_disturbs_no_other():
  maps, image, scribble = make_image()
  empty = np.full_like(scribble, 255)
  alone = labelled(LABELLER, maps, image, scribble)
  result = labelled(LABELLER, maps, image, scribble, empty)
  jax.tree.map(np.testing.assert_array_equal, alone.labels, result.labels)
  jax.tree.map(np.testing.assert_array_equal, alone.found[0], result.found[0])
  result = labelled(LABELLER, maps, image, empty, scribble, named=scribble)
  assert all(np.all(label == 255) for label in result.labels.values())
  jax.tree.map(np.testing.assert_array_equal, alone.found[0], result.found[1])


def test_background_strokes_alone_make_background():
  maps, image, scribble = make_image(classes=(0,))
  result = labelled(LABELLER, maps, image, scribble)
  for label in result.labels.values():
    assert not label.any()
  assert not result.heat.any()


def test_raw_labels_alone_are_the_raw_labels():
  maps, image, scribble = make_image()
  for source in ('network', 'diffusion', 'fusion'):
    labeller = dataclasses.replace(LABELLER, source=source)
    both = labelled(labeller, maps, image, scribble)
    raw = labelled(dataclasses.replace(labeller, variants=('raw',)), maps,
                   image, scribble)
    assert raw.labels.keys() == {'raw'}
    np.testing.assert_array_equal(raw.labels['raw'], both.labels['raw'])
