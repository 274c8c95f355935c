"""Normalisation of RGB images by ImageNet's mean and standard deviation."""

import jax.numpy as jnp
import numpy as np

# torchvision's constants for images in [0, 1].
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
# Colour of the area outside an image.
MEAN_PIXEL = np.round(255 * IMAGENET_MEAN).astype(np.uint8)


def normalize(images):
  """Returns float32 images, normalised by ImageNet's statistics.

  Args:
    images: [..., 3] RGB from 0 to 255.
  """
  images = jnp.asarray(images, jnp.float32) / 255.0
  return (images - _rgb(IMAGENET_MEAN, images)) / _rgb(IMAGENET_STD, images)


def _rgb(values, like):
  return jnp.asarray(values).reshape((1,) * (like.ndim - 1) + (3,))
