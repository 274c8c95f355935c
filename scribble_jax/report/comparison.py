"""Figures of runs beside the published ones."""

from scribble_jax import published
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


def is_comparable(runs):
  """Whether figures are of VOC's classes, as the published ones are."""
  return all(tuple(run.by_class) == published.VOC_CLASSES for run in runs)


def comparability(runs):
  """Returns what to know before comparing with the published figures."""
  if is_comparable(runs):
    return ('Published figures are on PASCAL VOC 2012 val; differences hold '
            'only if the figures here were measured there.')
  return ('Published figures are on PASCAL VOC 2012 val. The classes here are '
          'others, so no difference is shown.')


def comparison(own, whose, comparable):
  """Returns the table: best first, or one's own before the others.

  Args:
    own: [(name, network, mIoU in per cent)] of what was measured here.
    whose: What differences are taken of, such as 'This run'.
    comparable: Whether differences mean something.

  Returns:
    A Table; a difference is the best of one's own minus the published figure,
    in points.
  """
  best = max(miou for _, _, miou in own)
  by_miou = lambda row: -row[2]
  mine = sorted([(*row, 'measured here', None) for row in own], key=by_miou)
  others = sorted(
      [(result.method, result.network, 100 * result.miou, 'published',
        best - 100 * result.miou) for result in published.RESULTS],
      key=by_miou)
  rows = sorted(mine + others, key=by_miou) if comparable else mine + others
  return Table(
      ('Method', 'Network', 'mIoU (%)', 'Origin',
       *[f'{whose} minus it (points)'] * comparable),
      tuple((method, '' if named == _NO_NETWORK else named, f'{miou:.2f}',
             origin, *[signed(difference)] * comparable)
            for method, named, miou, origin, difference in rows),
      emphasised=frozenset(i for i, row in enumerate(rows)
                           if row[3] != 'published'),
      bars=2)
