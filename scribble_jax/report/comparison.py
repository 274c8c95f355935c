"""Compares runs with published results."""

from scribble_jax import published_results
from scribble_jax.tables import Table
from scribble_jax.tables import number

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


def published(study):
  """Returns a table of a study's mIoU and the published results.

  Args:
    study: A Study with a score; of a sweep, only the best setting is shown.

  Returns:
    A Table, best first. A difference is the study's best mIoU minus the
    published one, in points. If the classes are not those of a benchmark, the
    study's rows come first, and there are no differences.
  """
  settings = [study.best] if study.is_sweep else study.measured
  alone = len(settings) == 1 and not study.is_sweep
  benchmark = benchmark_of(study.runs)
  mine = [('this run' if alone else setting.label,
           network(setting.runs[0].config), setting.score.mean, 'measured here')
          for setting in settings]
  others = [(result.method, result.network, 100 * result.miou, 'published')
            for result in (
                benchmark or published_results.BENCHMARKS[0]).results]
  by_miou = lambda row: -row[2]
  rows = (sorted(mine + others, key=by_miou) if benchmark
          else sorted(mine, key=by_miou) + sorted(others, key=by_miou))
  columns = ('Method', 'Network', 'mIoU (%)', 'Origin')
  cells = [(*row[:2], number(row[2]), row[3]) for row in rows]
  if benchmark:
    columns += (f'{"This run" if alone else "The best here"} minus it '
                '(points)',)
    cells = [(*texts, '' if row in mine else number(
        study.best.score.mean - row[2], '+.2f'))
             for texts, row in zip(cells, rows, strict=True)]
  return Table(columns, tuple(cells), frozenset(
      i for i, row in enumerate(rows) if row in mine), bars=2)
