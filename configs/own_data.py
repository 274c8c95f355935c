r"""Your own images and scribbles, in the layout of docs/own_data.md.

python -m scribble_jax.main --config=configs/own_data.py \
    --workdir=runs/own_data --config.data.root=DIR

`classes.txt` in DIR lists the class names, one per line, background first. The
variants are those of scribblesup.py and three for 50 to 1,000 photographs with
a few hundred pixels per side, which also generate the pseudo-labels: `small`
for two CPU cores, `small_resnet50` and `small_dinov2` for an accelerator.
"""

from ml_collections import config_dict

from scribble_jax.configs import scribblesup


def get_config(variant='deeplabv3plus_resnet101'):
  """Returns hyperparameters for a data set with its own classes.

  Args:
    variant: Variants, separated by commas.
  """
  config = scribblesup.get_config()
  del config.data.classes  # A tuple; the new value has another type.
  config.data.classes = 'classes.txt'
  config.model.num_classes = config_dict.placeholder(int)  # From classes.txt.
  config.stage1.model.num_classes = config_dict.placeholder(int)
  config.evaluation.long_side = None  # Images keep their own size.
  # The small variants come first, because the others change their settings.
  for part in sorted(variant.split(','), key=lambda part: part not in _SMALL):
    if part in _SMALL:
      backbone, make = _SMALL[part]
      _make_small(config, backbone)
      make(config)
    else:
      scribblesup.apply_variant(config, part)
  return config


def _make_small(config, backbone):
  """Applies the settings of all small variants; see docs/photographs.md."""
  for model in (config.model, config.stage1.model):
    model.backbone = backbone
  scribblesup.apply_variant(config, 'best')
  config.model.output_stride = 16
  config.model.dropout = 0.1
  # Factors of the image's size. With these, crops show most of an image; lower
  # both for larger images.
  config.data.augmentation.scale = (0.7, 1.4)
  config.data.augmentation.blur_probability = 0.1
  config.stage1.labels.calibration_images = 100
  # The range of scales in training.
  config.evaluation.scales = (0.75, 1.0, 1.25)
  config.log_every = 10
  config.eval_every = config.checkpoint_every = 100
  config.keep_checkpoints = 1


def _for_cpu(config):
  """EfficientNet-Lite0: twelve minutes on two cores, with pseudo-labels."""
  config.num_steps = 300
  config.batch_size = 8
  # The first half of the backbone takes most of the time, and its ImageNet
  # weights are good enough.
  config.model.freeze_backbone = 'stages'
  config.model.head_width = 64
  config.data.crop_size = 225
  config.optim.lr = 0.05
  config.optim.backbone_lr_factor = 0.2
  config.optim.ema_decay = 0.99


def _for_accelerator(config):
  """Applies settings of both larger networks, which are not measured yet."""
  config.num_steps = 2_000
  config.batch_size = 16
  config.optim.ema_decay = 0.999


def _resnet50(config):
  _for_accelerator(config)
  config.model.freeze_backbone = 'stages'
  config.data.crop_size = 321
  config.optim.lr = 0.01
  config.optim.backbone_lr_factor = 0.1


def _dinov2(config):
  """A linear classifier on frozen features, as in DINOv2's paper."""
  _for_accelerator(config)
  config.model.head = 'linear'
  config.model.freeze_backbone = 'all'
  config.data.crop_size = 322  # 23 patches.
  config.optim.name = 'adamw'
  config.optim.lr = 1e-3


_SMALL = {  # {variant: (backbone, function that changes a config)}
    'small': ('efficientnet_lite0', _for_cpu),
    'small_resnet50': ('resnet50', _resnet50),
    'small_dinov2': ('dinov2_small', _dinov2)}
