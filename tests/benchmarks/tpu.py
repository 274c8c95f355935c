"""What the TPU compiler says of the product's programs, without a TPU.

    python tests/benchmarks/tpu.py [--rows REGULAR_EXPRESSION] [--smoke]

It compiles the programs ahead of time for TPUs that need not be there, from
shapes alone: no parameters are made and nothing is executed. It needs libtpu,
which `launch/setup.sh cpu test` puts beside the other packages on Linux.

A ResNet at full size takes the compiler several minutes and 7 GB of memory.

Columns, all of one chip: memory for arguments, results, temporary arrays and
code; floating-point operations and bytes that are read and written, where each
loop counts as one round (the losses' strips, LoRM's blocks); milliseconds of
the cycles that the compiler estimates, likewise, without collectives; of each
kind of collective their number and the bytes that arrive, those in loops
apart; gathers and scatters. The exit code is 1 if a program would need the
host while it runs.
"""

import dataclasses
import functools
import importlib.metadata
import os
import pathlib
import re
import sys
import time
from unittest import mock

# Before JAX is imported: libtpu looks for no TPU, locks no file against other
# processes, and writes no logs.
os.environ |= {
    'JAX_PLATFORMS': 'cpu', 'TPU_SKIP_MDS_QUERY': '1',
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
    'TPU_ACCELERATOR_TYPE': 'v5litepod-4', 'TPU_WORKER_HOSTNAMES': 'localhost',
    'TPU_LOG_DIR': 'disabled', 'TPU_MIN_LOG_LEVEL': '3',
    'TPU_STDERR_LOG_LEVEL': '3'}
# Where launch/setup.sh puts libtpu.
sys.path.insert(0, str(pathlib.Path(sys.prefix, 'libtpu')))

import jax
from jax.experimental import topologies
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from configs import scribblesup
from scribble_jax import config_check
from scribble_jax import inference
from scribble_jax import models
from scribble_jax import sharding
from scribble_jax import train
from scribble_jax.files.masks import SCRIBBLED_CLASSES
from scribble_jax.pseudo_labels import classification
from scribble_jax.pseudo_labels import config_rules
from scribble_jax.pseudo_labels import network
from scribble_jax.training import loop
from scribble_jax.training import optimizer
from scribble_jax.training import train_state
from scribble_jax.training.train_step import make_train_step
from tests.benchmarks import harness
from tests.benchmarks import hlo


@dataclasses.dataclass(frozen=True)
class Chip:
  """What a kind of chip has.

  Attributes:
    gigabytes: Of memory.
    hertz: Of its clock: bfloat16 FLOP/s of the data sheet, divided by those
      that its matrix units do in a cycle.
    options: Of `get_topology_desc`.
  """
  gigabytes: int
  hertz: float
  options: dict = dataclasses.field(default_factory=dict)


CHIPS = {
    'v4': Chip(32, 1.05e9, {'chip_config_name': 'megacore'}),
    'v5e': Chip(16, 1.5e9),
    'v5p': Chip(95, 1.75e9),
}


@dataclasses.dataclass(frozen=True)
class Row:
  """A program for a topology.

  Attributes:
    program: Of PROGRAMS.
    topology: Such as 'v5e:2x2'.
    batch_size: Global; None where the program has its own.
    settings: {key of configs/scribblesup.py: value}, of what differs.
  """
  program: str
  topology: str
  batch_size: int | None = None
  settings: dict = dataclasses.field(default_factory=dict)


_R50 = {'model.backbone': 'resnet50'}
_DINOV2 = {'model.backbone': 'dinov2_small', 'model.head': 'linear'}
_LITE = {'model.backbone': 'efficientnet_lite0'}
_REMAT = {'model.remat': 'blocks'}
ROWS = (
    Row('step', 'v5e:2x2', 16),
    Row('step', 'v5e:2x2', 16, {'mesh.model': 4}),
    Row('step', 'v5e:2x2', 16, _R50),
    Row('step', 'v5e:2x2', 16, _LITE),
    Row('step', 'v5e:2x2', 16, {'model.head': 'deeplabv2'}),
    Row('step', 'v5e:2x2', 16, _DINOV2),
    Row('step', 'v5e:4x4', 16),
    Row('step', 'v5e:4x4', 128),
    Row('step', 'v5e:4x4', 128, _REMAT),
    Row('step', 'v5e:4x4', 128, _R50),
    Row('step', 'v5e:4x4', 128, {'mesh.model': 16}),
    Row('step', 'v5e:16x16', 1024),
    Row('step', 'v5e:16x16', 1024, _R50),
    Row('step', 'v5e:16x16', 1024, {'mesh.model': 16}),
    Row('step', 'v4:2x2x1', 16),
    Row('step', 'v5p:2x2x1', 16),
    Row('predict', 'v5e:2x2'),
    Row('predict', 'v5e:2x2', None, _R50),
    Row('predict', 'v5e:2x2', None, _DINOV2),
    Row('predict', 'v5e:2x2', None, _LITE),
    Row('stage 1 step', 'v5e:2x2', 16),
    Row('stage 1 step', 'v5e:4x4', 128),
    Row('stage 1 predict', 'v5e:2x2'),
)
# Of a network that compiles in half a minute.
TINY = {'model.backbone': 'resnet18', 'model.width': 8, 'model.head_width': 16,
        'data.crop_size': 65}
