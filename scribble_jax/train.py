"""The train loop: the only module that knows every other one."""

import functools
import json
import pathlib
import tempfile

from absl import logging
from clu import metric_writers
import jax
from tqdm import tqdm

from scribble_jax import checkpoint
from scribble_jax import config_check
from scribble_jax import inference
from scribble_jax import metrics
from scribble_jax import models
from scribble_jax import optimizer
from scribble_jax import panels
from scribble_jax import preemption
from scribble_jax import pretrained
from scribble_jax import results
from scribble_jax import sharding
from scribble_jax import train_state
from scribble_jax.data import embedded
from scribble_jax.data import input_pipeline
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.step_log import StepLog
from scribble_jax.train_step import make_train_step


def train(config, workdir):
  """Trains until `config.num_steps`, resuming from `workdir` if it can.

  Args:
    config: ConfigDict as in configs/scribblesup.py.
    workdir: Directory for checkpoints, event files, metrics and pictures.

  Returns:
    The last state.

  Raises:
    UserError: Whatever a user can mend.
  """
  config_check.check_training(config, jax.device_count())
  workdir = _open_workdir(workdir)
  backbone = _read_backbone(config, workdir)  # Before the longer work.
  if config.data.embedded:  # Drawn, not downloaded.
    embedded.prepare_dataset(config.data.root, **config.data.embedded)
  source = records.prepare(
      config.data, config_check.needs_pseudo_labels(config))
  config = config_check.with_classes(config, source.class_names)
  mesh = sharding.make_mesh()
  model = models.build(config.model)
  state, train_step = _make_state_and_step(config, model, mesh, backbone)
  predict = inference.make_predict(
      model, mesh, config_check.validation_protocol(config),
      batch_size=config.evaluation.batch_size)
  manager = checkpoint.open_manager(
      workdir / 'checkpoints', keep=config.keep_checkpoints,
      intervals=(config.checkpoint_every, config.eval_every),
      last_step=config.num_steps)

  with preemption.watch() as must_stop, manager:
    state = checkpoint.restore_latest(manager, state)
    _keep_config(workdir, config, resuming=state.step > 0)
    writer = metric_writers.create_default_writer(
        str(workdir), just_logging=jax.process_index() != 0)
    with metric_writers.ensure_flushes(writer):
      state = _loop(config, state, train_step, predict, source, mesh, manager,
                    writer, must_stop)
      if state.step >= config.num_steps:
        _report(config, workdir, predict, state, source, manager, writer)
  return state


def _open_workdir(workdir):
  """Creates the folder, or raises UserError if it can't be written."""
  path = pathlib.Path(workdir).absolute()
  try:
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
      pass
  except OSError as error:
    raise UserError(f'Cannot write to the workdir {path}: {error}. Set '
                    '--workdir to a folder that can be written.') from error
  return path


def _read_backbone(config, workdir):
  """Returns the backbone's first variables, None for random or old ones."""
  if (config.backbone_weights == pretrained.NO_WEIGHTS
      or checkpoint.has_checkpoint(workdir / 'checkpoints')):
    return None
  model = models.build(config.model)
  return pretrained.read_backbone(
      config.backbone_weights, model.depth, model.width)


def _keep_config(workdir, config, resuming):
  """Leaves the config in the workdir; a resumed run must go on with its own.

  Raises:
    UserError: The run in the workdir differs in what it learns.
  """
  path = workdir / 'config.json'
  if resuming and path.exists():
    config_check.compare(config, json.loads(path.read_text()), workdir)
  if not jax.process_index():
    results.write_json(path, json.loads(config.to_json()))


def _make_state_and_step(config, model, mesh, backbone):
  """Returns the initial state, laid out over the mesh, and the train step."""
  schedule = optimizer.learning_rate(
      config.num_steps, lr=config.optim.lr,
      warmup_steps=config.optim.warmup_steps)
  tx = optimizer.make_optimizer(config.num_steps, **config.optim)
  init_rng, step_rng = jax.random.split(jax.random.key(config.seed))
  step_rng = jax.device_put(step_rng, sharding.replicated(mesh))
  image_shape = (config.data.crop_size, config.data.crop_size, 3)
  state = jax.jit(
      functools.partial(train_state.create, model, tx, image_shape=image_shape),
      out_shardings=sharding.replicated(mesh))(init_rng, backbone)
  train_step = make_train_step(
      model, tx, schedule, config_check.loss_weights(config),
      config.method.to_dict(), mesh)
  return state, lambda state, batch: train_step(state, batch, step_rng)


