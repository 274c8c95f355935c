"""Common part of the configs of public data sets with dense masks."""

from ml_collections import ConfigDict

from scribble_jax.configs import own_data
from scribble_jax.configs import scribblesup


def get_config(variant, num_steps, classes, label_map='', **unpacked):
  """Returns the paper's method for a data set with simulated strokes.

  Args:
    variant: Variants of scribblesup.py, separated by commas.
    num_steps: Number of updates: 50 epochs, as in the paper.
    classes: Class names, in the order of their indices.
    label_map: Value of `config.data.label_map`.
    **unpacked: Values of `config.data.unpacked`: `source`, the folder of the
      files; `images` and `masks`, paths below it that contain {split} and {id};
      `train` and `val`, the names that replace {split}.
  """
  config = own_data.get_config()
  config.num_steps = num_steps
  if unpacked:
    config.data.root = f'runs/{unpacked["source"]}_data'
    config.data.unpacked = ConfigDict(unpacked)
  del config.data.classes  # A file name; the new value has another type.
  config.data.classes = classes
  config.data.label_map = label_map
  config.data.pseudo_labels = 'generate'
  for part in variant.split(','):
    scribblesup.apply_variant(config, part)
  return config
