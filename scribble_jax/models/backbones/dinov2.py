"""DINOv2 (Oquab et al., 2023), a vision transformer on patches of 14 pixels.

With registers: Darcet et al., 2024. Sizes, the parameters' meaning and the
position embeddings' interpolation are as in the library transformers, whose
files this reads.
"""

import functools
import re
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from scribble_jax.errors import UserError
from scribble_jax.models.backbones import family
from scribble_jax.models.backbones import published_weights

PATCH = 14  # Pixels.
NUM_REGISTERS = 4
_GRID = 37  # Position embeddings a side, for images of 518 pixels.
_EPSILON = 1e-6


class Size(NamedTuple):
  """The sizes in which the published networks differ."""
  channels: int
  num_heads: int
  depth: int


SIZES = {'small': Size(384, 6, 12), 'base': Size(768, 12, 12),
         'large': Size(1024, 16, 24)}
_initial = nn.initializers.truncated_normal(0.02)


def _dense(features, dtype, name):
  return nn.Dense(features, dtype=dtype, kernel_init=_initial, name=name)


def _layer_norm(name):
  """Returns a LayerNorm that computes in float32."""
  return nn.LayerNorm(_EPSILON, dtype=jnp.float32, use_fast_variance=False,
                      name=name)


class PatchEmbeddings(nn.Module):
  """A convolution with stride PATCH and no overlap, as a matrix product."""
  channels: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, images):
    """[B, H, W, 3], sides multiples of PATCH -> [B, H/14, W/14, D]."""
    kernel = self.param('kernel', _initial, (PATCH, PATCH, 3, self.channels))
    bias = self.param('bias', nn.initializers.zeros, (self.channels,))
    batch, height, width, _ = images.shape
    patches = images.astype(self.dtype).reshape(
        batch, height // PATCH, PATCH, width // PATCH, PATCH, 3)
    y = jnp.einsum('byixjc,ijcd->byxd', patches, kernel.astype(self.dtype))
    return y + bias.astype(self.dtype)[None, None, None]


class Embeddings(nn.Module):
  """The tokens of an image before the first block.

  Attributes:
    channels: D.
    registers: Whether there are NUM_REGISTERS register tokens.
    dtype: Compute type.
  """
  channels: int
  registers: bool
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, images):
    """[B, H, W, 3] -> [B, N, D]: a class token, registers, the patches."""
    token = self.param('cls_token', _initial, (1, 1, self.channels))
    positions = self.param('position_embeddings', _initial,
                           (1, 1 + _GRID**2, self.channels))
    patches = PatchEmbeddings(
        self.channels, self.dtype, name='patch_embeddings')(images)
    grid = positions[0, 1:].reshape(_GRID, _GRID, self.channels)
    # The two networks were published with different interpolations.
    grid = jax.image.resize(
        grid, (*patches.shape[1:3], self.channels),
        'cubic' if self.registers else 'cubic-pytorch',
        antialias=self.registers)
    patches = (patches + grid.astype(self.dtype)[None]).reshape(
        len(images), -1, self.channels)
    first = [token + positions[:, :1]]
    if self.registers:
      first.append(self.param('register_tokens', _initial,
                              (1, NUM_REGISTERS, self.channels)))
    first = jnp.concatenate(first, axis=1).astype(self.dtype)
    first = jnp.broadcast_to(first, (len(images), *first.shape[1:]))
    return jnp.concatenate([first, patches], axis=1)


class Attention(nn.Module):
  """Multi-head self-attention; the softmax is in float32."""
  num_heads: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x):
    """[B, N, D] -> [B, N, D]."""
    channels = x.shape[-1]
    heads = [
        _dense(channels, self.dtype, name)(x).reshape(
            *x.shape[:2], self.num_heads, -1)
        for name in ('query', 'key', 'value')]
    y = jax.nn.dot_product_attention(*heads)
    return _dense(channels, self.dtype, 'output')(y.reshape(x.shape))


class Block(nn.Module):
  """A transformer block: attention and a perceptron, each with a residual.

  Attributes:
    num_heads: Number of heads of the attention.
    dtype: Compute type.
  """
  num_heads: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x):
    """[B, N, D] -> [B, N, D]."""
    channels = x.shape[-1]

    def scaled(y, name):
      scale = self.param(name, nn.initializers.ones, (channels,))
      return y * scale.astype(self.dtype)[None, None]

    y = Attention(self.num_heads, self.dtype, name='attention')(
        _layer_norm('norm1')(x).astype(self.dtype))
    x += scaled(y, 'layer_scale1')
    y = _dense(4 * channels, self.dtype, 'fc1')(_layer_norm('norm2')(x))
    y = nn.gelu(y, approximate=False)
    y = _dense(channels, self.dtype, 'fc2')(y)
    return x + scaled(y, 'layer_scale2')


