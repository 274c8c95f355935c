r"""The evaluation protocol: images/s, host time, time outside the network.

python tests/benchmarks/inference.py [--device gpu] [--images 32] [--smoke]

DeepLabV3+ on ResNet-50, windows of 465, images of 500x375, seven scales
(METHOD 6), against PyTorch, which keeps everything on the device too. On a CPU
one image at two scales, as a network of this size takes seconds a window there.
Host time is the CPU time of the thread that feeds the devices; decoding is not
in it. It does not depend on the network.
"""

import functools
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F

from scribble_jax import inference
from scribble_jax import models
from scribble_jax import sharding
from scribble_jax import windows
from scribble_jax.models.backbones import resnet
from tests import twins
from tests.benchmarks import harness
from tests.oracles import torch_losses
from tests.oracles import torch_protocol

STRIDE = 4  # Of the logits.


def add_arguments(parser):
  parser.add_argument('--images', type=int)
  parser.add_argument('--scales', type=float, nargs='+')
  parser.add_argument('--size', type=int, nargs=2, default=(375, 500))
  parser.add_argument('--batch', type=int, help='windows a batch')


def complete(args):
  """Sets what was not given; returns ((height, width), window, long side)."""
  small = args.device == 'cpu'
  args.images = args.images or (1 if small else 32)
  args.scales = tuple(args.scales or (
      (0.5, 1.0) if small else (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)))
  args.batch = args.batch or (1 if small else 16)
  if args.smoke:
    args.images, args.repeats, args.scales = 2, 1, (0.5, 1.0)
    return (45, 60), 49, 64
  return args.size, 465, 512


class NoNetwork:
  """Costs nothing and has logits like the network's."""

  def __init__(self, num_classes):
    self.num_classes = num_classes

  backbone = resnet.ResNet(18, 8)  # Says how images are normalised.

  def apply(self, variables, images, train):
    logits = images[:, ::STRIDE, ::STRIDE, :1] * variables['scale']
    return jnp.broadcast_to(
        logits, (*logits.shape[:3], self.num_classes)), None

  def in_pytorch(self, images):
    logits = images[:, :1, ::STRIDE, ::STRIDE]
    return logits.expand(-1, self.num_classes, -1, -1), None


def predict_in_jax(model, variables, images, protocol, batch_size):
  """Returns [H, W] uint8 classes of each image."""
  predict = inference.make_predict(
      model, sharding.make_mesh(), protocol, batch_size=batch_size)
  return [classes for _, classes in predict(
      variables, ((None, image, ()) for image in images))]


class TorchView:
  """One scale of an image: its windows, and the mean of what they give."""

  def __init__(self, image, scale, protocol):
    """Cuts a [1, 3, H, W] image, 0 to 255, on its device."""
    height, width = torch_protocol.scaled_size(
        *image.shape[2:], scale, protocol.long_side)
    window = self.window = protocol.window
    missing = max(0, window - height), max(0, window - width)
    top, left = (side // 2 for side in missing)
    self.inside = np.s_[:, :, top:top + height, left:left + width]
    view = F.interpolate(image, size=(height, width), mode='bilinear')
    mean, std = (
        255 * torch.tensor(values, device=image.device)[:, None, None]
        for values in (torch_protocol.IMAGENET_MEAN,
                       torch_protocol.IMAGENET_STD))
    view = F.pad((view - mean) / std,
                 (left, missing[1] - left, top, missing[0] - top))
    self.areas = [
        np.s_[:, :, row:row + window, column:column + window]
        for row in torch_protocol.window_starts(view.shape[2], window)
        for column in torch_protocol.window_starts(view.shape[3], window)]
    self.windows = [view[area] for area in self.areas]
    self.shape = view.shape[2:]
    self.sum, self.count = None, torch.zeros_like(view[:, :1])
    self.size = image.shape[2:]

  def add(self, number, probabilities):
    """Adds window `number`; returns [1, C, H, W] once all are there."""
    if self.sum is None:
      self.sum = probabilities.new_zeros(
          1, probabilities.shape[1], *self.shape)
    self.sum[self.areas[number]] += probabilities
    self.count[self.areas[number]] += 1
    if number + 1 < len(self.areas):
      return None
    return F.interpolate((self.sum / self.count)[self.inside], size=self.size,
                         mode='bilinear')


@torch.inference_mode()
def predict_in_pytorch(network, images, protocol, batch_size, device):
  """Returns [H, W] uint8 classes of each image."""
  totals, queue = [0] * len(images), []

  def run_batch():
    batch = torch.cat([view.windows[number] for _, view, number in queue])
    batch = F.pad(batch, (0,) * 7 + (batch_size - len(batch),))
    with torch.autocast('cuda', torch.bfloat16, device.type == 'cuda'):
      logits, _ = network(batch)
    probabilities = torch.softmax(
        torch_losses.resize(logits.float(), batch.shape[2:]), dim=1)
    for place, (image, view, number) in enumerate(queue):
      mean = view.add(number, probabilities[place:place + 1])
      if mean is not None:
        totals[image] = totals[image] + mean
    queue.clear()

  for image, pixels in enumerate(images):
    pixels = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None].float()
    for scale in protocol.scales:
      view = TorchView(pixels, scale, protocol)
      for number in range(len(view.windows)):
        queue.append((image, view, number))
        if len(queue) == batch_size:
          run_batch()
  if queue:
    run_batch()
  return [total[0].argmax(0).byte().cpu().numpy() for total in totals]


