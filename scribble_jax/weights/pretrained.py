"""Weights from and for PyTorch: ImageNet backbones, the authors' checkpoints.

A state dict is a mapping of PyTorch's names to NumPy arrays, as the authors'
checkpoints have it (METHOD 4); variables are this program's 'params' and
'batch_stats'. Both hold the same float32 numbers, so conversion is exact.
"""

import re

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import storage
from scribble_jax.models import deeplab
from scribble_jax.models import resnet
from scribble_jax.models.backbones import BACKBONES
from scribble_jax.weights import weight_files

NO_WEIGHTS = 'none'
# The Hub's copies of torchvision's first weights, which the authors start from.
HUB_REPOSITORY = 'timm/resnet{depth}.tv_in1k'
HUB_FILE = 'model.safetensors'
_CLASSIFIER = {'fc.weight', 'fc.bias'}  # ImageNet's own 1,000 classes.
# What the names of the tensors behind the backbone begin with.
_HEAD = ('layer_', 'classifier.', 'reduce.', 'fuse.')
# What other programs put before the names of a network's tensors.
_PREFIXES = re.compile('((module|model|net|network|backbone|encoder)[.])+')

# This program's names -> PyTorch's, to be applied in this order.
_RENAME = [
    (r'^(params|batch_stats)/', ''), (r'^backbone/', ''),
    (r'(layer\d)_(\d+)/', r'\1/\2/'), (r'downsample_', 'downsample/'),
    (r'^lorm/', 'layer_lorm/'),
    (r'^decoder/(aspp|conv1|bn1)/', r'layer_pred0/\1/'),
    (r'/aspp/', '/'),
    (r'global_avg_pool/conv', 'global_avg_pool/1'),
    (r'global_avg_pool/bn', 'global_avg_pool/2'),
    (r'(aspp\d)/conv', r'\1/atrous_conv'),
    (r'^decoder/project/conv', 'layer_pred0/prject/0'),
    (r'^decoder/project/bn', 'layer_pred0/prject/1'),
    (r'^decoder/reduce/conv', 'reduce/0'), (r'^decoder/reduce/bn', 'reduce/1'),
    (r'^decoder/fuse1/conv', 'fuse/0'), (r'^decoder/fuse1/bn', 'fuse/1'),
    (r'^decoder/fuse2/conv', 'fuse/3'), (r'^decoder/fuse2/bn', 'fuse/4'),
    (r'^decoder/classifier', 'classifier'),
    (r'/(kernel|scale)$', '/weight'), (r'/mean$', '/running_mean'),
    (r'/var$', '/running_var'), ('/', '.'),
]


def to_pytorch(variables, num_batches_tracked=0):
  """Returns the state dict of a network's variables.

  Args:
    variables: 'params' and 'batch_stats' of a SegmentationNetwork.
    num_batches_tracked: The number of updates, which PyTorch's BatchNorms note
      beside their statistics.

  Returns:
    {name: array}, as a `load_state_dict(strict=True)` in PyTorch wants it.
  """
  leaves = traverse_util.flatten_dict(variables, sep='/')
  is_v2 = 'params/decoder/classifier/kernel' not in leaves
  state_dict = {}
  for path, leaf in leaves.items():
    name, leaf = _torch_name(path, is_v2), np.asarray(leaf)
    state_dict[name] = np.array(
        leaf.transpose(_torch_axes(path, leaf.ndim)), order='C').reshape(
            _torch_shape(path, leaf.shape))
  return state_dict | {name: np.array(num_batches_tracked, np.int64)
                       for name in _counters(state_dict)}


def from_pytorch(state_dict):
  """Returns the variables of a state dict, of either head and any depth.

  Args:
    state_dict: {name: array}; what other programs put before
      the names is left out.

  Returns:
    'params' and 'batch_stats' as nested dicts of float32 NumPy arrays.

  Raises:
    UserError: Names tensors that are missing, surplus or of a wrong shape.
  """
  state_dict = _without_prefix(state_dict)
  network = network_of(state_dict)
  make_backbone = BACKBONES[network.pop('backbone')]
  model = deeplab.SegmentationNetwork(
      backbone=make_backbone(network.pop('width')), dropout=0.0, **network)
  return _fill(variable_shapes(model), state_dict,
               is_v2=model.head == 'deeplabv2')


def network_of(state_dict):
  """Returns which network a state dict belongs to.

  Args:
    state_dict: {name: array}; what other programs put before
      the names is left out.

  Returns:
    'backbone', 'head', 'num_classes', 'width' and 'head_width' as in
    `config.model`; V2 has no 'head_width' of its own, so it is 0 there.

  Raises:
    UserError: Of no network that this program knows.
  """
  state_dict = _without_prefix(state_dict)

  def size(name):
    if name not in state_dict or not np.ndim(state_dict[name]):
      raise UserError(f'The checkpoint has no tensor {name}, so it belongs to '
                      'neither DeepLabV2 nor DeepLabV3+. Use another file.')
    return np.shape(state_dict[name])[0]

  stages = [{int(match[1]) for name in state_dict
             if (match := re.match(rf'layer{stage}\.(\d+)\.', name))}
            for stage in (1, 2, 3, 4)]
  counts = tuple(1 + max(blocks, default=-1) for blocks in stages)
  kind = 'bottleneck' if any(
      re.match(r'layer\d\.\d+\.conv3\.', name) for name in state_dict
  ) else 'basic'
  depth = {layout: depth for depth, layout in resnet.DEPTHS.items()}.get(
      (kind, counts))
  if depth is None:
    raise UserError(f'The checkpoint has {counts} {kind} blocks, like no '
                    'ResNet of depth 18, 34, 50 or 101. Use another file.')
  network = {'backbone': f'resnet{depth}', 'width': size('conv1.weight')}
  if not any(name.startswith(_HEAD) for name in state_dict):
    raise UserError('The file holds a backbone alone, without a head. Start '
                    'from it with --config.backbone_weights=FILE.')
  if any(name.startswith(('classifier.', 'layer_lorm.'))
         for name in state_dict):
    return network | {'head': 'deeplabv3plus',
                      'num_classes': size('classifier.weight'),
                      'head_width': size('layer_pred0.prject.0.weight')}
  return network | {'head': 'deeplabv2', 'head_width': 0,
                    'num_classes': size('layer_pred0.conv1.weight')}


