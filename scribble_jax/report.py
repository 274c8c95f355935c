r"""Shows a run's mIoU beside the published ones: a table and an HTML page.

python -m scribble_jax.report --workdir=runs/scribblesup

Reads what training and `scribble_jax.evaluate` left in the workdir and writes
WORKDIR/report.html, one file with everything in it.
"""

import base64
import html
import json
import pathlib

from absl import flags

from scribble_jax import atomic
from scribble_jax import command_line
from scribble_jax import published
from scribble_jax.errors import UserError

_HEADS = {'deeplabv2': 'DeepLabV2', 'deeplabv3plus': 'DeepLabV3+'}
_NO_NETWORK = 'none'
_EVALUATION = 'evaluation/metrics.json'  # Of scribble_jax.evaluate.


def write_report(workdir):
  """Writes WORKDIR/report.html.

  Args:
    workdir: Of a training run that is finished or was evaluated.

  Returns:
    The table as text.

  Raises:
    UserError: The workdir lacks results or can't be written.
  """
  workdir = pathlib.Path(workdir)
  run = _read_json(workdir / 'config.json', 'Name the workdir of a training '
                   'run.')
  evaluated = (workdir / _EVALUATION).exists()
  measured = _read_json(
      workdir / (_EVALUATION if evaluated else 'metrics.json'),
      'Train to the end, or run scribble_jax.evaluate.')
  how = describe_evaluation(measured)
  rows = comparison(run['model'], measured)
  page = _page(workdir, run, measured, how, rows)
  try:
    with atomic.whole_file(workdir / 'report.html') as partial:
      pathlib.Path(partial).write_text(page, encoding='utf-8')
  except OSError as error:
    raise UserError(f'Cannot write to {workdir}: {error}. Make it '
                    'writable.') from error
  return f'{text_table(rows)}\n{how} {_comparability(measured)}'


def _read_json(path, remedy):
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise UserError(f'{path} is missing or unreadable. {remedy}') from error


def describe_evaluation(figures):
  """Returns a sentence or two on how figures came about.

  Args:
    figures: metrics.json of training or of `scribble_jax.evaluate`.
  """
  step = figures['step']  # None for a file that was evaluated instead.
  after = (f'Measured on {figures["checkpoint"]} by' if step is None
           else f'Measured after {step:,} updates by')
  if 'protocol' not in figures:
    return (f'{after} the validation of training: each image once, at its own '
            'size. For the protocol of the paper run scribble_jax.evaluate.')
  protocol = figures['protocol']
  scales = ', '.join(f'{scale:g}' for scale in protocol['scales'])
  side = (f'a long side of {protocol["long_side"]} pixels'
          if protocol['long_side'] else 'their own size')
  return (f'{after} scribble_jax.evaluate on {figures["num_images"]} images: '
          f'scales {scales} of {side}, windows of {protocol["window"]} pixels, '
          f'{"with" if protocol["flip"] else "no"} flip.')


def is_comparable(figures):
  """Whether figures are of VOC's classes, as the published ones are."""
  return tuple(figures['iou']) == published.VOC_CLASSES


def _comparability(figures):
  if is_comparable(figures):
    return ('Published figures are on PASCAL VOC 2012 val; differences hold '
            'only if this run was evaluated there.')
  return ('Published figures are on PASCAL VOC 2012 val. This run has other '
          'classes, so no difference is shown.')


def comparison(model, figures):
  """Returns the rows of the table: best first, or the run's own before others.

  Args:
    model: `config.model` of the run.
    figures: With 'miou' and 'iou'.

  Returns:
    [(method, network, mIoU in per cent, origin, difference), ...]; the
    difference is measured minus published in points, None where there is none.
  """
  depth = model['backbone'].removeprefix('resnet')
  network = f'{_HEADS[model["head"]]} ResNet-{depth}'
  comparable = is_comparable(figures)
  own = ('this run', network, 100 * figures['miou'], 'measured here', None)
  rows = [(result.method, result.network, 100 * result.miou, 'published',
           100 * (figures['miou'] - result.miou) if comparable else None)
          for result in published.RESULTS]
  by_miou = lambda row: -row[2]
  return (sorted([own, *rows], key=by_miou) if comparable
          else [own, *sorted(rows, key=by_miou)])


