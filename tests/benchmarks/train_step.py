"""One update of the whole method: time and memory beside PyTorch.

    python tests/benchmarks/train_step.py [--device cpu|gpu|tpu] [--smoke]
    python tests/benchmarks/train_step.py --memory [--topology v5e:2x2]

Needs jax, flax, optax, torch and safetensors. `--memory` compiles only: for
the device there is or, with libtpu installed, for a TPU that is not.
"""

import functools
import os
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from scribble_jax import loss_terms
from scribble_jax import sharding
from scribble_jax.models import deeplab
from scribble_jax.models.backbones import BACKBONES
from scribble_jax.training import optimizer
from scribble_jax.training import train_state
from scribble_jax.training.train_step import make_train_step
from scribble_jax.weights import pretrained
from tests.benchmarks import harness
from tests.benchmarks import torch_step
from tests.oracles import torch_efficientnet_lite
from tests.oracles import torch_networks
from tests.oracles import torch_protocol

SETTINGS = dict.fromkeys(
    ('pseudo_ignore', 'lorm_background', 'lorm_foreground', 'normaliser'),
    'official') | {'label_smoothing': 0.1}
SGD = {'lr': 1e-3, 'warmup_steps': 0, 'momentum': 0.9, 'weight_decay': 5e-4}
CLASSES = 21
FOREGROUND = 0.3  # Share of the pixels, as in VOC (METHOD 9).
MASKS = ('scribble', 'pseudo_label', 'scribble_distance',
         'pseudo_label_distance')


def main():
  args = harness.parse_args('train_step', __doc__, _add_arguments)
  complete(args)
  if args.memory:
    _report_memory(args)
  else:
    _report_time(args)


def complete(args):
  """Sets what the command line leaves open."""
  on_cpu = args.device == 'cpu' and not args.topology
  args.dtype = args.dtype or ('float32' if on_cpu else 'bfloat16')
  args.batch_size = args.batch_size or (2 if on_cpu else 16)
  args.size = {'crop': args.crop, 'width': 64, 'head_width': args.head_width}
  if args.smoke:
    args.size = {'crop': 65, 'width': 8, 'head_width': 16}
    if _depth(args):
      args.backbone = 'resnet18'


def _add_arguments(parser):
  add_arguments(parser)
  parser.add_argument('--memory', action='store_true',
                      help='compile at several batch sizes, run nothing')
  parser.add_argument('--batch_sizes', type=int, nargs='+',
                      default=[2, 4, 8, 16], help='of --memory')


def add_arguments(parser):
  """Adds what names the network and what it is compiled for."""
  parser.add_argument('--backbone', choices=list(BACKBONES),
                      default='resnet50')
  parser.add_argument('--crop', type=int, default=465, help='pixels')
  parser.add_argument('--head_width', type=int, default=256)
  parser.add_argument('--head', choices=list(deeplab.DILATIONS),
                      default='deeplabv3plus')
  parser.add_argument('--batch_size', type=int,
                      help='2 on a CPU, 16 elsewhere unless given')
  parser.add_argument('--dtype', choices=['float32', 'bfloat16'],
                      help='float32 on a CPU, bfloat16 elsewhere unless given')
  parser.add_argument('--topology',
                      help='compile for this TPU, such as v5e:2x2')


def _report_time(args):
  device = harness.torch_device(args.device)
  batch = _batch(args.batch_size, args.size['crop'])
  contestants, compiled, compile_seconds, state = _ours(args, batch)
  weights = {name: torch.tensor(value)
             for name, value in pretrained.to_pytorch(
                 state.variables, backbone=_backbone(args)).items()}
  flops = _plain_flops(args)
  for name, tuned in (('PyTorch', False), ('PyTorch tuned', True)):
    if device.type == 'cuda' or not tuned:
      contestants[name] = torch_step.make_step(
          _torch_network(args), batch, weights, device,
          {name: SGD[name] for name in ('lr', 'momentum', 'weight_decay')},
          autocast=args.dtype == 'bfloat16', tuned=tuned,
          normalise=_torch_normalise(args))
  first_losses = {name: float(run()) for name, run in contestants.items()}
  timings = harness.take_turns(contestants, args.repeats)
  forwards = harness.take_turns(
      _forwards(args, batch, state, weights, device), args.repeats)
  peak_bytes = harness.peak_bytes(args.device)
  ceilings = {} if args.smoke else harness.ceilings(args.device)
  ours = timings['ours'].median
  rows = []
  for name, timing in timings.items():
    program = 'jax' if 'ours' in name else 'torch'
    work = flops['lean' if 'ours' in name else 'plain']
    ceiling = ceilings.get(f'{program} {args.dtype}')
    rows.append({
        'program': name, 's a step': timing.median,
        'images/s': args.batch_size / timing.median,
        'its time / ours': timing.median / ours,
        's a prediction': (
            forwards[name].median if name in forwards else None),
        'first loss': first_losses[name],
        'TFLOP': work and work / 1e12,
        'share of the matrix ceiling': (
            work / timing.median / ceiling if work and ceiling else None)})
  memory = compiled.memory_analysis()
  harness.report(
      args, rows, network=f'{args.backbone} {args.head}', **args.size,
      batch_size=args.batch_size, dtype=args.dtype,
      compile_seconds=compile_seconds,
      temp_gigabytes=memory.temp_size_in_bytes / 1e9,
      argument_gigabytes=memory.argument_size_in_bytes / 1e9,
      ceilings=ceilings, peak_bytes=peak_bytes)


