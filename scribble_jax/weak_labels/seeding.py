"""Random numbers that depend on the image's id and the seed alone."""

import hashlib

import numpy as np


def generator(seed, image_id, number=0, purpose=''):
  """Returns an np.random.Generator, the same on every machine.

  Args:
    seed: Non-negative integer.
    image_id: Name of the image, so that neither order nor other images matter.
    number: Of a round of drawing, each with numbers of its own; 0 is the one
      of those who draw once.
    purpose: What draws, each with numbers of its own; '' are deformations.
  """
  name = f'{purpose}/{image_id}' if purpose else image_id
  digest = hashlib.sha256(name.encode()).digest()
  rounds = [number] if number else []
  return np.random.default_rng(
      [seed, *np.frombuffer(digest, '>u4'), *rounds])
