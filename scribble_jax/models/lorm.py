"""LoRM: similarity-weighted rectification of foreground features (METHOD 2).

No array of all pairs of positions is stored, forward or backward. The
foreground is rectified a block of rows at a time, against all positions of its
image, and the gradient of a block is computed together with it. Background rows
cost nothing, and memory does not grow with the batch.

Shape letters: B batch, h w feature map, N = h * w tokens, K channels, R rows
of a block.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from scribble_jax import losses
from scribble_jax import resize
from scribble_jax import switches
from scribble_jax.models.layers import kaiming_fan_out

_EPSILON = 1e-8  # Lower limit of a cosine's norms, as in PyTorch.
# Rows of a block, largest first. An image's foreground is divided into as many
# blocks of each size as fit; the smallest size takes the rest.
BLOCK_ROWS = (512, 256, 128)


def _unit(x):
  norm = jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(x), -1, keepdims=True),
                              _EPSILON**2))
  return x / norm


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(a, b, dtype):
  """float32 a @ b, and its gradients, with factors rounded to `dtype`."""
  return jnp.matmul(a.astype(dtype), b.astype(dtype),
                    preferred_element_type=jnp.float32)


def _product_forward(a, b, dtype):
  return _product(a, b, dtype), (a, b)


def _product_backward(dtype, factors, gradient):
  a, b = factors
  return (_product(gradient, b.T, dtype), _product(a.T, gradient, dtype))


_product.defvjp(_product_forward, _product_backward)


def _project(projection, x, dtype):
  """Returns a 1x1 convolution of [R, K], normalised to unit length."""
  return _unit(_product(x, projection['kernel'], dtype)
               + projection['bias'][None])


@functools.partial(jax.jit, static_argnames='dtype')
def aggregate(queries, keys, values, dtype=jnp.float32):
  """Means of the values, weighted by similarity.

  Args:
    queries: [R, K] float32 of unit length.
    keys: [N, K] float32 of unit length.
    values: [N, K] float32.
    dtype: Type of the matrix products' factors; sums are float32.

  Returns:
    [R, K] float32: softmax_j(cos(queries_i, keys_j)) values_j.
  """
  # A cosine is at most 1: no maximum is needed to keep exp in range.
  weights = jnp.exp(_product(queries, keys.T, dtype))
  return (_product(weights, values, dtype)
          / jnp.sum(weights, axis=-1, keepdims=True))


def _squares(tokens, rectified, counted, normaliser):
  """Returns the sum over the counted rows, and the divisor of their mean."""
  squares = jnp.square(tokens - rectified)
  counted = jnp.broadcast_to(counted[:, None], squares.shape)
  if switches.is_official(normaliser):  # METHOD 8e.
    counted &= squares != 0
  return losses.masked_sum(squares, counted)


def _add(tree, other):
  return jax.tree.map(jnp.add, tree, other)


def _block(foreground_first, start, size, num_rows):
  """Returns the positions of a block's rows, and whether they are foreground.

  Positions beyond the foreground are out of range. All are ascending and
  unique; otherwise a TPU would sort them, and the rows, in each block.
  """
  valid = start + jnp.arange(size) < num_rows
  return jnp.where(
      valid, jax.lax.dynamic_slice_in_dim(foreground_first, start, size),
      len(foreground_first) + jnp.arange(size)), valid


def _image_sums(params, tokens, foreground, *, background, normaliser, dtype):
  """Returns one image's sum of squares, their count and the sum's gradients.

  Args:
    params: As of `lorm_loss`.
    tokens: [N, K] float32.
    foreground: [N] bool.
    background: As of `lorm_loss`.
    normaliser: As of `lorm_loss`.
    dtype: As of `lorm_loss`.

  Returns:
    (sum, count, gradient of params), gradient of tokens.
  """
  key_params, row_params = params['key_conv'], {
      name: params[name] for name in ('query_conv', 'gamma')}
  keys, pull_keys = jax.vjp(
      lambda *args: _project(*args, dtype), key_params, tokens)

  def block_sum(params, rows, keys, tokens, valid):
    rectified = params['gamma'] * aggregate(
        _project(params['query_conv'], rows, dtype), keys, tokens, dtype)
    return _squares(rows, rectified, valid, normaliser)

  sizes = ([size for size in BLOCK_ROWS if size <= len(tokens)]
           or BLOCK_ROWS[-1:])
  num_rows = jnp.sum(foreground)
  foreground_first = jnp.pad(
      jnp.argsort(~foreground, stable=True), (0, sizes[-1]))

  def add_block(size, carry):
    """Adds the sums of the next `size` rows and their gradients."""
    start, sums, gradients, d_tokens = carry
    indices, valid = _block(foreground_first, start, size, num_rows)
    square_sum, pull, count = jax.vjp(
        functools.partial(block_sum, valid=valid),
        row_params, tokens.at[indices].get(mode='clip'), keys, tokens,
        has_aux=True)
    d_params, d_rows, d_keys, d_values = pull(jnp.ones_like(square_sum))
    # Out of range, reads give the last token, and writes are dropped.
    d_tokens = (d_tokens + d_values).at[indices].add(
        d_rows, mode='drop', indices_are_sorted=True, unique_indices=True)
    return (start + size, _add(sums, (square_sum, count)),
            _add(gradients, (d_params, d_keys)), d_tokens)

  # METHOD 8c.
  pulled_to_zero = ~foreground & switches.is_official(background)
  sums = _squares(tokens, 0.0, pulled_to_zero, normaliser)
  gradients = jax.tree.map(jnp.zeros_like, (row_params, keys))
  carry = jnp.int32(0), sums, gradients, jnp.where(
      pulled_to_zero[:, None], 2 * tokens, 0.0)
  for size in sizes:
    needed = size if size != sizes[-1] else 1  # Rows for one more block.
    carry = jax.lax.while_loop(
        lambda carry, needed=needed: carry[0] + needed <= num_rows,
        functools.partial(add_block, size), carry)
  _, sums, (d_row_params, d_keys), d_tokens = carry
  d_key_params, d_tokens_of_keys = pull_keys(d_keys)
  d_params = d_row_params | {'key_conv': d_key_params}
  return (*sums, d_params), d_tokens + d_tokens_of_keys


def _batch_sums(params, features, foreground, axis_name=None, **switches):
  """Sums `_image_sums` over a batch, image after image.

  Args:
    params: As of `lorm_loss`.
    features: [B, h, w, K].
    foreground: [B, h, w] bool.
    axis_name: Mesh axes of the devices that hold the batch's other images.
    **switches: As of `_image_sums`.

  Returns:
    (sum, count, gradient of params), gradient of features.
  """
  channels = features.shape[-1]

  def add_image(total, image):
    """Adds an image's sums; returns the gradient of its features."""
    tokens, foreground = image
    sums, d_tokens = _image_sums(
        params, tokens.reshape(-1, channels).astype(jnp.float32),
        foreground.reshape(-1), **switches)
    d_tokens = d_tokens.reshape(tokens.shape)
    return _add(total, sums), d_tokens.astype(features.dtype)

  zeros = jnp.float32(0), jnp.float32(0), jax.tree.map(jnp.zeros_like, params)
  total, d_features = jax.lax.scan(add_image, zeros, (features, foreground))
  if axis_name:
    total = jax.lax.psum(total, axis_name)
  return total, d_features


