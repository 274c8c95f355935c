"""LoRM's loss and gradients: time, memory and exactness beside PyTorch.

    python tests/benchmarks/lorm.py [--device cpu|gpu|tpu] [--smoke]

Needs jax, flax and torch.
"""

import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from scribble_jax.models import lorm
from tests.benchmarks import harness
from tests.oracles import torch_losses

SWITCHES = {'background': 'official', 'normaliser': 'official'}


def main():
  args = harness.parse_args('lorm', __doc__, _add_arguments)
  side, channels = (9, 32) if args.smoke else (59, 2048)
  dtype = jnp.dtype(args.dtype or (
      'float32' if args.device == 'cpu' else 'bfloat16'))
  params, features = _random_inputs(args.batch_size, side, channels)
  rows = []
  for percent in args.foreground:
    foreground = _random_mask(args.batch_size, side, percent / 100)
    contestants = _contestants(params, features, foreground, dtype, args)
    timings = harness.take_turns(contestants, args.repeats)
    rows.append(_row(percent, foreground, channels, timings))
  peak_bytes = harness.peak_bytes(args.device)
  memory = _temp_bytes(side, channels, dtype, args.memory_batch_size)
  exactness = {} if args.device != 'cpu' else _errors(
      params, features, _random_mask(args.batch_size, side, 0.25))
  harness.report(
      args, rows, dtype=dtype.name, batch_size=args.batch_size,
      temp_bytes_batch_size=args.memory_batch_size,
      temp_gigabytes={name: size / 1e9 for name, size in memory.items()},
      temp_share=memory['ours'] / memory['plain JAX'],
      relative_error_to_float64=exactness,
      ceilings={} if args.smoke else harness.ceilings(args.device),
      peak_bytes=peak_bytes)


def _add_arguments(parser):
  parser.add_argument('--batch_size', type=int, default=2)
  parser.add_argument('--dtype', choices=['float32', 'bfloat16'],
                      help='float32 on a CPU, bfloat16 elsewhere unless given')
  parser.add_argument('--foreground', type=int, nargs='+',
                      default=[10, 25, 50, 90], help='per cent of positions')
  parser.add_argument('--memory_batch_size', type=int, default=16,
                      help='compiled, not run, for the bytes it would take')


def _random_inputs(batch_size, side, channels):
  rng = np.random.default_rng(0)
  convolution = lambda: {
      'kernel': (rng.normal(size=(channels, channels))
                 * np.sqrt(2 / channels)).astype(np.float32),
      'bias': np.zeros(channels, np.float32)}
  features = rng.normal(size=(batch_size, side, side, channels))
  return ({'query_conv': convolution(), 'key_conv': convolution(),
           'gamma': np.float32(1)}, np.maximum(features, 0).astype(np.float32))


def _random_mask(batch_size, side, share):
  """A different number of positions in each image; `share` is their mean."""
  rng = np.random.default_rng(1)
  spread = (np.linspace(-1, 1, batch_size) if batch_size > 1
            else np.zeros(1)) * min(share, 1 - share) / 2
  mask = np.zeros([batch_size, side**2], bool)
  for row, extra in zip(mask, spread, strict=True):
    row[rng.permutation(side**2)[:round((share + extra) * side**2)]] = True
  return mask.reshape(batch_size, side, side)


def _plain_sums(params, features, foreground, dtype):
  """METHOD 2 as it stands, with [B, N, N] arrays: the squares, their count."""
  tokens = features.reshape(len(features), -1, features.shape[-1])

  def project(name):
    x = tokens.astype(dtype) @ params[name]['kernel'].astype(dtype)
    x = x.astype(jnp.float32) + params[name]['bias']
    return (x / jnp.linalg.norm(x, axis=-1, keepdims=True)).astype(dtype)

  weights = jax.nn.softmax(jnp.einsum(
      'bic,bjc->bij', project('query_conv'), project('key_conv'),
      preferred_element_type=jnp.float32))
  weights = jnp.where(foreground.reshape(len(features), -1, 1), weights, 0)
  rectified = params['gamma'] * jnp.einsum(
      'bij,bjc->bic', weights.astype(dtype), tokens.astype(dtype),
      preferred_element_type=jnp.float32)
  squares = jnp.square(tokens - rectified)
  return jnp.sum(squares), jnp.sum(squares != 0)


def _plain_loss(params, features, foreground, dtype):
  total, count = _plain_sums(params, features, foreground, dtype)
  return total / count


def _dense_loss(params, features, foreground, dtype):
  """The same, image after image, and made anew for the gradient."""
  @jax.checkpoint
  def image_sums(params, image):
    return _plain_sums(params, *(x[None] for x in image), dtype)

  total, count = jax.lax.map(
      functools.partial(image_sums, params), (features, foreground))
  return jnp.sum(total) / jnp.sum(count)


def _lean_loss(params, features, foreground, dtype):
  return lorm.lorm_loss(params, features, foreground, None, dtype=dtype,
                        **SWITCHES)[0]


def _compile(loss, dtype, *args):
  gradient = jax.value_and_grad(
      functools.partial(loss, dtype=dtype), argnums=(0, 1))
  return jax.jit(gradient).lower(*args).compile()


