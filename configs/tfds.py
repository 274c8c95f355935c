r"""Any segmentation data set of tensorflow-datasets, with simulated strokes.

python -m scribble_jax.main --config=configs/tfds.py --workdir=runs/pets \
    --config.data.tfds=oxford_iiit_pet \
    --config.data.label_map=1:1,2:0,3:255

The label map assigns classes to the values in the masks: here 1 is the pet, 2
the background, and 3 is unlabelled. The first start downloads the data set,
unless it is in the cache of tensorflow-datasets, and converts it to
config.data.root. The variants are those of own_data.py.
"""

from scribble_jax.configs import own_data


def get_config(variant='deeplabv3plus_resnet101'):
  """Returns the paper's method for the data set of --config.data.tfds."""
  config = own_data.get_config(variant)
  config.data.root = 'runs/tfds_data'
  config.data.tfds = 'oxford_iiit_pet'
  config.data.pseudo_labels = 'generate'
  return config
