r"""Sweep over the coefficients lambda_s and lambda_c of the distance maps.

python -m scribble_jax.sweep --config=configs/lambdas.py \
    --workdir=runs/lambdas --set=data.root=VOC2012

One of them is changed at a time. The name of a config may follow a colon:
scribblesup (the default), own_data or demo, with its variants.
"""

import math

from scribble_jax.configs import sweeps
from scribble_jax.sweep.sweep_points import Point

EXPONENTS = range(8)  # 1, e, ..., e^7.
AXES = ('lambda_s', 'lambda_c')


def get_config(base='scribblesup'):
  """Returns the sweep over both coefficients.

  Args:
    base: Name of the config to change, such as 'demo' or 'own_data:small'.
  """
  data = sweeps.base_config(base).data
  points = [sweeps.reference({axis: data[axis] for axis in AXES}, sweeps.FULL)]
  points += [
      Point(f'{axis}_e{exponent}', f'{axis} = e^{exponent}',
            {f'data.{axis}': math.exp(exponent)}, series=sweeps.FULL,
            axes={axis: math.exp(exponent)})
      for axis in AXES for exponent in EXPONENTS
      if not math.isclose(data[axis], math.exp(exponent))]
  return sweeps.sweep(
      "The distance maps' reach", 'How far should strokes and contours reach?',
      base, points, axis_labels={axis: axis for axis in AXES}, log_axes=AXES,
      seeds=sweeps.seeds(base))
