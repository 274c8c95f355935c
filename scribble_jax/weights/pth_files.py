"""Reads PyTorch's own files without PyTorch.

A file holds a pickle that refers to storages, which are arrays of numbers of
one type. The storages follow the pickle (before PyTorch 1.6) or are members of
the same zip. A tensor is a view of a storage. Only containers of tensors,
numbers and text are unpickled, and a pickle cannot change the objects that it
refers to, so that a file cannot run code.
"""

import collections
import math
import pickle
import zipfile

import jax.numpy as jnp
import numpy as np

from scribble_jax.files import archives

_MAGIC, _PROTOCOL = 0x1950a86a20f9469cfc6c, 1001  # Of the older format.
_MAX_PICKLED = 2**28  # Bytes of the pickle, without storages.
# Numbers of a tensor that repeats the numbers of its storage.
_MAX_EXPANDED = 2**24
_TYPES = {  # {name of a storage: type of its numbers}
    'DoubleStorage': np.float64, 'FloatStorage': np.float32,
    'HalfStorage': np.float16, 'BFloat16Storage': jnp.bfloat16,
    'LongStorage': np.int64, 'IntStorage': np.int32, 'ShortStorage': np.int16,
    'CharStorage': np.int8, 'ByteStorage': np.uint8, 'BoolStorage': np.bool_,
    'ComplexDoubleStorage': np.complex128, 'ComplexFloatStorage': np.complex64}


class MoreThanTensorsError(Exception):
  """A file holds objects other than containers of tensors, numbers and text."""


class _Fixed:
  """An object that a pickle cannot change."""
  __slots__ = ()

  def __setstate__(self, state):
    raise MoreThanTensorsError('changes to a tensor')


class _Storage(_Fixed):
  """An array whose numbers are read after the tensors that refer to it."""
  __slots__ = ('count', 'dtype', 'num_bytes', 'values')

  def __init__(self, dtype, count):
    self.dtype, self.count, self.values = np.dtype(dtype), count, None
    self.num_bytes = count * self.dtype.itemsize

  def fill(self, content):
    """Sets the numbers, from their bytes."""
    if len(content) != self.num_bytes:
      raise ValueError('a storage is cut off')
    self.values = np.frombuffer(content, self.dtype.newbyteorder('<'))


class _Tensor(_Fixed):
  """A view of a storage."""
  __slots__ = ('_offset', '_shape', '_storage', '_strides')

  def __init__(self, storage, offset, shape, strides):
    self._storage, self._offset = storage, offset
    self._shape, self._strides = shape, strides

  def array(self):
    """Returns the tensor as a NumPy array."""
    values = self._storage.values
    last = self._offset + sum(
        (length - 1) * stride for length, stride in zip(
            self._shape, self._strides, strict=True))
    if (min(self._offset, *self._shape, *self._strides, 0) < 0
        or (0 not in self._shape and last >= len(values))
        or math.prod(self._shape) > max(len(values), _MAX_EXPANDED)):
      raise ValueError('a tensor is larger than its storage')
    return np.array(np.lib.stride_tricks.as_strided(
        values[self._offset:], self._shape,
        [values.itemsize * stride for stride in self._strides]))


class _Function(_Fixed):
  """A function that a pickle may call."""
  __slots__ = ('_call',)

  def __init__(self, call):
    self._call = call

  def __call__(self, *args):
    return self._call(*args)


def _rebuild_tensor(storage, offset, shape, strides, *others):
  del others  # Whether the tensor needs a gradient, and its hooks.
  numbers = (offset, *shape, *strides)
  if type(storage) is not _Storage or any(type(n) is not int for n in numbers):
    raise ValueError('a tensor is described by other things than numbers')
  return _Tensor(storage, offset, tuple(shape), tuple(strides))


_ALLOWED = {
    ('collections', 'OrderedDict'): collections.OrderedDict,
    ('torch', 'Size'): tuple,
    # Before PyTorch 0.4, and since then.
    ('torch._utils', '_rebuild_tensor'): _Function(_rebuild_tensor),
    ('torch._utils', '_rebuild_tensor_v2'): _Function(_rebuild_tensor),
    ('torch._utils', '_rebuild_parameter'): _Function(
        lambda tensor, *others: tensor),
    **{('torch', name): name for name in _TYPES}}


class _Unpickler(pickle.Unpickler):
  """Loads containers of `_Tensor`s, and collects their storages.

  Attributes:
    storages: {key: _Storage}.
  """

  def __init__(self, file):
    super().__init__(file)
    self.storages = {}

  def find_class(self, module, name):
    """Returns one of the types and functions that tensors need."""
    try:
      return _ALLOWED[module, name]
    except KeyError as error:
      raise MoreThanTensorsError(f'{module}.{name}') from error

  def persistent_load(self, pid):
    """Returns the storage that the tuple `pid` describes."""
    kind, name, key, _, count, *views = pid
    if kind != 'storage' or any(views):
      raise MoreThanTensorsError(str(kind))
    if type(key) is not str or type(count) is not int or count < 0:
      raise ValueError('a storage has no name or no length')
    return self.storages.setdefault(key, _Storage(_TYPES[name], count))


def read(path):
  """Returns the saved object, with NumPy arrays in place of tensors.

  Args:
    path: Path of a file on a disk.

  Raises:
    MoreThanTensorsError: The file holds other objects than tensors, numbers
      and text in dicts, lists and tuples.
    Exception: Of any class; the file is damaged.
  """
  with open(path, 'rb') as file:
    if zipfile.is_zipfile(file):
      return _read_zip(file)
    file.seek(0)
    return _read_older(file)


def _read_zip(file):
  with zipfile.ZipFile(file) as archive:
    archives.refuse_overlaps(archive)
    (name,) = (name for name in archive.namelist()
               if name.endswith('/data.pkl') and name.count('/') == 1)
    folder = name.removesuffix('data.pkl')
    order = f'{folder}byteorder'  # Older files have none.
    if order in archive.namelist() and archive.read(order) != b'little':
      raise ValueError('its numbers have another order of bytes')
    if archive.getinfo(name).file_size > _MAX_PICKLED:
      raise ValueError('the pickle is too large')
    with archive.open(name) as pickled:
      unpickler = _Unpickler(pickled)
      content = unpickler.load()
    for key, storage in unpickler.storages.items():
      record = archive.getinfo(f'{folder}data/{key}')
      if record.file_size != storage.num_bytes:
        raise ValueError('a storage has another length than its tensors say')
      storage.fill(archive.read(record))
  return _with_arrays(content)


def _read_older(file):
  if (_Unpickler(file).load(), _Unpickler(file).load()) != (_MAGIC, _PROTOCOL):
    raise ValueError('the head is of another kind of file')
  _Unpickler(file).load()  # Properties of the machine.
  unpickler = _Unpickler(file)
  content = unpickler.load()
  for key in _Unpickler(file).load():
    storage = unpickler.storages[key]
    if int.from_bytes(file.read(8), 'little') != storage.count:
      raise ValueError('a storage has another length than its tensors say')
    storage.fill(file.read(storage.num_bytes))
  return _with_arrays(content)


def _with_arrays(content):
  """Replaces `_Tensor`s by arrays in nested containers."""
  if isinstance(content, _Tensor):
    return content.array()
  if isinstance(content, dict):  # Not content.items: a pickle may replace it.
    return {key: _with_arrays(value) for key, value in dict.items(content)}
  if isinstance(content, list | tuple):
    return [*map(_with_arrays, content)]
  return content
