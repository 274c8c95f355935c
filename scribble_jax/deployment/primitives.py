"""Rewrites JAX functions with primitives that jax2onnx converts correctly.

jax2onnx cannot convert code that depends on the platform. It drops the
explicit padding of max-pooling, or writes pooling over four axes, which ONNX
Runtime does not support.
"""

import functools
import itertools

import jax
from jax.extend import core
import jax.numpy as jnp
import numpy as np

# {primitive that calls a program: name of the parameter with the program}
_CALLS = {'jit': 'jaxpr', 'custom_jvp_call': 'call_jaxpr',
          'custom_vjp_call': 'call_jaxpr'}


def simplified(function, shape):
  """Returns a function with the same result, which is traced here.

  Calls are inlined. Where code depends on the platform, the code for
  accelerators is used: a grouped convolution in place of a sum of products.

  Args:
    function: Function from one array to one array.
    shape: `jax.ShapeDtypeStruct` of its argument.
  """
  traced = jax.make_jaxpr(function)(shape)
  traced = jax.make_jaxpr(lambda x: _evaluate(traced, x))(shape)
  return lambda x: core.jaxpr_as_fun(traced)(x)[0]


def _evaluate(program, *args):
  """Returns the list of results of a `ClosedJaxpr`."""
  values = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
  values |= zip(program.jaxpr.invars, args, strict=True)

  def value(variable):
    if isinstance(variable, core.Literal):
      return np.asarray(variable.val, variable.aval.dtype)
    return values[variable]

  for equation in program.jaxpr.eqns:
    results = _apply(equation.primitive, equation.params,
                     [*map(value, equation.invars)])
    values |= zip(equation.outvars, results, strict=True)
  return [*map(value, program.jaxpr.outvars)]


def _apply(primitive, params, args):
  """Returns the list of results of one equation."""
  if primitive.name in _CALLS:
    program = params[_CALLS[primitive.name]]
    return _evaluate(program, *args)
  if primitive.name == 'platform_index':
    return [np.int32(len(params['platforms']) - 1)]  # The default.
  if primitive.name == 'cond':
    return _evaluate(params['branches'][int(args[0])], *args[1:])
  if primitive.name == 'reduce_window_max':
    return [_max_pool(*args, **params)]
  with jax.ensure_compile_time_eval():  # The index of a branch is a constant.
    results = primitive.bind(*args, **params)
  return results if primitive.multiple_results else [results]


def _max_pool(x, *, window_dimensions, window_strides, padding, **dilations):
  """Returns max-pooling, computed as a maximum of shifted, strided slices."""
  assert all(set(steps) == {1} for steps in dilations.values()), dilations
  x = jax.lax.pad(x, np.asarray(-np.inf, x.dtype),
                  [(*sides, 0) for sides in padding])
  reach = [(side - window) // stride * stride + 1 for side, window, stride
           in zip(x.shape, window_dimensions, window_strides, strict=True)]
  slices = (
      jax.lax.slice(x, start, np.add(start, reach), window_strides)
      for start in itertools.product(*map(range, window_dimensions)))
  return functools.reduce(jnp.maximum, slices)
