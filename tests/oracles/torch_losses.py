"""The training losses as a PyTorch user would write them.

Channels come second here ([B, C, H, W]) and every function works in the dtype
of its arguments; the tests call them in float64 and differentiate them with
autograd. Every switch is 'official' (the released program) or
'corrected' (what it seems to mean).
"""

from tests.peers import torch

nn = torch.nn
F = torch.nn.functional

IGNORE_LABEL = 255


def _check(value):
  if value not in ('official', 'corrected'):
    raise ValueError(f"expected 'official' or 'corrected', got {value!r}")


def resize(x, size):
  """Bilinear, corners aligned: [B, C, h, w] -> [B, C, *size]."""
  return F.interpolate(x, size=size, mode='bilinear', align_corners=True)


def partial_cross_entropy(logits, labels):
  """Mean cross-entropy over the pixels whose label is not 255.

  Args:
    logits: [B, C, h, w] scores, resized to the labels if they are smaller.
    labels: [B, H, W] int64 classes, 255 where there is none.

  Returns:
    Scalar; 0 where PyTorch's own mean would be 0/0.
  """
  return smoothed_cross_entropy(logits, labels, smoothing=0.0)


def smoothed_cross_entropy(logits, labels, smoothing=0.1,
                           pseudo_ignore='corrected'):
  """Mean cross-entropy with the target (1 - s) * one_hot + s / C.

  Args:
    logits: [B, C, h, w] scores, resized to the labels if they are smaller.
    labels: [B, H, W] int64 classes, 255 where there is none.
    smoothing: s.
    pseudo_ignore: 'official' trains label 255 as class 0.

  Returns:
    Scalar; 0 when every pixel is ignored.
  """
  _check(pseudo_ignore)
  if pseudo_ignore == 'official':
    labels = torch.where(labels == IGNORE_LABEL, 0, labels)
  total = F.cross_entropy(
      resize(logits, labels.shape[1:]), labels, ignore_index=IGNORE_LABEL,
      reduction='sum', label_smoothing=smoothing)
  return total / (labels != IGNORE_LABEL).sum().clamp(min=1)


def distance_entropy(logits, distance_map, normaliser='official'):
  """Entropy of the prediction weighted by a distance map (DEL).

  Args:
    logits: [B, C, h, w] scores, resized to the map if they are smaller.
    distance_map: [B, H, W] weights in [0, 1].
    normaliser: 'official' divides by the number of non-zero products,
      'corrected' by the number of non-zero weights.

  Returns:
    Scalar; 0 when nothing counts.
  """
  _check(normaliser)
  logits = resize(logits, distance_map.shape[1:])
  probabilities = torch.softmax(logits, dim=1)
  entropy = -(probabilities * torch.log_softmax(logits, dim=1)).sum(dim=1)
  weighted = distance_map * entropy
  counted = weighted if normaliser == 'official' else distance_map
  return weighted.sum() / (counted != 0).sum().clamp(min=1)


class LoRM(nn.Module):
  """Replaces each foreground feature by an average of similar features."""

  def __init__(self, channels):
    super().__init__()
    self.query_conv = nn.Conv2d(channels, channels, 1)
    self.key_conv = nn.Conv2d(channels, channels, 1)
    self.gamma = nn.Parameter(torch.ones(1))
    for conv in (self.query_conv, self.key_conv):
      nn.init.normal_(conv.weight, std=(2 / channels) ** 0.5)
      nn.init.zeros_(conv.bias)

  def forward(self, features, foreground):
    """[B, K, h, w] features and [B, h, w] mask -> [B, K, h, w] rectified."""
    queries = F.normalize(self.query_conv(features).flatten(2), dim=1)
    keys = F.normalize(self.key_conv(features).flatten(2), dim=1)
    similarity = torch.bmm(queries.transpose(1, 2), keys)  # [B, N, N]
    attention = torch.softmax(similarity, dim=2)
    attention = attention * foreground.flatten(1)[:, :, None]
    averaged = torch.bmm(features.flatten(2), attention.transpose(1, 2))
    return self.gamma * averaged.view_as(features)


def foreground_mask(pseudo_label, size, mode='official'):
  """Which feature positions LoRM rectifies.

  Args:
    pseudo_label: [B, H, W] int64 classes, 255 where there is none.
    size: (h, w) of the features.
    mode: 'official' interpolates class numbers; 'corrected' reads the nearest
      pixel of the corner-aligned grid.

  Returns:
    [B, h, w] bool.
  """
  _check(mode)
  classes = torch.where(pseudo_label == IGNORE_LABEL, 0, pseudo_label)
  if mode == 'official':
    return resize(classes[:, None].double(), size)[:, 0] > 0
  rows, columns = (
      torch.linspace(0, full - 1, small, dtype=torch.float64).round().long()
      for full, small in zip(classes.shape[1:], size, strict=True))
  return classes[:, rows][:, :, columns] > 0


def lorm_loss(features, rectified, foreground, background='official',
              normaliser='official'):
  """Mean squared distance of the features from their rectification.

  Args:
    features: [B, K, h, w].
    rectified: [B, K, h, w].
    foreground: [B, h, w] bool.
    background: 'official' keeps the rows outside the foreground.
    normaliser: 'official' divides by the number of non-zero squares,
      'corrected' by the number of elements that are kept.

  Returns:
    Scalar; 0 when nothing counts.
  """
  _check(background)
  _check(normaliser)
  kept = torch.ones_like(features, dtype=torch.bool)
  if background == 'corrected':
    kept = kept & foreground[:, None]
  squares = (features - rectified).square() * kept
  counted = squares != 0 if normaliser == 'official' else kept
  return squares.sum() / counted.sum().clamp(min=1)
