"""Pseudo-labels with the kinds of errors that class activation maps make."""

import numpy as np
from PIL import Image
from scipy import ndimage

# Activations have a network's stride, hence blobs with smooth borders.
ACTIVATION_STRIDE = 4  # Pixels.
# Blur in units of sqrt(area): the larger, the more a blob bleeds.
ACTIVATION_BLUR = (0.08, 0.22)
# A threshold below half the maximum dilates; most do, as in real CAMs.
ACTIVATION_THRESHOLD = (0.22, 0.48)
ACTIVATION_NOISE = 0.2
# Some objects light up in their discriminative part alone.
PARTIAL_PROBABILITY = 0.2
PARTIAL_SPREAD = (0.35, 0.6)  # In units of sqrt(area).
# Another class of the same image takes an object: CAMs know which classes an
# image has, not which is which.
CONFUSED_PROBABILITY = 0.1
# Objects under this share of the image vanish with this probability.
SMALL_AREA, LOST_PROBABILITY = 0.04, 0.4


def simulate_pseudo_label(rng, ground_truth):
  """Makes a dense label with the kinds of errors of class activation maps.

  Blobs bleed over borders, miss parts, swap classes of the image, and lose
  small objects.

  Args:
    rng: np.random.Generator.
    ground_truth: [H, W] uint8 classes; 0 is background.

  Returns:
    [H, W] uint8 classes, without 255.
  """
  present = [label for label in np.unique(ground_truth) if 0 < label < 255]
  pseudo_label = np.zeros_like(ground_truth)
  strongest = np.zeros(ground_truth.shape, np.float32)
  for label in present:
    others = [other for other in present if other != label]
    parts, count = ndimage.label(ground_truth == label)
    for part in range(1, count + 1):
      region = parts == part
      if region.mean() < SMALL_AREA and rng.random() < LOST_PROBABILITY:
        continue
      confused = others and rng.random() < CONFUSED_PROBABILITY
      activation = _activation(rng, region)
      lit = activation > strongest
      pseudo_label[lit] = rng.choice(others) if confused else label
      strongest[lit] = activation[lit]
  return pseudo_label


def _activation(rng, region):
  """Returns [H, W] float32, positive on the blob of an [H, W] bool region."""
  size = np.array(region.shape[::-1])  # Pillow wants the width first.
  cover = np.asarray(Image.fromarray(region.astype(np.float32)).resize(
      np.maximum(1, size // ACTIVATION_STRIDE), Image.Resampling.BOX))
  extent = np.sqrt(np.sum(cover))
  noise = ndimage.gaussian_filter(
      rng.standard_normal(cover.shape, np.float32), 2)
  score = ndimage.gaussian_filter(
      cover, extent * rng.uniform(*ACTIVATION_BLUR), mode='nearest')
  score *= 1 + ACTIVATION_NOISE * noise / noise.std()
  if rng.random() < PARTIAL_PROBABILITY:
    places = np.argwhere(cover > 0.5 * cover.max())
    offset = np.moveaxis(np.indices(cover.shape), 0, -1) - rng.choice(places)
    spread = extent * rng.uniform(*PARTIAL_SPREAD)
    score *= np.exp(-0.5 * np.sum((offset / spread)**2, -1))
  score = score / score.max() - rng.uniform(*ACTIVATION_THRESHOLD)
  return np.asarray(Image.fromarray(np.float32(score)).resize(
      size, Image.Resampling.BILINEAR))
