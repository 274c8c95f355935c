r"""Sweep over degraded scribbles (METHOD 10): the full method and the baseline.

python -m scribble_jax.sweep --config=configs/robustness.py \
    --workdir=runs/robustness --set=data.root=VOC2012

The name of a config may follow a colon: scribblesup (the default), own_data or
demo, with its variants, as in `robustness.py:scribblesup:deeplabv2_resnet50`.
"""

from scribble_jax.configs import sweeps
from scribble_jax.sweep.sweep_points import Point

RATIOS = {'shrink': (0.2, 0.5, 0.8, 1.0), 'drop': (0.1, 0.2, 0.3, 0.4, 0.5)}
DEMO_RATIOS = {'shrink': (0.5, 1.0), 'drop': (0.5,)}


def get_config(base='scribblesup'):
  """Returns the sweep over both deformations.

  Args:
    base: Name of the config to change, such as 'demo' or 'own_data:small'.
  """
  sweeps.base_config(base)  # Raises UserError if `base` is wrong.
  demo = sweeps.is_demo(base)
  settings = [('', {}, {'shrink': 0.0, 'drop': 0.0})]
  settings += [
      (f'_{kind}{ratio:g}', {f'data.scribble_{kind}': ratio}, {kind: ratio})
      for kind, ratios in (DEMO_RATIOS if demo else RATIOS).items()
      for ratio in ratios]
  return sweeps.sweep(
      'Robustness to poor scribbles',
      'How much is lost when strokes are shortened (shrink: the share of each '
      "stroke's length that goes) or left out (drop: the probability that a "
      'stroke goes)?', base,
      [_point(name, series, variant, overrides, axes)
       for name, overrides, axes in settings
       for series, variant in ((sweeps.FULL, ''),
                               (sweeps.SCRIBBLES, 'scribble_only'))],
      axis_labels={'shrink': 'Share of each stroke that is gone',
                   'drop': 'Probability that a stroke is gone'},
      seeds=sweeps.seeds(base))


def _point(name, series, variant, overrides, axes):
  place = ', '.join(f'{kind} {ratio:g}' for kind, ratio in axes.items()
                    if overrides)
  return Point(f'{variant or "full"}{name}',
               f'{series}, {place}' if place else series,
               overrides, variant, series, axes)
