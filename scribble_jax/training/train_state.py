"""The state that training updates and a checkpoint stores."""

from typing import Any

from flax import traverse_util
import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class TrainState:
  """The state after `step` updates.

  Attributes:
    step: Number of completed updates, scalar int32.
    params: The network's parameters, float32.
    batch_stats: The network's running statistics, float32.
    opt_state: The optimizer's state.
  """
  step: jax.Array
  params: Any
  batch_stats: Any
  opt_state: Any

  @property
  def variables(self):
    """The variables that inference uses."""
    return {'params': self.params, 'batch_stats': self.batch_stats}


@flax.struct.dataclass
class AveragingState(TrainState):
  """The state of a run whose inference uses moving averages.

  Attributes:
    averaged: Moving averages of 'params' and 'batch_stats'.
  """
  averaged: Any

  @property
  def variables(self):
    """The variables that inference uses."""
    return self.averaged


def update_averages(averaged, variables, step, decay):
  """Returns the averages after one more update.

  Running statistics are averaged like parameters. The decay starts small, so
  that the initial values are forgotten soon.

  Args:
    averaged: Averages of 'params' and 'batch_stats'.
    variables: The newest 'params' and 'batch_stats'.
    step: Number of updates before this one.
    decay: Upper limit of the old average's share, which is
      (1 + step) / (10 + step).
  """
  decay = jnp.minimum(decay, (1 + step) / (10 + step))
  # In this form the average of a constant is exactly that constant.
  return jax.tree.map(
      lambda old, new: old + (1 - decay) * (new - old), averaged, variables)


def create(model, tx, rng, initial=None, *, image_shape, average=False):
  """Returns the state before the first update. Meant to be jitted.

  Args:
    model: Linen module that is called with normalised images.
    tx: Optax transformation.
    rng: Key of the initial parameters.
    initial: Subtree of 'params' and 'batch_stats' that replaces the network's
      own initial values; None for no replacement.
    image_shape: (height, width, 3) in pixels.
    average: Whether to keep moving averages.
  """
  variables = model.init(rng, jnp.zeros([1, *image_shape]))
  if initial is not None:
    variables = traverse_util.unflatten_dict(
        traverse_util.flatten_dict(variables)
        | traverse_util.flatten_dict(initial))
  state = TrainState(
      step=jnp.zeros([], jnp.int32),
      params=variables['params'],
      batch_stats=variables.get('batch_stats', {}),
      opt_state=tx.init(variables['params']))
  if not average:
    return state
  return AveragingState(
      **vars(state), averaged=jax.tree.map(jnp.copy, state.variables))
