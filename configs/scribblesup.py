r"""The paper's experiment: PASCAL VOC 2012 with ScribbleSup's scribbles.

python -m scribble_jax.main --config=configs/scribblesup.py \
    --workdir=runs/scribblesup --config.data.root=VOC2012

Variants follow a colon: deeplabv3plus_resnet101 (the default),
deeplabv2_resnet101, deeplabv2_resnet50. They can be followed by a comma and
`scribble_only`, the baseline without pseudo-labels, or `best`, the settings
that were best on photographs (docs/recipe.md) in place of the paper's.
"""

import math

from ml_collections import ConfigDict
from ml_collections import config_dict

from scribble_jax.dataset_classes import VOC_CLASSES
from scribble_jax.errors import UserError

NETWORKS = (
    'deeplabv3plus_resnet101', 'deeplabv2_resnet101', 'deeplabv2_resnet50')


def get_config(variant='deeplabv3plus_resnet101'):
  """Returns every hyperparameter of the run; the code has no defaults.

  Args:
    variant: Variants, separated by commas.
  """
  config = ConfigDict()
  config.seed = 0
  config.num_steps = 33_100  # 50 epochs of 662 batches.
  config.batch_size = 16  # Images, of all devices together.
  # 'imagenet': published weights; 'none': random ones; or a file with
  # torchvision's names of tensors.
  config.backbone_weights = 'imagenet'
  # A workdir or a file of weights: the run starts from that network instead.
  config.init_from = 'none'
  # Number of devices along each axis; -1: all that are left. Parameters and the
  # optimizer's state are split along 'model' (FSDP), the batch along both axes.
  config.mesh = ConfigDict({'data': -1, 'model': 1})
  config.profile = ''  # 'START:STOP': steps to trace; written to the workdir.
  config.data = _data()
  config.method = _method()
  config.model = _model()
  config.optim = _optim(1e-3, config.get_ref('num_steps') // 10)  # 5 epochs.

  config.loss_weights = ConfigDict()
  config.loss_weights.scribble = 1.0
  config.loss_weights.pseudo_label = 1.0
  config.loss_weights.lorm = 1.0
  config.loss_weights.distance_entropy_scribble = 1.0
  config.loss_weights.distance_entropy_pseudo_label = 1.0

  # Part of the pseudo-labels' target distribution that is uniform.
  config.label_smoothing = 0.1

  config.stage1 = _stage1()
  config.evaluation = _evaluation()
  # Above 0: predictions are refined by stage 1's random walk with this restart
  # probability, such as 0.1.
  config.evaluation.refine = 0.0
  config.log_every = 50
  config.eval_every = 3_310
  config.checkpoint_every = 662
  config.keep_checkpoints = 3  # The newest ones; the best one is kept too.
  config.num_panels = 8  # Images that are drawn, of each split.
  for part in variant.split(','):
    apply_variant(config, part)
  return config


def apply_variant(config, variant):
  """Changes `config` to one of the named variants."""
  if variant == 'scribble_only':
    for term in config.loss_weights:
      config.loss_weights[term] = float(term == 'scribble')
  elif variant == 'best':
    _apply_best(config)
  elif variant in NETWORKS:
    config.model.head, config.model.backbone = variant.split('_')
  else:
    raise UserError(f'Unknown variant {variant!r}. Choose from: '
                    f'{", ".join(NETWORKS)}, scribble_only, best.')


def _apply_best(config):
  """Applies docs/recipe.md; training takes as long as before."""
  for switch in config.method:
    config.method[switch] = 'corrected'
  for term in ('lorm', 'distance_entropy_scribble',
               'distance_entropy_pseudo_label'):
    config.loss_weights[term] = 0.0
  config.data.pseudo_labels = 'generate'
  config.stage1.labels.source = 'features'
  config.evaluation.refine = 0.1


def _model():
  """Returns the settings of the network: METHOD 4."""
  model = ConfigDict()
  model.num_classes = len(VOC_CLASSES)
  model.backbone = 'resnet101'  # A key of models.backbones.BACKBONES.
  model.output_stride = 8  # Stride of the backbone in pixels, 8 or 16.
  model.head = 'deeplabv3plus'  # Or deeplabv2, linear.
  model.width = 64  # Of published backbones; less: narrower layers.
  model.head_width = 256  # Channels of deeplabv3plus' layers.
  model.dropout = 0.5  # Dropout rate of deeplabv3plus.
  # Compute type, float32 or bfloat16; 'auto': bfloat16, but float32 on a CPU,
  # where bfloat16 is emulated.
  model.dtype = 'auto'
  # 'blocks' recomputes the backbone's blocks in the backward pass: a little
  # more than half the memory, a fifth more arithmetic.
  model.remat = 'none'
  # 'stages' freezes the first layers of the backbone: all but the last stage of
  # a ResNet, the first half of other networks. 'all' freezes the backbone.
  model.freeze_backbone = 'none'
  return model


def _optim(lr, warmup_steps):
  """Returns the settings of the optimizer."""
  optim = ConfigDict()
  optim.name = 'sgd'  # Or adamw, with betas 0.9 and 0.999.
  optim.lr = lr
  optim.warmup_steps = warmup_steps
  optim.momentum = 0.9  # Of sgd.
  optim.weight_decay = 5e-4
  # Learning rate of the backbone as a factor of the others'.
  optim.backbone_lr_factor = 1.0
  # Below 1: factor of the learning rate from each layer of the backbone to the
  # layer before it.
  optim.layer_decay = 1.0
  # Above 0, such as 0.999: decay of moving averages of the parameters and of
  # the running statistics, which validation and later uses of the run take.
  optim.ema_decay = 0.0
  # Number of parts in which a batch is computed one after another, to save
  # memory. Losses are means over the whole batch; BatchNorm's statistics are
  # those of a part.
  optim.accumulate = 1
  return optim


def _data():
  """Returns paths, and the settings of METHOD 3 and 5."""
  data = ConfigDict()
  data.root = 'VOC2012'
  # Paths are relative to root, or absolute.
  data.images = 'JPEGImages'
  # (LOW, HIGH): values that become 0 and 255 in images of more than 8 bits per
  # value. Without it, these are 0 and 65535.
  data.image_range = config_dict.placeholder(tuple)
  data.max_megapixels = 100.0  # Larger images and masks are refused.
  # Folder of PNG, TIFF or XML, a zip of XML, or JSON of points or boxes.
  data.scribbles = 'scribbles'
  # A folder; 'generate': made by stage 1; 'none': trains on scribbles alone.
  data.pseudo_labels = 'pseudo_labels'
  # Dense masks; 'none': validates on the strokes of the val images, which must
  # be in `scribbles` then.
  data.ground_truth = 'SegmentationClassAug'
  # Meaning of the values in the masks above: that of unlabelled pixels, and a
  # list of VALUE:CLASS unless each value is the index of its class. Behind
  # scribbles=, pseudo_labels= or ground_truth= they hold for that kind alone.
  data.unlabelled_index = config_dict.FieldReference(255, field_type=object)
  data.label_map = ''  # Such as '0:255,1-20:0-19'; other values are errors.
  data.train_list = 'ImageSets/SegmentationAug/train.txt'
  # 'none': no validation; the last checkpoint is the result.
  data.val_list = 'ImageSets/SegmentationAug/val.txt'
  data.records = 'records'  # Made at the first start.
  data.skip_corrupt = False  # Leave damaged records out, with a warning.
  # Number of records in the shuffle buffer; shards are read in random order. A
  # data set that fits is shuffled completely.
  data.shuffle_buffer = 20_000
  data.stage1 = 'stage1'  # Folder for the workdir of 'generate'.
  data.classes = VOC_CLASSES  # Or a text file with one name per line.
  data.embedded = ConfigDict()  # Settings of a drawn data set, or empty.
  # Data sets of dense masks, for which strokes are simulated: folders as in
  # configs/cityscapes.py, or the name of a set of tensorflow-datasets. The
  # first start converts them to `root`.
  data.unpacked = ConfigDict()
  data.tfds = ''
  data.lambda_s = math.e
  data.lambda_c = math.e**6
  # METHOD 10: degraded scribbles, from which everything else is derived.
  data.scribble_shrink = 0.0  # Part of each stroke's length to remove.
  data.scribble_drop = 0.0  # Probability that a stroke is removed.
  data.scribble_seed = 0
  data.crop_size = 465  # Pixels.
  data.augmentation = ConfigDict()
  data.augmentation.scale = (0.5, 2.0)
  data.augmentation.rotate_probability = 0.5
  data.augmentation.rotate_degrees = 10.0
  data.augmentation.blur_probability = 0.5
  data.augmentation.flip_probability = 0.5
  return data


def _evaluation():
  """Returns the protocol of evaluate.py and predict.py: METHOD 6."""
  evaluation = ConfigDict()
  evaluation.scales = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
  # Longer side of the image at scale 1, in pixels; None: not resized.
  evaluation.long_side = config_dict.FieldReference(512, field_type=object)
  evaluation.flip = False
  # 'crop': windows of data.crop_size; 'whole': the whole image at once.
  evaluation.window = 'crop'
  # Weights of overlapping windows: 'uniform', or 'tapered', which are smaller
  # near the borders and avoid seams.
  evaluation.blend = 'uniform'
  # Number of windows in a batch on a device; it determines the memory that
  # inference takes. None: 16, but 1 on a CPU, where more save no time.
  evaluation.batch_size = config_dict.placeholder(object)
  return evaluation


def _stage1():
  """Returns the settings of stage 1 (METHOD 1), which shares `data`."""
  config = ConfigDict()
  config.seed = 0
  config.num_steps = 6_620  # 10 epochs.
  config.batch_size = 16
  config.backbone_weights = 'imagenet'
  config.supervision = 'classes+scribbles'  # Or the paper's: 'classes'.
  config.model = ConfigDict()
  config.model.num_classes = len(VOC_CLASSES)
  config.model.backbone = 'resnet50'
  config.model.output_stride = 16
  config.model.head = 'deeplabv3plus'  # Of the segmentation branch.
  config.model.width = 64
  config.model.head_width = 256
  config.model.dropout = 0.5
  config.model.dtype = 'auto'
  config.model.remat = 'none'
  config.model.freeze_backbone = 'none'
  config.optim = _optim(1e-2, config.get_ref('num_steps') // 10)
  config.loss_weights = ConfigDict()
  config.loss_weights.classification = 1.0
  config.loss_weights.scribble = 1.0  # Of the segmentation branch.

  config.evaluation = _evaluation()
  config.evaluation.scales = (0.5, 1.0, 1.5, 2.0)
  config.evaluation.long_side = None
  config.evaluation.flip = True

  config.labels = ConfigDict()
  config.labels.source = 'network'  # Or features, diffusion, fusion.
  config.labels.branch = 'both'  # Of the network: cam, segmentation, both.
  config.labels.refine = True
  # 'global': one threshold for all classes, chosen on strokes that are hidden
  # from the walk (the segmentation branch and the regression on features have
  # learned from them); 'per_class'; or 'none': the fixed `threshold`, which is
  # also used where strokes are lacking.
  config.labels.calibration = 'global'
  config.labels.calibration_images = 1_000  # At most.
  config.labels.threshold = 0.3
  # Scores closer to the threshold than this become 255.
  config.labels.undecided = 0.0
  # Label of pixels where the network predicts a class without a stroke in the
  # image: 'background', or 'undecided' (255), for scribbles that miss objects.
  config.labels.unnamed = 'background'
  config.refinement = ConfigDict()
  config.refinement.strides = (8, 4, 2, 1)  # Pixels.
  config.refinement.dilations = (1, 2, 4, 8)  # Pixels of each grid.
  config.refinement.iterations = 30  # On each grid.
  config.refinement.contrast = 0.1  # Factor of the RMS colour difference.
  config.refinement.restart = 0.01
  config.log_every = 50
  config.checkpoint_every = 662
  config.keep_checkpoints = 1
  config.num_panels = 8
  return config


def _method():
  """Returns the switches of METHOD 8: 'official' is the released program."""
  method = ConfigDict()
  method.pseudo_ignore = 'official'
  method.distance_fill = 'official'
  method.lorm_background = 'official'
  method.lorm_foreground = 'official'
  method.normaliser = 'official'
  return method
