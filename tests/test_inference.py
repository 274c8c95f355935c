"""Windows against NumPy, with networks whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import inference
from scribble_jax import sharding
from scribble_jax.normalization import MEAN_PIXEL
from scribble_jax.normalization import normalize

WINDOW, BATCH = 12, 4


class Network:
  """Logits from a pixel's colour, plus `place` times the row in the window."""

  def __init__(self, place):
    self.place = place

  def apply(self, variables, images, train):
    assert not train
    rows = jnp.arange(float(WINDOW))[None, :, None, None] * self.place
    return images * variables['scale'] + rows, None


def probabilities(images, place):
  mesh = sharding.make_mesh()
  compiled = inference.make_window_probabilities(Network(place), WINDOW, mesh)
  return list(inference.image_probabilities(
      compiled, {'scale': jnp.float32(2)}, iter(images), window=WINDOW,
      batch_size=BATCH, mesh=mesh))


def random_images():
  rng = np.random.default_rng(0)
  return [rng.integers(0, 256, (*size, 3), np.uint8) for size in
          ((12, 12), (5, 7), (30, 12), (29, 41), (13, 5), (12, 50))]


def test_windows_cover_a_side_with_the_last_one_flush():
  # ceil(2/3 * 465) = 310.
  assert inference.window_starts(465, 465) == [0]
  assert inference.window_starts(466, 465) == [0, 1]
  assert inference.window_starts(775, 465) == [0, 310]
  assert inference.window_starts(1024, 465) == [0, 310, 559]


def test_a_pixelwise_network_gives_pixelwise_probabilities_in_order():
  images = random_images()
  for image, result in zip(images, probabilities(images, 0.0), strict=True):
    expected = jax.nn.softmax(normalize(image) * 2)
    assert result.shape == image.shape
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_overlapping_windows_are_averaged():
  # The place in the window reaches every class alike unless softmax is taken
  # before the average, so give it to one class alone.
  class OneClass(Network):
    def apply(self, variables, images, train):
      rows = jnp.arange(float(WINDOW))[None, :, None, None]
      first = jnp.array([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
      return images * 0 + rows * first, None

  image = np.zeros([17, 12, 3], np.uint8)
  mesh = sharding.make_mesh()
  compiled = inference.make_window_probabilities(OneClass(0), WINDOW, mesh)
  (result,) = inference.image_probabilities(
      compiled, {}, [image], window=WINDOW, batch_size=BATCH, mesh=mesh)
  inside = np.exp(np.arange(12)) / (np.exp(np.arange(12)) + 2)
  expected, count = np.zeros(17), np.zeros(17)
  for start in (0, 5):  # ceil(2/3 * 12) = 8, but 17 - 12 = 5 comes first.
    expected[start:start + 12] += inside
    count[start:start + 12] += 1
  np.testing.assert_allclose(
      result[..., 0], np.repeat((expected / count)[:, None], 12, 1), rtol=1e-5)


def test_small_image_is_centered_on_the_mean():
  image = np.full([5, 12, 3], 7, np.uint8)
  ((row, column, window),), padding = inference.cut_windows(image, WINDOW)
  assert (row, column, padding) == (0, 0, ((3, 4), (0, 0)))
  assert (window[3:8] == 7).all()
  assert (window[:3] == MEAN_PIXEL).all() and (window[8:] == MEAN_PIXEL).all()


@pytest.mark.parametrize('length', range(12, 60))
def test_every_pixel_is_covered(length):
  covered = np.zeros(length, int)
  for start in inference.window_starts(length, WINDOW):
    covered[start:start + WINDOW] += 1
  assert covered.min() >= 1 and len(covered) == length
