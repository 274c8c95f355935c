r"""Ablation of the recipe `best` (docs/recipe.md).

python -m scribble_jax.sweep --config=configs/recipe.py \
    --workdir=runs/recipe --set=data.root=DIR

The name of a config may follow a colon: own_data:small (the default),
demo:small, or scribblesup with its variants.
"""

from scribble_jax.configs import sweeps
from scribble_jax.sweep.sweep_points import Point

_LORM = {'loss_weights.lorm': 0.1}
_DEL = {'loss_weights.distance_entropy_scribble': 0.1,
        'loss_weights.distance_entropy_pseudo_label': 0.1}
_NOT_REFINED = {'evaluation.refine': 0.0}


def get_config(base='own_data:small'):
  """Returns the sweep over the parts of the recipe.

  Args:
    base: Name of the config to change, such as 'demo:small'. The sweep adds the
      variant `best`.
  """
  paper = _NOT_REFINED | dict.fromkeys(_LORM | _DEL, 1.0) | {
      f'method.{switch}': 'official'
      for switch in sweeps.base_config(base).method}
  return sweeps.sweep(
      'Recipe', 'What is each part of the recipe worth, beside the '
      "paper's method with the same network, labels and budget?", base,
      [Point('best', 'recipe', variant='best'),
       Point('not_refined', 'recipe, predictions not refined',
             _NOT_REFINED, 'best'),
       Point('lorm', 'recipe + LoRM, weight 0.1', _LORM, 'best'),
       Point('del', 'recipe + DEL, weight 0.1', _DEL, 'best'),
       Point('scribble_only', 'strokes alone, predictions not refined',
             _NOT_REFINED, 'best,scribble_only'),
       Point('paper', "the paper's method, predictions not refined",
             paper, 'best')],
      seeds=(0, 1, 2))