def make_contestants(args, images, protocol):
  """Returns {name: function without arguments that returns the classes}."""
  sizes = twins.SMALL if args.smoke else twins.FULL
  model, variables, network = twins.make_twins('deeplabv3plus', 50, sizes)
  device = harness.torch_device(args.device)
  network = network.eval().to(device)
  if args.device != 'cpu':
    model = models.build(twins.model_config(**sizes, dtype='bfloat16'))
  if device.type == 'cuda':
    network = torch.compile(network.to(memory_format=torch.channels_last))
  nothing = NoNetwork(sizes['num_classes'])
  ours = functools.partial(predict_in_jax, images=images, protocol=protocol,
                           batch_size=args.batch)
  theirs = functools.partial(
      predict_in_pytorch, images=images, protocol=protocol,
      batch_size=args.batch, device=device)
  return {
      'ours': functools.partial(ours, model, variables),
      'PyTorch': functools.partial(theirs, network),
      'ours, no network': functools.partial(
          ours, nothing, {'scale': jnp.float32(1)}),
      'PyTorch, no network': functools.partial(theirs, nothing.in_pytorch)}


def main():
  args = harness.parse_args('inference', __doc__, add_arguments)
  size, window, long_side = complete(args)
  protocol = windows.Protocol(
      window=window, scales=args.scales, long_side=long_side, flip=False)
  images = [
      np.clip(128 + 60 * image, 0, 255).astype(np.uint8)
      for image in twins.smooth_images(args.images, *size)]
  classes = {}

  def keep(name, function):
    classes[name] = function()

  contestants = make_contestants(args, images, protocol)
  timings = harness.take_turns(
      {name: functools.partial(keep, name, function)
       for name, function in contestants.items()}, args.repeats)
  many = images * (2 if args.smoke else 16)
  start = time.thread_time()
  contestants['ours, no network'](images=many)
  host_seconds = time.thread_time() - start
  rows = [{'program': name, 's an image': timing.median / args.images,
           'spread': timing.spread / args.images,
           'images/s': args.images / timing.median,
           'first call (s)': timing.first}
          for name, timing in timings.items()]
  harness.report(
      args, rows, images=args.images, scales=list(args.scales),
      batch=args.batch, window=window, size=list(size),
      host_milliseconds_an_image=1e3 * host_seconds / len(many),
      agreement=float(np.mean(np.equal(classes['ours'], classes['PyTorch']))),
      times_pytorch=timings['PyTorch'].median / timings['ours'].median,
      outside_the_network=(timings['ours, no network'].median
                           / timings['ours'].median),
      peak_bytes=harness.peak_bytes(args.device))


if __name__ == '__main__':
  main()
