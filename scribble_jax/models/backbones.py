"""The backbones that a config can name."""

import functools

from scribble_jax.models import resnet

# `(width, dtype=, output_stride=, remat=) -> module` of normalised images; that
# one returns two maps, for the decoder at stride 4 and at the output stride.
BACKBONES = {f'resnet{depth}': functools.partial(resnet.ResNet, depth)
             for depth in resnet.DEPTHS}
