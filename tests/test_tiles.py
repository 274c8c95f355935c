"""Windows cut and put back: against PyTorch, and whatever is beside them."""

import itertools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import inference
from scribble_jax import tiles
from scribble_jax import windows
from tests.oracles import torch_protocol
from tests.peers import torch
from tests.predictions import predicted
from tests.predictions import probabilities
from tests.twins import SMALL
from tests.twins import make_twins
from tests.twins import smooth_images

PROTOCOL = {'window': 65, 'scales': (0.5, 1.3), 'long_side': None, 'flip': True}


def picture(height, width):
  return np.clip(128 + 60 * smooth_images(1, height, width)[0], 0, 255).astype(
      np.uint8)


class Colours:
  """Maps of a pixel's colour and, falling towards a corner, its negative."""

  def __call__(self, model, variables, images):
    ramps = [jnp.linspace(0, 1, side) for side in images.shape[1:3]]
    place = ramps[0][None, :, None, None] * ramps[1][None, None, :, None]
    return jnp.concatenate([images, -images * place], axis=-1)


def test_an_image_of_several_tiles_equals_pytorch():
  model, variables, oracle = make_twins('deeplabv2', 18, SMALL)
  ((classes, actual),) = predicted(
      model, variables, [picture(140, 150)], windows.Protocol(**PROTOCOL))
  expected = torch_protocol.multi_scale_probabilities(
      oracle.eval(), picture(140, 150), **PROTOCOL)
  np.testing.assert_allclose(actual, expected, atol=1e-4)
  np.testing.assert_array_equal(classes, actual.argmax(-1))


@pytest.mark.parametrize('batch_size', [1, 3])
def test_predictions_are_the_same_bytes_on_any_number_of_devices(batch_size):
  model, variables, _ = make_twins('deeplabv3plus', 18, SMALL)
  images = [picture(*size) for size in (
      (150, 140), (30, 90), (70, 70), (64, 65), (90, 30), (20, 20), (140, 66))]
  one, *others = (
      predicted(model, variables, images, windows.Protocol(**PROTOCOL),
                jax.devices()[:count], batch_size=batch_size)
      for count in (1, 2, 4))
  for other in others:
    for (classes, maps), (same_classes, same_maps) in zip(
        one, other, strict=True):
      np.testing.assert_array_equal(classes, same_classes)
      np.testing.assert_array_equal(maps, same_maps)


@pytest.mark.parametrize('batch_size', [1, 4])
def test_predictions_do_not_depend_on_their_neighbours(batch_size):
  model, variables, _ = make_twins('deeplabv2', 18, SMALL)
  images = [picture(*size) for size in ((80, 50), (30, 90), (100, 70))]
  run = lambda images: probabilities(
      model, variables, images, windows.Protocol(**PROTOCOL),
      jax.devices()[:2], batch_size=batch_size)
  alone = {i: run([image])[0] for i, image in enumerate(images)}
  for order in itertools.permutations(range(3)):
    for i, maps in zip(order, run([images[i] for i in order]), strict=True):
      np.testing.assert_array_equal(maps, alone[i])


def test_images_of_a_bucket_share_one_program(caplog):
  maps, sizes = Colours(), [(20, 30), (31, 17), (128, 40), (65, 65)]
  protocol = windows.Protocol(**PROTOCOL)
  assert {windows.bucket(size, protocol) for size in sizes} == {(128, 128)}

  def compiled(sizes):
    caplog.clear()
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
      predicted(None, {}, [picture(*size) for size in sizes], protocol,
                maps=maps)
    return [record.getMessage().split()[1] for record in caplog.records
            if record.getMessage().startswith('Compiling ')]

  assert compiled(sizes).count('jit(add_windows)') == 1
  assert not compiled([(77, 99), (12, 128)])


def test_buckets_are_few():
  protocol = windows.Protocol(465, (0.5, 2.0), 512, flip=False)
  voc = itertools.product(range(100, 501, 25), repeat=2)
  assert {windows.bucket(size, protocol) for size in voc} == {(512, 512)}
  assert windows.bucket((513, 769), protocol) == (768, 1024)
  photographs = itertools.product(range(500, 8000, 500), repeat=2)
  assert len({windows.bucket(size, protocol) for size in photographs}) <= 81


