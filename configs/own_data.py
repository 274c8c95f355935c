r"""Your own images and scribbles, in the folder layout that README shows.

python -m scribble_jax.main --config=configs/own_data.py \
    --workdir=runs/own_data --config.data.root=DIR

`classes.txt` in DIR names the classes, one a line, background first. Variants
as in scribblesup.py.
"""

from ml_collections import config_dict

from configs import scribblesup


def get_config(variant='deeplabv3plus_resnet101'):
  """Returns the paper's hyperparameters with the data set's own classes."""
  config = scribblesup.get_config(variant)
  del config.data.classes  # A tuple of VOC's names.
  config.data.classes = 'classes.txt'
  config.model.num_classes = config_dict.placeholder(int)  # As many as those.
  config.stage1.model.num_classes = config_dict.placeholder(int)
  config.evaluation.long_side = None  # Each image's own.
  return config
