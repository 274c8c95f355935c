r"""Ablation of the loss terms and of the switches of METHOD 8.

python -m scribble_jax.sweep --config=configs/ablation.py \
    --workdir=runs/ablation --set=data.root=VOC2012

The name of a config may follow a colon: scribblesup (the default), own_data or
demo, with its variants.
"""

from scribble_jax.configs import sweeps
from scribble_jax.sweep.sweep_points import Point

LORM = 'lorm'
DEL_S, DEL_C = 'distance_entropy_scribble', 'distance_entropy_pseudo_label'


def get_config(base='scribblesup'):
  """Returns the sweep over the loss terms and the switches.

  Args:
    base: Name of the config to change, such as 'demo' or 'own_data:small'.
  """
  switches = sweeps.base_config(base).method.to_dict()
  points = [
      Point('scribble_only', 'CE(scribble)', variant='scribble_only'),
      Point('pseudo_only', 'CE(pseudo-label)',
            sweeps.without('scribble', LORM, DEL_S, DEL_C)),
      Point('both', 'both cross-entropies', sweeps.without(LORM, DEL_S, DEL_C)),
      Point('both_lorm', 'both + LoRM', sweeps.without(DEL_S, DEL_C)),
      Point('both_del_s', 'both + DEL(d_s)', sweeps.without(LORM, DEL_C)),
      Point('both_del_c', 'both + DEL(d_c)', sweeps.without(LORM, DEL_S)),
      sweeps.reference({}),
      Point('corrected', 'full method, all switches corrected',
            {f'method.{switch}': 'corrected' for switch in switches})]
  demo = sweeps.is_demo(base)
  if not demo:  # Its few seeds and updates cannot resolve these differences.
    points += [Point(f'corrected_{switch}', f'full method, {switch} corrected',
                     {f'method.{switch}': 'corrected'}) for switch in switches]
  return sweeps.sweep(
      'Ablation', 'What is each term of the loss worth, and each switch where '
      'the released program departs from the paper?', base, points,
      seeds=sweeps.seeds(base))
