r"""Sweep over the weight of each term of the loss.

python -m scribble_jax.sweep --config=configs/loss_weights.py \
    --workdir=runs/loss_weights --set=data.root=VOC2012

One weight is changed at a time. The name of a config may follow a colon:
scribblesup (the default), own_data or demo, with its variants.
"""

from scribble_jax.configs import sweeps
from scribble_jax.sweep.sweep_points import Point

WEIGHTS = (0.0, 0.1, 0.5, 1.0, 2.0)


def get_config(base='scribblesup'):
  """Returns the sweep over the weights.

  Args:
    base: Name of the config to change, such as 'demo' or 'own_data:small'.
  """
  current = sweeps.base_config(base).loss_weights.to_dict()
  points = [sweeps.reference(current, sweeps.FULL)]
  points += [
      Point(f'{term}_{weight:g}', f'{term}, weight {weight:g}',
            {f'loss_weights.{term}': weight}, series=sweeps.FULL,
            axes={term: weight})
      for term in current for weight in WEIGHTS if weight != current[term]]
  return sweeps.sweep(
      "The weights of the loss's terms",
      'How much weight should each term have?', base, points,
      axis_labels={term: f'Weight of {term}' for term in current},
      seeds=sweeps.seeds(base))
