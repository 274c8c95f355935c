"""What the program wants of a backbone; each family is a module beside it.

A new family is one file with a subclass of Backbone and its VARIANTS, and a
line in this package's `__init__`.
"""

import dataclasses
import re

from flax import traverse_util
import flax.linen as nn
import jax

from scribble_jax import normalization
from scribble_jax.errors import UserError

FREEZES = ('none', 'stages', 'all')  # How much of a backbone may be frozen.


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
    patch: Side, in pixels, of the square patches that the features lie in the
      middle of, as in `resize`; None if their corners are on the image's.
    cpu_libraries: Operations that XLA leaves to YNNPACK in gradients on a CPU.
      By default it has YNNPACK do convolutions too, whose gradients by kernels
      take 3 to 8 times as long there as in Eigen (jaxlib 0.10.2).
    num_layers: Number of the last layer, for rates that grow from layer to
      layer and for what may be frozen. Layer 0 is what comes before the first
      block; a family that counts none has layer 0 alone.
    last_layer: Regular expression of the parameters' paths that have no number
      and belong to the last layer, such as a final normalisation.
    frozen: Number of first layers that training leaves as they are. Their
      parameters get neither gradients nor updates; a family's `__call__` asks
      `trains` for what depends on training besides: BatchNorms, dropout.
  """
  namings = ((),)
  ignored = r'(?!)'
  patch = None
  cpu_libraries = ('DOT',)
  num_layers = 0
  last_layer = r'(?!)'
  frozen: int = dataclasses.field(default=0, kw_only=True)

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

  def show_stages(self, maps):
    """Lets `stages` see what several stages come to, from fine to coarse."""
    if not self.is_initializing():
      self.sow('stages', 'maps', maps)

  def stages(self, variables, images):
    """Returns the maps of several stages, [B, h, w, K] each, fine to coarse.

    Args:
      variables: The backbone's own.
      images: [B, H, W, 3] normalised.
    """
    (_, features), shown = self.apply(
        variables, images, train=False, mutable=['stages'])
    return shown['stages']['maps'][0] if shown else [features]

  def normalize(self, images):
    """[..., 3] uint8 RGB -> float32 as the weights want it."""
    return normalization.normalize(images)

  def feature_size(self, side):
    """Returns the side of the features for an image side, in pixels."""
    raise NotImplementedError

  def layer_of(self, path):
    """Returns the layer that a parameter belongs to, from 0 to `num_layers`.

    Args:
      path: In the backbone, such as 'blocks_3/conv/kernel'. The number of its
        first part counts from 0: that block is layer 4. Parameters without a
        number belong to layer 0, or to the last one, as `last_layer` says.
    """
    block = re.match(r'[a-z]+s?_(\d+)(?:/|$)', path)
    if block and self.num_layers:
      return int(block[1]) + 1
    return self.num_layers if re.match(self.last_layer, path) else 0

  def num_frozen(self, freeze):
    """Returns the value of `frozen` for a value of FREEZES.

    Raises:
      UserError: The backbone has no stages of which some could be frozen.
    """
    if freeze == 'stages' and not self.num_layers:
      raise UserError(
          "config.model.freeze_backbone is 'stages', but "
          f'{self.name_in_config} counts no layers. Choose one of: none, all.')
    return {'none': 0, 'stages': self.num_layers // 2 + 1,
            'all': self.num_layers + 1}[freeze]

  def trains(self, train, layer=None):
    """Whether a layer is in training mode; without one, whether any may be.

    Args:
      train: Of `__call__`.
      layer: As of `layer_of`.
    """
    layer = self.num_layers if layer is None else layer
    return train and layer >= self.frozen

  def hold(self, variables):
    """Returns a network's variables, no gradient reaching the frozen ones."""
    if not self.frozen:
      return variables

    def held(path, leaf):
      return jax.lax.stop_gradient(leaf) if self.is_frozen(path) else leaf

    return traverse_util.path_aware_map(held, variables)

  def is_frozen(self, path):
    """Whether training leaves a variable of a network as it is.

    Args:
      path: Such as ('params', 'backbone', 'conv1', 'kernel').
    """
    return path[1] == 'backbone' and (
        self.layer_of('/'.join(path[2:])) < self.frozen)

  @property
  def name_in_config(self):
    """Its key in VARIANTS."""
    raise NotImplementedError

  @property
  def published(self):
    """Of `published_weights`, where its weights come from; None if nowhere."""
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
