r"""The whole method on drawn scenes, in minutes on a laptop's CPU.

python -m scribble_jax.main --config=configs/demo.py --workdir=runs/demo

`--config=configs/demo.py:scribble_only` is the baseline: the same budget
without pseudo-labels.
"""

from ml_collections import ConfigDict

from configs import own_data
from configs import scribblesup


def get_config(variant=''):
  """Returns the paper's method with a small network and a small data set.

  Args:
    variant: '' or 'scribble_only'.
  """
  config = own_data.get_config()
  config.num_steps = 1_000
  config.batch_size = 16
  config.model.backbone = 'resnet18'
  config.model.width = 16
  config.model.head_width = 64
  config.model.dtype = 'float32'  # bfloat16 is emulated on most CPUs.
  config.optim.lr = 0.05  # From scratch; the paper starts from ImageNet.
  config.optim.warmup_steps = 100

  config.data.root = 'runs/demo_data'
  config.data.embedded = ConfigDict()
  config.data.embedded.num_train = 600
  config.data.embedded.num_val = 150
  config.data.embedded.image_size = 128  # Pixels.
  config.data.embedded.seed = 0
  config.data.crop_size = 113  # Pixels.
  config.data.augmentation.scale = (0.75, 1.5)

  config.log_every = 20
  config.eval_every = 250
  config.checkpoint_every = 250
  if variant:
    scribblesup.apply_variant(config, variant)
  return config
