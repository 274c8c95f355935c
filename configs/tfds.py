r"""Any segmentation set of tensorflow-datasets, with simulated strokes.

python -m scribble_jax.main --config=configs/tfds.py --workdir=runs/pets \
    --config.data.tfds=oxford_iiit_pet \
    --config.data.label_map=1:1,2:0,3:255

The label map says what the masks' values mean; in this example pet, background
and neither. The first start downloads the set, if need be, and makes
config.data.root of it. Variants as in own_data.py.
"""

from scribble_jax.configs import own_data


def get_config(variant='deeplabv3plus_resnet101'):
  """Returns the paper's method for a set that a flag names."""
  config = own_data.get_config(variant)
  config.data.root = 'runs/tfds_data'
  config.data.tfds = 'oxford_iiit_pet'
  config.data.pseudo_labels = 'generate'
  return config
