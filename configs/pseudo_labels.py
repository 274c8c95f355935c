r"""Stage 1 alone: pseudo-labels from scribbles.

python -m scribble_jax.pseudo_labels --config=configs/pseudo_labels.py \
    --workdir=runs/pseudo_labels --config.data.root=VOC2012

The name of a config may follow a colon: scribblesup (the default), own_data or
demo, with its variants, such as own_data:small. The settings are those of
`config.stage1` in that config.
"""

from scribble_jax.configs import sweeps
from scribble_jax.pseudo_labels import config_rules


def get_config(base='scribblesup'):
  """Returns every hyperparameter of stage 1.

  Args:
    base: Name of the config, such as 'demo' or 'own_data:small'.
  """
  return config_rules.stage1_config(sweeps.base_config(base))
