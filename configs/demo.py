r"""The whole method on drawn scenes, in minutes on a laptop's CPU.

python -m scribble_jax.main --config=configs/demo.py --workdir=runs/drawn

Variants, with commas between: `small`, own_data.py's recipe with pretrained
features instead of a network from random weights; `scribble_only`, the baseline
with the same budget and without pseudo-labels.
"""

from ml_collections import ConfigDict

from scribble_jax.configs import own_data
from scribble_jax.configs import scribblesup


def get_config(variant=''):
  """Returns a configuration for the drawn data set.

  Args:
    variant: As above.
  """
  variants = [part for part in variant.split(',') if part]
  config = (own_data.get_config('small') if 'small' in variants
            else _from_random_weights())
  config.data.pseudo_labels = 'generate'
  config.data.root = 'runs/demo_data'
  config.data.embedded = ConfigDict()
  config.data.embedded.num_train = 1_000
  config.data.embedded.num_val = 150
  config.data.embedded.image_size = 96  # Pixels.
  config.data.embedded.seed = 0
  config.data.crop_size = 81  # Pixels.
  config.data.augmentation.scale = (0.8, 1.3)
  config.data.augmentation.blur_probability = 0.1  # Textures are fine here.
  config.stage1.refinement.strides = (4, 2, 1)
  config.stage1.refinement.contrast = 0.15  # Textures are strong here.

  # The scales that training shows. The paper's seven, from 0.5 to 2, cost 5
  # points of mIoU on images of 96 pixels.
  config.evaluation.scales = (0.8, 0.9, 1.0, 1.15, 1.3)
  for part in variants:
    if part != 'small':
      scribblesup.apply_variant(config, part)
  return config


def _from_random_weights():
  """Returns the paper's method with a small network; nothing is downloaded."""
  config = own_data.get_config()
  config.num_steps = 1_200
  config.batch_size = 16
  config.backbone_weights = 'none'
  config.model.backbone = 'resnet18'
  # As good as 16 here, and three times as fast.
  config.model.width = 8
  config.model.head_width = 32
  config.model.dropout = 0.1  # 32 channels have little to spare.
  # From scratch; the paper starts from ImageNet. At twice the rate, or after a
  # short warm-up, LoRM's loss leaps in some runs, which cost 10 points of mIoU.
  config.optim.lr = 0.05
  config.optim.warmup_steps = config.get_ref('num_steps') // 4

  # At full weight, entropy makes a network from scratch sure of its first
  # guesses: 21 % mIoU instead of 30 % after 250 steps.
  config.loss_weights.distance_entropy_scribble = 0.1
  config.loss_weights.distance_entropy_pseudo_label = 0.1

  _shrink_stage1(config.stage1, config.model)
  config.method.pseudo_ignore = 'corrected'  # What stage 1 leaves open.
  config.log_every = 20
  config.eval_every = 400
  config.checkpoint_every = 200
  return config


def _shrink_stage1(stage1, model):
  """Gives stage 1 a network like stage 2's, and numbers for drawn scenes."""
  # After 300, labels from whole strokes are as good, from spots 8 points worse.
  stage1.num_steps = 1_000
  stage1.backbone_weights = 'none'
  for key in ('backbone', 'width', 'head_width', 'dropout', 'dtype'):
    stage1.model[key] = model[key]
  stage1.model.output_stride = 8
  stage1.optim.lr = 0.1
  stage1.optim.warmup_steps = stage1.get_ref('num_steps') * 3 // 100
  stage1.evaluation.scales = (1.0,)
  stage1.evaluation.flip = False
  stage1.labels.calibration_images = 200
  # Few and short strokes leave much open: better ignored than background.
  stage1.labels.undecided = 0.2
  stage1.labels.unnamed = 'undecided'
  stage1.log_every = 20
  stage1.checkpoint_every = 250
