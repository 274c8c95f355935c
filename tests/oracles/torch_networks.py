"""DeepLab on a dilated ResNet, with the names of the authors' checkpoints.

Only for comparison with the product: the layers are written out in PyTorch,
one class per block, and `state_dict()` has the names and shapes listed for
the released checkpoints (their spelling included).
"""

from tests.oracles import torch_losses
from tests.peers import torch

nn = torch.nn
F = torch.nn.functional

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3),
          101: (3, 4, 23, 3)}
LAYER4_DILATIONS = (4, 8, 16)  # ResNet-18 has two blocks: 4 and 8.
LOW_LEVEL_CHANNELS = 48


def _conv3x3(inputs, outputs, stride=1, dilation=1):
  return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation,
                   dilation=dilation, bias=False)


def _conv1x1(inputs, outputs, stride=1):
  return nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)


def _shortcut(inputs, outputs, stride):
  """None where the identity fits, else a 1x1 convolution and its BN."""
  if stride == 1 and inputs == outputs:
    return None
  return nn.Sequential(
      _conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
  """Two dilated 3x3 convolutions; the first has the stride."""
  expansion = 1

  def __init__(self, inputs, width, stride, dilation):
    super().__init__()
    self.conv1 = _conv3x3(inputs, width, stride, dilation)
    self.bn1 = nn.BatchNorm2d(width)
    self.conv2 = _conv3x3(width, width, 1, dilation)
    self.bn2 = nn.BatchNorm2d(width)
    self.downsample = _shortcut(inputs, width, stride)

  def forward(self, x):
    shortcut = x if self.downsample is None else self.downsample(x)
    y = F.relu(self.bn1(self.conv1(x)))
    y = self.bn2(self.conv2(y))
    return F.relu(y + shortcut)


class Bottleneck(nn.Module):
  """1x1, dilated 3x3, 1x1; the first 1x1 has the stride."""
  expansion = 4

  def __init__(self, inputs, width, stride, dilation):
    super().__init__()
    outputs = width * self.expansion
    self.conv1 = _conv1x1(inputs, width, stride)
    self.bn1 = nn.BatchNorm2d(width)
    self.conv2 = _conv3x3(width, width, 1, dilation)
    self.bn2 = nn.BatchNorm2d(width)
    self.conv3 = _conv1x1(width, outputs)
    self.bn3 = nn.BatchNorm2d(outputs)
    self.downsample = _shortcut(inputs, outputs, stride)

  def forward(self, x):
    shortcut = x if self.downsample is None else self.downsample(x)
    y = F.relu(self.bn1(self.conv1(x)))
    y = F.relu(self.bn2(self.conv2(y)))
    y = self.bn3(self.conv3(y))
    return F.relu(y + shortcut)


class Branch(nn.Module):
  """One convolution of the pyramid, with BN and ReLU."""

  def __init__(self, inputs, outputs, dilation):
    super().__init__()
    self.atrous_conv = (
        _conv1x1(inputs, outputs) if dilation is None
        else _conv3x3(inputs, outputs, dilation=dilation))
    self.bn = nn.BatchNorm2d(outputs)

  def forward(self, x):
    return F.relu(self.bn(self.atrous_conv(x)))


class Pyramid(nn.Module):
  """Four parallel convolutions and the image pooling, concatenated."""

  def __init__(self, inputs, outputs, dilations):
    super().__init__()
    self.aspp1 = Branch(inputs, outputs, None)
    self.aspp2 = Branch(inputs, outputs, dilations[0])
    self.aspp3 = Branch(inputs, outputs, dilations[1])
    self.aspp4 = Branch(inputs, outputs, dilations[2])
    self.global_avg_pool = nn.Sequential(
        nn.AdaptiveAvgPool2d((1, 1)), _conv1x1(inputs, outputs),
        nn.BatchNorm2d(outputs), nn.ReLU())

  def concatenated(self, x):
    pooled = self.global_avg_pool(x).expand(-1, -1, *x.shape[2:])
    return torch.cat([self.aspp1(x), self.aspp2(x), self.aspp3(x),
                      self.aspp4(x), pooled], dim=1)


class V2Pyramid(Pyramid):
  """DeepLabV2's head: every branch already has one channel per class."""

  def __init__(self, inputs, num_classes):
    super().__init__(inputs, num_classes, (12, 18, 24))
    self.conv1 = _conv1x1(5 * num_classes, num_classes)
    self.bn1 = nn.BatchNorm2d(num_classes)

  def forward(self, x):
    return self.bn1(self.conv1(self.concatenated(x)))


class V3PlusPyramid(Pyramid):
  """DeepLabV3+'s encoder head; `prject` is the checkpoints' spelling."""

  def __init__(self, inputs, outputs):
    super().__init__(inputs, outputs, (6, 12, 18))
    self.prject = nn.Sequential(
        _conv1x1(5 * outputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Dropout(0.5))

  def forward(self, x):
    return self.prject(self.concatenated(x))


class WithHead(nn.Module):
  """A backbone with one of the two heads and LoRM; not complete by itself.

  Subclasses call `make_head` once their backbone is there, and have
  `backbone_maps(images) -> (low_level, features)`.
  """

  def make_head(self, head, num_classes, low_level, high_level, head_width):
    """Makes what the features of these many channels lead to."""
    if head not in ('deeplabv2', 'deeplabv3plus'):
      raise ValueError(f'unknown head {head!r}')
    self.head = head
    if head == 'deeplabv2':
      self.layer_pred0 = V2Pyramid(high_level, num_classes)
      self.layer_camatt = torch_losses.LoRM(high_level)
    else:
      self.layer_pred0 = V3PlusPyramid(high_level, head_width)
      self.layer_lorm = torch_losses.LoRM(high_level)
      self._make_decoder(low_level, head_width, num_classes)

  def _make_decoder(self, low_level, head_width, num_classes):
    self.reduce = nn.Sequential(
        _conv1x1(low_level, LOW_LEVEL_CHANNELS),
        nn.BatchNorm2d(LOW_LEVEL_CHANNELS), nn.ReLU())
    self.fuse = nn.Sequential(
        _conv3x3(LOW_LEVEL_CHANNELS + head_width, head_width),
        nn.BatchNorm2d(head_width), nn.ReLU(),
        _conv3x3(head_width, head_width), nn.BatchNorm2d(head_width),
        nn.ReLU())
    self.classifier = nn.Conv2d(head_width, num_classes, 1)

  @property
  def lorm(self):
    """The LoRM module, whichever name the head's checkpoints give it."""
    return (self.layer_camatt if self.head == 'deeplabv2'
            else self.layer_lorm)

  def forward(self, images):
    """[B, 3, H, W] -> (logits [B, C, h', w'], features [B, K, h, w])."""
    low_level, features = self.backbone_maps(images)
    context = self.layer_pred0(features)
    if self.head == 'deeplabv2':
      return context, features
    context = torch_losses.resize(context, low_level.shape[2:])
    decoded = self.fuse(torch.cat([self.reduce(low_level), context], dim=1))
    return self.classifier(decoded), features


class DeepLab(WithHead):
  """ResNet of output stride 8 with one of the two heads.

  Args:
    depth: 18, 34, 50 or 101.
    head: 'deeplabv2' (logits of stride 8) or 'deeplabv3plus' (stride 4).
    num_classes: channels of the logits.
    width: channels of the stem; the stages have 1, 2, 4, 8 times as many
      (and four times that in bottleneck networks).
    head_width: channels of V3+'s branches and decoder.
  """

  def __init__(self, depth, head, num_classes, width=64, head_width=256):
    super().__init__()
    self.block = BasicBlock if depth < 50 else Bottleneck
    low_level = width * self.block.expansion
    high_level = 8 * low_level
    self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
    self.bn1 = nn.BatchNorm2d(width)
    counts = BLOCKS[depth]
    self.layer1 = self._stage(width, width, 1, (1,) * counts[0])
    self.layer2 = self._stage(low_level, 2 * width, 2, (1,) * counts[1])
    self.layer3 = self._stage(2 * low_level, 4 * width, 1, (2,) * counts[2])
    self.layer4 = self._stage(
        4 * low_level, 8 * width, 1, LAYER4_DILATIONS[:counts[3]])
    self.make_head(head, num_classes, low_level, high_level, head_width)

  def _stage(self, inputs, width, stride, dilations):
    blocks = []
    for dilation in dilations:
      blocks.append(self.block(inputs, width, stride, dilation))
      inputs, stride = width * self.block.expansion, 1
    return nn.Sequential(*blocks)

  def backbone_maps(self, images):
    """Returns the maps of layer1 and layer4."""
    x = F.relu(self.bn1(self.conv1(images)))
    x = F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)
    low_level = self.layer1(x)
    return low_level, self.layer4(self.layer3(self.layer2(low_level)))
