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
  """What a run learns, and from what.

  Attributes:
    model: Network called with normalised images.
    loss_terms: `(variables, batch, rng, counts=None) -> ({name: scalar},
      batch_stats)`, such as `loss_terms.compute`.
    loss_counts: `(variables, batch, rng) -> {name: count}`, such as
      `loss_terms.count`.
    loss_weights: {name: weight} of those terms.
    inputs: What a batch holds besides the image: `encoding.MASKS`, or
      `input_pipeline.SCRIBBLED_CLASSES`.
    augmentation: Keyword arguments of `augment.augment`.
    validate: `state -> (figures, {name: picture})`, the figures as of
      `checkpoint.rank`; None for neither.
    eval_every: Steps between validations; it is due at the last one too.
    on_step: Told the number of completed updates after each.
    learned_from: {part: value} that a resumed run must still learn from, as
      of `provenance.check`; {} where somebody else checks that.
    other_data: Whether a resumed run may learn from other data all the same.
    title: Of the progress line.
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
  """What a run came to.

  Attributes:
    state: The last one.
    figures: Of the last step, with its 'step'; {} without a `validate`.
    best: Figures of the best checkpoint, likewise; the last one's if none was
      compared with anything.
  """
  state: train_state.TrainState
  figures: dict
  best: dict


def open_workdir(workdir):
  """Creates a run's folder and returns its absolute path.

  Raises:
    UserError: It can't be written.
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
  """Returns the variables that a new run starts from.

  Args:
    config: `backbone_weights` is used, and `init_from` if it is there, before
      it.
    workdir: A run that is there already needs none.
    model: Network with a `backbone`.

  Returns:
    Of 'params' and 'batch_stats', those that are neither random nor restored;
    None for none.
  """
  if checkpoint.has_checkpoint(workdir / 'checkpoints'):
    return None
  if config.get('init_from', pretrained.NO_WEIGHTS) != pretrained.NO_WEIGHTS:
    return trained.initial_variables(config.model, config.init_from)
  if config.backbone_weights == pretrained.NO_WEIGHTS:
    return None
  backbone = pretrained.read_backbone(config.backbone_weights, model.backbone)
  return {name: {'backbone': tree} for name, tree in backbone.items()}


def run(config, workdir, task, source, initial):
  """Trains until `config.num_steps`, resuming from `workdir` if it can.

  Args:
    config: ConfigDict of either stage.
    workdir: Absolute path, from `open_workdir`.
    task: A Task.
    source: `records.Records` to learn from.
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
      intervals=[steps for steps in (config.checkpoint_every, task.eval_every)
                 if steps],
      last_step=config.num_steps)
  with preemption.watch(manager) as must_stop, manager:
    provenance.keep(workdir, config, task.learned_from,
                    resuming=state.step > 0, other_data=task.other_data)
    writer = metric_writers.create_default_writer(
        str(workdir), just_logging=not hosts.is_first())
    with metric_writers.ensure_flushes(writer):
      if state.step < config.num_steps:  # Of a finished run, it is on record.
        updates = _updates(
            config, workdir, task, source, mesh, state, compile_step)
        with (environment.recorded(workdir, resuming=state.step > 0),
              contextlib.closing(updates),
              memory.shortage_named(_MEMORY_REMEDY)):
          state = _loop(
              config, task, state, updates, manager, writer, must_stop)
      if state.step < config.num_steps:
        raise Stopped(f'Stopped by a signal; step {int(state.step)} is saved. '
                      'The same command goes on from there.')
      return _outcome(config, task, state, manager, writer)


def _make_state_and_step(config, task, mesh, initial):
  """Returns the first state, laid out over the mesh, and the step."""
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
  return state, functools.partial(
      _compile_step, train_step, step_rng, task.model.backbone.cpu_libraries)


def _compile_step(train_step, rng, cpu_libraries, state, batch):
  """Returns a compiled `(state, batch) -> (state, metrics)`; says its price."""
  start = time.monotonic()
  mesh = batch['image'].sharding.mesh
  compiled = train_step.lower(state, batch, rng).compile(
      compiler_options=sharding.compiler_options(mesh, cpu_libraries))
  memory.require(compiled, mesh, _MEMORY_REMEDY)
  logging.info('Compiled the train step in %.0f s; less on the next start.',
               time.monotonic() - start)
  if hosts.is_first():
    profiling.say_price(compiled, mesh, batch_size=len(batch['image']))
  # A CPU's collectives wait half a minute for the others, when first used.
  hosts.wait_for_all()
  return lambda state, batch: compiled(state, batch, rng)


def _updates(config, workdir, task, source, mesh, state, compile_step):
  """Yields (step, state, scalars, wait) of the remaining updates.

  `step` counts completed updates, as in state.step and checkpoint names. `wait`
  is (begin, end) of the wait for the batch, in `time.monotonic()`'s seconds.
  """
  start_step = int(state.step)
  batches = input_pipeline.train_batches(
      source, task.inputs, augmentation=task.augmentation,
      batch_size=config.batch_size, shuffle_buffer=config.data.shuffle_buffer,
      seed=config.seed, start_step=start_step,
      rows=sharding.local_rows(mesh, config.batch_size))
  steps = range(start_step + 1, config.num_steps + 1)
  profiled = config_check.profiled_steps(config.profile)
  train_step = None
  with (contextlib.closing(batches),  # Or TensorFlow complains at exit.
        contextlib.closing(profiling.Trace(profiled, workdir)) as trace):
    for step in steps:
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
  """Runs the updates with all that is due between them; the last state."""
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
        log.flush()  # Ends the run before a broken state is saved.
      figures = {}
      if evaluating:
        figures = _validate(task, writer, state)
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


def _validate(task, writer, state):
  """Writes what validation finds to TensorBoard; returns the figures."""
  figures, pictures = task.validate(state)
  step = int(state.step)
  writer.write_scalars(step, {
      f'val/{name}': value for name, value in figures.items()
      if isinstance(value, float)})
  writer.write_images(step, {f'panels/{name}': picture[None]
                             for name, picture in pictures.items()})
  return {'step': step} | figures


def _outcome(config, task, state, manager, writer):
  """Returns what the run came to; validates if the last step was not."""
  if task.validate is None:
    return Outcome(state, {}, {})
  figures = checkpoint.figures(manager, int(state.step))
  if not figures:  # Saved on a signal, and the last step after all.
    figures = {'images_per_second': None} | _validate(task, writer, state)
  best = max(figures, checkpoint.figures(manager, manager.best_step()),
             key=checkpoint.rank)
  return Outcome(state, figures, best)
