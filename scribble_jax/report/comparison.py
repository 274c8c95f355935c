"""Comparison of runs with published results."""

from scribble_jax import published_results
from scribble_jax.tables import Table
from scribble_jax.tables import signed

_HEADS = {'deeplabv2': 'DeepLabV2', 'deeplabv3plus': 'DeepLabV3+',
          'linear': 'Linear'}
# Prefixes of backbones: 'dinov2_small' is shown as 'DINOv2 small'.
_FAMILIES = {'resnet': 'ResNet-', 'efficientnet_lite': 'EfficientNet-Lite',
             'dinov2_': 'DINOv2 '}


def network(config):
  """Returns a run's head and backbone, such as 'DeepLabV3+ ResNet-101'."""
  model = config.get('model', {})
  head, backbone = model.get('head', ''), model.get('backbone', '')
  for prefix, family in _FAMILIES.items():
    backbone = backbone.replace(prefix, family)
  backbone = backbone.replace('_', ' ')
  return f'{_HEADS.get(head, head)} {backbone}'.strip()


def benchmark_of(runs):
  """Returns the Benchmark with the classes of all runs, or None.

  Args:
    runs: List of Run; those without figures by class are ignored.
  """
  classes = {tuple(run.by_class) for run in runs if run.by_class}
  return next((benchmark for benchmark in published_results.BENCHMARKS
               if classes <= {benchmark.classes}), None)


def comparability(runs):
  """Returns a sentence: whether runs compare with the published results."""
  if found := benchmark_of(runs):
    return (f'Published figures are on {found.name}; differences hold '
            'only if the figures here were measured there.')
  return (f'Published figures are on {published_results.BENCHMARKS[0].name}. '
          'The classes here are others, so no difference is shown.')


def comparison(own, whose, benchmark):
  """Returns a table of one's own results and the published ones.

  Args:
    own: [(name, network, mIoU in per cent)] of the runs of this report.
    whose: What the published figures are subtracted from: 'This run'.
    benchmark: The `published_results.Benchmark` with the same classes. None
      for other classes; then the table has no differences.

  Returns:
    A Table, best first; without a benchmark, one's own results come first. A
    difference is one's own best minus the published figure, in points.
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
      tuple((method, name, f'{miou:.2f}', origin,
             *[signed(difference)] * bool(benchmark))
            for method, name, miou, origin, difference in rows),
      emphasised=frozenset(i for i, row in enumerate(rows)
                           if row[3] != 'published'),
      bars=2)
