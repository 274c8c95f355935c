"""Writes a network, its model card and a script; checks the written network."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from scribble_jax import inference
from scribble_jax import windows
from scribble_jax.deployment import onnx_files
from scribble_jax.deployment import stablehlo
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import images
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.files import write_errors
from scribble_jax.normalization import IMAGENET_MEAN

FORMATS = {'stablehlo': stablehlo, 'onnx': onnx_files}
_SCRIPT = pathlib.Path(__file__).with_name('run_network.py')
_TOLERANCE = 1e-4  # Differences of probabilities must be smaller.
_MOST_WINDOWS = 4  # At most so many windows of the picture are compared.


@dataclasses.dataclass(frozen=True)
class Checked:
  """Result of the comparison of the written network with the original one.

  Attributes:
    picture: Name of the photograph.
    num_windows: Number of its windows that both networks predicted.
    difference: Largest absolute difference of the probabilities.
  """
  picture: str
  num_windows: int
  difference: float


def check(file_format, output):
  """Raises UserError if packages are missing or the file's suffix is wrong."""
  suffix = FORMATS[file_format].SUFFIX
  if not output.endswith(suffix):
    raise UserError(f'--output={output}: the name must end in {suffix} for '
                    f'--format={file_format}.')
  if file_format == 'onnx':
    onnx_files.check_packages()


def write(file_format, output, model, variables, window, picture, reading,
          describe):
  """Writes a network, and to the same folder a model card and the script.

  Args:
    file_format: A key of FORMATS.
    output: File to write, on a disk or gs://. The model card is called like it,
      with .md added.
    model: Network that computes in float32.
    variables: Its 'params' and 'batch_stats'.
    window: Side of its input in pixels.
    picture: Path of a photograph, for which the written network and `model`
      must predict the same probabilities.
    reading: `files.images.Reading` for the photograph.
    describe: `(module of the format, Checked) -> str`; returns the model card.

  Returns:
    Checked.

  Raises:
    UserError: The picture cannot be read, the output cannot be written, or the
      two networks differ. Then nothing is written.
  """
  module, output = FORMATS[file_format], storage.path(output)
  probabilities = functools.partial(
      inference.class_probabilities, model, variables)
  pixels = _windows_of(picture, reading, window)
  expected = [*map(jax.jit(probabilities), pixels)]
  with write_errors.of_output(output, 'Name another one with --output.'):
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic.whole_file(output) as partial:
      module.write(partial, probabilities,
                   jax.ShapeDtypeStruct(pixels[0].shape, jnp.float32))
      run = module.read(partial)
      difference = max(float(np.max(np.abs(run(part) - before)))
                       for part, before in zip(pixels, expected, strict=True))
      if not difference < _TOLERANCE:
        raise UserError(
            f'{picture}: the probabilities of the {file_format} file differ '
            f'from those of the network by {difference:.2g}; the limit is '
            f'{_TOLERANCE:g}. Nothing was written. Install the versions that '
            'pyproject.toml names, or choose another --format.')
    checked = Checked(storage.path(picture).name, len(pixels), difference)
    for name, text in ((f'{output.name}.md', describe(module, checked)),
                       (_SCRIPT.name, _SCRIPT.read_text())):
      with atomic.whole_file(output.with_name(name)) as partial:
        pathlib.Path(partial).write_text(text)
  return checked


def _windows_of(picture, reading, window):
  """Returns at most _MOST_WINDOWS windows, [1, window, window, 3] each."""
  try:
    image = images.read(storage.read_bytes(picture), reading).pixels
  except (*masks.DAMAGED, OSError) as error:
    raise UserError(f'--picture={picture}: {error}') from error
  padded = np.full([*np.maximum(image.shape[:2], window), 3],
                   255 * IMAGENET_MEAN, np.float32)
  padded[:image.shape[0], :image.shape[1]] = image
  places = [(row, column)
            for row in windows.window_starts(len(padded), window)
            for column in windows.window_starts(padded.shape[1], window)]
  return [padded[None, row:row + window, column:column + window]
          for row, column in places[::-(-len(places) // _MOST_WINDOWS)]]