def _loss_and_gradients(params, features, foreground, divisor, *switches):
  """Returns (loss, count) and the loss's gradients by params and features."""
  mesh = jax.sharding.get_abstract_mesh()
  sums = functools.partial(_batch_sums, **dict(
      zip(('background', 'normaliser', 'dtype'), switches, strict=True)))
  if not mesh.empty:  # Each device loops over its own images.
    batch, replicated = jax.P(mesh.axis_names), jax.P()
    sums = jax.shard_map(
        functools.partial(sums, axis_name=mesh.axis_names), check_vma=False,
        in_specs=(replicated, batch, batch), out_specs=(replicated, batch))
  (total, count, d_params), d_features = sums(params, features, foreground)
  divisor = count if divisor is None else divisor
  loss, gradients = jax.tree.map(
      lambda x: losses.mean(x, divisor).astype(x.dtype),
      (total, (d_params, d_features)))
  return (loss, count), gradients


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def lorm_loss(params, features, foreground, divisor, background, normaliser,
              dtype):
  """Mean squared distance between features and rectified features.

  Under a mesh (`jax.set_mesh`) every device computes its share of the batch,
  and the sums are added up over all devices.

  Args:
    params: {'query_conv', 'key_conv': {'kernel' [K, K], 'bias' [K]},
      'gamma' []}, float32.
    features: [B, h, w, K].
    foreground: [B, h, w] bool, from `foreground_mask`.
    divisor: Count of the larger batch that this is a part of; None: its own.
    background: METHOD 8c: with 'official' background positions count, which
      pulls their features to zero; with 'corrected' only the foreground counts.
    normaliser: METHOD 8e: 'official' divides by the number of squares that are
      not 0; 'corrected' by the number of elements of the counted positions.
    dtype: Type of the matrix products' factors; sums are float32. The
      backend's default precision may round float32 factors further.

  Returns:
    Scalars over the whole batch: the loss and its own count. Gradients flow
    through the features themselves and through the rectified features.
  """
  return _loss_and_gradients(params, features, foreground, divisor, background,
                             normaliser, dtype)[0]


def _lorm_loss_backward(*args):
  *_, gradients, (scale, _) = args
  return (*jax.tree.map(
      lambda x: (scale * x).astype(x.dtype), gradients), None, None)


lorm_loss.defvjp(_loss_and_gradients, _lorm_loss_backward)


class _Projection(nn.Module):
  """The parameters of a 1x1 convolution."""

  @nn.compact
  def __call__(self, channels):
    return {
        'kernel': self.param('kernel', kaiming_fan_out, (channels, channels)),
        'bias': self.param('bias', nn.initializers.zeros, (channels,))}


class LoRM(nn.Module):
  """The local rectification module: two projections and a learned scale.

  Attributes:
    dtype: Compute type of the matrix products.
  """
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, features, foreground, background, normaliser,
               divisor=None):
    """Returns `lorm_loss` of these parameters."""
    params = {name: _Projection(name=name)(features.shape[-1])
              for name in ('query_conv', 'key_conv')}
    params['gamma'] = self.param('gamma', nn.initializers.ones, ())
    return lorm_loss(params, features, foreground, divisor, background,
                     normaliser, self.dtype)


def foreground_mask(pseudo_label, size, mode='official', patch=None):
  """Marks the features that LoRM rectifies.

  Args:
    pseudo_label: [B, H, W] integer classes; IGNORE_LABEL counts as background.
    size: (h, w) of the features.
    mode: How class ids are resized (METHOD 8d): 'official' interpolates them
      bilinearly, which dilates the foreground; 'corrected' takes the nearest.
    patch: The backbone's `patch`, which defines where the features lie.

  Returns:
    [B, h, w] bool.
  """
  classes = jnp.where(pseudo_label == losses.IGNORE_LABEL, 0, pseudo_label)
  if not switches.is_official(mode):
    rows, columns = resize.nearest_pixels(classes.shape[1:], size, patch)
    return classes[:, rows][:, :, columns] > 0
  classes = classes[..., None].astype(jnp.float32)
  return resize.from_pixels(classes, size, patch)[..., 0] > 0