def text_table(rows):
  """Returns `comparison`'s rows as text."""
  lines = [('method', 'network', 'mIoU (%)', 'origin', 'difference')]
  lines += [
      (method, _named(network), f'{miou:.2f}', origin, _signed(difference))
      for method, network, miou, origin, difference in rows]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  aligned = [
      f'{method:<{widths[0]}}  {network:<{widths[1]}}  {miou:>{widths[2]}}  '
      f'{origin:<{widths[3]}}  {difference:>{widths[4]}}'.rstrip()
      for method, network, miou, origin, difference in lines]
  rule = '-' * max(map(len, aligned))
  return '\n'.join([aligned[0], rule, *aligned[1:]])


def _named(network):
  return '' if network == _NO_NETWORK else network


def _signed(difference):
  return '' if difference is None else f'{difference:+.2f}'


_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #8a8f98;
  --ours: #2f7d4f; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 66rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.figure { font-size: 3rem; font-weight: 600; line-height: 1.2; }
.note { opacity: .75; max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; }
th, td { padding: .28rem .8rem .28rem 0; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.bar { width: 34%; padding-right: 0; }
.bar div { background: var(--bar); height: .8rem; border-radius: 2px; }
tr.ours { font-weight: 600; }
tr.ours .bar div { background: var(--ours); }
img { max-width: 100%; height: auto; border: 1px solid var(--line); }
"""


def _page(workdir, run, figures, how, rows):
  """Returns the whole page."""
  escape = html.escape
  classes = [(name, None if iou is None else 100 * iou)
             for name, iou in figures['iou'].items()]
  pictures = ''.join(
      f'<h2>{title}</h2>\n<img alt="{title}" src="data:image/png;base64,'
      f'{base64.b64encode(path.read_bytes()).decode()}">\n'
      for title, path in (
          ('Validation images', workdir / 'panels_val.png'),
          ('Training images', workdir / 'panels_train.png'))
      if path.exists())
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(workdir.name)}: {100 * figures['miou']:.2f} % mIoU</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(workdir.name)}</h1>
<div class="figure">{100 * figures['miou']:.2f} % mIoU</div>
<p>{escape(run['model']['head'])}, {escape(run['model']['backbone'])};
pixel accuracy {100 * figures['pixel_accuracy']:.2f} %.</p>
<p class="note">{escape(how)}</p>
<h2>Beside published results</h2>
<p class="note">{escape(_comparability(figures))}</p>
<div class="scroll"><table>
<tr><th>Method<th>Network<th class="number">mIoU (%)<th><th>Origin
<th class="number">This run minus it</tr>
{''.join(_comparison_row(*row) for row in rows)}</table></div>
<h2>Classes</h2>
<div class="scroll"><table>
<tr><th>Class<th class="number">IoU (%)<th></tr>
{''.join(_class_row(*row) for row in classes)}</table></div>
{pictures}</body>
</html>
"""


def _comparison_row(method, network, miou, origin, difference):
  ours = ' class="ours"' if origin != 'published' else ''
  return (f'<tr{ours}><td>{html.escape(method)}<td>{_named(network)}'
          f'<td class="number">{miou:.2f}{_bar(miou)}<td>{origin}'
          f'<td class="number">{_signed(difference)}</tr>\n')


def _class_row(name, iou):
  value = '-' if iou is None else f'{iou:.2f}'
  return (f'<tr><td>{html.escape(name)}<td class="number">{value}'
          f'{_bar(iou or 0)}</tr>\n')


def _bar(per_cent):
  return f'<td class="bar"><div style="width:{per_cent:.1f}%"></div>'


def main(argv):
  """Writes the report and prints its table."""
  del argv
  print(write_report(_WORKDIR.value))
  print(f'The page is {pathlib.Path(_WORKDIR.value, "report.html")}.')


if __name__ == '__main__':
  _WORKDIR = flags.DEFINE_string(
      'workdir', None, 'Folder of a training run.', required=True)
  command_line.run(main, interrupted='An earlier report.html is as it was.')
