"""Tiles: several of them, on several devices, for images of many sizes."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import inference
from scribble_jax import sharding
from scribble_jax import tiles
from tests.oracles import torch_protocol
from tests.twins import SMALL
from tests.twins import make_twins
from tests.twins import smooth_images

PROTOCOL = {'window': 65, 'scales': (0.5, 1.3), 'long_side': None, 'flip': True}


def picture(height, width):
  return np.clip(128 + 60 * smooth_images(1, height, width)[0], 0, 255).astype(
      np.uint8)


def run(model, variables, images, devices=None, batch_size=8, **options):
  """Returns what is predicted for images, or (image, channels)."""
  predict = inference.make_predict(
      model, sharding.make_mesh(devices=devices),
      inference.Protocol(**PROTOCOL), batch_size=batch_size, **options)
  return list(predict(variables, iter(images)))


def test_tiles_hold_a_window_and_suit_the_hardware():
  assert [tiles.tile_side(window) for window in (1, 128, 129, 465)] == [
      128, 128, 256, 512]


def test_an_image_of_several_tiles_equals_pytorch():
  model, variables, oracle = make_twins('deeplabv2', 18, SMALL)
  (prediction,) = run(model, variables, [picture(140, 150)])
  expected = torch_protocol.multi_scale_probabilities(
      oracle.eval(), picture(140, 150), **PROTOCOL)
  np.testing.assert_allclose(prediction.probabilities(), expected, atol=1e-4)
  np.testing.assert_array_equal(
      prediction.classes(), prediction.probabilities().argmax(-1))


class Colours:
  """Maps of a pixel's colour and, falling towards a corner, its negative."""

  def __call__(self, model, variables, images):
    ramp = jnp.linspace(0, 1, images.shape[1])
    place = ramp[None, :, None, None] * ramp[None, None, :, None]
    return jnp.concatenate([images, -images * place], axis=-1)


@pytest.mark.parametrize('num_devices', [1, 2, 3])
def test_the_number_of_devices_changes_nothing(num_devices):
  maps = Colours()
  images = [picture(150, 140), picture(30, 90), picture(70, 70)]
  expected = run(None, {}, images, maps=maps)
  actual = run(None, {}, images, jax.devices()[:num_devices], batch_size=7,
               maps=maps)
  for one, four in zip(actual, expected, strict=True):
    np.testing.assert_allclose(
        one.probabilities(), four.probabilities(), atol=1e-5)


def test_channels_are_chosen_image_by_image_within_a_batch():
  image, other, maps = picture(20, 30), picture(31, 17), Colours()
  everything = [prediction.probabilities() for prediction in run(
      None, {}, [image, other, image], maps=maps)]
  chosen = [prediction.probabilities() for prediction in run(
      None, {}, [(image, [4, 1]), (other, [2]), image], maps=maps)]
  np.testing.assert_array_equal(chosen[0], everything[0][..., [4, 1]])
  np.testing.assert_array_equal(chosen[1], everything[1][..., [2]])
  np.testing.assert_array_equal(chosen[2], everything[2])


def test_images_of_any_size_share_one_program(caplog):
  maps = Colours()  # Unlike those of other tests: nothing is compiled yet.
  sizes = [(20, 30), (31, 17), (300, 40), (65, 65), (130, 150)]
  tiles._make_add.cache_clear()
  with jax.log_compiles(), caplog.at_level(logging.WARNING):
    for prediction in run(None, {}, [picture(*size) for size in sizes],
                          maps=maps):
      prediction.probabilities()
      prediction.classes()
  compiled = [record.getMessage().split()[1] for record in caplog.records
              if record.getMessage().startswith('Compiling ')]
  for name in ('jit(window_maps)', 'jit(add)'):
    assert compiled.count(name) == 1, compiled
  caplog.clear()
  with jax.log_compiles(), caplog.at_level(logging.WARNING):
    for prediction in run(None, {}, [picture(77, 99), picture(12, 500)],
                          maps=maps):
      prediction.probabilities()
      prediction.classes()
  assert not [record for record in caplog.records
              if record.getMessage().startswith('Compiling ')]
