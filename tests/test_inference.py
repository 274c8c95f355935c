"""The protocol against PyTorch and against networks of known answers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import tiles
from scribble_jax import windows
from scribble_jax.models.backbones import resnet
from scribble_jax.normalization import IMAGENET_MEAN
from scribble_jax.normalization import normalize
from tests.oracles import torch_protocol
from tests.predictions import predicted
from tests.predictions import probabilities
from tests.twins import SMALL
from tests.twins import load_into
from tests.twins import make_twins
from tests.twins import smooth_images

WINDOW, BATCH = 12, 4


class Network:
  """Logits from a pixel's colour, plus `place` times the row in the window."""
  backbone = resnet.ResNet(18, 8)  # Says how images are normalised.

  def __init__(self, place):
    self.place = place

  def apply(self, variables, images, train):
    assert not train
    rows = jnp.arange(float(WINDOW))[None, :, None, None] * self.place
    return images * variables['scale'] + rows, None


ONE_SCALE = windows.Protocol(
    window=WINDOW, scales=(1.0,), long_side=None, flip=False)


def predict(network, variables, images):
  return probabilities(
      network, variables, images, ONE_SCALE, batch_size=BATCH)


def random_images():
  rng = np.random.default_rng(0)
  return [rng.integers(0, 256, (*size, 3), np.uint8) for size in
          ((12, 12), (5, 7), (30, 12), (29, 41), (13, 5), (12, 50))]


def test_windows_cover_a_side_with_the_last_one_flush():
  # ceil(2/3 * 465) = 310.
  assert windows.window_starts(465, 465) == [0]
  assert windows.window_starts(466, 465) == [0, 1]
  assert windows.window_starts(775, 465) == [0, 310]
  assert windows.window_starts(1024, 465) == [0, 310, 559]


def test_a_pixelwise_network_gives_pixelwise_probabilities_in_order():
  images = random_images()
  results = predict(Network(0.0), {'scale': jnp.float32(2)}, images)
  for image, result in zip(images, results, strict=True):
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
  (result,) = predict(OneClass(0), {}, [image])
  inside = np.exp(np.arange(12)) / (np.exp(np.arange(12)) + 2)
  expected, count = np.zeros(17), np.zeros(17)
  for start in (0, 5):  # ceil(2/3 * 12) = 8, but 17 - 12 = 5 comes first.
    expected[start:start + 12] += inside
    count[start:start + 12] += 1
  np.testing.assert_allclose(
      result[..., 0], np.repeat((expected / count)[:, None], 12, 1), rtol=1e-5)


def test_small_image_is_centered_on_the_mean():
  image = np.full([5, 12, 3], 7, np.uint8)
  padded = np.zeros([*windows.bucket(image.shape[:2], ONE_SCALE), 3], np.uint8)
  padded[:5, :12] = image
  layout = windows.layout(image.shape[:2], ONE_SCALE)
  assert layout.count == 1 and not layout.windows[0].any()
  window = tiles.cut(padded, jax.tree.map(jnp.asarray, layout), 0)
  assert window.shape == (12, 12, 3) and (window[3:8] == 7).all()
  mean = np.float32(255) * IMAGENET_MEAN
  np.testing.assert_array_equal(window[:3], np.broadcast_to(mean, [3, 12, 3]))
  np.testing.assert_array_equal(window[8:], np.broadcast_to(mean, [4, 12, 3]))


@pytest.mark.parametrize('length', range(12, 60))
def test_every_pixel_is_covered(length):
  covered = np.zeros(length, int)
  for start in windows.window_starts(length, WINDOW):
    assert 0 <= start <= length - WINDOW
    covered[start:start + WINDOW] += 1
  assert covered.min() >= 1


METHOD_6 = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


