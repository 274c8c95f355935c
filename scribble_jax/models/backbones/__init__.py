"""The backbones that a config can name; each family is a module."""

from scribble_jax.models.backbones import dinov2
from scribble_jax.models.backbones import efficientnet_lite
from scribble_jax.models.backbones import resnet

FAMILIES = (resnet, efficientnet_lite, dinov2)
# {name: `(width, dtype=, output_stride=, remat=) -> family.Backbone`}.
BACKBONES = {name: variant for module in FAMILIES
             for name, variant in module.VARIANTS.items()}
OUTPUT_STRIDES = (8, 16)  # Pixels.
