"""Random numbers that depend only on an image's id and a seed."""

import hashlib

import numpy as np


def generator(seed, image_id, number=0, purpose=''):
  """Returns an np.random.Generator that is the same on every machine.

  Args:
    seed: Non-negative integer.
    image_id: Name of the image. The order of the images and other images do
      not influence the numbers.
    number: Number of the round of drawing; each round has other numbers.
    purpose: Name of the use; each use has other numbers. '' is for
      deformations.
  """
  name = f'{purpose}/{image_id}' if purpose else image_id
  digest = hashlib.sha256(name.encode()).digest()
  rounds = [number] if number else []
  return np.random.default_rng(
      [seed, *np.frombuffer(digest, '>u4'), *rounds])
