"""The evaluation protocol as a PyTorch user would write it.

Scales and windows are plain loops, one window at a time. Channels come second
([1, C, H, W]) and everything runs in the dtype of the network's parameters.
"""

from tests.oracles import torch_losses
from tests.peers import torch

F = torch.nn.functional

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(images):
  """Floating-point RGB in 0..255, [B, 3, H, W] -> what the network reads."""
  mean, std = (
      255 * torch.tensor(values, dtype=images.dtype)[:, None, None]
      for values in (IMAGENET_MEAN, IMAGENET_STD))
  return (images - mean) / std


def scaled_size(height, width, scale, long_side):
  """Size of an image at one scale.

  Args:
    height: of the image, pixels.
    width: of the image, pixels.
    scale: factor on `long_side`.
    long_side: pixels of the long side at scale 1; None keeps the image's own.

  Returns:
    (height, width) in pixels, the long side exactly round(long_side * scale).
  """
  longest = max(height, width)
  target = round((longest if long_side is None else long_side) * scale)
  return tuple(
      max(1, round(side * target / longest)) for side in (height, width))


def window_starts(size, window):
  """First pixels of the windows that cover `size` >= `window` pixels."""
  stride = -(-2 * window // 3)
  last = size - window
  return [*range(0, last, stride), last]


def _resize_half_pixel(x, size):
  return F.interpolate(
      x, size=size, mode='bilinear', align_corners=False, antialias=False)


def _window_probabilities(network, window):
  logits, _ = network(window)
  return torch.softmax(torch_losses.resize(logits, window.shape[2:]), dim=1)


def _sliding_probabilities(network, image, window):
  """Mean of the softmaxes of the windows over each pixel.

  Args:
    network: [B, 3, H, W] -> (logits, features).
    image: [1, 3, H, W], normalised, no side below `window`.
    window: side in pixels.

  Returns:
    [1, C, H, W].
  """
  height, width = image.shape[2:]
  total = 0
  count = torch.zeros(1, 1, height, width, dtype=image.dtype)
  for top in window_starts(height, window):
    for left in window_starts(width, window):
      right = width - left - window
      bottom = height - top - window
      crop = image[:, :, top:top + window, left:left + window]
      probabilities = _window_probabilities(network, crop)
      total = total + F.pad(probabilities, (left, right, top, bottom))
      count[:, :, top:top + window, left:left + window] += 1
  return total / count


def _scale_probabilities(network, image, size, window):
  """Probabilities at the image's size, computed at another size.

  Args:
    network: [B, 3, H, W] -> (logits, features).
    image: [1, 3, H, W], RGB in 0..255.
    size: (height, width) in pixels that the network sees, without padding.
    window: side in pixels.

  Returns:
    [1, C, H, W].
  """
  height, width = size
  extra_rows, extra_columns = max(0, window - height), max(0, window - width)
  top, left = extra_rows // 2, extra_columns // 2
  # The ImageNet mean is 0 once normalised.
  padded = F.pad(
      normalise(_resize_half_pixel(image, size)),
      (left, extra_columns - left, top, extra_rows - top))
  probabilities = _sliding_probabilities(network, padded, window)
  inside = probabilities[:, :, top:top + height, left:left + width]
  return _resize_half_pixel(inside, image.shape[2:])


def multi_scale_probabilities(network, image, *, scales, long_side, window,
                              flip=False):
  """Class probabilities averaged over scales and sliding windows.

  Args:
    network: module in eval mode, [B, 3, H, W] -> (logits, features).
    image: [H, W, 3] uint8 RGB, NumPy.
    scales: factors on `long_side`.
    long_side: pixels of the long side at scale 1; None keeps the image's own.
    window: side of the windows in pixels.
    flip: also averages with the mirrored image's probabilities, mirrored back.

  Returns:
    [H, W, C] NumPy array in the dtype of the network's parameters.

  Raises:
    ValueError: the network is in train mode.
  """
  if network.training:
    raise ValueError('the network is in train mode: call network.eval()')
  with torch.no_grad():
    dtype = next(network.parameters()).dtype
    image = torch.tensor(image).to(dtype).permute(2, 0, 1)[None]
    votes = []
    for scale in scales:
      size = scaled_size(*image.shape[2:], scale, long_side)
      votes.append(_scale_probabilities(network, image, size, window))
      if flip:
        mirrored = _scale_probabilities(network, image.flip(3), size, window)
        votes.append(mirrored.flip(3))
    return torch.stack(votes).mean(dim=0)[0].permute(1, 2, 0).numpy()
