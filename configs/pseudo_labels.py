r"""Stage 1: pseudo-labels from scribbles, on their own.

python -m scribble_jax.pseudo_labels --config=configs/pseudo_labels.py \
    --workdir=runs/pseudo_labels --config.data.root=VOC2012

A data set may follow a colon: scribblesup (the default), own_data or demo. The
numbers are those of `config.stage1` in that config.
"""

from configs import demo
from configs import own_data
from configs import scribblesup
from scribble_jax.errors import UserError
from scribble_jax.pseudo_labels import config_rules

DATA_SETS = {'scribblesup': scribblesup, 'own_data': own_data, 'demo': demo}


def get_config(data_set='scribblesup'):
  """Returns every hyperparameter of stage 1.

  Args:
    data_set: One of DATA_SETS.
  """
  if data_set not in DATA_SETS:
    raise UserError(f'Unknown data set {data_set!r}. Choose from: '
                    f'{", ".join(DATA_SETS)}.')
  return config_rules.stage1_config(DATA_SETS[data_set].get_config())
