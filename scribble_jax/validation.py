"""Validation of stage 2: figures of the set, of each image, and pictures."""

import numpy as np
from tqdm import tqdm

from scribble_jax import config_check
from scribble_jax import hosts
from scribble_jax import inference
from scribble_jax import metrics
from scribble_jax import panels
from scribble_jax import results
from scribble_jax import sharding
from scribble_jax.data import input_pipeline


class Validation:
  """Evaluates a state on every val image and draws some of them.

  All processes call it, each sees its share of the images, and all get what
  all have counted. Only the first one draws; the others get no pictures.
  """

  def __init__(self, config, model, source):
    """Args: the whole ConfigDict, its network, and `records.Records`."""
    self._config = config
    self._source = source
    self._predict = inference.make_predict(
        model, sharding.local_mesh(), config_check.validation_protocol(config),
        batch_size=config.evaluation.batch_size)
    self._step = None  # Of the last state seen, like the next two.
    self._variables = None
    self._confusions = {}  # {id: [C, C] counts}.
    self._records = {}  # {id: which of the split's}.

  def __call__(self, state):
    """Returns figures and pictures."""
    self._look_at(state)
    return (
        results.summary(
            self._source.class_names, sum(self._confusions.values())),
        self.draw_panels(state))

  def _look_at(self, state):
    """Evaluates a state, unless it is the last one seen."""
    step = int(state.step)
    if step == self._step:
      return
    self._variables = sharding.on_this_host(state.variables)
    total = len(hosts.share(range(self._source.num_examples('val'))))
    counted = [
        (example['id'], example['record'], metrics.confusion_matrix(
            example['ground_truth'], example['prediction'],
            self._config.model.num_classes))
        for example in tqdm(
            self._examples('val', shared=True), desc='Validating', total=total,
            unit='image', leave=False, dynamic_ncols=True)]
    counted = [row for part in hosts.gather(counted) for row in part]
    self._confusions = {name: confusion for name, _, confusion in counted}
    self._records = {name: record for name, record, _ in counted}
    self._step = step

  def _examples(self, split, **which):
    """Yields `input_pipeline.whole_examples` with predictions."""
    return inference.with_predictions(
        self._predict, self._variables,
        input_pipeline.whole_examples(self._source, split, **which))

  def image_figures(self, state):
    """Returns [(id, mIoU, pixel accuracy), ...], the worst image first.

    The mIoU of an image is the mean over the classes that its ground truth or
    its prediction has. Images without any ground truth are left out.
    """
    self._look_at(state)
    figures = [
        (name, metrics.mean_iou(confusion), metrics.pixel_accuracy(confusion))
        for name, confusion in self._confusions.items() if confusion.any()]
    return sorted(figures, key=lambda row: row[1])

  def draw_panels(self, state):
    """Returns {split: [height, width, 3] uint8 picture of some examples}."""
    self._look_at(state)
    if not hosts.is_first():
      return {}
    return {
        split: panels.draw_panels(
            list(self._examples(split, limit=self._config.num_panels)),
            self._source.class_names)
        for split in ('train', 'val')}

  def draw_extremes(self, state):
    """Returns {'worst' and 'best': [height, width, 3] uint8 picture}."""
    figures, count = self.image_figures(state), self._config.num_panels
    if not hosts.is_first():
      return {}
    return {name: self._draw_images(chosen) for name, chosen in (
        ('worst', figures[:count]), ('best', figures[::-1][:count])) if chosen}

  def _draw_images(self, figures):
    """Draws val images in the order of their figures."""
    chosen = np.zeros(self._source.num_examples('val'), bool)
    chosen[[self._records[name] for name, *_ in figures]] = True
    rows = {example['id']: example
            for example in self._examples('val', chosen=chosen)}
    return panels.draw_panels(
        [rows[name] | {'title': f'{name}: mIoU {100 * miou:.1f} %'}
         for name, miou, _ in figures], self._source.class_names)