TINY_ROWS = (
    Row('step', 'v5e:2x2', 8),
    Row('step', 'v5e:2x2', 8, {'mesh.model': 4}),
    Row('predict', 'v5e:2x2'),
    Row('stage 1 step', 'v5e:2x2', 8),
    Row('stage 1 predict', 'v5e:2x2'),
)


def main():
  args = harness.parse_args('tpu', __doc__, _add_arguments)
  chosen = [row for row in (TINY_ROWS if args.smoke else ROWS)
            if re.search(args.rows, title(row))]
  if not chosen:
    raise SystemExit(f'error: --rows={args.rows} matches no row.')
  rows, programs = [], {}
  for row in chosen:
    print(f'Compiling {title(row)}.', flush=True)
    figures = compile_row(row, TINY if args.smoke else {})
    programs[title(row)] = figures
    rows.append(_shown(row, figures))
  harness.report(args, rows, libtpu=libtpu_version(), programs=programs)
  reaching = [name for name, figures in programs.items()
              if figures.get('host transfers')]
  if reaching:
    raise SystemExit(
        f'error: these programs need the host: {", ".join(reaching)}.')


def _add_arguments(parser):
  parser.add_argument('--rows', default='',
                      help='compile only those whose title matches')


def title(row):
  """Returns a row's name, for a table's reader and for `--rows`."""
  parts = [row.program, row.topology]
  parts += [f'batch {row.batch_size}'] if row.batch_size else []
  return ', '.join(parts + [
      f'{key}={value}' for key, value in row.settings.items()])


def libtpu_version():
  """Returns the version of libtpu; None if it is not there."""
  try:
    return importlib.metadata.version('libtpu')
  except importlib.metadata.PackageNotFoundError:
    return None


def make_config(row, size):
  """Returns the product's config of stage 2 with a row's settings.

  Args:
    row: A Row.
    size: {key: value} of settings that all rows share.
  """
  config = scribblesup.get_config()
  settings = size | row.settings
  # Stage 1's network is called the same, in a section of its own.
  settings |= {f'stage1.{key}': value for key, value in settings.items()
               if key.startswith('model.')}
  config.update_from_flattened_dict(settings)
  if row.batch_size:
    config.batch_size = config.stage1.batch_size = row.batch_size
  return config


def make_mesh(topology, shape=None):
  """Returns the product's mesh of a TPU's chips, which need not be there."""
  chip, _, _ = topology.partition(':')
  devices = topologies.get_topology_desc(
      platform='tpu', topology_name=topology, **CHIPS[chip].options).devices
  return sharding.make_mesh(shape, list(devices))


def compile_row(row, size):
  """Compiles a row's program and returns its figures.

  Args:
    row: A Row.
    size: As of `make_config`.

  Returns:
    {name: number, or of collectives {kind: number}}; where the program does
    not fit into a chip's memory, 'bytes' of memory alone.
  """
  config = make_config(row, size)
  chip = CHIPS[row.topology.split(':')[0]]
  mesh = make_mesh(row.topology, config.mesh)
  with mock.patch.object(jax, 'default_backend', return_value='tpu'):
    lowered = PROGRAMS[row.program](config, mesh)
    start = time.perf_counter()
    try:
      compiled = lowered.compile(
          compiler_options=sharding.compiler_options(
              mesh, models.make_backbone(config.model).cpu_libraries))
    except jax.errors.JaxRuntimeError as error:
      return {'bytes': _exhausted(error),
              'seconds': time.perf_counter() - start}
  seconds = time.perf_counter() - start
  return figures_of(compiled, chip) | {'seconds': seconds}


def figures_of(compiled, chip):
  """Returns what the compiler says of a program, for one chip."""
  memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
  program = hlo.parse(compiled.as_text())
  kinds = [*hlo.COLLECTIVES, 'gather', 'scatter']
  return {
      'bytes': (memory.argument_size_in_bytes + memory.output_size_in_bytes
                - memory.alias_size_in_bytes + memory.temp_size_in_bytes
                + memory.generated_code_size_in_bytes),
      'argument bytes': memory.argument_size_in_bytes,
      'temporary bytes': memory.temp_size_in_bytes,
      'code bytes': memory.generated_code_size_in_bytes,
      'flop': cost['flops'],
      'accessed bytes': cost['bytes accessed'],
      'milliseconds': program.cycles / chip.hertz * 1e3,
      'count': {kind: program.count(kind, in_loop=False) for kind in kinds},
      'count in loops': {
          kind: program.count(kind, in_loop=True) for kind in kinds},
      'collective bytes': {
          kind: program.num_bytes(kind) for kind in hlo.COLLECTIVES},
      'host transfers': program.host_transfers()}


