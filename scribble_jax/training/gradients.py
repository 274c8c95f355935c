"""Gradients of a batch, computed at once or part by part."""

import jax
import jax.numpy as jnp

from scribble_jax import sharding


def of_batch(loss_terms, loss_weights):
  """Returns `(params, batch_stats, batch, rng, counts=None) -> results`.

  The results are (total, (terms, batch_stats)) and the gradients of the total
  with respect to the parameters, as of `jax.value_and_grad`.

  Args:
    loss_terms: `(variables, batch, rng, counts=None) -> ({name: scalar},
      batch_stats)`, as of `loss_terms.compute`; it is called without `counts`
      if they are None.
    loss_weights: {name: weight} of every term that `loss_terms` returns.
  """
  def loss_fn(params, batch_stats, batch, rng, counts=None):
    of_parts = {} if counts is None else {'counts': counts}
    terms, batch_stats = loss_terms(
        {'params': params, 'batch_stats': batch_stats}, batch, rng, **of_parts)
    total = sum(loss_weights[name] * value for name, value in terms.items())
    return total, (terms, batch_stats)

  return jax.value_and_grad(loss_fn, has_aux=True)


def in_parts(compute, loss_counts, num_parts):
  """Returns `compute` for a batch that is computed in parts, to save memory.

  Each term is a sum over the batch divided by a count. The counts of all parts
  are added up first; then each part's sums are divided by the counts of the
  whole batch. BatchNorm normalises with a part's own statistics and updates its
  running statistics part by part; dropout draws a new mask for each part.

  Args:
    compute: From `of_batch`.
    loss_counts: `(variables, batch, rng) -> {name: count}`. The compiler leaves
      out what the counts do not depend on.
    num_parts: Number of parts; its product with the number of devices divides
      the batch. Part i has the images i, i + num_parts and so on, on any mesh.
  """
  def split(x):
    """[B, ...] -> [parts, B / parts, ...]; images stay on their devices."""
    x = jnp.moveaxis(x.reshape(-1, num_parts, *x.shape[1:]), 1, 0)
    if jax.sharding.get_abstract_mesh().empty:
      return x
    return jax.lax.with_sharding_constraint(x, jax.P(None, sharding.AXES))

  def compute_all(params, batch_stats, batch, rng):
    """Returns the results of `compute` for the whole batch."""
    parts = jax.tree.map(split, batch), jax.random.split(rng, num_parts)
    variables = {'params': params, 'batch_stats': batch_stats}
    counts = jax.tree.map(
        lambda x: jnp.sum(x, axis=0),
        jax.lax.map(lambda part: loss_counts(variables, *part), parts))

    def add(carry, part):
      sums, batch_stats = carry
      (total, (terms, batch_stats)), grads = compute(
          params, batch_stats, *part, counts)
      sums = jax.tree.map(jnp.add, sums, (total, terms, grads))
      return (sums, batch_stats), None

    zeros = (jnp.zeros([]), jax.tree.map(jnp.zeros_like, counts),
             jax.tree.map(jnp.zeros_like, params))
    ((total, terms, grads), batch_stats), _ = jax.lax.scan(
        add, (zeros, batch_stats), parts)
    return (total, (terms, batch_stats)), grads

  return compute_all