@pytest.mark.parametrize('axis', [0, 1])
def test_accelerators_compute_what_a_cpu_looks_up(axis):
  rng = np.random.default_rng(0)
  x = rng.integers(0, 256, (7, 9, 3), np.uint8)
  samples = windows.Samples(
      np.int32(rng.integers(-1, x.shape[axis], 12)),
      np.float32(rng.random([12, 2])))
  samples.weight[samples.index < 0, 0] = 0  # There is nothing.
  samples.weight[samples.index + 1 == x.shape[axis], 1] = 0
  np.testing.assert_allclose(tiles._multiplied(x, samples, axis),
                             tiles._looked_up(x, samples, axis), rtol=1e-6)


# Windows that weigh less towards their borders, and none at all.


def test_tapered_windows_leave_no_seam():
  """Where a window ends, of two that disagree; their means by hand."""
  image = np.zeros([65, 100, 3], np.uint8)
  step = lambda model, variables, images: jnp.broadcast_to(
      jnp.linspace(0, 1, 65)[None, None, :, None], images.shape)
  protocol = {'window': 65, 'scales': (1.0,), 'long_side': None, 'flip': False}
  uniform, tapered = (
      probabilities(
          None, {}, [image], windows.Protocol(**protocol, blend=blend),
          maps=step)[0][30, :, 0] for blend in windows.BLENDS)
  # Windows start at 0 and 35; a pixel is in both from 35 to 64.
  ramp = np.linspace(0, 1, 65)
  weight = np.sin(np.pi * (np.arange(65) + 0.5) / 65) ** 2
  total, weights = np.zeros([2, 100]), np.zeros([2, 100])
  for start in (0, 35):
    for row, taper in enumerate((np.ones(65), weight)):
      total[row, start:start + 65] += taper * ramp
      weights[row, start:start + 65] += taper
  np.testing.assert_allclose(uniform, total[0] / weights[0], atol=1e-6)
  np.testing.assert_allclose(tapered, total[1] / weights[1], atol=1e-5)
  assert np.abs(np.diff(tapered)).max() < 0.1 < np.abs(np.diff(uniform)).max()


def test_a_whole_image_is_seen_at_once():
  """It equals PyTorch's resize and network on the padded view."""
  model, variables, oracle = make_twins('deeplabv2', 18, SMALL)
  image, expected = picture(90, 130), 0
  for scale in (0.5, 1.3):
    expected = expected + whole_view(oracle.eval(), image, scale)
  actual = probabilities(model, variables, [image], windows.Protocol(
      None, (0.5, 1.3), None, flip=False))[0]
  np.testing.assert_allclose(actual, expected / 2, atol=1e-4)


def whole_view(network, image, scale):
  """Returns [H, W, C] of a view padded to a multiple of 64 pixels."""
  x = torch.tensor(image).permute(2, 0, 1)[None].float()
  height, width = (round(scale * side) for side in image.shape[:2])
  x = torch.nn.functional.interpolate(
      x, size=(height, width), mode='bilinear') / 255
  mean, std = (torch.tensor(value)[:, None, None] for value in (
      torch_protocol.IMAGENET_MEAN, torch_protocol.IMAGENET_STD))
  down, right = (-height % 64, -width % 64)
  top, left = down // 2, right // 2
  x = torch.nn.functional.pad(
      (x - mean) / std, (left, right - left, top, down - top))
  with torch.inference_mode():
    logits, _ = network(x)
  maps = torch.softmax(torch.nn.functional.interpolate(
      logits, size=x.shape[2:], mode='bilinear', align_corners=True), 1)
  maps = maps[:, :, top:top + height, left:left + width]
  return torch.nn.functional.interpolate(
      maps, size=image.shape[:2], mode='bilinear')[0].permute(1, 2, 0).numpy()


def test_memory_bounds_the_images_at_once(monkeypatch):
  work = inference._to_work(windows.Protocol(**PROTOCOL), picture(70, 70), ())
  assert inference._num_slots(16, work) == 16
  monkeypatch.setattr(inference, '_MAX_PIXELS', 3 * 128**2)
  assert inference._num_slots(16, work) == 3
  monkeypatch.setattr(inference, '_MAX_PIXELS', 1)
  assert inference._num_slots(16, work) == 1
