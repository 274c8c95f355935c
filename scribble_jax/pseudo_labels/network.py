"""The classifier of stage 1: trained, then asked about whole images."""

import dataclasses
import functools

import numpy as np

from scribble_jax import config_check
from scribble_jax import inference
from scribble_jax import models
from scribble_jax import sharding
from scribble_jax.pseudo_labels import classification
from scribble_jax.pseudo_labels import scores
from scribble_jax.training import loop


@dataclasses.dataclass(frozen=True)
class Judged:
  """An example and what the network says of it.

  Attributes:
    example: As of `input_pipeline.whole_examples`.
    classes: [K] uint8, from `scores.classes_of`.
    scores: [H, W, K], from `scores.network_scores`.
    unnamed: [H, W] bool, where another class is likelier than all of these;
      False everywhere unless `labels.unnamed` asks for it.
  """
  example: dict
  classes: np.ndarray
  scores: np.ndarray
  unnamed: np.ndarray


def learns_strokes(config):
  """Whether a segmentation branch is trained, on all strokes."""
  return (scores.SOURCES[config.labels.source].needs_network
          and config.supervision == 'classes+scribbles')


def make_judge(config, workdir, source):
  """Returns `examples -> iterator of Judged`, trained on the whole source.

  Args:
    config: ConfigDict as in configs/pseudo_labels.py.
    workdir: Absolute path of the classifier's run.
    source: `records.Records`.

  Returns:
    The function.

  Raises:
    Stopped: By a signal, in the training.
  """
  if not scores.SOURCES[config.labels.source].needs_network:
    return _judge_nothing
  with_segmentation = learns_strokes(config)
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
                     loop.read_initial(config, workdir, model))
  predict = inference.make_predict(
      model, sharding.local_mesh(), config_check.evaluation_protocol(config),
      batch_size=config.evaluation.batch_size, maps=classification.class_maps)
  variables = sharding.on_this_host(outcome.state.variables)
  return functools.partial(
      _judge, predict, variables, config.model.num_classes, with_segmentation,
      config.labels)


def _judge(predict, variables, num_classes, with_segmentation, labels,
           examples):
  """Yields Judged, in the order of the examples."""
  def requests():
    """Yields ((example, classes, split), (image, channels))."""
    for example in examples:
      classes = scores.classes_of(example['scribble'])
      channels = classification.channels_of(
          classes[1:], num_classes, with_segmentation)
      others = ([] if labels.unnamed == 'background' else
                classification.other_channels(classes[1:], num_classes))
      yield ((example, classes, len(channels)),
             (example['image'], channels + others))

  for (example, classes, split), prediction in inference.predict_pairs(
      predict, variables, requests()):
    maps = prediction.probabilities()
    named, others = maps[..., :split], maps[..., split:]
    yield Judged(
        example, classes,
        scores.network_scores(named, len(classes) - 1, labels.branch),
        scores.unnamed(named[..., len(classes) - 1:], others))


def _judge_nothing(examples):
  """Yields Judged with scores of 0: the strokes are all there is."""
  for example in examples:
    classes = scores.classes_of(example['scribble'])
    shape = example['scribble'].shape
    yield Judged(example, classes, np.zeros(
        [*shape, len(classes)], np.float32), np.zeros(shape, bool))
