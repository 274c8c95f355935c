"""What the configs of public data sets with dense masks share."""

from ml_collections import ConfigDict

from scribble_jax.configs import own_data
from scribble_jax.configs import scribblesup


def get_config(variant, num_steps, classes, label_map='', **unpacked):
  """Returns the paper's method for a data set with simulated strokes.

  Args:
    variant: As of scribblesup.py, several with commas between.
    num_steps: 50 epochs, as in the paper.
    classes: Names, in the order of their indices.
    label_map: As of `config.data.label_map`.
    **unpacked: As of `config.data.unpacked`: `source`, the folder of the files;
      paths of `images` and `masks` below it, with {split} and {id} in them; and
      what stands for {split}, `train` and `val`.
  """
  config = own_data.get_config()
  config.num_steps = num_steps
  if unpacked:
    config.data.root = f'runs/{unpacked["source"]}_data'
    config.data.unpacked = ConfigDict(unpacked)
  del config.data.classes  # A file's name.
  config.data.classes = classes
  config.data.label_map = label_map
  config.data.pseudo_labels = 'generate'
  for part in variant.split(','):
    scribblesup.apply_variant(config, part)
  return config
