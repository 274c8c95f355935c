"""Masks as PNG: what is written is what others read."""

import io

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from scribble_jax.files import masks


@pytest.mark.parametrize('shape', [(1, 1), (3, 7), (64, 33)])
def test_pillow_and_tensorflow_read_what_encode_grey_writes(shape):
  values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  encoded = masks.encode_grey(values)
  with Image.open(io.BytesIO(encoded)) as image:
    assert image.mode == 'L'
    np.testing.assert_array_equal(image, values)
  np.testing.assert_array_equal(
      tf.io.decode_png(encoded, channels=0)[..., 0], values)
