"""The network or features that score the classes, applied to whole images."""

import functools

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from scribble_jax import config_check
from scribble_jax import device_batches
from scribble_jax import inference
from scribble_jax import models
from scribble_jax import sharding
from scribble_jax.data import input_pipeline
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.pseudo_labels import classification
from scribble_jax.pseudo_labels import image_labeller
from scribble_jax.pseudo_labels import picture_features
from scribble_jax.pseudo_labels import refinement
from scribble_jax.pseudo_labels import scores
from scribble_jax.training import loop
from scribble_jax.weights import pretrained

# Images per device call without a network. A device labels them one after
# another, so more of them only save calls.
_SLOTS, _SLOTS_ON_CPU = 8, 1
_SHARED_PICTURES = 1_000  # Maximum number for the shared regression.


def learns_strokes(config):
  """Whether the source of the scores learns all strokes."""
  source = scores.SOURCES[config.labels.source]
  return source.needs_features or (
      source.needs_network and config.supervision == 'classes+scribbles')


def make_labeller(config, workdir, dataset):
  """Returns `(requests, thresholds, variants) -> iterator of results`.

  Requests are pairs of an example, as of `input_pipeline.whole_examples`, and
  two scribbles to label it from, [H, W] uint8. Results are pairs of the example
  and its `image_labeller.LabelledImage` of NumPy arrays, in the order of the
  requests. `thresholds` are [len(VARIANTS), C] for the labels; `variants` are
  those to compute. A result depends neither on the other requests nor on the
  devices.

  Args:
    config: ConfigDict as in configs/pseudo_labels.py.
    workdir: Absolute path of the classifier's run.
    dataset: `records.Records` that the classifier is trained on.

  Returns:
    The function.

  Raises:
    Stopped: A signal stopped the training.
  """
  backbone, lacks_background, run = None, False, _without_network
  source = scores.SOURCES[config.labels.source]
  walk = refinement.make_walk(config.refinement)
  if source.needs_network:
    run = _with_network(config, workdir, dataset)
  elif source.needs_features:
    backbone = models.make_backbone(config.model)
    variables = _pretrained(config, backbone)
    shared = _shared_regression(
        dataset, config.model.num_classes, backbone, variables, walk)
    lacks_background = bool(shared.offsets[0] == -jnp.inf)
    run = functools.partial(_without_network, shared=(variables, shared))

  def label_images(requests, thresholds, variants=image_labeller.VARIANTS):
    """Returns an iterator of results."""
    def images():
      """Yields the arguments of `run`."""
      for example, scribbles in requests:
        if lacks_background:
          _warn_of_one_class(example)
        yield (example, example['image'],
               _inputs(example, scribbles, thresholds, walk))

    labels = config.labels
    return run(image_labeller.ImageLabeller(
        walk, labels.source, labels.branch, labels.undecided,
        labels.unnamed == 'undecided', variants, backbone), images())

  return label_images


