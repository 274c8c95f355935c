"""Validation of stage 2: figures of the val set and its images, pictures."""

from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from scribble_jax import config_check
from scribble_jax import hosts
from scribble_jax import inference
from scribble_jax import metrics
from scribble_jax import panels
from scribble_jax import results
from scribble_jax import sharding
from scribble_jax.data import ground_truth
from scribble_jax.data import input_pipeline
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.pseudo_labels import refinement


class _Image(NamedTuple):
  """The figures of a val image. Every process stores those of all images."""
  id: str
  record: int  # Index of its record in the split.
  score: float  # mIoU or stroke accuracy.
  pixel_accuracy: float


class Validation:
  """Evaluates a state on every val image and draws some of them.

  Without a dense ground truth, `data.ground_truth=none`, predictions are
  compared with the val images' strokes. Without a val list there are no figures
  and only pictures of training images.

  All processes must call it. Each evaluates its share of the images, and all
  get the figures of all images. Only the first process gets pictures.
  """

  def __init__(self, config, model, dataset):
    """Args: the whole ConfigDict, its network, and `records.Records`."""
    self._config = config
    self._dataset = dataset
    self._predict = inference.make_predict(
        model, sharding.local_mesh(), config_check.validation_protocol(config),
        batch_size=config.evaluation.batch_size,
        finish=refinement.make_finish(config))
    self._on_strokes = ground_truth.is_strokes(config.data)
    self._splits = [
        split for split in ground_truth.SPLITS if split in dataset.shards]
    self._step = None  # Of the evaluated state, like the next three.
    self._variables = None
    self._confusion = None  # [C, C] counts over all val images.
    self._images = []  # _Image of each image with a ground truth.

  def __call__(self, state):
    """Returns figures and pictures."""
    self._evaluate(state)
    summary = results.stroke_summary if self._on_strokes else results.summary
    figures = ({} if self._confusion is None else
               summary(self._dataset.class_names, self._confusion))
    return figures, self.draw_panels(state)

  def _evaluate(self, state):
    """Evaluates a state, unless its step is already evaluated."""
    step = int(state.step)
    if step == self._step:
      return
    self._variables = sharding.on_this_host(state.variables)
    if 'val' in self._splits:
      confusions, images = zip(
          *hosts.gather(self._count_own_images()), strict=True)
      self._confusion = sum(confusions)
      self._images = [image for part in images for image in part]
    self._step = step

  def _count_own_images(self):
    """Returns [C, C] counts and [_Image] of this process's val images."""
    num_classes = self._config.model.num_classes
    total, images = np.zeros([num_classes, num_classes], np.int64), []
    for example in tqdm(
        self._examples('val', shared=True), desc='Validating',
        total=len(hosts.share(range(self._dataset.num_examples('val')))),
        unit='image', leave=False, dynamic_ncols=True):
      confusion = metrics.confusion_matrix(
          example['ground_truth'], example['prediction'], num_classes)
      total += confusion
      if confusion.any():
        accuracy = metrics.pixel_accuracy(confusion)
        score = accuracy if self._on_strokes else metrics.mean_iou(confusion)
        images.append(_Image(
            example['id'], example['record'], score, accuracy))
    return total, images

  def _examples(self, split, **which):
    """Yields `input_pipeline.whole_examples` with predictions."""
    return inference.with_predictions(
        self._predict, self._variables,
        input_pipeline.whole_examples(self._dataset, split, **which))

  def image_figures(self, state):
    """Returns the columns and the rows of a table of val images, worst first.

    Columns are 'id', 'miou' and 'pixel_accuracy', or 'id' and
    'stroke_accuracy'. The mIoU of an image is the mean over the classes in its
    ground truth or its prediction. Images without a ground truth are left out.
    """
    images = self._ranked_images(state)
    if self._on_strokes:
      return (('id', 'stroke_accuracy'),
              [(image.id, image.score) for image in images])
    return (('id', 'miou', 'pixel_accuracy'),
            [(image.id, image.score, image.pixel_accuracy)
             for image in images])

  def _ranked_images(self, state):
    self._evaluate(state)
    return sorted(self._images, key=lambda image: image.score)

  def draw_panels(self, state):
    """Returns {split: [height, width, 3] uint8 picture of some examples}."""
    self._evaluate(state)
    if not hosts.is_first():
      return {}
    return {
        split: panels.draw_panels(
            [self._as_drawn(example) for example in self._examples(
                split, limit=self._config.num_panels)],
            self._dataset.class_names)
        for split in self._splits}

  def _as_drawn(self, example):
    """Returns an example whose strokes are drawn as a scribble."""
    truth = example['ground_truth']
    if not self._on_strokes or np.all(truth == IGNORE_LABEL):
      return example
    return example | {'scribble': truth,
                      'ground_truth': np.full_like(truth, IGNORE_LABEL)}

  def draw_extremes(self, state):
    """Returns {'worst' and 'best': [height, width, 3] uint8 picture}."""
    images, count = self._ranked_images(state), self._config.num_panels
    if not hosts.is_first():
      return {}
    chosen = {'worst': images[:count], 'best': images[::-1][:count]}
    return {name: self._draw_images(part) for name, part in chosen.items()
            if part}

  def _draw_images(self, images):
    """Draws val images in the order of their figures."""
    chosen = np.zeros(self._dataset.num_examples('val'), bool)
    chosen[[image.record for image in images]] = True
    rows = {example['id']: self._as_drawn(example)
            for example in self._examples('val', chosen=chosen)}
    measure = results.MEASURES[
        'stroke_accuracy' if self._on_strokes else 'miou']
    return panels.draw_panels(
        [rows[image.id] | {
            'title': f'{image.id}: {measure} {100 * image.score:.1f} %'}
         for image in images], self._dataset.class_names)