def _contestants(params, features, foreground, dtype, args):
  inputs = jax.device_put((params, features.astype(dtype), foreground))
  device = harness.torch_device(args.device)
  return {
      'ours': harness.blocking(
          _compile(_lean_loss, dtype, *inputs), *inputs),
      'plain JAX': harness.blocking(
          _compile(_plain_loss, dtype, *inputs), *inputs),
      'dense': harness.blocking(
          _compile(_dense_loss, dtype, *inputs), *inputs),
      'PyTorch': _torch_contestant(
          params, features, foreground, device, torch.float32,
          autocast=dtype == jnp.bfloat16)}


def _torch_contestant(params, features, foreground, device, dtype, autocast):
  """The plain formulation, forward and backward; returns (loss, gradients)."""
  module = torch_losses.LoRM(features.shape[-1]).to(dtype)
  state = {'gamma': torch.tensor([params['gamma']])}
  for name in ('query_conv', 'key_conv'):
    state[f'{name}.weight'] = torch.tensor(
        params[name]['kernel']).T[:, :, None, None]
    state[f'{name}.bias'] = torch.tensor(params[name]['bias'])
  module.load_state_dict(state)
  module.to(device)
  leaf = torch.tensor(features, device=device,
                      dtype=torch.bfloat16 if autocast else dtype)
  leaf = leaf.permute(0, 3, 1, 2).contiguous().requires_grad_()
  mask = torch.tensor(foreground, device=device)

  def run():
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
      rectified = module(leaf, mask)
    precise = torch.float32 if autocast else dtype
    loss = torch_losses.lorm_loss(
        leaf.to(precise), rectified.to(precise), mask, **SWITCHES)
    return loss, torch.autograd.grad(loss, [leaf, *module.parameters()])

  return harness.torch_blocking(run, device)


def _row(percent, foreground, channels, timings):
  """Times, and the arithmetic that each formulation asks for."""
  batch_size, side, _ = foreground.shape
  tokens = side**2
  plain = batch_size * (12 * tokens * channels**2 + 12 * tokens**2 * channels)
  lean = 0
  for count in foreground.sum(axis=(1, 2)):
    # Keys of all positions; queries, similarities and means of the foreground.
    lean += 6 * tokens * channels**2
    lean += int(count) * (6 * channels**2 + 12 * tokens * channels)
  ours, torch_seconds = timings['ours'].median, timings['PyTorch'].median
  return {
      'foreground %': percent,
      'ours s': ours,
      'plain JAX s': timings['plain JAX'].median,
      'dense s': timings['dense'].median,
      'PyTorch s': torch_seconds,
      'PyTorch / ours': torch_seconds / ours,
      'TFLOP ours': lean / 1e12,
      'TFLOP plain': plain / 1e12,
      'ours GFLOP/s': lean / ours / 1e9,
      'PyTorch GFLOP/s': plain / torch_seconds / 1e9,
  }


def _temp_bytes(side, channels, dtype, batch_size):
  """{name: bytes beside inputs and outputs} of compiled programs."""
  shape = jax.ShapeDtypeStruct
  params, _ = jax.eval_shape(lambda: jax.tree.map(
      jnp.asarray, _random_inputs(1, 1, channels)))
  inputs = (params, shape((batch_size, side, side, channels), dtype),
            shape((batch_size, side, side), bool))
  return {
      name: _compile(loss, dtype, *inputs).memory_analysis().temp_size_in_bytes
      for name, loss in (('ours', _lean_loss), ('plain JAX', _plain_loss),
                         ('dense', _dense_loss))}


def _errors(params, features, foreground):
  """Norms of the differences from float64, for both programs' float32."""
  run = lambda dtype: _torch_contestant(
      params, features, foreground, torch.device('cpu'), dtype, False)()
  exact_loss, exact = run(torch.float64)
  names = ('features', 'gamma', 'query kernel', 'query bias', 'key kernel',
           'key bias')
  inputs = (params, features, foreground)
  loss, (gradients, d_features) = _compile(
      _lean_loss, jnp.dtype('float32'), *inputs)(*inputs)
  as_torch = lambda kernel: np.asarray(kernel).T[:, :, None, None]
  ours = [np.asarray(d_features).transpose(0, 3, 1, 2), gradients['gamma']]
  for name in ('query_conv', 'key_conv'):
    ours += [as_torch(gradients[name]['kernel']), gradients[name]['bias']]
  torch_loss, theirs = run(torch.float32)
  errors = {'loss': {'ours': _relative(loss, exact_loss.detach()),
                     'PyTorch': _relative(torch_loss.detach(),
                                          exact_loss.detach())}}
  for name, our, their, expected in zip(names, ours, theirs, exact,
                                        strict=True):
    errors[name] = {'ours': _relative(our, expected),
                    'PyTorch': _relative(their, expected)}
  for name, pair in errors.items():
    print(f'{name}: relative error to float64 {pair["ours"]:.1e} (ours), '
          f'{pair["PyTorch"]:.1e} (PyTorch)')
  return errors


def _relative(actual, expected):
  actual, expected = np.asarray(actual, np.float64), np.asarray(expected)
  return float(np.linalg.norm(actual.reshape(-1) - expected.reshape(-1))
               / np.linalg.norm(expected))


if __name__ == '__main__':
  main()