def _loop(config, state, train_step, predict, source, mesh, manager, writer,
          must_stop):
  """Runs the remaining updates; returns the last state."""
  start_step = int(state.step)
  augmentation = config.data.augmentation.to_dict() | {
      'crop_size': config.data.crop_size,
      'distance_fill': config.method.distance_fill}
  batches = input_pipeline.train_batches(
      source, augmentation=augmentation, batch_size=config.batch_size,
      seed=config.seed, start_step=start_step,
      process_index=jax.process_index(), process_count=jax.process_count())

  # `step` counts completed updates, as in state.step and checkpoint names.
  steps = range(start_step + 1, config.num_steps + 1)
  with StepLog(writer, start_step=start_step, num_steps=config.num_steps,
               batch_size=config.batch_size) as log:
    for step, batch in zip(steps, batches, strict=False):
      with jax.profiler.StepTraceAnnotation('train', step_num=step):
        state, scalars = train_step(state, sharding.shard_batch(batch, mesh))
      log.add(step, scalars)

      evaluating = not step % config.eval_every or step == config.num_steps
      stopping = must_stop(step - start_step)
      saving = stopping or manager.should_save(step)
      if evaluating or saving or not step % config.log_every:
        log.flush()  # Ends the run before a broken state is saved.
      figures = {}
      if evaluating:
        figures = _validate(config, predict, state, source, writer)
        figures['images_per_second'] = log.images_per_second
      if saving:
        checkpoint.save(manager, step, state, figures)
      if evaluating or saving:
        log.pause()
      if stopping:
        logging.warning('Stopped by a signal; step %d is saved. The same '
                        'command goes on from there.', step)
        break
  return state


def _validate(config, predict, state, source, writer):
  """Evaluates on every val image, writes to TensorBoard, returns figures."""
  step = int(state.step)
  examples = tqdm(
      input_pipeline.whole_examples(source, 'val'), desc='Validating',
      total=source.num_examples('val'), unit='image', leave=False,
      dynamic_ncols=True)
  confusion = metrics.confusion_of_examples(
      inference.with_predictions(predict, state.variables, examples),
      config.model.num_classes)
  figures = {'step': step} | results.summary(source.class_names, confusion)
  writer.write_scalars(step, {f'val/{name}': figures[name]
                              for name in ('miou', 'pixel_accuracy')})
  pictures = _draw_panels(config, predict, state, source)
  writer.write_images(step, {f'panels/{split}': picture[None]
                             for split, picture in pictures.items()})
  return figures


def _draw_panels(config, predict, state, source):
  """Returns {split: [height, width, 3] uint8 picture of some examples}."""
  return {
      split: panels.draw_panels(
          list(inference.with_predictions(
              predict, state.variables, input_pipeline.whole_examples(
                  source, split, limit=config.num_panels))),
          source.class_names)
      for split in ('train', 'val')}


def _report(config, workdir, predict, state, source, manager, writer):
  """Writes and prints what the finished run came to."""
  metric = checkpoint.BEST_METRIC
  figures = checkpoint.figures(manager, int(state.step))
  if metric not in figures:  # Saved on a signal, and the last step after all.
    figures = {'images_per_second': None} | _validate(
        config, predict, state, source, writer)
  best = max((checkpoint.figures(manager, manager.best_step()), figures),
             key=lambda candidate: candidate.get(metric, -1.0))
  pictures = _draw_panels(config, predict, state, source)
  if jax.process_index():  # The first host writes for all.
    return
  results.write_json(workdir / 'metrics.json', figures | {
      'best_miou': best[metric], 'best_step': best['step']})
  for split, picture in pictures.items():
    results.write_png(workdir / f'panels_{split}.png', picture)
  print(results.iou_table(figures))
  print(f'Step {figures["step"]}; the best was {100 * best[metric]:.2f} at '
        f'step {best["step"]}. Pictures and figures are in {workdir}.')
