"""What the program wants of a backbone; each family is a module beside it.

A new family is one file with a subclass of Backbone and its VARIANTS, and a
line in this package's `__init__`.
"""

import flax.linen as nn

from scribble_jax import normalization
from scribble_jax.errors import UserError


class Backbone(nn.Module):
  """A network of images up to their features.

  Subclasses are dataclasses with the attributes `width` (64: the published
  network; fewer make it narrower in proportion), `dtype` (compute type),
  `output_stride` (8 or 16 pixels, where the family has a choice) and `remat`
  (whether the backward pass computes each block anew).

  Attributes:
    namings: How files of weights call the parameters, the family's own way
      first: pairs (pattern, replacement) of regular expressions, to be applied
      in this order to a path such as 'layer1_0/conv1/kernel'. Behind them
      'kernel' and 'scale' become 'weight', BatchNorm's 'mean' and 'var'
      'running_mean' and 'running_var', and slashes dots.
    ignored: Regular expression of what such files hold besides.
    cpu_libraries: Operations that XLA leaves to YNNPACK in gradients on a CPU.
      By default it has YNNPACK do convolutions too, whose gradients by kernels
      take 3 to 8 times as long there as in Eigen (jaxlib 0.10.2).
  """
  namings = ((),)
  ignored = r'(?!)'
  cpu_libraries = ('DOT',)

  def __call__(self, images, train):
    """Normalised [B, H, W, 3] -> two maps of features, [B, h, w, K].

    Args:
      images: Of any size.
      train: Whether to use batch statistics (needs mutable 'batch_stats').

    Returns:
      low_level: At stride 4; None if the family has no such map.
      features: At the output stride, what LoRM rectifies.
    """
    raise NotImplementedError

  def normalize(self, images):
    """[..., 3] uint8 RGB -> float32 as the weights want it."""
    return normalization.normalize(images)

  def feature_size(self, side):
    """Returns the side of the features for an image side, in pixels."""
    raise NotImplementedError

  @property
  def name_in_config(self):
    """Its key in VARIANTS."""
    raise NotImplementedError

  @property
  def published(self):
    """Where its weights come from, of `published`; None if from nowhere."""
    return None

  @classmethod
  def recognise(cls, shapes):
    """Returns 'backbone' and 'width' of the config's `model`.

    Args:
      shapes: {name: shape} of a file's tensors, in the family's own naming.

    Returns:
      None if they belong to another family.

    Raises:
      UserError: They belong to this one, but to no variant of it.
    """
    del shapes


def first_side(shapes, name):
  """Returns the length of a tensor's first axis, of {name: shape}.

  Raises:
    UserError: It is missing or has no axis.
  """
  if not shapes.get(name):
    raise UserError(f'The checkpoint has no tensor {name}, so it belongs to '
                    'neither DeepLabV2 nor DeepLabV3+. Use another file.')
  return shapes[name][0]
