"""The model card: describes the file of a network and how to use it."""

import datetime

from scribble_jax import results
from scribble_jax.files import formats
from scribble_jax.files import storage
from scribble_jax.tables import per_cent
from scribble_jax.weights import pretrained

_CARD = """\
# {name}

A segmentation network, trained from scribbles with scribble_jax.

| | |
|---|---|
| network | {head} on {backbone}, from {checkpoint} |
| input | `pixels`, [1, {window}, {window}, 3] float32: RGB, 0 to 255. The \
file normalises them itself. |
| output | `probabilities`, [1, {window}, {window}, {num_classes}] float32, \
one for each class of each pixel |
| measured | {measured} |
| checked | on {num_windows} windows of {picture}: the probabilities differ \
from those of the original network by at most {difference:.1e} |
| runs with | {requirement} |
| arithmetic | float32 |
| licence | {licence} |

## Classes

{classes}

## Pictures of other sizes

The input has one size. `run_network.py` predicts a photograph of any size:

    python run_network.py {name} photo.jpg mask.png

It turns the photograph upright and cuts windows that overlap by a third. A
photograph smaller than a window is padded with ImageNet's mean colour. Where
windows overlap, their probabilities are averaged. The mask contains the index
of the most probable class. The photograph is not resized: objects should be as
large, in pixels, as in the training photographs.
"""


def write(name, model, config, class_names, checkpoint, step, module, checked):
  """Returns the page, in Markdown.

  Args:
    name: Name of the file that the page describes.
    model: Network.
    config: ConfigDict of the run, or that of --config for a file of weights.
    class_names: Class names, background first.
    checkpoint: A workdir, or a file of weights.
    step: Number of completed updates; None for a file of weights.
    module: Module of the format: `stablehlo` or `onnx_files`.
    checked: `exporting.Checked`.
  """
  return _CARD.format(
      name=name, head=model.head, backbone=model.backbone.name_in_config,
      checkpoint=f'{checkpoint}' + ('' if step is None else f', step {step}'),
      window=config.data.crop_size, num_classes=len(class_names),
      measured=_measured(config, checkpoint, step),
      num_windows=checked.num_windows, picture=checked.picture,
      difference=checked.difference,
      requirement=module.requirement(datetime.date.today()),
      licence=_licence(model, config, step),
      classes='\n'.join(f'{index}. {name}'
                        for index, name in enumerate(class_names)))


def _measured(config, checkpoint, step):
  """Returns the measured quality of these weights, as text."""
  if step is None:
    return 'not known for a file of weights'
  known = []
  validation = _read(checkpoint, 'metrics.json')
  measure = results.measure(validation)
  refined = (", refined by stage 1's walk, which is not in this file"
             if config.evaluation.refine else '')
  figures = {validation.get('best_step'): validation.get(f'best_{measure}'),
             validation.get('step'): validation.get(measure)}
  if measure and step in figures:
    known.append(
        f'{per_cent(figures[step])} % {results.MEASURES[measure]} in the '
        'validation of training: each val image once, at its own '
        f'size{refined}')
  evaluation = _read(checkpoint, 'evaluation/metrics.json')
  measure = results.measure(evaluation)
  if measure and evaluation.get('step') == step:
    known.append(
        f'{per_cent(evaluation[measure])} % {results.MEASURES[measure]} by '
        f'scribble_jax.evaluate on {evaluation["num_images"]} images, at the '
        f'scales {evaluation["protocol"]["scales"]}{refined}')
  return '; '.join(known) or 'not yet: run scribble_jax.evaluate'


def _read(checkpoint, name):
  """Returns the content of a JSON file in a workdir; {} if it is missing."""
  path = storage.path(checkpoint, name)
  return formats.read_json(path) if path.exists() else {}


def _licence(model, config, step):
  """Returns the origin and the licence of the weights, as text."""
  if step is None:
    return 'that of the file of weights, and of its training photographs'
  if config.init_from != pretrained.NO_WEIGHTS:
    begin = f'that of {config.init_from}, from which the run started'
  elif config.backbone_weights == 'imagenet':
    published = model.backbone.published
    begin = f'the backbone started from {published.name}, {published.licence}'
  elif config.backbone_weights == pretrained.NO_WEIGHTS:
    begin = 'the network started from random weights'
  else:
    begin = f"that of {config.backbone_weights}, the backbone's first weights"
  return f'{begin}; the terms of the training photographs'
