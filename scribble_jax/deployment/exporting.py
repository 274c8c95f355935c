"""Writes a network, checks what was written, and says how it is used."""

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
_TOLERANCE = 1e-4  # Of probabilities.
_MOST_WINDOWS = 4  # Of the picture that are compared.


@dataclasses.dataclass(frozen=True)
class Checked:
  """How the file and the network agree.

  Attributes:
    picture: Name of the photograph.
    num_windows: Of it that were predicted by both.
    difference: Largest one of any probability.
  """
  picture: str
  num_windows: int
  difference: float


def check(file_format, output):
  """Raises UserError if the format can't be written, or not to that name."""
  suffix = FORMATS[file_format].SUFFIX
  if not output.endswith(suffix):
    raise UserError(f'--output={output} needs a name that ends in {suffix} for '
                    f'--format={file_format}.')
  if file_format == 'onnx':
    onnx_files.check_packages()


def write(file_format, output, model, variables, window, picture, reading,
          describe):
  """Writes a network and beside it FILE.md, a model card, and the script.

  Args:
    file_format: Of FORMATS.
    output: File to write, on a disk or gs://.
    model: Network of float32.
    variables: Its 'params' and 'batch_stats'.
    window: Side of its input in pixels.
    picture: Path of a photograph, of which the written file and the network
      must give the same probabilities.
    reading: `files.images.Reading` of it.
    describe: `(format's module, Checked) -> str`, the model card.

  Returns:
    Checked.

  Raises:
    UserError: The picture can't be read, the output not written, or the two
      differ. Then nothing is written.
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
            f'from those of the network by {difference:.2g}; at most '
            f'{_TOLERANCE:g} is expected of its converter. Nothing was '
            'written. Install the versions that pyproject.toml names, or '
            'choose another --format.')
    checked = Checked(storage.path(picture).name, len(pixels), difference)
    for name, text in ((f'{output.name}.md', describe(module, checked)),
                       (_SCRIPT.name, _SCRIPT.read_text())):
      with atomic.whole_file(output.with_name(name)) as partial:
        pathlib.Path(partial).write_text(text)
  return checked


def _windows_of(picture, reading, window):
  """Returns some windows of a photograph, each [1, window, window, 3]."""
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
