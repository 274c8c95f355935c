"""Converts weights from and to PyTorch: backbones and whole networks.

A state dict maps PyTorch's names to NumPy arrays, with the names of the
authors' checkpoints (METHOD 4); variables are this program's 'params' and
'batch_stats'. Both hold the same float32 numbers, so conversion is exact.
"""

import functools
import re

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import storage
from scribble_jax.models import deeplab
from scribble_jax.models.backbones import BACKBONES
from scribble_jax.models.backbones import family
from scribble_jax.models.backbones import resnet
from scribble_jax.weights import weight_files

NO_WEIGHTS = 'none'
# Prefixes of the tensors outside of the backbone.
_HEAD = ('layer_', 'classifier.', 'reduce.', 'fuse.')
# Prefixes that other programs add to the names of all tensors.
_PREFIXES = re.compile(
    r'((module|model|net|network|backbone|encoder(?!\.layer\.))\.)+')

# Patterns of this program's names and PyTorch's replacements, in the order of
# application: those of heads, then those that follow the ones of any network.
_HEAD_NAMING = (
    (r'^lorm/', 'layer_lorm/'),
    (r'^decoder/(aspp|conv1|bn1)/', r'layer_pred0/\1/'),
    (r'/aspp/', '/'),
    (r'global_avg_pool/conv', 'global_avg_pool/1'),
    (r'global_avg_pool/bn', 'global_avg_pool/2'),
    (r'(aspp\d)/conv', r'\1/atrous_conv'),
    (r'^decoder/project/conv', 'layer_pred0/prject/0'),
    (r'^decoder/project/bn', 'layer_pred0/prject/1'),
    (r'^decoder/reduce/conv', 'reduce/0'), (r'^decoder/reduce/bn', 'reduce/1'),
    (r'^decoder/bn/', 'layer_pred0/bn/'),
    (r'^decoder/fuse1/conv', 'fuse/0'), (r'^decoder/fuse1/bn', 'fuse/1'),
    (r'^decoder/fuse2/conv', 'fuse/3'), (r'^decoder/fuse2/bn', 'fuse/4'),
    (r'^decoder/classifier', 'classifier'))
_COMMON_NAMING = (
    (r'/(kernel|scale)$', '/weight'), (r'/mean$', '/running_mean'),
    (r'/var$', '/running_var'), ('/', '.'))


def to_pytorch(variables, num_batches_tracked=0, backbone=resnet.ResNet):
  """Returns the state dict of a network's variables.

  Args:
    variables: 'params' and 'batch_stats' of a SegmentationNetwork.
    num_batches_tracked: Number of updates, which PyTorch's BatchNorms store
      beside their statistics.
    backbone: Its `family.Backbone`, or that class, for the naming.

  Returns:
    {name: array} for `load_state_dict(strict=True)` in PyTorch.
  """
  leaves = traverse_util.flatten_dict(variables, sep='/')
  is_v2 = 'params/decoder/classifier/kernel' not in leaves
  state_dict = {}
  for path, leaf in leaves.items():
    name = _torch_name(path, backbone.namings[0], is_v2)
    leaf = np.asarray(leaf)
    state_dict[name] = np.array(
        leaf.transpose(_torch_axes(path, leaf.ndim)), order='C').reshape(
            _torch_shape(path, leaf.shape))
  return state_dict | {name: np.array(num_batches_tracked, np.int64)
                       for name in _counters(state_dict)}


def from_pytorch(state_dict):
  """Returns the variables of a state dict, of any head and backbone.

  Args:
    state_dict: {name: array}; prefixes that other programs add are ignored.

  Returns:
    'params' and 'batch_stats' as nested dicts of float32 NumPy arrays.

  Raises:
    UserError: Tensors are missing, surplus or of a wrong shape.
  """
  state_dict = _without_prefix(state_dict)
  network = network_of(state_dict)
  backbone = BACKBONES[network.pop('backbone')](network.pop('width'))
  model = deeplab.SegmentationNetwork(
      backbone=backbone, dropout=0.0, **network)
  return _fill(variable_shapes(model), state_dict, backbone.namings[0],
               is_v2=model.head == 'deeplabv2')


def network_of(state_dict):
  """Returns the `config.model` keys of the network of a state dict.

  Args:
    state_dict: {name: array}; prefixes that other programs add are ignored.

  Returns:
    Dict of 'backbone', 'head', 'num_classes', 'width' and 'head_width'; the
    last one is 0 except for V3+, as other heads have none.

  Raises:
    UserError: The network is unknown to this program.
  """
  state_dict = _without_prefix(state_dict)
  shapes = {name: np.shape(value) for name, value in state_dict.items()}
  network = next(filter(None, (
      one.recognise(shapes) for one in families())), None)
  if network is None:
    raise UserError('The checkpoint belongs to no backbone that this program '
                    f'knows: {", ".join(BACKBONES)}. Use another file.')
  if not any(name.startswith(_HEAD) for name in state_dict):
    raise UserError('The file holds a backbone alone, without a head. Start '
                    'from it with --config.backbone_weights=FILE.')
  first_side = functools.partial(family.first_side, shapes)
  if 'layer_pred0.bn.weight' in shapes:
    return network | {'head': 'linear', 'head_width': 0,
                      'num_classes': first_side('classifier.weight')}
  if any(name.startswith(('classifier.', 'layer_lorm.'))
         for name in state_dict):
    return network | {'head': 'deeplabv3plus',
                      'num_classes': first_side('classifier.weight'),
                      'head_width': first_side('layer_pred0.prject.0.weight')}
  return network | {'head': 'deeplabv2', 'head_width': 0,
                    'num_classes': first_side('layer_pred0.conv1.weight')}


