"""PNG files of masks, read back by Pillow and by TensorFlow."""

import io

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from scribble_jax.data import masks


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (7, 1), (37, 50)])
def test_grey_png_keeps_every_value(size):
  values = np.random.default_rng(0).integers(0, 256, size, np.uint8)
  encoded = masks.encode_grey(values)
  with Image.open(io.BytesIO(encoded)) as image:
    assert image.mode == 'L'
    image.verify()  # The checksums.
  with Image.open(io.BytesIO(encoded)) as image:
    np.testing.assert_array_equal(np.asarray(image), values)
  np.testing.assert_array_equal(
      tf.io.decode_png(encoded, channels=1)[..., 0], values)


def test_grey_png_of_a_view_that_is_not_contiguous():
  values = np.arange(200, dtype=np.uint8).reshape(10, 20)[::-1, ::2]
  with Image.open(io.BytesIO(masks.encode_grey(values))) as image:
    np.testing.assert_array_equal(np.asarray(image), values)
