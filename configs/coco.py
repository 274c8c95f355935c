r"""COCO 2017, 80 classes and background, with simulated strokes.

python -m scribble_jax.main --config=configs/coco.py \
    --workdir=runs/coco --config.data.unpacked.source=coco

The folder must contain train2017.zip and val2017.zip, unpacked in images/, and
COCO-Stuff's stuffthingmaps_trainval2017.zip, unpacked in annotations/. The
stuff classes are background. The variants are those of scribblesup.py.
"""

from scribble_jax.configs import dense

_CLASSES = (
    'background', 'person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus',
    'train', 'truck', 'boat', 'traffic light', 'fire hydrant', 'stop sign',
    'parking meter', 'bench', 'bird', 'cat', 'dog', 'horse', 'sheep', 'cow',
    'elephant', 'bear', 'zebra', 'giraffe', 'backpack', 'umbrella', 'handbag',
    'tie', 'suitcase', 'frisbee', 'skis', 'snowboard', 'sports ball', 'kite',
    'baseball bat', 'baseball glove', 'skateboard', 'surfboard',
    'tennis racket', 'bottle', 'wine glass', 'cup', 'fork', 'knife', 'spoon',
    'bowl', 'banana', 'apple', 'sandwich', 'orange', 'broccoli', 'carrot',
    'hot dog', 'pizza', 'donut', 'cake', 'chair', 'couch', 'potted plant',
    'bed', 'dining table', 'toilet', 'tv', 'laptop', 'mouse', 'remote',
    'keyboard', 'cell phone', 'microwave', 'oven', 'toaster', 'sink',
    'refrigerator', 'book', 'clock', 'vase', 'scissors', 'teddy bear',
    'hair drier', 'toothbrush')
# The masks contain COCO's category ids minus 1. 11 of the 91 ids have no class.
_LABEL_MAP = (
    '0-10:1-11,12-24:12-24,26-27:25-26,30-43:27-40,45-64:41-60,66:61,69:62,'
    '71-81:63-73,83-89:74-80,91-181:0')


def get_config(variant='deeplabv3plus_resnet101'):
  """Returns the paper's method on COCO."""
  return dense.get_config(
      variant, 369_650, _CLASSES, _LABEL_MAP, source='coco',
      images='images/{split}/{id}.jpg', masks='annotations/{split}/{id}.png',
      train='train2017', val='val2017')
