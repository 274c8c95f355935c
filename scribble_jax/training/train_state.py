"""Everything that training updates and a checkpoint stores."""

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
    params: Of the network, float32.
    batch_stats: Running statistics, float32.
    opt_state: Of the optimizer.
  """
  step: jax.Array
  params: Any
  batch_stats: Any
  opt_state: Any

  @property
  def variables(self):
    """What `model.apply` takes."""
    return {'params': self.params, 'batch_stats': self.batch_stats}


def create(model, tx, rng, initial=None, *, image_shape):
  """Returns the state before the first update. Meant to be jitted.

  Args:
    model: Linen module called with normalised images.
    tx: Optax transformation.
    rng: Key of the initial parameters.
    initial: Of 'params' and 'batch_stats', what replaces the network's own
      initial values; None leaves them random.
    image_shape: (height, width, 3) in pixels.
  """
  variables = model.init(rng, jnp.zeros([1, *image_shape]))
  if initial is not None:
    variables = traverse_util.unflatten_dict(
        traverse_util.flatten_dict(variables)
        | traverse_util.flatten_dict(initial))
  return TrainState(
      step=jnp.zeros([], jnp.int32),
      params=variables['params'],
      batch_stats=variables.get('batch_stats', {}),
      opt_state=tx.init(variables['params']))
