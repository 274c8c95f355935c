"""SGD as PyTorch does it, with METHOD 5's learning-rate schedule."""

import optax


def learning_rate(num_steps, *, lr, warmup_steps):
  """Returns the schedule: 0 at step 0, `lr` after the warm-up, then cosine.

  Args:
    num_steps: Updates of the whole run; the rate reaches 0 there.
    lr: Highest learning rate.
    warmup_steps: Updates over which the rate rises linearly from 0.
  """
  return optax.warmup_cosine_decay_schedule(
      0.0, lr, warmup_steps, num_steps)


def make_optimizer(num_steps, *, lr, warmup_steps, momentum, weight_decay):
  """Returns SGD whose weight decay is part of the gradient (METHOD 5).

  Every parameter decays, BatchNorm's and LoRM's gamma included.

  Args:
    num_steps: Updates of the whole run.
    lr: Highest learning rate.
    warmup_steps: Updates of the linear warm-up.
    momentum: Decay of the velocity.
    weight_decay: Factor of the parameters added to their gradients.
  """
  schedule = learning_rate(num_steps, lr=lr, warmup_steps=warmup_steps)
  return optax.chain(
      optax.add_decayed_weights(weight_decay),
      optax.sgd(schedule, momentum=momentum))
