r"""PASCAL-Context, 59 classes and background, with ScribbleSup's strokes.

python -m scribble_jax.main --config=configs/pascal_context.py \
    --workdir=runs/context --config.data.root=VOCdevkit/VOC2010 \
    --config.data.scribbles=scribble_annotation/pascal_context

The root must contain VOC 2010's JPEGImages, masks with the indices 0
(background) to 59 in SegmentationClassContext, and lists in
ImageSets/SegmentationContext, as MMSegmentation's conversion of the annotations
writes them. The strokes are in ScribbleSup's archive. The variants are those of
scribblesup.py.
"""

from scribble_jax.configs import dense

_CLASSES = (
    'background', 'aeroplane', 'bag', 'bed', 'bedclothes', 'bench', 'bicycle',
    'bird', 'boat', 'book', 'bottle', 'building', 'bus', 'cabinet', 'car',
    'cat', 'ceiling', 'chair', 'cloth', 'computer', 'cow', 'cup', 'curtain',
    'dog', 'door', 'fence', 'floor', 'flower', 'food', 'grass', 'ground',
    'horse', 'keyboard', 'light', 'motorbike', 'mountain', 'mouse', 'person',
    'plate', 'platform', 'pottedplant', 'road', 'rock', 'sheep', 'shelves',
    'sidewalk', 'sign', 'sky', 'snow', 'sofa', 'table', 'track', 'train',
    'tree', 'truck', 'tvmonitor', 'wall', 'water', 'window', 'wood')


def get_config(variant='deeplabv3plus_resnet101'):
  """Returns the paper's method on PASCAL-Context."""
  config = dense.get_config(variant, 15_600, _CLASSES)
  config.data.root = 'VOCdevkit/VOC2010'
  config.data.scribbles = 'pascal_context'
  config.data.ground_truth = 'SegmentationClassContext'
  config.data.train_list = 'ImageSets/SegmentationContext/train.txt'
  config.data.val_list = 'ImageSets/SegmentationContext/val.txt'
  return config
