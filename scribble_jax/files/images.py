"""Pictures of any kind as RGB."""

import numpy as np
from PIL import Image

_16_BIT = ('I;16', 'I;16L', 'I;16B', 'I;16N', 'I')


def as_rgb(image):
  """Returns a Pillow image as [H, W, 3] uint8 RGB.

  Transparency is ignored, grey becomes RGB, and 16 bits a value become the
  higher 8, as TensorFlow does for training.

  Args:
    image: PIL.Image.Image.

  Raises:
    ValueError: Its values have no known range.
  """
  if image.mode in _16_BIT:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
      raise ValueError('has values beyond 16 bits')
    image = Image.fromarray((values >> 8).astype(np.uint8))
  elif image.mode == 'F':
    raise ValueError('has floating-point values, whose range is not known')
  return np.asarray(image.convert('RGB'))
