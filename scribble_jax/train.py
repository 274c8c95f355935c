"""Stage 2: trains a segmentation network and reports its results."""

import contextlib
import dataclasses
import functools
import math

from absl import logging
import jax
import numpy as np

from scribble_jax import config_check
from scribble_jax import config_files
from scribble_jax import hosts
from scribble_jax import loss_terms
from scribble_jax import models
from scribble_jax import results
from scribble_jax.data import dataset_files
from scribble_jax.data import dense_sets
from scribble_jax.data import ground_truth
from scribble_jax.data import input_pipeline
from scribble_jax.data import record_folders
from scribble_jax.data import records
from scribble_jax.data import val_files
from scribble_jax.files import formats
from scribble_jax.files import storage
from scribble_jax.files import write_errors
from scribble_jax.pseudo_labels import generation
from scribble_jax.training import loop
from scribble_jax.training import provenance
from scribble_jax.training import run_lock
from scribble_jax.validation import Validation
from scribble_jax.weights import checkpoint
from scribble_jax.weights import pretrained

_SAMPLED = 8  # Number of images whose sizes are compared with the crop.
_SMALLEST_VIEW = 0.25  # Share of an image's longer side in a crop.


def train(config, workdir, other_data=False):
  """Trains until `config.num_steps`, resuming from `workdir` if possible.

  Args:
    config: ConfigDict as in configs/scribblesup.py.
    workdir: Directory for checkpoints, event files, metrics and pictures.
    other_data: Whether a run that learned from other data may resume.

  Returns:
    The last state.

  Raises:
    UserError: For mistakes that a user can correct.
    Stopped: By a signal; the state is saved.
  """
  config_check.check_training(config, jax.device_count())
  workdir = loop.open_workdir(workdir)
  with write_errors.named(workdir), contextlib.ExitStack() as stack:
    with hosts.together():
      heartbeat = (stack.enter_context(run_lock.only_run(workdir))
                   if hosts.is_first() else None)
    return _train(config, workdir, heartbeat, other_data)


def _train(config, workdir, heartbeat, other_data):
  """`train` in a workdir that no other run uses."""
  dense_sets.prepare(config.data)
  with hosts.together():
    class_names = dataset_files.check_root(config.data)
  config = config_check.with_classes(config, class_names)
  logging.info('%d classes: %s', len(class_names), ', '.join(class_names))
  model = models.build(config.model)
  # Before the longer work, so that its errors come first.
  initial = loop.read_initial(config, workdir, model)
  if initial is not None and config.init_from != pretrained.NO_WEIGHTS:
    _warn_of_other_classes(config.init_from, class_names)
  needed = config_check.needs_pseudo_labels(config)
  splits = ground_truth.listed_splits(config.data)
  learned_from, read = {}, []
  if config.data.pseudo_labels == dataset_files.GENERATE and needed:
    resuming = checkpoint.has_checkpoint(workdir / 'checkpoints')
    if 'val' in splits and not resuming:  # Before stage 1, which takes hours.
      val_files.checked(config.data, class_names)
    stage1 = generation.prepare(config)
    learned_from, read = stage1.learned_from(), [stage1.dataset.folder]
    if resuming:
      provenance.check(workdir, learned_from, other_data)
    config = generation.with_pseudo_labels(config, stage1)
  elif config.data.pseudo_labels == dataset_files.GENERATE:
    config = config_check.with_pseudo_labels(
        config, dataset_files.NO_PSEUDO_LABELS)
  dataset = records.prepare(config.data, needed, splits)
  if hosts.is_first():
    record_folders.warn_of_several(
        dataset.folder.parent, [*read, dataset.folder])
    _warn_of_large_images(config.data, dataset)
  validation = Validation(config, model, dataset)
  task = dataclasses.replace(
      _make_task(config, model, validation, heartbeat),
      learned_from=learned_from | dataset.learned_from(needed),
      other_data=other_data)
  outcome = loop.run(config, workdir, task, dataset, initial)
  _report(workdir, outcome, validation)
  return outcome.state


def _warn_of_other_classes(path, class_names):
  """Warns if the initial network has learned other classes, but as many.

  Args:
    path: The workdir of its run; nothing is known of a file of weights.
    class_names: Class names of the new run.
  """
  path = storage.absolute(path)
  learnt = (formats.read_json(path / config_files.CLASSES)
            if path.is_dir() else None) or class_names
  changed = [f'{before} ({name} here)' for before, name in zip(
      learnt, class_names, strict=False) if before != name]
  if changed and len(learnt) == len(class_names):
    logging.warning(
        '%s has learnt other classes, whose classifiers the run starts from: '
        '%s.', path, ', '.join(changed))


def _warn_of_large_images(config, dataset):
  """Warns if crops of images at the smallest scale show little of them.

  Args:
    config: The config's `data`.
    dataset: `records.Records`, of which the first images of 'train' are used.
  """
  sides = [max(example['image'].shape[:2])
           for example in input_pipeline.whole_examples(
               dataset, 'train', limit=_SAMPLED)]
  side = int(np.median(sides)) if sides else 1
  shown = config.crop_size / (side * config.augmentation.scale[0])
  if shown < _SMALLEST_VIEW:
    logging.warning(
        'A crop shows at most %.0f %% of the longer side of an image (%d '
        'pixels). Scale images and masks down, to about %d pixels, or lower '
        'config.data.augmentation.scale or raise config.data.crop_size.',
        100 * shown, side, round(
            config.crop_size / math.sqrt(math.prod(config.augmentation.scale))))


def _make_task(config, model, validate, heartbeat):
  weights = config_check.loss_weights(config)
  enabled = {name: weight for name, weight in weights.items() if weight}
  learning = {
      'enabled': tuple(enabled),
      'settings': config.method.to_dict() | {
          'label_smoothing': config.label_smoothing}}
  return loop.Task(
      model=model,
      loss_terms=functools.partial(loss_terms.compute, model, **learning),
      loss_counts=functools.partial(loss_terms.count, model, **learning),
      loss_weights=enabled,
      inputs=input_pipeline.TRAIN_MASKS,
      augmentation=config.data.augmentation.to_dict() | {
          'crop_size': config.data.crop_size,
          'distance_fill': config.method.distance_fill},
      validate=validate,
      eval_every=config.eval_every,
      on_step=heartbeat.at if heartbeat else lambda step: None)


def _report(workdir, outcome, validation):
  """Writes and prints the results of the finished run."""
  pictures = validation.draw_panels(outcome.state)
  pictures |= validation.draw_extremes(outcome.state)
  if not hosts.is_first():
    return
  figures, best = outcome.figures, outcome.best
  columns, rows = validation.image_figures(outcome.state)
  for name in ('val', 'best', 'worst'):  # The run may have had a val list.
    (workdir / f'panels_{name}.png').unlink(missing_ok=True)
  (workdir / 'val_images.csv').unlink(missing_ok=True)
  for name, picture in pictures.items():
    formats.write_png(workdir / f'panels_{name}.png', picture)
  if rows:
    formats.write_csv(workdir / 'val_images.csv', columns, rows)
  measure = results.measure(best)
  # Written last: if it exists, so do the others.
  formats.write_json(workdir / 'metrics.json', figures | {
      'best_step': best['step']} | (
          {f'best_{measure}': best[measure]} if measure else {}))
  if results.measure(figures):
    print(results.table(figures).text())
  best_figure = (
      f'the best was {100 * best[measure]:.2f} at step {best["step"]}'
      if measure else 'nothing was validated')
  print(f'Step {figures["step"]}; {best_figure}. Pictures and figures are in '
        f'{workdir}.')