def _exhausted(error):
  """Returns the bytes that a program would have taken; raises what is else."""
  match = re.search(r'Used ([\d.]+)([KMGT]) of [\d.]+[KMGT] hbm', str(error))
  if not match:
    raise error
  return float(match[1]) * 2**(10 * (1 + 'KMGT'.index(match[2])))


def _shown(row, figures):
  """Returns a row of the printed table."""
  chip = CHIPS[row.topology.split(':')[0]]
  shown = {'program': title(row), 'GB': figures['bytes'] / 1e9,
           'of': chip.gigabytes}
  if 'flop' not in figures:
    return shown | dict.fromkeys(_COLUMNS) | {'compile s': figures['seconds']}
  values = [figures['flop'] / 1e9, figures['accessed bytes'] / 1e9,
            figures['milliseconds']]
  for kind in figures['count']:
    outside, inside = (
        figures[name][kind] for name in ('count', 'count in loops'))
    text = f'{outside}+{inside}' if inside else f'{outside}'
    num_bytes = figures['collective bytes'].get(kind)
    values.append(f'{text} ({num_bytes / 1e6:.1f} MB)' if num_bytes else text)
  return shown | dict(zip(
      _COLUMNS, [*values, len(figures['host transfers'])], strict=True)) | {
          'compile s': figures['seconds']}


_COLUMNS = ('GFLOP', 'GB moved', 'ms', *hlo.COLLECTIVES, 'gather', 'scatter',
            'host')


def _lower_step(task, config, mesh):
  """Returns a training step as `loop.run` makes it, lowered from shapes."""
  shape = jax.ShapeDtypeStruct
  tx = optimizer.make_optimizer(
      config.num_steps, task.model.backbone,
      **{key: config.optim[key] for key in optimizer.KEYS})
  schedule = optimizer.learning_rate(
      config.num_steps, lr=config.optim.lr,
      warmup_steps=config.optim.warmup_steps)
  crop = (config.data.crop_size, config.data.crop_size)
  key = jax.eval_shape(lambda: jax.random.key(0))
  state = jax.eval_shape(functools.partial(
      train_state.create, task.model, tx, image_shape=(*crop, 3)), key)
  step = make_train_step(
      task.loss_terms, tx, schedule, task.loss_weights, mesh,
      sharding.of_state(mesh, state))
  batch = {name: shape((config.batch_size, *crop), jnp.uint8)
           for name in task.inputs}
  batch['image'] = shape((config.batch_size, *crop, 3), jnp.uint8)
  if SCRIBBLED_CLASSES in batch:
    batch[SCRIBBLED_CLASSES] = shape((config.batch_size, 256), jnp.bool)
  return step.lower(state, batch, key)


def _lower_predict(model, config, mesh, maps):
  """Returns inference on images of VOC's bucket, lowered from shapes."""
  protocol = config_check.evaluation_protocol(config)
  size = (375, 500)
  work = inference._to_work(protocol, np.zeros([*size, 3], np.uint8), ())
  batch_size = inference._BATCH_SIZE
  slots = mesh.size * inference._num_slots(batch_size, work)
  image, (layout,) = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((slots, *x.shape), x.dtype),
      (work.image, work.layouts))
  variables = jax.eval_shape(
      model.init, jax.random.key(0),
      jnp.zeros([1, protocol.window, protocol.window, 3]))
  return inference._make_add_windows(maps, model, mesh, batch_size).lower(
      variables, image, layout, None)


def lower_step(config, mesh):
  """Stage 2's update."""
  task = train._make_task(config, models.build(config.model), None, None)
  return _lower_step(task, config, mesh)


def lower_predict(config, mesh):
  """Stage 2's network on the windows of images."""
  return _lower_predict(models.build(config.model), config, mesh,
                        inference.class_probabilities)


def _classifier(config):
  return models.build_classifier(config.model, network.learns_strokes(config))


def lower_stage1_step(config, mesh):
  """Stage 1's update, as `network.make_judge` makes it."""
  config = config_rules.stage1_config(config)
  model, weights = _classifier(config), config.loss_weights.to_dict()
  task = loop.Task(
      model=model, loss_terms=functools.partial(
          classification.loss_terms, model, enabled=tuple(weights)),
      loss_counts=functools.partial(
          classification.loss_counts, model, enabled=tuple(weights)),
      loss_weights=weights, inputs=classification.INPUTS, augmentation={})
  return _lower_step(task, config, mesh)


def lower_stage1_predict(config, mesh):
  """Stage 1's network on the windows of images."""
  config = config_rules.stage1_config(config)
  return _lower_predict(_classifier(config), config, mesh,
                        classification.class_maps)


PROGRAMS = {'step': lower_step, 'predict': lower_predict,
            'stage 1 step': lower_stage1_step,
            'stage 1 predict': lower_stage1_predict}


if __name__ == '__main__':
  main()