def read_backbone(source, backbone):
  """Returns the variables of a backbone pretrained on ImageNet.

  Args:
    source: 'imagenet', fetched from the Hugging Face hub once and kept there in
      its cache, or a file in torchvision's naming.
    backbone: `resnet.ResNet`.

  Returns:
    Its 'params' and 'batch_stats'.

  Raises:
    UserError: The file can't be had, or belongs to another network.
  """
  if not isinstance(backbone, resnet.ResNet):
    raise UserError(f'{type(backbone).__name__} has no pretrained weights. Set '
                    f'--config.backbone_weights={NO_WEIGHTS}.')
  path = _fetch_imagenet(backbone.depth) if source == 'imagenet' else source
  if storage.path(path).is_dir():
    raise UserError(f'{path} is a folder; --config.backbone_weights takes a '
                    'file. Start from the network of a workdir with '
                    f'--config.init_from={path}.')
  state_dict = weight_files.read_state_dict(path)
  try:
    state_dict = _without_prefix(state_dict)
  except UserError as error:
    raise UserError(f'{path}: {error}') from error
  if any(name.startswith(_HEAD) for name in state_dict):
    raise UserError(f'{path} holds more than a backbone. Start from the whole '
                    f'network with --config.init_from={path}.')
  state_dict = {name: value for name, value in state_dict.items()
                if name not in _CLASSIFIER}
  try:
    return _fill(variable_shapes(backbone), state_dict)
  except UserError as error:
    raise UserError(f'{path} is no resnet{backbone.depth} of width '
                    f'{backbone.width}. Set --config.backbone_weights to '
                    f'another file. {error}') from error


def _fetch_imagenet(depth):
  """Returns the path of torchvision's weights in the Hub's local cache."""
  repository = HUB_REPOSITORY.format(depth=depth)
  try:
    import huggingface_hub
  except ImportError as error:
    raise UserError(
        f'Fetching {repository} takes huggingface_hub: pip install '
        'huggingface_hub. Or name a file with --config.backbone_weights=FILE, '
        'or start from random weights with --config.backbone_weights=none.'
    ) from error
  try:
    return huggingface_hub.hf_hub_download(repository, HUB_FILE)
  except Exception as error:  # Its network libraries raise whatever they like.
    address = f'https://huggingface.co/{repository}/resolve/main/{HUB_FILE}'
    reason = str(error).strip().split('\n')[0].rstrip('.')
    raise UserError(
        f'Cannot fetch {repository} ({type(error).__name__}: {reason}). '
        f'Download {address} elsewhere, or take torchvision\'s own .pth, and '
        'name the file with --config.backbone_weights=FILE; or start from '
        'random weights with --config.backbone_weights=none.') from error


def variable_shapes(model):
  """Returns {path: shape} of a module that takes images."""
  images = jax.ShapeDtypeStruct((1, 65, 65, 3), jnp.float32)
  variables = jax.eval_shape(
      lambda images: model.init(jax.random.key(0), images, train=False), images)
  return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(
      variables, sep='/').items()}


def _fill(shapes, state_dict, is_v2=False):
  """Returns variables of the given {path: shape} with a state dict's values."""
  leaves, problems, known = {}, [], set()
  for path, shape in shapes.items():
    name, wanted = _torch_name(path, is_v2), _torch_shape(path, shape)
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
  """Returns the names of the counters that PyTorch's BatchNorms keep."""
  return {name.removesuffix('running_var') + 'num_batches_tracked'
          for name in names if name.endswith('.running_var')}


def _without_prefix(state_dict):
  """Returns the state dict without what other programs put before names.

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


def _torch_name(path, is_v2):
  for pattern, replacement in _RENAME:
    path = re.sub(pattern, replacement, path)
  return path.replace('layer_lorm', 'layer_camatt') if is_v2 else path


def _torch_axes(path, ndim):
  """Returns our axes in PyTorch's order: kernels are [..., in, out] here."""
  if not path.endswith('/kernel'):
    return tuple(range(ndim))
  return (ndim - 1, ndim - 2, *range(ndim - 2))


def _torch_shape(path, shape):
  """Returns PyTorch's shape of one of our arrays."""
  shape = tuple(shape[axis] for axis in _torch_axes(path, len(shape)))
  if path.endswith('/kernel') and len(shape) == 2:  # A 1x1 convolution.
    return (*shape, 1, 1)
  return shape or (1,)  # LoRM's gamma.
