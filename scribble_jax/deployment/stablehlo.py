"""A network as a StableHLO program that `jax.export` reads back."""

import datetime

import jax
import numpy as np

SUFFIX = '.stablehlo'
PLATFORMS = ('cpu', 'cuda', 'tpu')
# StableHLO's own guarantee, which that of `jax.export` follows:
# openxla.org/stablehlo/compatibility.
_NEWER_DAYS, _OLDER_DAYS = 180, 21


def write(path, probabilities, shape):
  """Writes the function for all of PLATFORMS, with its weights.

  Args:
    path: File.
    probabilities: Function of pixels.
    shape: `jax.ShapeDtypeStruct` of them.
  """
  exported = jax.export.export(
      jax.jit(probabilities), platforms=PLATFORMS)(shape)
  with open(path, 'wb') as file:
    file.write(exported.serialize())


def read(path):
  """Returns the function that a file holds."""
  with open(path, 'rb') as file:
    network = jax.jit(jax.export.deserialize(bytearray(file.read())).call)
  return lambda pixels: np.asarray(network(pixels))


def requirement(today):
  """Returns which programs can run a file that is written on a day."""
  until, since = (today + datetime.timedelta(days) for days in (
      _NEWER_DAYS, -_OLDER_DAYS))
  return (f'jax. Written by {jax.__version__} for {", ".join(PLATFORMS)}. '
          f'Releases of jax from {since} to {until} are guaranteed to read it: '
          'three weeks back, six months ahead. Export again for later ones')
