r"""ADE20K's scene parsing challenge, 150 classes, with simulated strokes.

python -m scribble_jax.main --config=configs/ade20k.py \
    --workdir=runs/ade20k --config.data.unpacked.source=ADEChallengeData2016

The folder must contain ADEChallengeData2016.zip, unpacked. The variants are
those of scribblesup.py.
"""

from scribble_jax.configs import dense
from scribble_jax.dataset_classes import ADE20K_CLASSES


def get_config(variant='deeplabv3plus_resnet101'):
  """Returns the paper's method on ADE20K."""
  return dense.get_config(
      variant, 63_150, ADE20K_CLASSES, '0:255,1-150:0-149',  # 0 is 'other'.
      source='ADEChallengeData2016', images='images/{split}/{id}.jpg',
      masks='annotations/{split}/{id}.png', train='training', val='validation')
