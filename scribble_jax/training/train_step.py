"""One update: forward pass, losses, gradients, optimizer."""

import functools

import jax
import optax

from scribble_jax import sharding
from scribble_jax.training import gradients
from scribble_jax.training import train_state
from scribble_jax.training.train_state import AveragingState


def make_train_step(loss_terms, tx, learning_rate, loss_weights, mesh,
                    state_sharding=None, *, ema_decay=0.0, accumulate=1,
                    loss_counts=None):
  """Returns a compiled `(state, batch, rng) -> (state, metrics)`.

  The code is written for the global batch, and `jit` splits it over the mesh.
  Losses are therefore global means and BatchNorm uses every device's examples,
  without axis names or collectives in the code. The exception is LoRM's loop
  over images.

  Args:
    loss_terms: As of `gradients.of_batch`, such as `loss_terms.compute` with
      its other arguments given.
    tx: Optax gradient transformation.
    learning_rate: Schedule from step to rate, only for the metrics.
    loss_weights: {name: weight} of every term that `loss_terms` returns.
    mesh: From `sharding.make_mesh`.
    state_sharding: From `sharding.of_state`; replicated by default.
    ema_decay: Decay of the state's moving averages, if it has any.
    accumulate: Number of parts of a batch, as of `gradients.in_parts`.
    loss_counts: As of `gradients.in_parts`; not needed for one part.
  """
  compute = gradients.of_batch(loss_terms, loss_weights)
  if accumulate > 1:
    compute = gradients.in_parts(compute, loss_counts, accumulate)
  replicated, by_batch = sharding.replicated(mesh), sharding.by_batch(mesh)
  state_sharding = state_sharding or replicated

  @functools.partial(
      jax.jit, donate_argnums=0,
      in_shardings=(state_sharding, by_batch, replicated),
      out_shardings=(state_sharding, replicated))
  def train_step(state, batch, rng):
    """Returns the state after one more update, and its metrics."""
    rng = jax.random.fold_in(rng, state.step)
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # LoRM needs it.
      (total, (terms, batch_stats)), grads = compute(
          state.params, state.batch_stats, batch, rng)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    metrics = {f'loss/{name}': value for name, value in terms.items()}
    metrics |= {
        'loss/total': total,
        'grad_norm': optax.tree.norm(grads),
        'learning_rate': learning_rate(state.step),
    }
    new = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state)
    if isinstance(state, AveragingState):
      new = new.replace(averaged=train_state.update_averages(
          state.averaged,
          {'params': new.params, 'batch_stats': new.batch_stats},
          state.step, ema_decay))
    return new, metrics

  return train_step