def _shared_regression(dataset, num_classes, backbone, variables, walk):
  """Returns the regression on the strokes of up to _SHARED_PICTURES.

  Args:
    dataset: `records.Records`; evenly chosen pictures are used.
    num_classes: Number of classes of the data set.
    backbone: `family.Backbone`.
    variables: Variables of the backbone.
    walk: `propagation.Walk`.

  Returns:
    `picture_features.Regression` on the devices, by class index.
  """
  @jax.jit
  def samples(variables, image, inside, scribble):
    return picture_features.shared_samples(
        picture_features.cell_features(backbone, variables, image, inside),
        scribble, num_classes)

  total = dataset.num_examples('train')
  count = min(_SHARED_PICTURES, total)
  chosen = np.isin(np.arange(total), np.arange(count) * total // count)
  found = []
  for example in tqdm(
      input_pipeline.whole_examples(dataset, 'train', chosen=chosen),
      desc='Learning from all strokes', total=count, unit='image',
      dynamic_ncols=True):
    image, scribble = example['image'], example['scribble']
    sides = [walk.padded(side) for side in scribble.shape]
    found.append(jax.device_get(samples(
        variables, np.float32(device_batches.padded(image, sides)),
        device_batches.padded(np.ones_like(scribble, bool), sides),
        device_batches.padded(scribble, sides, IGNORE_LABEL))))
  return jax.device_put(
      picture_features.fit_shared(*map(np.concatenate, zip(
          *found, strict=True))), sharding.replicated(sharding.local_mesh()))


def _warn_of_one_class(example):
  """Warns once, at the first picture with strokes of a single class."""
  scribble = example['scribble']
  if len(scores.classes_of(scribble)) == 2 and not np.any(scribble == 0):
    logging.log_first_n(
        logging.WARNING, '%s has strokes of one class alone, and no picture '
        'has strokes on the background, so the extent of the class is unknown: '
        'this picture and others like it are labelled as that class '
        'everywhere. Draw strokes on the background.', 1, example['id'])


def _inputs(example, scribbles, thresholds, walk):
  """Returns the `image_labeller.Inputs` of a request."""
  sides = [walk.padded(side) for side in example['scribble'].shape]
  padded = np.stack([
      device_batches.padded(x, sides, IGNORE_LABEL) for x in scribbles])
  named = scores.classes_of(example['scribble'])
  classes = np.zeros(thresholds.shape[1], np.uint8)
  classes[:len(named)] = named
  return image_labeller.Inputs(
      padded, classes, np.int32(len(named)), np.float32(thresholds))


def _with_network(config, workdir, dataset):
  """Trains a classifier; returns `(finish, images) -> iterator of results`."""
  with_segmentation = learns_strokes(config)
  model = models.build_classifier(config.model, with_segmentation)
  terms = ('classification', 'scribble')[:1 + with_segmentation]
  task = loop.Task(
      model=model,
      loss_terms=functools.partial(
          classification.loss_terms, model, enabled=terms),
      loss_counts=functools.partial(
          classification.loss_counts, model, enabled=terms),
      loss_weights={term: config.loss_weights[term] for term in terms},
      inputs=classification.INPUTS,
      augmentation=config.data.augmentation.to_dict() | {
          'crop_size': config.data.crop_size,
          'distance_fill': 'official'},  # There are no distance maps.
      title='Training the classifier')
  outcome = loop.run(config, workdir, task, dataset,
                     loop.read_initial(config, workdir, model))
  variables = sharding.on_this_host(outcome.state.variables)

  return lambda finish, images: inference.make_predict(
      model, sharding.local_mesh(), config_check.evaluation_protocol(config),
      batch_size=config.evaluation.batch_size,
      maps=classification.class_maps, finish=finish)(variables, images)


def _pretrained(config, backbone):
  """Returns a backbone's variables, on the devices."""
  if config.backbone_weights == pretrained.NO_WEIGHTS:
    logging.warning(
        'labels.source=features needs pretrained features, but '
        'backbone_weights is none: the features are random.')
    variables = backbone.init(
        jax.random.key(config.seed), jnp.zeros([1, 65, 65, 3]), train=False)
  else:
    variables = pretrained.read_backbone(config.backbone_weights, backbone)
  return jax.device_put(
      variables, sharding.replicated(sharding.local_mesh()))


def _without_network(finish, images, shared=()):
  """Returns the iterator of results if no classifier is trained.

  Args:
    finish: As of `inference.make_finish`.
    images: As of `inference.make_predict`.
    shared: As of `inference.make_finish`.
  """
  mesh = sharding.local_mesh()
  program = inference.make_finish(finish, mesh)
  return device_batches.run_on_images(
      lambda work: program(None, *work, shared=shared), mesh, images,
      lambda image, inputs: (
          device_batches.padded(image, inputs.scribbles.shape[1:]),
          np.int32(image.shape[:2]), inputs),
      lambda _: _SLOTS_ON_CPU if sharding.on_cpu(mesh) else _SLOTS)