class DINOv2(family.Backbone):
  """The backbone. Its stride is 14 pixels, whatever the `output_stride`.

  LayerNorms and the softmax compute in float32, all else in `dtype`.

  Attributes:
    size: Key of SIZES.
    registers: Whether it has registers.
    last_blocks: Number of last blocks whose tokens are concatenated to the
      features: 1, or 4 as in DINOv2's better linear evaluation.
    width: Channels of a head; the numbers of heads and blocks are fixed.
  """
  size: str
  registers: bool
  last_blocks: int
  width: int

  patch = PATCH
  # The naming of the files, and of the library's networks in memory.
  _shared = (('^layer_', 'encoder/layer/'), (r'/(fc\d)/', r'/mlp/\1/'),
             (r'/(layer_scale\d)$', r'/\1/lambda1'),
             ('/patch_embeddings/', '/patch_embeddings/projection/'))
  namings = (
      (*_shared, ('/attention/(query|key|value)/', r'/attention\g<0>'),
       ('/output/', '/output/dense/')),
      (*_shared, ('/(q)uery/|/(k)ey/|/(v)alue/', r'/\1\2\3_proj/'),
       ('/output/', '/o_proj/')))
  last_layer = 'layernorm/'
  ignored = r'embeddings\.mask_token'  # Only its training used it.

  @nn.compact
  def __call__(self, images, train):
    """As of `family.Backbone`: no low-level map, and [B, h, w, K].

    h and w are the image's sides divided by 14, rounded up: images are padded
    with zeros at the right and at the bottom. No patch is padding alone.

    Args:
      images: [B, H, W, 3], normalised.
      train: Whether gradients will be computed.
    """
    size = SIZES[self.size]
    sides = [self.feature_size(side) for side in images.shape[1:3]]
    images = jnp.pad(images, ((0, 0), *(
        (0, PATCH * count - side)
        for count, side in zip(sides, images.shape[1:3], strict=True)), (0, 0)))
    x = Embeddings(size.channels * self.width // 64, self.registers, self.dtype,
                   name='embeddings')(images)
    block = nn.remat(Block) if self.remat and train else Block
    outputs = []
    for i in range(size.depth):
      x = block(size.num_heads, self.dtype, name=f'layer_{i}')(x)
      outputs.append(x)
    norm = _layer_norm('layernorm')
    features = jnp.concatenate([
        norm(x[:, -sides[0] * sides[1]:]).astype(self.dtype)
        for x in outputs[-self.last_blocks:]], axis=-1)
    return None, features.reshape(len(images), *sides, -1)

  @property
  def num_layers(self):
    """The blocks; the embeddings are layer 0."""
    return SIZES[self.size].depth

  @property
  def name_in_config(self):
    """As of `VARIANTS`."""
    return _name(self.size, self.registers, self.last_blocks)

  @property
  def published(self):
    """The Hub's, of the authors."""
    registers = 'with-registers-' if self.registers else ''
    return published_weights.Hub(
        f'facebook/dinov2-{registers}{self.size}', 'Apache-2.0')

  @classmethod
  def recognise(cls, shapes):
    """As of `family.Backbone`.

    A file does not tell the number of heads. If channels and depth fit two
    networks, the published one is chosen, or else the smaller one.
    """
    depth = len({match[0] for name in shapes
                 if (match := re.match(r'encoder\.layer\.\d+\.', name))})
    if not depth:
      return None
    channels = family.first_side(shapes, 'layernorm.weight')
    widths = {name: 64 * channels // size.channels
              for name, size in SIZES.items()
              if size.depth == depth and not 64 * channels % size.channels}
    if not widths:
      raise UserError(
          f'The checkpoint has {depth} blocks of {channels} channels, like no '
          f'DINOv2 of size {", ".join(SIZES)}. Use another file.')
    size = min(widths, key=lambda name: widths[name] != 64)
    last = any(shape[0] == 4 * channels for name, shape in shapes.items()
               if re.match(r'layer_(lorm|camatt)\.query_conv\.bias', name))
    return {'backbone': _name(size, 'embeddings.register_tokens' in shapes,
                              4 if last else 1),
            'width': widths[size]}

  def feature_size(self, side):
    """Returns the number of patches along an image side, in pixels."""
    return -(-side // PATCH)


def _name(size, registers, last_blocks):
  return (f'dinov2_{size}' + ('_reg' if registers else '')
          + (f'_last{last_blocks}' if last_blocks > 1 else ''))


VARIANTS = {
    _name(*variant): functools.partial(DINOv2, *variant)
    for size in SIZES for variant in (
        (size, False, 1), (size, True, 1), (size, False, 4), (size, True, 4))}
