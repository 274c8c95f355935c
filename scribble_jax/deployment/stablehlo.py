"""Writes and reads networks as StableHLO programs, with `jax.export`."""

import datetime

import jax
import numpy as np

SUFFIX = '.stablehlo'
PLATFORMS = ('cpu', 'cuda', 'tpu')
# StableHLO's guarantee of compatibility, which `jax.export` follows:
# openxla.org/stablehlo/compatibility.
_NEWER_DAYS, _OLDER_DAYS = 180, 21


def write(path, probabilities, shape):
  """Writes a function for all of PLATFORMS, including its weights.

  Args:
    path: File to write.
    probabilities: Function from pixels to probabilities.
    shape: `jax.ShapeDtypeStruct` of the pixels.
  """
  exported = jax.export.export(
      jax.jit(probabilities), platforms=PLATFORMS)(shape)
  with open(path, 'wb') as file:
    file.write(exported.serialize())


def read(path):
  """Returns the function in a file."""
  with open(path, 'rb') as file:
    network = jax.jit(jax.export.deserialize(bytearray(file.read())).call)
  return lambda pixels: np.asarray(network(pixels))


def requirement(today):
  """Returns which programs can run a file that is written on the given day."""
  until, since = (today + datetime.timedelta(days) for days in (
      _NEWER_DAYS, -_OLDER_DAYS))
  return (f'jax. Written by jax {jax.__version__} for {", ".join(PLATFORMS)}. '
          f'Releases of jax from {since} to {until} are guaranteed to read it. '
          'For later releases, export again')
