"""Depthwise convolutions: each channel has a kernel of its own.

On an accelerator they are grouped convolutions. On a CPU, XLA takes about ten
times as long for those as for a sum of shifted images times the kernel's
values, with gradients that are written out as well.

Shape letters: B batch, h w and h' w' sizes of the input and the result, k size
of the kernel, C channels. A tap is a position in the kernel.
"""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def depthwise(x, kernel, stride, dilation, padding):
  """Convolves each channel with its own kernel.

  Args:
    x: [B, h, w, C].
    kernel: [k, k, 1, C] of the same type.
    stride: Stride along both axes.
    dilation: Dilation along both axes.
    padding: ((top, bottom), (left, right)), rows and columns of zeros.

  Returns:
    [B, h', w', C] of the same type.
  """
  geometry = {'stride': stride, 'dilation': dilation, 'padding': padding}
  return jax.lax.platform_dependent(
      x, kernel, cpu=functools.partial(_shifted, **geometry),
      default=functools.partial(_grouped, **geometry))


def _forward(x, kernel, *geometry):
  return depthwise(x, kernel, *geometry), (x, kernel)


def _backward(stride, dilation, padding, residuals, gradient):
  geometry = {'stride': stride, 'dilation': dilation, 'padding': padding}
  return jax.lax.platform_dependent(
      *residuals, gradient,
      cpu=functools.partial(_shifted_gradients, **geometry),
      default=functools.partial(_grouped_gradients, **geometry))


depthwise.defvjp(_forward, _backward)


def _grouped(x, kernel, *, stride, dilation, padding):
  """`depthwise` for accelerators."""
  return jax.lax.conv_general_dilated(
      x, kernel, (stride, stride), padding, rhs_dilation=(dilation, dilation),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=x.shape[-1])


def _grouped_gradients(x, kernel, gradient, **geometry):
  """Returns the gradients of `_grouped` with respect to input and kernel."""
  _, pull = jax.vjp(functools.partial(_grouped, **geometry), x, kernel)
  return pull(gradient)


def _shifted(x, kernel, *, stride, dilation, padding):
  """`depthwise` for CPUs, with sums in float32. XLA fuses it to one loop."""
  padded = _padded(x, padding)
  height, width = (
      (side - (k - 1) * dilation - 1) // stride + 1
      for side, k in zip(padded.shape[1:3], kernel.shape[:2], strict=True))
  kernel = kernel.astype(jnp.float32)
  total = jnp.zeros([], jnp.float32)
  for i, j in _taps(kernel):
    top, left = i * dilation, j * dilation
    total += kernel[i, j][None, None] * padded[
        :, top:top + (height - 1) * stride + 1:stride,
        left:left + (width - 1) * stride + 1:stride]
  return total.astype(x.dtype)


def _shifted_gradients(x, kernel, gradient, *, stride, dilation, padding):
  """Returns the gradients of `_shifted` with respect to input and kernel."""
  padded = _padded(x, padding)
  gradient = gradient.astype(jnp.float32)
  (top, bottom), (left, right) = padding
  d_padded = _input_gradient(
      gradient, kernel.astype(jnp.float32), padded.shape[1:3], stride, dilation)
  d_x = d_padded[:, top:d_padded.shape[1] - bottom,
                 left:d_padded.shape[2] - right]
  d_kernel = _kernel_gradient(
      padded, gradient, kernel.shape, stride, dilation)
  return d_x.astype(x.dtype), d_kernel.astype(kernel.dtype)


def _padded(x, padding):
  """Returns x in float32, padded with zeros."""
  return jnp.pad(x.astype(jnp.float32), ((0, 0), *padding, (0, 0)))


def _taps(kernel):
  """Returns the pairs (row, column) of a kernel [k, k, 1, C]."""
  return [(i, j) for i in range(kernel.shape[0])
          for j in range(kernel.shape[1])]


def _input_gradient(gradient, kernel, size, stride, dilation):
  """Returns the gradient of the padded input, [B, *size, C].

  Pixels whose row and column have the same remainders modulo the stride form a
  smaller image, to which only some taps contribute. Computing these images
  separately avoids products with the zeros between a strided gradient's pixels.

  Args:
    gradient: [B, h', w', C] float32.
    kernel: [k, k, 1, C] float32.
    size: Height and width of the padded input.
    stride: As of `depthwise`.
    dilation: As of `depthwise`.
  """
  height, width = (-(-side // stride) for side in size)
  margins = [(k - 1) * dilation // stride for k in kernel.shape[:2]]
  around = [(margin, max(0, side - have)) for margin, side, have in zip(
      margins, (height, width), gradient.shape[1:3], strict=True)]
  around = jnp.pad(gradient, ((0, 0), *around, (0, 0)))

  def image(*remainders):
    """Returns the gradient of the pixels with these remainders."""
    total = jnp.zeros([len(gradient), height, width, gradient.shape[-1]])
    for tap in _taps(kernel):
      shifts = [divmod(place * dilation, stride) for place in tap]
      if tuple(remainder for _, remainder in shifts) == remainders:
        top, left = (margin - shift for margin, (shift, _) in zip(
            margins, shifts, strict=True))
        total += kernel[tap][None, None] * around[
            :, top:top + height, left:left + width]
    return total

  interleaved = jnp.stack([
      jnp.stack([image(row, column) for column in range(stride)], axis=3)
      for row in range(stride)], axis=2)
  return interleaved.reshape(
      len(gradient), height * stride, width * stride, -1)[
          :, :size[0], :size[1]]


def _kernel_gradient(padded, gradient, shape, stride, dilation):
  """Returns the gradient of the kernel, tap by tap.

  All taps at once would keep a product of the image's size for each, and take
  four times as long.

  Args:
    padded: [B, h + ..., w + ..., C] float32.
    gradient: [B, h', w', C] float32.
    shape: Shape of the kernel.
    stride: As of `depthwise`.
    dilation: As of `depthwise`.
  """
  height, width = gradient.shape[1:3]
  seen = (len(padded), (height - 1) * stride + 1, (width - 1) * stride + 1,
          padded.shape[-1])

  def of_tap(tap):
    """Returns a tap's sum over each image; devices may share the images."""
    image = jax.lax.dynamic_slice(
        padded, (0, tap // shape[1] * dilation, tap % shape[1] * dilation, 0),
        seen)
    return jnp.sum(image[:, ::stride, ::stride] * gradient, axis=(1, 2))

  sums = jax.lax.map(of_tap, jnp.arange(shape[0] * shape[1]))
  return jnp.sum(sums, axis=1).reshape(shape)
