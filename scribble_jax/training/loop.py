"""The train loop of both stages: updates, checkpoints, validation, resume."""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import time
from typing import Any

from absl import logging
from clu import metric_writers
import flax.linen as nn
import jax

from scribble_jax import config_check
from scribble_jax import hosts
from scribble_jax import memory
from scribble_jax import sharding
from scribble_jax.data import input_pipeline
from scribble_jax.errors import Stopped
from scribble_jax.errors import UserError
from scribble_jax.files import storage
from scribble_jax.files import write_errors
from scribble_jax.training import environment
from scribble_jax.training import optimizer
from scribble_jax.training import preemption
from scribble_jax.training import profiling
from scribble_jax.training import provenance
from scribble_jax.training import train_state
from scribble_jax.training.step_log import StepLog
from scribble_jax.training.train_step import make_train_step
from scribble_jax.weights import checkpoint
from scribble_jax.weights import pretrained
from scribble_jax.weights import trained

_MEMORY_REMEDY = ("Lower batch_size or data.crop_size in this stage's config, "
                  'or raise optim.accumulate; on an accelerator, '
                  'model.remat=blocks saves memory too.')


@dataclasses.dataclass(frozen=True)
class Task:
  """What a stage's run learns.

  Attributes:
    model: Network that is called with normalised images.
    loss_terms: As of `gradients.of_batch`.
    loss_counts: `(variables, batch, rng) -> {name: count}`, as of
      `gradients.in_parts`.
    loss_weights: {name: weight} of those terms.
    inputs: Names of a batch's arrays besides the image: `encoding.MASKS`, or
      `input_pipeline.SCRIBBLED_CLASSES`.
    augmentation: Keyword arguments of `augment.augment`.
    validate: `state -> (figures, {name: picture})`, the figures as of
      `checkpoint.rank`; None for no validation.
    eval_every: Steps between validations; the last step is validated too.
    on_step: Called with the number of completed updates after each.
    learned_from: {part: value} that a resumed run must still learn from, as
      of `provenance.check`; {} if it is checked elsewhere.
    other_data: Whether a resumed run may learn from other data.
    title: Title of the progress line.
  """
  model: nn.Module
  loss_terms: Callable
  loss_counts: Callable
  loss_weights: dict[str, float]
  inputs: tuple[str, ...]
  augmentation: dict[str, Any]
  validate: Callable | None = None
  eval_every: int | None = None
  on_step: Callable = lambda step: None
  learned_from: dict[str, Any] = dataclasses.field(default_factory=dict)
  other_data: bool = False
  title: str = 'Training'


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The result of a run.

  Attributes:
    state: The last state.
    figures: Figures of the last step, with its 'step'; {} without validation.
    best: Figures of the best checkpoint, or of the last one if none is ranked.
  """
  state: train_state.TrainState
  figures: dict
  best: dict


def open_workdir(workdir):
  """Creates a run's folder and returns its absolute path.

  Raises:
    UserError: The folder can't be written to.
  """
  path = storage.absolute(workdir)
  try:
    with storage.os_errors():
      path.mkdir(parents=True, exist_ok=True)
    write_errors.probe(path)
  except OSError as error:
    raise UserError(f'Cannot write to the workdir {path}: {error}. Set '
                    '--workdir to a folder that can be written.') from error
  return path


def read_initial(config, workdir, model):
  """Returns the pretrained variables that a new run starts from.

  Args:
    config: ConfigDict with `backbone_weights` and, in stage 2, `init_from`,
      which is preferred.
    workdir: Absolute path. If it holds checkpoints, nothing is read.
    model: Network with a `backbone`.

  Returns:
    A subtree of 'params' and 'batch_stats'; None if all variables are random
    or restored.
  """
  if checkpoint.has_checkpoint(workdir / 'checkpoints'):
    return None
  if config.get('init_from', pretrained.NO_WEIGHTS) != pretrained.NO_WEIGHTS:
    return trained.initial_variables(config.model, config.init_from)
  if config.backbone_weights == pretrained.NO_WEIGHTS:
    return None
  backbone = pretrained.read_backbone(config.backbone_weights, model.backbone)
  return {name: {'backbone': tree} for name, tree in backbone.items()}


def run(config, workdir, task, dataset, initial):
  """Trains until `config.num_steps`, resuming from `workdir` if it can.

  Args:
    config: ConfigDict of either stage.
    workdir: Absolute path, from `open_workdir`.
    task: A Task.
    dataset: `records.Records` to learn from.
    initial: From `read_initial`.

  Returns:
    An Outcome.

  Raises:
    UserError: The workdir holds another run, or a loss is not finite.
    Stopped: By a signal; the last state is saved.
  """
  mesh = sharding.make_mesh(config.mesh)
  state, compile_step = _make_state_and_step(config, task, mesh, initial)
  state = checkpoint.restore_latest(workdir / 'checkpoints', state)
  manager = checkpoint.open_manager(
      workdir / 'checkpoints', keep=config.keep_checkpoints,
      intervals=[*filter(None, (config.checkpoint_every, task.eval_every))],
      last_step=config.num_steps)
  with preemption.watch(manager) as must_stop, manager:
    provenance.keep(workdir, config, task.learned_from,
                    resuming=state.step > 0, other_data=task.other_data)
    writer = metric_writers.create_default_writer(
        str(workdir), just_logging=not hosts.is_first())
    with metric_writers.ensure_flushes(writer):
      if state.step < config.num_steps:
        updates = _updates(
            config, workdir, task, dataset, mesh, state, compile_step)
        with (environment.recorded(workdir, resuming=state.step > 0),
              contextlib.closing(updates),
              memory.shortage_named(_MEMORY_REMEDY)):
          state = _loop(
              config, task, state, updates, manager, writer, must_stop)
      if state.step < config.num_steps:
        raise Stopped(f'Stopped by a signal; step {int(state.step)} is saved. '
                      'The same command goes on from there.')
      return _outcome(task, state, manager, writer)


def _make_state_and_step(config, task, mesh, initial):
  """Returns the first state, split over the mesh, and `compile_step`.

  `compile_step` is `(state, batch) -> train_step`, and `train_step` is
  `(state, batch) -> (state, metrics)`.
  """
  schedule = optimizer.learning_rate(
      config.num_steps, lr=config.optim.lr,
      warmup_steps=config.optim.warmup_steps)
  tx = optimizer.make_optimizer(
      config.num_steps, task.model.backbone,
      **{key: config.optim[key] for key in optimizer.KEYS})
  init_rng, step_rng = jax.jit(  # The same on all hosts.
      jax.random.split, out_shardings=sharding.replicated(mesh))(
          jax.random.key(config.seed))
  create = functools.partial(
      train_state.create, task.model, tx,
      image_shape=(config.data.crop_size, config.data.crop_size, 3),
      average=config.optim.ema_decay > 0)
  layout = sharding.of_state(mesh, jax.eval_shape(create, init_rng, initial))
  state = jax.jit(create, out_shardings=layout)(init_rng, initial)
  train_step = make_train_step(
      task.loss_terms, tx, schedule, task.loss_weights, mesh, layout,
      ema_decay=config.optim.ema_decay, accumulate=config.optim.accumulate,
      loss_counts=task.loss_counts)
  options = sharding.compiler_options(mesh, task.model.backbone.cpu_libraries)

  def compile_step(state, batch):
    """Compiles the step, checks its memory and logs its cost."""
    start = time.monotonic()
    compiled = train_step.lower(state, batch, step_rng).compile(
        compiler_options=options)
    memory.require(compiled, mesh, _MEMORY_REMEDY)
    logging.info('Compiled the train step in %.0f s; less on the next start.',
                 time.monotonic() - start)
    if hosts.is_first():
      profiling.log_cost(compiled, mesh, config.batch_size)
    # The first collective on a CPU times out if a host is half a minute late.
    hosts.wait_for_all()
    return lambda state, batch: compiled(state, batch, step_rng)

  return state, compile_step


def _updates(config, workdir, task, dataset, mesh, state, compile_step):
  """Yields (step, state, scalars, wait) after each of the remaining updates.

  `step` is the number of completed updates, as in state.step and in the names
  of checkpoints. `wait` is the (begin, end) of the wait for the batch, in
  `time.monotonic()`'s seconds.
  """
  start_step = int(state.step)
  batches = input_pipeline.train_batches(
      dataset, task.inputs, augmentation=task.augmentation,
      batch_size=config.batch_size, shuffle_buffer=config.data.shuffle_buffer,
      seed=config.seed, start_step=start_step,
      rows=sharding.local_rows(mesh, config.batch_size))
  profiled = config_check.profiled_steps(config.profile)
  train_step = None
  with (contextlib.closing(batches),  # TensorFlow warns at exit otherwise.
        contextlib.closing(profiling.Trace(profiled, workdir)) as trace):
    for step in range(start_step + 1, config.num_steps + 1):
      trace.before(step)
      with jax.profiler.StepTraceAnnotation('train', step_num=step):
        start = time.monotonic()
        batch = sharding.shard_batch(next(batches), mesh)
        wait = start, time.monotonic()
        train_step = train_step or compile_step(state, batch)
        state, scalars = train_step(state, batch)
      trace.after(step, scalars)
      yield step, state, scalars, wait


def _loop(config, task, state, updates, manager, writer, must_stop):
  """Runs the updates; logs, validates and saves; returns the last state."""
  start_step = int(state.step)
  with StepLog(writer, start_step=start_step, num_steps=config.num_steps,
               batch_size=config.batch_size, title=task.title,
               loss_weights=task.loss_weights) as log:
    for step, state, scalars, wait in updates:  # noqa: PLR1704, the newest.
      log.add(step, scalars, wait)
      task.on_step(step)
      evaluating = task.validate and (
          not step % task.eval_every or step == config.num_steps)
      stopping = must_stop(step - start_step)
      saving = stopping or manager.should_save(step)
      if evaluating or saving or not step % config.log_every:
        log.flush()  # Raises before a state that is not finite is saved.
      figures = {}
      if evaluating:
        figures = _validate(task, writer, step, state)
        figures['images_per_second'] = log.images_per_second
      if saving:
        start = time.monotonic()
        checkpoint.save(manager, step, state, figures)
        writer.write_scalars(
            step, {'checkpoint_seconds': time.monotonic() - start})
      if evaluating or saving:
        log.pause()
      if stopping:
        break
  return state


def _validate(task, writer, step, state):
  """Validates, writes the results to TensorBoard and returns the figures."""
  figures, pictures = task.validate(state)
  writer.write_scalars(step, {
      f'val/{name}': value for name, value in figures.items()
      if isinstance(value, float)})
  writer.write_images(step, {f'panels/{name}': picture[None]
                             for name, picture in pictures.items()})
  return {'step': step} | figures


def _outcome(task, state, manager, writer):
  """Returns the Outcome; validates the last step unless that was done."""
  if task.validate is None:
    return Outcome(state, {}, {})
  step = int(state.step)
  figures = checkpoint.figures(manager, step)
  if not figures:  # The last step was saved because of a signal.
    figures = {'images_per_second': None} | _validate(task, writer, step, state)
  best = max(figures, checkpoint.figures(manager, manager.best_step()),
             key=checkpoint.rank)
  return Outcome(state, figures, best)
