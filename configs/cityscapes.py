r"""Cityscapes, 19 classes, with simulated strokes.

python -m scribble_jax.main --config=configs/cityscapes.py \
    --workdir=runs/cityscapes --config.data.unpacked.source=cityscapes

The folder must contain leftImg8bit_trainvaltest.zip and
gtFine_trainvaltest.zip, unpacked. The variants are those of scribblesup.py.
"""

from scribble_jax.configs import dense
from scribble_jax.dataset_classes import CITYSCAPES_CLASSES


def get_config(variant='deeplabv3plus_resnet101'):
  """Returns the paper's method on Cityscapes."""
  return dense.get_config(
      variant, 9_300, CITYSCAPES_CLASSES,
      # From labelIds to classes; classes that the benchmark does not evaluate
      # are unlabelled.
      '0-6:255,7-8:0-1,9-10:255,11-13:2-4,14-16:255,17:5,18:255,19-28:6-15,'
      '29-30:255,31-33:16-18',
      source='cityscapes', images='leftImg8bit/{split}/{id}_leftImg8bit.png',
      masks='gtFine/{split}/{id}_gtFine_labelIds.png', train='train', val='val')
