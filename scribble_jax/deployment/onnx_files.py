"""Writes and reads networks as ONNX files, with jax2onnx and ONNX Runtime."""

import importlib
import logging

from scribble_jax.deployment import primitives
from scribble_jax.errors import UserError

SUFFIX = '.onnx'
_OPSET = 21  # Supported by ONNX Runtime 1.18 and newer.
_PACKAGES = ('onnx', 'onnxruntime', 'jax2onnx')


def check_packages():
  """Raises UserError if a package that this module needs is missing."""
  try:
    for name in _PACKAGES:
      importlib.import_module(name)
  except ImportError as error:
    raise UserError(
        f"--format=onnx: {error}. Run: pip install 'scribble-jax[onnx]'; "
        'pip install --no-deps jax2onnx==0.17.1') from error


def write(path, probabilities, shape):
  """Writes a function as an ONNX program that includes its weights.

  Args:
    path: File to write.
    probabilities: Function from pixels to probabilities.
    shape: `jax.ShapeDtypeStruct` of the pixels.
  """
  import jax2onnx
  import onnx

  # jax2onnx warns of each library that it supports and that is not installed.
  logging.getLogger('jax2onnx').setLevel(logging.ERROR)
  model = jax2onnx.to_onnx(
      primitives.simplified(probabilities, shape), [shape], opset=_OPSET,
      model_name='scribble_jax', input_names=['pixels'],
      output_names=['probabilities'])
  onnx.save(model, path)


def read(path):
  """Returns the function in a file, run by ONNX Runtime on the CPU."""
  import onnxruntime

  session = onnxruntime.InferenceSession(
      path, providers=['CPUExecutionProvider'])
  return lambda pixels: session.run(None, {'pixels': pixels})[0]


def requirement(today):
  """Returns which programs can run a file that is written on the given day."""
  del today  # New versions of ONNX keep the old operator sets.
  return (f'ONNX Runtime 1.18 or newer, or another program for ONNX operator '
          f'set {_OPSET}')