def _batch(batch_size, crop):
  """A batch as the pipeline makes them; blobs of one class in each image."""
  rng = np.random.default_rng(0)
  shape = (batch_size, crop, crop)
  image = rng.integers(0, 256, (batch_size, 9, 9, 3))
  image = np.kron(image, np.ones([1, crop // 9 + 1, crop // 9 + 1, 1]))
  image = image[:, :crop, :crop] + rng.normal(0, 10, (*shape, 3))
  pseudo_label = np.zeros(shape, np.uint8)
  for i, mask in enumerate(pseudo_label):
    share = FOREGROUND * (1 + 0.8 * np.linspace(-1, 1, batch_size)[i])
    side = round(crop * share**0.5)
    mask[:side, :side] = 1 + i % (CLASSES - 1)
  scribble = np.where(rng.random(shape) < 0.03, pseudo_label, 255)
  maps = {'scribble': scribble, 'pseudo_label': pseudo_label}
  for name in maps.copy():
    maps[f'{name}_distance'] = rng.integers(0, 256, shape)
  return {name: x.astype(np.uint8) for name, x in maps.items()} | {
      'image': np.clip(image, 0, 255).astype(np.uint8)}


def _model(args, remat=False):
  dtype = jnp.dtype(args.dtype)
  return deeplab.SegmentationNetwork(
      CLASSES, _backbone(args, dtype=dtype, remat=remat),
      args.head, args.size['head_width'], dropout=0.0, dtype=dtype)


def _forwards(args, batch, state, weights, device):
  """Returns {name: prediction without gradients} of ours and of PyTorch."""
  model, network = _model(args), _torch_network(args)
  network.load_state_dict(weights)
  network = network.to(device).eval()
  images = torch.tensor(batch['image'], device=device)
  normalise = _torch_normalise(args)

  def predict():
    with torch.no_grad(), torch.autocast(
        device.type, torch.bfloat16, enabled=args.dtype == 'bfloat16'):
      return network(normalise(images.permute(0, 3, 1, 2).float()))

  ours = jax.jit(lambda variables, images: model.apply(
      variables, model.backbone.normalize(images)))
  return {'ours': harness.blocking(
      ours, *jax.device_put((state.variables, batch['image']))),
          'PyTorch': harness.torch_blocking(predict, device)}


def _torch_normalise(args):
  return (torch_protocol if _depth(args) else torch_efficientnet_lite).normalise


def _make_step(args, remat, mesh):
  """Returns the compiled-to-be step and the state's initialiser."""
  model = _model(args, remat)
  tx = optimizer.make_optimizer(1_000, **SGD)
  step = make_train_step(
      functools.partial(loss_terms.compute, model, settings=SETTINGS,
                        enabled=tuple(loss_terms.TERMS)),
      tx, optax.constant_schedule(SGD['lr']),
      dict.fromkeys(loss_terms.TERMS, 1.0), mesh)
  create = functools.partial(
      train_state.create, model, tx,
      image_shape=(args.size['crop'], args.size['crop'], 3))
  return step, create


def _ours(args, batch):
  """Returns {name: one update}; of 'ours', program, compile time and state."""
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  batch = sharding.shard_batch(batch, mesh)
  rng = jax.device_put(jax.random.key(1), sharding.replicated(mesh))
  contestants, programs, seconds, state = {}, {}, {}, None
  for remat in (False, True):
    step, create = _make_step(args, remat, mesh)
    if state is None:
      state = _initial(create, mesh)
    name = 'ours, remat' if remat else 'ours'
    start = time.perf_counter()
    programs[name] = step.lower(state, batch, rng).compile(
        compiler_options=_compiler_options(args, mesh))
    seconds[name] = time.perf_counter() - start
    contestants[name] = _update(programs[name], state, batch, rng)
    if args.device == 'cpu':  # XLA undoes it there.
      break
  return (contestants, programs['ours'], seconds['ours'],
          jax.device_get(state))


def make_state(args, mesh):
  """Returns the state before the first update, on all devices of a mesh."""
  return _initial(_make_step(args, False, mesh)[1], mesh)


def _initial(create, mesh):
  return jax.jit(create, out_shardings=sharding.replicated(mesh))(
      jax.random.key(0))


def _update(program, state, batch, rng):
  """Returns a function that goes on from its last state; returns the loss."""
  holder = [jax.tree.map(jnp.copy, state)]  # The program consumes it.

  def run():
    holder[0], metrics = program(holder[0], batch, rng)
    jax.block_until_ready(holder[0])
    return metrics['loss/total']
  return run


def _plain_flops(args):
  """Counts what a step asks for, by PyTorch's counter on tensors of no memory.

  Returns:
    {'plain', 'lean': FLOP}; lean leaves out what `lorm.lorm_loss` does. None
    where depthwise convolutions can't be counted.
  """
  crop, count = args.size['crop'], args.batch_size
  if not _depth(args):  # The counter takes no account of groups.
    return dict.fromkeys(('plain', 'lean'))
  with torch.device('meta'):
    network = _torch_network(args)
    images = torch.zeros(count, 3, crop, crop)
    batch = {name: torch.zeros(count, crop, crop, dtype=torch.uint8)
             for name in MASKS}
    with FlopCounterMode(display=False) as counter:
      torch_step.loss(network.train(), images, batch).backward()
  plain = counter.get_total_flops()
  tokens = _backbone(args).feature_size(crop) ** 2
  channels = network.lorm.query_conv.in_channels
  # LoRM leaves out the background's queries and their rows of pairs.
  spared = (1 - FOREGROUND) * tokens * (
      6 * channels**2 + 12 * tokens * channels)
  return {'plain': plain, 'lean': plain - count * spared}


def _torch_network(args):
  if depth := _depth(args):
    return torch_networks.DeepLab(
        depth, args.head, CLASSES, args.size['width'], args.size['head_width'])
  return torch_efficientnet_lite.DeepLab(
      args.head, CLASSES, args.size['head_width'],
      lambda channels: max(2, channels * args.size['width'] // 64))


def _depth(args):
  """Returns the depth of a ResNet; None for another backbone."""
  family, _, depth = args.backbone.partition('resnet')
  return None if family else int(depth)


def devices_of(topology):
  """Returns the devices of a TPU that need not be there, or those that are."""
  if not topology:
    return jax.devices()
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')  # No TPU VM: no metadata.
  from jax.experimental import topologies
  return list(topologies.get_topology_desc(
      platform='tpu', topology_name=topology).devices)


def compile_step(args, batch_size, remat, mesh):
  """Returns the compiled step for shapes alone."""
  shape = jax.ShapeDtypeStruct
  crops = (batch_size, args.size['crop'], args.size['crop'])
  batch = {name: shape(crops, jnp.uint8) for name in MASKS}
  batch['image'] = shape((*crops, 3), jnp.uint8)
  step, create = _make_step(args, remat, mesh)
  key = jax.eval_shape(lambda: jax.random.key(0))
  return step.lower(jax.eval_shape(create, key), batch, key).compile(
      compiler_options=_compiler_options(args, mesh))


def _backbone(args, **options):
  return BACKBONES[args.backbone](args.size['width'], **options)


def _compiler_options(args, mesh):
  """Returns the product's compiler options for this network."""
  return sharding.compiler_options(mesh, _backbone(args).cpu_libraries)


def _report_memory(args):
  """Compiles the step at several batch sizes, with and without remat."""
  mesh = sharding.make_mesh(devices=devices_of(args.topology)[:1])
  rows = []
  for batch_size in args.batch_sizes:
    row = {'batch size': batch_size}
    for name, remat in (('none', False), ('blocks', True)):
      start = time.perf_counter()
      memory = compile_step(args, batch_size, remat, mesh).memory_analysis()
      row |= {f'remat {name}: temp GB': memory.temp_size_in_bytes / 1e9,
              f'remat {name}: compile s': time.perf_counter() - start,
              'state and batch GB': memory.argument_size_in_bytes / 1e9}
    row['blocks / none'] = (row['remat blocks: temp GB']
                            / row['remat none: temp GB'])
    rows.append(row)
  harness.report(args, rows, network=f'{args.backbone} {args.head}',
                 **args.size, dtype=args.dtype,
                 compiled_for=args.topology or args.device)


if __name__ == '__main__':
  main()
