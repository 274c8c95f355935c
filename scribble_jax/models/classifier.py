"""Stage 1's network: image-level classes and their activation maps."""

import flax.linen as nn
import jax.numpy as jnp

from scribble_jax.models import deeplab
from scribble_jax.models.layers import classifier


class ClassificationNetwork(nn.Module):
  """Backbone, a linear classifier of pooled features, a segmentation branch.

  Attributes:
    num_classes: C, background included.
    backbone: Module, of `backbones.BACKBONES`.
    head: Head of the segmentation branch, of `deeplab.HEADS`; None for no such
      branch.
    head_width: Channels of the layers of the DeepLabV3+ head.
    dropout: Dropout rate of the DeepLabV3+ head.
    dtype: Compute type; parameters, statistics and logits are float32.
  """
  num_classes: int
  backbone: nn.Module
  head: str | None
  head_width: int
  dropout: float
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    """Creates the parts, named as in `deeplab.SegmentationNetwork`."""
    self.classifier = classifier(
        self.num_classes - 1, use_bias=False, name='classifier')
    if self.head is not None:
      self.decoder = deeplab.make_head(
          self.head, self.num_classes, self.head_width, self.dropout,
          self.dtype)

  def __call__(self, images, train=False):
    """Returns the outputs of both branches.

    Args:
      images: [B, H, W, 3] normalised images.
      train: Whether to use batch statistics and dropout (needs a 'dropout'
        rng and mutable 'batch_stats').

    Returns:
      activations: [B, h, w, C - 1] float32, W_k . F of each foreground class;
        their mean over an image is the class's logit.
      logits: [B, h', w', C] float32 of the segmentation branch, or None.
    """
    low_level, features = self.backbone(
        images, self.backbone.trains(train))
    # Both are linear, so that pooling may follow: GAP(W_k . F) = W_k . GAP(F).
    activations = self.classifier(features)
    if self.head is None:
      return activations, None
    return activations, self.decoder(low_level, features, train)