def families():
  """Returns the class of each family of backbones."""
  return [*dict.fromkeys(type(make(64)) for make in BACKBONES.values())]


def read_backbone(weights, backbone):
  """Returns the variables of a pretrained backbone.

  Args:
    weights: 'imagenet', the published weights, which are downloaded once; or a
      file in one of the namings of `backbone`.
    backbone: `family.Backbone`.

  Returns:
    Its 'params' and 'batch_stats'.

  Raises:
    UserError: The file is not available, or belongs to another network.
  """
  path = weights
  if weights == 'imagenet':
    if backbone.published is None:
      raise UserError(f'{backbone.name_in_config} has no published weights. '
                      f'Set --config.backbone_weights={NO_WEIGHTS}.')
    path = backbone.published.fetch()
  if storage.path(path).is_dir():
    raise UserError(f'{path} is a folder; --config.backbone_weights takes a '
                    'file. Start from the network of a workdir with '
                    f'--config.init_from={path}.')
  state_dict = weight_files.read_state_dict(path)
  try:
    state_dict = _without_prefix(state_dict)
  except UserError as error:
    raise UserError(f'{path}: {error}') from error
  state_dict = {name: value for name, value in state_dict.items()
                if not re.match(backbone.ignored, name)}
  if any(name.startswith(_HEAD) for name in state_dict):
    raise UserError(f'{path} holds more than a backbone. Start from the whole '
                    f'network with --config.init_from={path}.')
  shapes = variable_shapes(backbone)
  naming = max(backbone.namings, key=lambda naming: sum(
      _torch_name(path, naming) in state_dict for path in shapes))
  try:
    return _fill(shapes, state_dict, naming)
  except UserError as error:
    first, *others = error.problems or [str(error)]
    raise UserError(
        f'{path} is no {backbone.name_in_config} of width {backbone.width}: '
        f'{first.rstrip(".")}' + (f' ({len(others)} more)' if others else '')
        + '. Set --config.backbone_weights to another file.') from error


def variable_shapes(model):
  """Returns {path: shape} of a module that takes images."""
  images = jax.ShapeDtypeStruct((1, 65, 65, 3), jnp.float32)
  variables = jax.eval_shape(
      lambda images: model.init(jax.random.key(0), images, train=False), images)
  return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(
      variables, sep='/').items()}


def _fill(shapes, state_dict, naming, is_v2=False):
  """Returns variables with the values of a state dict.

  Args:
    shapes: {path: shape}, from `variable_shapes`.
    state_dict: {name: array}.
    naming: One of `family.Backbone.namings`.
    is_v2: Whether the network's head is DeepLabV2's.

  Raises:
    UserError: Tensors are missing, surplus or of a wrong shape.
  """
  leaves, problems, known = {}, [], set()
  for path, shape in shapes.items():
    name = _torch_name(path, naming, is_v2)
    wanted = _torch_shape(path, shape)
    known.add(name)
    if name not in state_dict:
      problems.append(f'tensor {name} {wanted} is missing')
    elif np.shape(state_dict[name]) != wanted:
      problems.append(f'tensor {name} has shape {np.shape(state_dict[name])}, '
                      f'not {wanted}')
    else:
      axes = _torch_axes(path, len(shape))
      value = np.reshape(state_dict[name], [shape[axis] for axis in axes])
      leaves[path] = np.array(
          value.transpose(np.argsort(axes)), np.float32, order='C')
  problems += [f'tensor {name} is surplus' for name in sorted(
      state_dict.keys() - known - _counters(known))]
  raise_problems(problems, 'Use a file that fits the network.')
  return traverse_util.unflatten_dict(leaves, sep='/')


def _counters(names):
  """Returns the names of the counters in PyTorch's BatchNorms."""
  return {name.removesuffix('running_var') + 'num_batches_tracked'
          for name in names if name.endswith('.running_var')}


def _without_prefix(state_dict):
  """Returns a state dict without prefixes that other programs add to names.

  Raises:
    UserError: Two tensors would have the same name.
  """
  short, problems = {}, []
  for name in state_dict:
    prefix = _PREFIXES.match(name)
    bare = name[prefix.end():] if prefix else name
    if bare in short:
      problems.append(f'tensors {short[bare]} and {name} are both {bare}')
    short[bare] = name
  raise_problems(problems, 'Use a file that holds one network.')
  return {bare: state_dict[name] for bare, name in short.items()}


def _torch_name(path, naming, is_v2=False):
  """Returns PyTorch's name of one of our arrays.

  Args:
    path: Path of the array in a network, or in a backbone alone.
    naming: As for `_fill`.
    is_v2: As for `_fill`.
  """
  path = path.split('/', 1)[1]  # Drops 'params' or 'batch_stats'.
  is_head = path.startswith(('decoder/', 'lorm/'))
  path = path.removeprefix('backbone/')
  for pattern, replacement in (
      *(_HEAD_NAMING if is_head else naming), *_COMMON_NAMING):
    path = re.sub(pattern, replacement, path)
  return path.replace('layer_lorm', 'layer_camatt') if is_v2 else path


def _torch_axes(path, ndim):
  """Returns our axes in PyTorch's order; our kernels are [..., in, out]."""
  if not path.endswith('/kernel'):
    return tuple(range(ndim))
  return (ndim - 1, ndim - 2, *range(ndim - 2))


def _torch_shape(path, shape):
  """Returns PyTorch's shape of one of our arrays."""
  shape = tuple(shape[axis] for axis in _torch_axes(path, len(shape)))
  if path.endswith('/kernel') and 'lorm/' in path:  # A 1x1 convolution.
    return (*shape, 1, 1)
  return shape or (1,)  # LoRM's gamma.
