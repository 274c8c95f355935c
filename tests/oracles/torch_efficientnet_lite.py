"""EfficientNet-Lite0's features in PyTorch, with the names of its package.

Only for comparison with the product: NCHW, zeros padded by hand.
"""

import math

from tests.oracles import torch_networks
from tests.peers import torch

nn = torch.nn
F = torch.nn.functional

# Kernel, stride, expansion and channels of each block.
BLOCKS = (
    (3, 1, 1, 16),
    (3, 2, 6, 24), (3, 1, 6, 24),
    (5, 2, 6, 40), (5, 1, 6, 40),
    (3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80),
    (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112),
    (5, 2, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192),
    (3, 1, 6, 320))
LOW_LEVEL_BLOCK = 2


class SameConv2d(nn.Conv2d):
  """Pads as TensorFlow does: the odd zero comes last."""

  def forward(self, x):
    """[B, C, h, w] -> [B, K, ceil(h / stride), ceil(w / stride)]."""
    pads = []
    for axis in (1, 0):  # F.pad begins with the last axis.
      size, stride = x.shape[2 + axis], self.stride[axis]
      reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
      total = max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
      pads += [total // 2, total - total // 2]
    return super().forward(F.pad(x, pads) if any(pads) else x)


def normalise(images):
  """[B, 3, H, W] from 0 to 255 -> as the weights want them."""
  return (images - 127) / 128


def _norm(channels):
  return nn.BatchNorm2d(channels, eps=1e-3)


class MBConv(nn.Module):
  """Expansion, depthwise convolution, projection."""

  def __init__(self, inputs, outputs, kernel, stride, dilation, expansion):
    super().__init__()
    inner = inputs * expansion
    if expansion > 1:
      self._expand_conv = nn.Conv2d(inputs, inner, 1, bias=False)
      self._bn0 = _norm(inner)
    self._depthwise_conv = SameConv2d(
        inner, inner, kernel, stride=stride, dilation=dilation, groups=inner,
        bias=False)
    self._bn1 = _norm(inner)
    self._project_conv = nn.Conv2d(inner, outputs, 1, bias=False)
    self._bn2 = _norm(outputs)
    self.has_skip = stride == 1 and inputs == outputs

  def forward(self, x):
    y = x
    if hasattr(self, '_expand_conv'):
      y = F.relu6(self._bn0(self._expand_conv(y)))
    y = F.relu6(self._bn1(self._depthwise_conv(y)))
    y = self._bn2(self._project_conv(y))
    return x + y if self.has_skip else y


class Features(nn.Module):
  """The network without its last convolution and its classifier.

  Args:
    output_stride: 32, as published; at 8 and 16 later strides are dilations.
    scale: {published channels: channels}.
  """

  def __init__(self, output_stride=32, scale=lambda channels: channels):
    super().__init__()
    self._conv_stem = SameConv2d(3, scale(32), 3, stride=2, bias=False)
    self._bn0 = _norm(scale(32))
    self._blocks = nn.ModuleList()
    inputs, reached, dilation = scale(32), 2, 1
    for kernel, stride, expansion, outputs in BLOCKS:
      takes = stride if reached * stride <= output_stride else 1
      self._blocks.append(MBConv(
          inputs, scale(outputs), kernel, takes, dilation, expansion))
      inputs, reached = scale(outputs), reached * takes
      dilation *= stride // takes

  def backbone_maps(self, images):
    """[B, 3, H, W] -> low-level features and features."""
    x = F.relu6(self._bn0(self._conv_stem(images)))
    for number, block in enumerate(self._blocks):
      x = block(x)
      if number == LOW_LEVEL_BLOCK:
        low_level = x
    return low_level, x

  forward = backbone_maps


class DeepLab(torch_networks.WithHead, Features):
  """The network of output stride 8 with a head of `torch_networks`."""

  def __init__(self, head, num_classes, head_width, scale=lambda n: n):
    Features.__init__(self, 8, scale)
    self.make_head(head, num_classes, scale(24), scale(320), head_width)
