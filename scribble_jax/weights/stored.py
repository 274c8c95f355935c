"""Reads the folder of a checkpoint, and detects damage.

Orbax writes the folders. Its index has checksums, but the arrays have none, so
the sum of the words of each array is saved as well.
"""

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore

from scribble_jax import hosts
from scribble_jax import results
from scribble_jax.errors import UserError
from scribble_jax.files import formats
from scribble_jax.files import storage

SUMS = 'sums'  # Key of a checkpoint's custom metadata: the result of `sums`.
# Codes at the start of TensorStore's errors: of damaged files, and of transient
# errors.
_REASONS = {'NOT_FOUND': 'a file is missing',
            'OUT_OF_RANGE': 'a file is cut short'}
_UNAVAILABLE = ('PERMISSION_DENIED', 'UNAUTHENTICATED', 'UNAVAILABLE',
                'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED', 'ABORTED')


class DamagedError(Exception):
  """A checkpoint is damaged; the message says how."""


def steps(directory):
  """Returns the steps of the checkpoints in a folder, which need not exist."""
  if not directory.is_dir():
    return []
  return sorted(ocp.utils.checkpoint_steps(directory))


def sums(state):
  """Returns {name: sum of its words, modulo 2**32} of the arrays of a state.

  Args:
    state: Tree of jax.Array with any sharding.
  """
  own = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    own[name_of(path)] = sum(
        _sum(jax.device_get(shard.data)) for shard in leaf.addressable_shards
        if not shard.replica_id)
  parts = hosts.gather(own)
  return {name: sum(part[name] for part in parts) % 2**32 for name in own}


def _sum(array):
  words = np.asarray(array).view(f'uint{8 * array.itemsize}')
  return int(words.sum(dtype=np.uint32))


def name_of(path):
  """Returns the name in a checkpoint of the leaf at a path of the state."""
  return jax.tree_util.keystr(path, simple=True, separator='.')


def read(folder, choose=list):
  """Returns the arrays of a checkpoint.

  Args:
    folder: Absolute path of the folder of its step.
    choose: Function from all names to the names to read; by default all.

  Returns:
    {name: array}, with names such as 'params.lorm.gamma'.

  Raises:
    DamagedError: A file is missing, truncated or changed.
    UserError: The files cannot be read now.
  """
  figures(folder)  # Raises if they are damaged.
  names, expected = _names(folder), _saved_sums(folder)
  if expected is not None and expected.keys() != names:
    raise DamagedError('the list of its arrays has changed')
  names = sorted(choose(names))
  opened = _open_arrays(folder / 'default', names)
  try:
    reading = [array.result().read() for array in opened]
    arrays = {name: array.result()
              for name, array in zip(names, reading, strict=True)}
  except ValueError as error:
    code = str(error).partition(':')[0]
    if code in _UNAVAILABLE:
      raise UserError(f'Cannot read {folder}: {error}. Try again.') from error
    raise DamagedError(_REASONS.get(
        code, 'a file is missing or has changed')) from error
  for name, array in arrays.items():
    if expected is not None and _sum(array) != expected[name]:
      raise DamagedError(f'{name} has other numbers than were saved')
  return arrays


def figures(folder):
  """Returns the metrics that were saved with a checkpoint; {} without any.

  Raises:
    DamagedError: The file is damaged.
    UserError: The file cannot be read now.
  """
  path = folder / 'metrics/metrics'
  found = _read_json(path) if path.exists() else {}
  value = found.get(results.measure(found), 0.0)
  if not isinstance(value, int | float) or not 0 <= value <= 1:
    raise DamagedError(f'{path.name} has changed')
  return found


def _names(folder):
  """Returns the names of a checkpoint's arrays."""
  tree = _read_json(folder / 'default/_METADATA').get('tree_metadata')
  try:
    return {'.'.join(key['key'] for key in leaf['key_metadata'])
            for leaf in tree.values()
            if not leaf['value_metadata']['skip_deserialize']}
  except (AttributeError, KeyError, TypeError) as error:
    raise DamagedError('default/_METADATA has changed') from error


def _saved_sums(folder):
  """Returns the saved result of `sums`; None in old checkpoints."""
  metadata = _read_json(folder / '_CHECKPOINT_METADATA').get('custom_metadata')
  found = metadata.get(SUMS) if isinstance(metadata, dict) else 'none'
  if not isinstance(found, dict | None):
    raise DamagedError('_CHECKPOINT_METADATA has changed')
  return found


def _read_json(path):
  """Returns the dict in a JSON file that each checkpoint has."""
  try:
    with storage.os_errors():
      if not path.exists():
        raise DamagedError(f'{path.name} is missing')
      content = formats.parse_json(path.read_bytes())
  except OSError as error:
    raise UserError(f'Cannot read {path}: {error}. Try again.') from error
  except ValueError as error:
    raise DamagedError(f'{path.name} is cut short or has changed') from error
  if not isinstance(content, dict):
    raise DamagedError(f'{path.name} has changed')
  return content


def _open_arrays(folder, names):
  """Returns a future of each array in the database that Orbax has written."""
  if storage.is_remote(folder):
    bucket, _, path = str(folder).removeprefix('gs://').partition('/')
    base = {'driver': 'gcs', 'bucket': bucket, 'path': f'{path}/'}
  else:
    base = {'driver': 'file', 'path': f'{folder}/'}
  context = tensorstore.Context(  # Caches the index for all arrays.
      {'cache_pool': {'total_bytes_limit': 10**8}})
  return [tensorstore.open({
      'driver': 'zarr', 'fill_missing_data_reads': False,
      'kvstore': {'driver': 'ocdbt', 'base': base, 'path': f'{name}/'},
  }, open=True, context=context) for name in names]
