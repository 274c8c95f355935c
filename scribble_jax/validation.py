"""Validation of stage 2: figures of the set, of each image, and pictures."""

import numpy as np
from tqdm import tqdm

from scribble_jax import config_check
from scribble_jax import inference
from scribble_jax import metrics
from scribble_jax import panels
from scribble_jax import results
from scribble_jax import sharding
from scribble_jax.data import input_pipeline


class Validation:
  """Evaluates a state on every val image and draws some of them."""

  def __init__(self, config, model, source):
    """Args: the whole ConfigDict, its network, and `records.Records`."""
    self._config = config
    self._source = source
    self._predict = inference.make_predict(
        model, sharding.make_mesh(), config_check.validation_protocol(config),
        batch_size=config.evaluation.batch_size)
    self._step, self._confusions = None, {}  # Of the last state seen.

  def __call__(self, state):
    """Returns figures and pictures."""
    confusions = self._confusion_by_image(state)
    return (results.summary(self._source.class_names, sum(confusions.values())),
            self.draw_panels(state))

  def _confusion_by_image(self, state):
    """Returns {id: [C, C] counts}, which the last state needs only once."""
    step = int(state.step)
    if step != self._step:
      examples = tqdm(
          input_pipeline.whole_examples(self._source, 'val'), desc='Validating',
          total=self._source.num_examples('val'), unit='image', leave=False,
          dynamic_ncols=True)
      self._confusions = {
          example['id']: metrics.confusion_matrix(
              example['ground_truth'], example['prediction'],
              self._config.model.num_classes)
          for example in inference.with_predictions(
              self._predict, state.variables, examples)}
      self._step = step
    return self._confusions

  def image_figures(self, state):
    """Returns [(id, mIoU, pixel accuracy), ...], the worst image first.

    The mIoU of an image is the mean over the classes that its ground truth or
    its prediction has. Images without any ground truth are left out.
    """
    figures = [
        (name, metrics.mean_iou(confusion), metrics.pixel_accuracy(confusion))
        for name, confusion in self._confusion_by_image(state).items()
        if confusion.any()]
    return sorted(figures, key=lambda row: row[1])

  def draw_panels(self, state):
    """Returns {split: [height, width, 3] uint8 picture of some examples}."""
    return {
        split: panels.draw_panels(
            list(inference.with_predictions(
                self._predict, state.variables, input_pipeline.whole_examples(
                    self._source, split, limit=self._config.num_panels))),
            self._source.class_names)
        for split in ('train', 'val')}

  def draw_extremes(self, state):
    """Returns {'worst' and 'best': [height, width, 3] uint8 picture}."""
    figures, count = self.image_figures(state), self._config.num_panels
    return {name: self._draw_images(state, chosen) for name, chosen in (
        ('worst', figures[:count]), ('best', figures[::-1][:count])) if chosen}

  def _draw_images(self, state, figures):
    """Draws val images in the order of their figures."""
    names = [name for name, *_ in figures]
    chosen = np.isin([*self._confusion_by_image(state)], names)
    rows = {example['id']: example for example in inference.with_predictions(
        self._predict, state.variables, input_pipeline.whole_examples(
            self._source, 'val', chosen=chosen))}
    return panels.draw_panels(
        [rows[name] | {'title': f'{name}: mIoU {100 * miou:.1f} %'}
         for name, miou, _ in figures], self._source.class_names)
