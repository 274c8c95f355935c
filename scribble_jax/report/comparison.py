"""Figures of runs beside the published ones."""

from scribble_jax import published_results
from scribble_jax.tables import Table
from scribble_jax.tables import signed

_HEADS = {'deeplabv2': 'DeepLabV2', 'deeplabv3plus': 'DeepLabV3+',
          'linear': 'Linear'}
# Families as they are written: 'dinov2_small' is 'DINOv2 small'.
_FAMILIES = {'resnet': 'ResNet-', 'efficientnet_lite': 'EfficientNet-Lite',
             'dinov2_': 'DINOv2 '}
_NO_NETWORK = 'none'


def network(config):
  """Returns a run's head and backbone in words, '' where they are unknown."""
  model = config.get('model', {})
  head, backbone = model.get('head', ''), model.get('backbone', '')
  for prefix, family in _FAMILIES.items():
    backbone = backbone.replace(prefix, family)
  backbone = backbone.replace('_', ' ')
  return f'{_HEADS.get(head, head)} {backbone}'.strip()


def benchmark_of(runs):
  """Returns the `published_results.Benchmark` of all runs' classes or None."""
  return next((found for found in published_results.BENCHMARKS if all(
      tuple(run.by_class) == found.classes for run in runs)), None)


def comparability(runs):
  """Returns what to know before comparing with the published figures."""
  found = benchmark_of(runs)
  if found:
    return (f'Published figures are on {found.name}; differences hold '
            'only if the figures here were measured there.')
  return (f'Published figures are on {published_results.BENCHMARKS[0].name}. '
          'The classes here are others, so no difference is shown.')


def comparison(own, whose, benchmark):
  """Returns the table: best first, or one's own before the others.

  Args:
    own: [(name, network, mIoU in per cent)] of what was measured here.
    whose: What differences are taken of, such as 'This run'.
    benchmark: `published_results.Benchmark` with the same classes; None: of
      others, so that differences mean nothing.

  Returns:
    A Table; a difference is the best of one's own minus the published figure,
    in points.
  """
  best = max(miou for _, _, miou in own)
  by_miou = lambda row: -row[2]
  mine = sorted([(*row, 'measured here', None) for row in own], key=by_miou)
  others = sorted(
      [(result.method, result.network, 100 * result.miou, 'published',
        best - 100 * result.miou)
       for result in (benchmark or published_results.BENCHMARKS[0]).results],
      key=by_miou)
  rows = sorted(mine + others, key=by_miou) if benchmark else mine + others
  return Table(
      ('Method', 'Network', 'mIoU (%)', 'Origin',
       *[f'{whose} minus it (points)'] * bool(benchmark)),
      tuple((method, '' if named == _NO_NETWORK else named, f'{miou:.2f}',
             origin, *[signed(difference)] * bool(benchmark))
            for method, named, miou, origin, difference in rows),
      emphasised=frozenset(i for i, row in enumerate(rows)
                           if row[3] != 'published'),
      bars=2)
