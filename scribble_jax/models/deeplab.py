"""Segmentation heads, DeepLab's as in METHOD 4, and the whole network."""

import flax.linen as nn
import jax.numpy as jnp

from scribble_jax import resize
from scribble_jax.models.batch_norm import BatchNorm
from scribble_jax.models.layers import classifier
from scribble_jax.models.layers import conv
from scribble_jax.models.lorm import LoRM

HEADS = ('deeplabv2', 'deeplabv3plus', 'linear')
DILATIONS = {'deeplabv2': (1, 12, 18, 24), 'deeplabv3plus': (1, 6, 12, 18)}
LOW_LEVEL_FEATURES = 48


class ConvBNReLU(nn.Module):
  """Convolution without bias, BatchNorm, ReLU."""
  features: int
  kernel: int
  dilation: int = 1
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x, train):
    """[B, h, w, K] -> [B, h, w, features]."""
    x = conv(self.features, self.kernel, dilation=self.dilation,
             dtype=self.dtype, name='conv')(x)
    return nn.relu(BatchNorm(self.dtype, name='bn')(x, train))


class ASPP(nn.Module):
  """Four convolutions and image pooling in parallel, concatenated."""
  features: int
  dilations: tuple[int, ...]
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x, train):
    """[B, h, w, K] -> [B, h, w, 5 * features]."""
    branches = []
    for i, dilation in enumerate(self.dilations, start=1):
      branch = ConvBNReLU(self.features, 1 if dilation == 1 else 3, dilation,
                          self.dtype, name=f'aspp{i}')
      branches.append(branch(x, train))
    pooled = jnp.mean(x.astype(jnp.float32), axis=(1, 2), keepdims=True)
    pooled = ConvBNReLU(self.features, 1, dtype=self.dtype,
                        name='global_avg_pool')(pooled, train)
    branches.append(jnp.broadcast_to(pooled, branches[0].shape))
    return jnp.concatenate(branches, axis=-1)


class DeepLabV2(nn.Module):
  """Head 'deeplabv2': logits at the features' stride, after a BatchNorm."""
  num_classes: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, low_level, x, train):
    """Low-level map (not used) and features -> [B, h, w, C] float32."""
    del low_level
    x = ASPP(self.num_classes, DILATIONS['deeplabv2'], self.dtype,
             name='aspp')(x, train)
    x = classifier(self.num_classes, use_bias=False, name='conv1')(x)
    return BatchNorm(jnp.float32, name='bn1')(x, train)


class DeepLabV3Plus(nn.Module):
  """Head 'deeplabv3plus': a decoder that also uses the low-level map.

  Without such a map the decoder works at the features' stride.
  """
  num_classes: int
  width: int
  dropout: float
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, low_level, x, train):
    """Low-level map or None, and features -> [B, H / 4, W / 4, C] float32."""
    block = lambda features, kernel, name: ConvBNReLU(
        features, kernel, dtype=self.dtype, name=name)
    x = ASPP(self.width, DILATIONS['deeplabv3plus'], self.dtype,
             name='aspp')(x, train)
    x = block(self.width, 1, 'project')(x, train)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    if low_level is not None:
      x = resize.resize_corners_aligned(x, low_level.shape[1:3])
      low_level = block(LOW_LEVEL_FEATURES, 1, 'reduce')(low_level, train)
      x = jnp.concatenate([low_level, x.astype(self.dtype)], axis=-1)
    x = block(self.width, 3, 'fuse1')(x, train)
    x = block(self.width, 3, 'fuse2')(x, train)
    return classifier(self.num_classes, use_bias=True, name='classifier')(x)


class Linear(nn.Module):
  """Head 'linear': a BatchNorm and a 1x1 convolution, as in DINOv2."""
  num_classes: int

  @nn.compact
  def __call__(self, low_level, x, train):
    """Low-level map (not used) and features -> [B, h, w, C] float32."""
    del low_level
    x = BatchNorm(jnp.float32, name='bn')(x, train)
    return classifier(self.num_classes, use_bias=True, name='classifier',
                      kernel_init=nn.initializers.normal(0.01))(x)


def make_head(head, num_classes, width, dropout, dtype):
  """Returns a head, a module `(low_level, features, train) -> logits`."""
  if head == 'deeplabv2':
    return DeepLabV2(num_classes, dtype)
  if head == 'linear':
    return Linear(num_classes)
  return DeepLabV3Plus(num_classes, width, dropout, dtype)


class SegmentationNetwork(nn.Module):
  """Backbone, head and LoRM.

  Attributes:
    num_classes: C, background included.
    backbone: Module as of `backbones.BACKBONES`.
    head: Name of the head, of HEADS.
    head_width: Channels of the layers of the DeepLabV3+ head.
    dropout: Dropout rate of the DeepLabV3+ head.
    dtype: Compute type; parameters, statistics and logits are float32.
  """
  num_classes: int
  backbone: nn.Module
  head: str
  head_width: int
  dropout: float
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    """Creates the parts, with the names that `weights.pretrained` expects."""
    self.decoder = make_head(
        self.head, self.num_classes, self.head_width, self.dropout, self.dtype)
    self.lorm = LoRM(self.dtype)

  def __call__(self, images, train=False):
    """Returns the prediction and the features that LoRM rectifies.

    Args:
      images: [B, H, W, 3] normalised images.
      train: Whether to use batch statistics and dropout (needs a 'dropout'
        rng and mutable 'batch_stats').

    Returns:
      logits: [B, H / s, W / s, C] float32; s is 4 if DeepLabV3+ has a
        low-level map, else the features' stride. The backbone's `patch` defines
        where they lie on the image.
      features: [B, h, w, K] of the backbone, likewise.
    """
    low_level, features = self.backbone(
        images, self.backbone.trains(train))
    logits = self.decoder(low_level, features, train)
    if self.is_initializing():  # Creates LoRM's parameters too.
      self.lorm_loss(features, jnp.zeros(features.shape[:3], bool),
                     background='official', normaliser='official')
    return logits, features

  def lorm_loss(self, features, foreground, background, normaliser,
                divisor=None):
    """Returns `lorm.lorm_loss` for [B, h, w, K] and [B, h, w] bool."""
    return self.lorm(features, foreground, background, normaliser, divisor)
