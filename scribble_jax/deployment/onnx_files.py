"""A network as an ONNX file, by jax2onnx."""

import importlib
import logging

from scribble_jax.deployment import primitives
from scribble_jax.errors import UserError

SUFFIX = '.onnx'
_OPSET = 21  # ONNX Runtime 1.18 and newer.
_PACKAGES = ('onnx', 'onnxruntime', 'jax2onnx')


def check_packages():
  """Raises UserError unless all packages that this takes are there."""
  try:
    for name in _PACKAGES:
      importlib.import_module(name)
  except ImportError as error:
    raise UserError(
        f"--format=onnx: {error}. Run: pip install 'scribble-jax[onnx]'; "
        'pip install --no-deps jax2onnx==0.17.1') from error


def write(path, probabilities, shape):
  """Writes the function of pixels as an ONNX program with its weights.

  Args:
    path: File.
    probabilities: Function of pixels.
    shape: `jax.ShapeDtypeStruct` of them.
  """
  import jax2onnx
  import onnx

  # It warns of each library that it could translate and that is not here.
  logging.getLogger('jax2onnx').setLevel(logging.ERROR)
  model = jax2onnx.to_onnx(
      primitives.simplified(probabilities, shape), [shape], opset=_OPSET,
      model_name='scribble_jax', input_names=['pixels'],
      output_names=['probabilities'])
  onnx.save(model, path)


def read(path):
  """Returns the function that a file holds, run by ONNX Runtime on the CPU."""
  import onnxruntime

  session = onnxruntime.InferenceSession(
      path, providers=['CPUExecutionProvider'])
  return lambda pixels: session.run(None, {'pixels': pixels})[0]


def requirement(today):
  """Returns which programs can run a file that is written on a day."""
  del today  # Operator sets stay.
  return (f'ONNX Runtime 1.18 or newer, or another program for ONNX operator '
          f'set {_OPSET}')
