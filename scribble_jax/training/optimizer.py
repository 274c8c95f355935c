"""SGD and AdamW as in PyTorch, with METHOD 5's learning-rate schedule."""

import jax
import optax

# The keys of a config's `optim` that are arguments of `make_optimizer`.
KEYS = ('name', 'lr', 'warmup_steps', 'momentum', 'weight_decay',
        'backbone_lr_factor', 'layer_decay')
_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # PyTorch's defaults for AdamW.


def learning_rate(num_steps, *, lr, warmup_steps):
  """Returns the schedule: 0 at step 0, `lr` after the warm-up, then cosine.

  Args:
    num_steps: Updates of the whole run, after which the rate is 0.
    lr: Highest learning rate.
    warmup_steps: Updates over which the rate rises linearly from 0.
  """
  return optax.warmup_cosine_decay_schedule(
      0.0, lr, warmup_steps, num_steps)


def make_optimizer(num_steps, backbone=None, *, lr, warmup_steps, momentum,
                   weight_decay, name='sgd', backbone_lr_factor=1.0,
                   layer_decay=1.0):
  """Returns the optimizer of a network's parameters.

  Weight decay applies to every parameter that is not frozen, including
  BatchNorm's and LoRM's gamma. It is multiplied by the parameter's own rate, as
  in a parameter group of PyTorch.

  Args:
    num_steps: Updates of the whole run.
    backbone: The network's `family.Backbone`, which decides what is frozen and
      which layer a parameter belongs to; None to treat all parameters alike.
    lr: Highest learning rate.
    warmup_steps: Updates of the linear warm-up.
    momentum: Decay of SGD's velocity.
    weight_decay: Factor of the parameters: SGD adds them to their gradients
      (METHOD 5), AdamW subtracts them times the rate (decoupled).
    name: 'sgd' or 'adamw'.
    backbone_lr_factor: The backbone's rate as a share of the others'.
    layer_decay: Factor of the rate from each of the backbone's layers to the
      one before it.
  """
  schedule = learning_rate(num_steps, lr=lr, warmup_steps=warmup_steps)
  parts = {
      'sgd': (optax.add_decayed_weights(weight_decay),
              optax.sgd(schedule, momentum=momentum)),
      'adamw': (optax.adamw(schedule, *_BETAS, eps=_EPSILON,
                            weight_decay=weight_decay),)}[name]
  # After the transformations with a state, so that a resumed run may have
  # other factors.
  if (backbone_lr_factor, layer_decay) != (1.0, 1.0):
    parts += (_scale_backbone(backbone, backbone_lr_factor, layer_decay),)
  tx = optax.chain(*parts)
  if backbone is None or not backbone.frozen:
    return tx
  return _without_frozen(tx, backbone)


def _names(path):
  """Returns ('backbone', 'conv1', ...) of a path of jax.tree_util."""
  return tuple(key.key for key in path)


def _scale_backbone(backbone, factor, layer_decay):
  """Returns the scaling of the backbone's updates, layer by layer.

  Args:
    backbone: `family.Backbone`.
    factor: Factor of the last layer.
    layer_decay: A layer's factor divided by the next one's.
  """
  def scaled(path, update):
    part, *names = _names(path)
    if part != 'backbone':
      return update
    below = backbone.num_layers - backbone.layer_of('/'.join(names))
    return update * (factor * layer_decay**below)

  return optax.stateless(
      lambda updates, params: jax.tree_util.tree_map_with_path(scaled, updates))


def _without_frozen(tx, backbone):
  """Returns `tx` restricted to the parameters that are not frozen.

  Args:
    tx: Optax transformation.
    backbone: `family.Backbone`.
  """
  def labels(params):
    return jax.tree_util.tree_map_with_path(
        lambda path, _: 'frozen' if backbone.is_frozen(
            ('params', *_names(path))) else 'trained', params)

  return optax.partition(
      {'trained': tx, 'frozen': optax.set_to_zero()}, labels)
