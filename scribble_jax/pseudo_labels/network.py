"""The classifier of stage 1: trained, then asked about whole images."""

import dataclasses
import functools

import numpy as np

from scribble_jax import config_check
from scribble_jax import inference
from scribble_jax import loop
from scribble_jax import models
from scribble_jax import sharding
from scribble_jax.pseudo_labels import classification
from scribble_jax.pseudo_labels import scores


@dataclasses.dataclass(frozen=True)
class Judged:
  """An example and what the network says of it.

  Attributes:
    example: As of `input_pipeline.whole_examples`.
    classes: [K] uint8, from `scores.classes_of`.
    scores: [H, W, K], from `scores.network_scores`.
  """
  example: dict
  classes: np.ndarray
  scores: np.ndarray


def make_judge(config, workdir, source):
  """Returns `examples -> iterator of Judged`, trained on the whole source.

  Args:
    config: ConfigDict as in configs/pseudo_labels.py.
    workdir: Absolute path of the classifier's run.
    source: `records.Records`.

  Returns:
    The function, or None if a signal stopped the training.
  """
  if config.labels.source == 'diffusion':
    return _judge_nothing
  with_segmentation = config.supervision == 'classes+scribbles'
  model = models.build_classifier(config.model, with_segmentation)
  terms = ['classification', 'scribble'][:1 + with_segmentation]
  task = loop.Task(
      model=model,
      loss_terms=functools.partial(
          classification.loss_terms, model, enabled=tuple(terms)),
      loss_weights={term: config.loss_weights[term] for term in terms},
      inputs=classification.INPUTS,
      augmentation=config.data.augmentation.to_dict() | {
          'crop_size': config.data.crop_size,
          'distance_fill': 'official'},  # There are no distance maps here.
      title='Training the classifier')
  outcome = loop.run(config, workdir, task, source,
                     loop.read_backbone(config, workdir, model))
  if not outcome.complete:
    return None
  predict = inference.make_predict(
      model, sharding.make_mesh(), config_check.evaluation_protocol(config),
      batch_size=config.evaluation.batch_size, maps=classification.class_maps)
  return functools.partial(
      _judge, predict, outcome.state.variables, config.model.num_classes,
      with_segmentation, config.labels.branch)


def _judge(predict, variables, num_classes, with_segmentation, branch,
           examples):
  """Yields Judged, in the order of the examples."""
  def requests():
    """Yields ((example, classes), (image, channels of the classes))."""
    for example in examples:
      classes = scores.classes_of(example['scribble'])
      yield (example, classes), (
          example['image'], classification.channels_of(
              classes[1:], num_classes, with_segmentation))

  for (example, classes), prediction in inference.predict_pairs(
      predict, variables, requests()):
    yield Judged(example, classes, scores.network_scores(
        prediction.probabilities(), len(classes) - 1, branch))


def _judge_nothing(examples):
  """Yields Judged with scores of 0: the strokes are all there is."""
  for example in examples:
    classes = scores.classes_of(example['scribble'])
    yield Judged(example, classes, np.zeros(
        [*example['scribble'].shape, len(classes)], np.float32))