def test_sizes_of_a_voc_image_at_every_scale():
  sizes = [windows.scaled_size((375, 500), scale, 512) for scale in METHOD_6]
  assert sizes == [(192, 256), (288, 384), (384, 512), (480, 640), (576, 768),
                   (672, 896), (768, 1024)]
  assert windows.scaled_size((3, 1000), 0.1, 1000) == (1, 100)


def balance_classes(model, variables, oracle):
  """Shifts the logits so that random weights predict several classes."""
  logits, _ = model.apply(variables, smooth_images(4, 65, 65), train=False)
  decoder = variables['params']['decoder']
  last = decoder['classifier' if 'classifier' in decoder else 'bn1']
  last['bias'] = last['bias'] - np.mean(logits, (0, 1, 2))
  load_into(oracle, variables)


@pytest.mark.parametrize('size', [(60, 80), (80, 53), (17, 9)],
                         ids=['landscape', 'portrait', 'small'])
@pytest.mark.parametrize('head, flip', [
    ('deeplabv2', False), ('deeplabv3plus', True)])
def test_protocol_equals_pytorch(head, flip, size):
  protocol = {'window': 65, 'scales': METHOD_6, 'long_side': 72, 'flip': flip}
  model, variables, oracle = make_twins(head, 18, SMALL)
  balance_classes(model, variables, oracle)
  image = np.clip(
      128 + 60 * smooth_images(1, *size)[0], 0, 255).astype(np.uint8)
  (actual,) = probabilities(
      model, variables, [image], windows.Protocol(**protocol), batch_size=8)
  expected = torch_protocol.multi_scale_probabilities(
      oracle.eval(), image, **protocol)
  assert actual.shape == (*size, SMALL['num_classes'])
  np.testing.assert_allclose(actual, expected, atol=1e-4)
  assert np.mean(actual.argmax(-1) == expected.argmax(-1)) >= 0.999
  assert len(np.unique(expected.argmax(-1))) > 1  # Not the same everywhere.


def test_flip_averages_with_the_mirrored_image():
  model, variables, _ = make_twins('deeplabv2', 18, SMALL)
  image = random_images()[3]
  plain = windows.Protocol(
      window=33, scales=(0.7, 1.3), long_side=None, flip=False)
  flipping = dataclasses.replace(plain, flip=True)
  run = lambda pixels, protocol: probabilities(
      model, variables, [pixels], protocol, batch_size=4)[0]
  expected = (run(image, plain) + run(image[:, ::-1], plain)[:, ::-1]) / 2
  np.testing.assert_allclose(run(image, flipping), expected, atol=1e-6)


def test_images_keep_their_place_on_devices_in_any_order():
  # As on TPU pods, whose mesh order is not that of the hosts.
  devices = [jax.devices()[i] for i in (2, 0, 3, 1)]
  images = random_images()
  results = probabilities(Network(0.0), {'scale': jnp.float32(2)}, images,
                          ONE_SCALE, devices, batch_size=BATCH)
  for image, result in zip(images, results, strict=True):
    np.testing.assert_allclose(result, jax.nn.softmax(normalize(image) * 2),
                               rtol=1e-5, atol=1e-6)


def test_the_size_of_a_batch_changes_nothing():
  model, variables, _ = make_twins('deeplabv2', 18, SMALL)
  protocol = windows.Protocol(
      window=33, scales=(1.0, 2.0), long_side=None, flip=False)
  for three, eight in zip(*(probabilities(
      model, variables, random_images(), protocol, batch_size=size)
                            for size in (3, 8)), strict=True):
    np.testing.assert_allclose(three, eight, atol=1e-6)


def test_classes_of_a_tall_image_are_its_most_probable_ones():
  image = np.random.default_rng(0).integers(0, 256, (600, 7, 3), np.uint8)
  ((classes, _),) = predicted(
      Network(0.0), {'scale': jnp.float32(2)}, [image], ONE_SCALE,
      batch_size=BATCH)
  assert classes.shape == (600, 7) and classes.dtype == np.uint8
  np.testing.assert_array_equal(classes, normalize(image).argmax(-1))
