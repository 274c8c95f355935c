r"""The paper's experiment: PASCAL VOC 2012 with ScribbleSup's scribbles.

python -m scribble_jax.main --config=configs/scribblesup.py \
    --workdir=runs/scribblesup --config.data.root=VOC2012

Variants, after a colon: deeplabv3plus_resnet101 (the default),
deeplabv2_resnet101, deeplabv2_resnet50. Behind them or alone, with commas
between: `scribble_only`, the baseline without pseudo-labels; `best`, what was
best on photographs (docs/recipe.md) instead of what the paper has.
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
    variant: As above.
  """
  config = ConfigDict()
  config.seed = 0
  config.num_steps = 33_100  # 50 epochs of 662 batches.
  config.batch_size = 16  # Over all devices.
  # 'imagenet', a file in torchvision's naming, or 'none': random weights.
  config.backbone_weights = 'imagenet'
  # A workdir or a file of a whole network, to start from that instead.
  config.init_from = 'none'
  # Devices along each axis; -1: what is left. Along 'model' parameters and the
  # optimizer's state are split (FSDP); the batch is split over all devices.
  config.mesh = ConfigDict({'data': -1, 'model': 1})
  config.profile = ''  # 'START:STOP', steps whose trace goes to the workdir.
  config.data = _data()
  config.method = _method()
  config.model = ConfigDict()
  config.model.num_classes = len(VOC_CLASSES)
  config.model.backbone = 'resnet101'  # Any of models.backbones.BACKBONES.
  config.model.output_stride = 8  # Of the backbone, in pixels; or 16.
  config.model.head = 'deeplabv3plus'  # Or deeplabv2, linear.
  config.model.width = 64  # As published; less makes a backbone narrower.
  config.model.head_width = 256  # Channels of deeplabv3plus' layers.
  config.model.dropout = 0.5  # Of deeplabv3plus.
  # Compute type, float32 or bfloat16; 'auto': bfloat16, but float32 on a CPU,
  # where bfloat16 is emulated.
  config.model.dtype = 'auto'
  # 'blocks' computes the backbone's blocks anew for the gradient: little more
  # than half the memory for a fifth more arithmetic.
  config.model.remat = 'none'
  # 'stages' leaves the backbone's first layers as they are (all but a ResNet's
  # last stage, the first half of a transformer), 'all' the whole of it.
  config.model.freeze_backbone = 'none'
  config.optim = _optim(1e-3, config.get_ref('num_steps') // 10)  # 5 epochs.

  config.loss_weights = ConfigDict()
  config.loss_weights.scribble = 1.0
  config.loss_weights.pseudo_label = 1.0
  config.loss_weights.lorm = 1.0
  config.loss_weights.distance_entropy_scribble = 1.0
  config.loss_weights.distance_entropy_pseudo_label = 1.0

  # Share of the pseudo-labels' target that is spread over all classes.
  config.label_smoothing = 0.1

  config.stage1 = _stage1()
  config.evaluation = _evaluation()
  config.evaluation.refine = 0.0  # Or the restart of stage 1's walk, 0.1.
  config.log_every = 50
  config.eval_every = 3_310
  config.checkpoint_every = 662
  config.keep_checkpoints = 3  # The newest; the best one stays besides.
  config.num_panels = 8  # Pictures of each split.
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
  """Applies docs/recipe.md, which leaves the cost of training as it is."""
  for switch in config.method:
    config.method[switch] = 'corrected'
  for term in ('lorm', 'distance_entropy_scribble',
               'distance_entropy_pseudo_label'):
    config.loss_weights[term] = 0.0
  config.data.pseudo_labels = 'generate'
  config.stage1.labels.source = 'features'
  config.evaluation.refine = 0.1


def _optim(lr, warmup_steps):
  """How the parameters are updated."""
  optim = ConfigDict()
  optim.name = 'sgd'  # Or adamw, with betas 0.9 and 0.999.
  optim.lr = lr
  optim.warmup_steps = warmup_steps
  optim.momentum = 0.9  # Of sgd.
  optim.weight_decay = 5e-4
  # The backbone's learning rate, as a share of that of all else.
  optim.backbone_lr_factor = 1.0
  # Below 1: by what the rate shrinks from each layer of the backbone to the one
  # before it.
  optim.layer_decay = 1.0
  # Above 0, such as 0.999: validation and whatever uses the run take moving
  # averages of the parameters and of the running statistics.
  optim.ema_decay = 0.0
  # Parts that a batch is computed in, one after another, to save memory. Losses
  # are means over the whole batch; BatchNorm's statistics are those of a part.
  optim.accumulate = 1
  return optim


def _data():
  """Where things are, and METHOD 3 and 5's numbers."""
  data = ConfigDict()
  data.root = 'VOC2012'
  # Below root, or absolute.
  data.images = 'JPEGImages'
  # (LOW, HIGH), which become black and white in images of more than 8 bits a
  # value; without it 16 bits count as a whole.
  data.image_range = config_dict.placeholder(tuple)
  data.max_megapixels = 100.0  # Larger images and masks are refused.
  # Folder of PNG, TIFF or XML, a zip of XML, or JSON of points or boxes.
  data.scribbles = 'scribbles'
  # Or 'generate': stage 1 makes them; 'none': train on scribbles alone.
  data.pseudo_labels = 'pseudo_labels'
  # Dense masks; 'none': validate on the strokes of the val images, which need
  # some in `scribbles` then.
  data.ground_truth = 'SegmentationClassAug'
  # What values of the PNGs above mean, of all three kinds, or behind
  # scribbles=, pseudo_labels= or ground_truth= of one: the unlabelled one, and
  # VALUE:CLASS with commas between unless each value is its class's index.
  data.unlabelled_index = config_dict.FieldReference(255, field_type=object)
  data.label_map = ''  # Such as '0:255,1-20:0-19'; others are errors then.
  data.train_list = 'ImageSets/SegmentationAug/train.txt'
  # 'none': no validation; the last checkpoint is the result.
  data.val_list = 'ImageSets/SegmentationAug/val.txt'
  data.records = 'records'  # Made at the first start.
  data.skip_corrupt = False  # Leave damaged records out, with a warning.
  # Records shuffled at a time, of shards in a random order; fewer than these
  # are shuffled whole.
  data.shuffle_buffer = 20_000
  data.stage1 = 'stage1'  # Where 'generate' keeps its workdir.
  data.classes = VOC_CLASSES  # Or a text file below root, one name a line.
  data.embedded = ConfigDict()  # Drawn data set; empty: the user's own.
  # Of dense masks, with simulated strokes: files as in configs/cityscapes.py,
  # or a set of tensorflow-datasets. The first start makes `root` of them.
  data.unpacked = ConfigDict()
  data.tfds = ''
  data.lambda_s = math.e
  data.lambda_c = math.e**6
  # METHOD 10: poorer scribbles, of which everything else is derived.
  data.scribble_shrink = 0.0  # Share of each stroke's length that goes.
  data.scribble_drop = 0.0  # Probability that a stroke goes.
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
  """How evaluate.py and predict.py see an image: METHOD 6."""
  evaluation = ConfigDict()
  evaluation.scales = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
  # Pixels at scale 1; None: the image's own.
  evaluation.long_side = config_dict.FieldReference(512, field_type=object)
  evaluation.flip = False
  # 'crop': windows of data.crop_size; 'whole': the whole image at once.
  evaluation.window = 'crop'
  # Overlapping windows count alike, 'uniform', or less towards their borders,
  # 'tapered', which leaves no seams.
  evaluation.blend = 'uniform'
  # Windows at once on a device, which decide the memory that inference takes.
  # None: 16, but 1 on a CPU, where more save no time.
  evaluation.batch_size = config_dict.placeholder(object)
  return evaluation


def _stage1():
  """Stage 1, how pseudo-labels are made (METHOD 1); `data` is shared."""
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
  # One threshold for all classes, chosen on strokes that are hidden from the
  # walk (a segmentation branch, or the regression on features, has learned them
  # all the same); 'per_class'; or 'none': the fixed one, which also serves
  # where strokes are lacking.
  config.labels.calibration = 'global'
  config.labels.calibration_images = 1_000  # At most.
  config.labels.threshold = 0.3
  # Scores closer than this to the threshold become 255.
  config.labels.undecided = 0.0
  # 'undecided': 255 too where the network sees a class that no stroke of the
  # image names, for scribbles that miss objects.
  config.labels.unnamed = 'background'
  config.refinement = ConfigDict()
  config.refinement.strides = (8, 4, 2, 1)  # Pixels.
  config.refinement.dilations = (1, 2, 4, 8)  # Pixels of each grid.
  config.refinement.iterations = 30  # On each grid.
  config.refinement.contrast = 0.1  # Of the root mean square difference.
  config.refinement.restart = 0.01
  config.log_every = 50
  config.checkpoint_every = 662
  config.keep_checkpoints = 1
  config.num_panels = 8
  return config


def _method():
  """What the released program does, or what was meant: METHOD 8, a to e."""
  method = ConfigDict()
  method.pseudo_ignore = 'official'
  method.distance_fill = 'official'
  method.lorm_background = 'official'
  method.lorm_foreground = 'official'
  method.normaliser = 'official'
  return method
