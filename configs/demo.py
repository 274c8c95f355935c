r"""The whole method on drawn scenes, in a few minutes on a laptop's CPU.

python -m scribble_jax.main --config=configs/demo.py --workdir=runs/drawn

Variants follow a colon and are separated by commas: `small`, the settings of
own_data.py:small with a pretrained network in place of random weights;
`scribble_only`, the baseline with the same number of updates and without
pseudo-labels.
"""

from ml_collections import ConfigDict

from scribble_jax.configs import own_data
from scribble_jax.configs import scribblesup


def get_config(variant=''):
  """Returns a configuration for the drawn data set.

  Args:
    variant: Variants, separated by commas.
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
  config.data.augmentation.blur_probability = 0.1  # Blur hides the textures.
  config.stage1.refinement.strides = (4, 2, 1)
  config.stage1.refinement.contrast = 0.15  # Textures have a high contrast.

  # The range of scales in training. With the paper's seven scales, from 0.5 to
  # 2, the mIoU on images of 96 pixels is 5 points lower.
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
  # A width of 16 is three times as slow and no better here.
  config.model.width = 8
  config.model.head_width = 32
  config.model.dropout = 0.1  # 32 channels need less dropout than 256.
  # For random initial weights. With twice this learning rate, or a short
  # warm-up, LoRM's loss jumps in some runs, whose mIoU is then 10 points lower.
  config.optim.lr = 0.05
  config.optim.warmup_steps = config.get_ref('num_steps') // 4

  # With weight 1, the entropy terms make a network from random weights certain
  # of its first predictions: 21 % mIoU instead of 30 % after 250 steps.
  config.loss_weights.distance_entropy_scribble = 0.1
  config.loss_weights.distance_entropy_pseudo_label = 0.1

  _shrink_stage1(config.stage1, config.model)
  config.method.pseudo_ignore = 'corrected'  # Ignores undecided pixels.
  config.log_every = 20
  config.eval_every = 400
  config.checkpoint_every = 200
  return config


def _shrink_stage1(stage1, model):
  """Sets stage 1's network to stage 2's, and its settings for drawn scenes."""
  # With 300 steps, pseudo-labels from whole strokes are as good, and those from
  # spots are 8 points worse.
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
  # Few and short strokes leave many pixels undecided. Ignoring these is better
  # than labelling them as background.
  stage1.labels.undecided = 0.2
  stage1.labels.unnamed = 'undecided'
  stage1.log_every = 20
  stage1.checkpoint_every = 250
