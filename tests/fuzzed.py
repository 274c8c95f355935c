"""The readers that are fuzzed: valid files, and what each must keep to.

A reader returns a value that it promises, or raises what its callers turn into
one line. `read` of each raises AssertionError where a value breaks a promise.
"""

import hashlib
import json
import pathlib
from typing import NamedTuple
import unicodedata
import zipfile

import jax
import ml_dtypes
import numpy as np
from PIL import Image
import safetensors.flax
import safetensors.numpy

from configs import demo
from scribble_jax import config_check
from scribble_jax import config_files
from scribble_jax import evaluate
from scribble_jax import models
from scribble_jax.data import dataset_files
from scribble_jax.data import encoding
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import images
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import missing
from scribble_jax.report import runs
from scribble_jax.training.train_state import TrainState
from scribble_jax.weak_labels import annotations
from scribble_jax.weights import checkpoint
from scribble_jax.weights import pretrained
from scribble_jax.weights import trained
from scribble_jax.weights import weight_files
from tests import mutations
from tests import test_images
from tests.peers import torch
from tests.test_annotations import box
from tests.test_annotations import point
from tests.test_annotations import voc_xml
from tests.test_dataset_files import xml

CLASSES = ('background', 'cat', 'dog')
SIZE = (20, 40)
_MEGAPIXELS = 1.0  # More is refused, so that memory shows what is not bounded.


class Reader(NamedTuple):
  """What is fuzzed.

  Attributes:
    files: [(path below the folder, content)] of valid ones, to be mutated.
    mutate: Function of a generator and a file's content.
    read: Function of the path of a mutated file.
    refusals: Exceptions that it may raise; their texts must be one line.
    share: Of the inputs of a fuzz; less for a slow reader.
  """
  files: list[tuple[str, bytes]]
  mutate: object
  read: object
  refusals: tuple[type[Exception], ...] = (UserError,)
  share: float = 1.0


def _assert_mask(mask, num_classes=256):
  assert mask.dtype == np.uint8 and mask.ndim == 2 and mask.size, mask
  assert np.all((mask < num_classes) | (mask == 255)), np.unique(mask)


def pictures(folder):
  """Images of every format, mode and orientation."""
  del folder

  def read(path):
    content = path.read_bytes()
    stretched = hashlib.sha256(content).digest()[0] % 2
    reading = images.Reading((10, 4_000) if stretched else None, _MEGAPIXELS)
    pixels, orientation, is_plain, largest = images.read(content, reading)
    assert pixels.dtype == np.uint8 and pixels.shape[2:] == (3,)
    assert pixels.size and pixels.size <= 3e6 * _MEGAPIXELS, pixels.shape
    assert orientation in range(1, 9) and (
        largest is None or 0 <= largest < 2**14)
    assert images.read_size(content, _MEGAPIXELS) == pixels.shape[:2]
    if is_plain:  # Training sees what TensorFlow makes of a record.
      np.testing.assert_array_equal(encoding.decode_image(
          encoding.encode_image(content, pixels)), pixels)

  files = [(name, content) for name, content, _ in test_images.CASES]
  return Reader(files, mutations.of_picture, read, (ValueError,))


def _write_masks(folder):
  """Yields the paths of label images of each kind that is read, or refused."""
  mask = np.full(SIZE, 255, np.uint8)
  mask[3:6, 4:30] = 1
  mask[10:12] = 2
  masks.write_mask(folder / 'voc.png', mask)
  (folder / 'grey.png').write_bytes(masks.encode_grey(mask))
  few = Image.fromarray(mask % 4)
  few.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 7, 7, 7])
  few.save(folder / 'bits.png', bits=2)
  Image.fromarray(mask.astype(np.uint16)).save(folder / 'deep.png')
  Image.fromarray(mask).convert('RGB').save(folder / 'colours.png')
  Image.fromarray(mask).save(
      folder / 'turned.png', exif=test_images.exif(6))
  for name in ('tiff_lzw', 'tiff_adobe_deflate', 'packbits', 'raw'):
    Image.fromarray(mask).save(folder / f'{name}.tif', compression=name)
  Image.fromarray(mask.astype(np.int32)).save(folder / 'int32.tif')
  (folder / 'big.tif').write_bytes(
      test_images.tiff(mask.astype(np.uint16), order='>'))
  return sorted(folder.iterdir())


def label_images(folder):
  """Masks of class indices, as PNG and TIFF."""
  files = _write_masks(folder)

  def read(path):
    _assert_mask(masks.read_mask(path, _MEGAPIXELS))
    _assert_mask(annotations.read(path, None, CLASSES,
                                  max_megapixels=_MEGAPIXELS), len(CLASSES))

  return Reader(_contents(files), mutations.of_picture, read, masks.DAMAGED)


def _contents(files):
  """Returns [(name, content)] of files, which are deleted."""
  found = [(path.name, path.read_bytes()) for path in files]
  for path in files:
    path.unlink()
  return found


def lists(folder):
  """Lists of images, in every spelling."""
  ids = ('p00', 'p01', 'city/p02', 'leaf 03', 'é04', 'photo.v2')
  files = {name: folder / f'{name}.jpg' for name in ids}

  def read(path):
    found = listings.listed_ids(path, folder / 'JPEGImages', files)
    assert found and len({*found}) == len(found)
    for name in found:
      assert name and unicodedata.is_normalized('NFC', name), name
      assert not {'..', '.', ''} & {*name.split('/')} and '\0' not in name
    problems = missing.explain(folder, files, found, listings.IMAGE_SUFFIXES)
    assert bool(problems) == bool({*found} - {*ids})
    raise_problems(problems, '')

  texts = {
      'ids.txt': '\n'.join(ids),
      'paths.txt': '\n'.join(
          f'/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png'
          for name in ids),
      'others.txt': 'p00,p01\n"leaf 03.jpg"\nx\\city\\p02.png\t1\ne\u030104\n',
      'windows.txt': '\ufeff' + '\r\n'.join(ids)}
  return Reader([(name, text.encode()) for name, text in texts.items()],
                mutations.of_lines, read)


def class_lists(folder):
  """Lists of classes."""
  def read(path):
    names = dataset_files.read_class_names(path.name, folder)
    assert 2 <= len(names) < 255 and len({*names}) == len(names)
    assert all(name == name.strip() and name and '\n' not in name
               for name in names)

  return Reader([('classes.txt', '\n'.join((*CLASSES, 'é t', 'f')).encode())],
                mutations.of_lines, read)


_XML = (
    ('strokes.xml', xml([('cat', [(3, 4), (12, 5), (30, 15)]),
                         ('background', [(1, 1), (39, 18)])], 40, 20)),
    ('boxes.xml', voc_xml([('cat', 5, 4, 24, 13), ('dog', 1, 1, 40, 20)])),
    ('sizeless.xml', xml([('dog', [(4.5, 5)])], 0, 0)))


def _draw_all(path, ids=()):
  """Reads all scribbles of a place, at the size of their images and at any."""
  found, problems = annotations.scribbles_by_id(path, '', ids), []
  for name, annotation in found.items():
    assert name and not {'..', '.', ''} & {*name.split('/')}, name
    problems += _draw(annotation, SIZE)
    _draw(annotation, None)
  raise_problems(problems, '')


def _draw(annotation, size):
  """Checks the mask of an annotation; returns what it is refused for."""
  try:
    mask = annotations.read(annotation, size, CLASSES,
                            max_megapixels=_MEGAPIXELS)
  except masks.DAMAGED as error:
    return [f'{annotation}: {error}']
  _assert_mask(mask, len(CLASSES))
  assert size is None or mask.shape == size
  return []


def xml_files(folder):
  """Strokes and boxes as XML."""
  del folder
  return Reader([*_XML], mutations.of_xml, lambda path: _draw_all(path.parent))


def json_files(folder):
  """Points and boxes as JSON."""
  del folder
  files = {
      'points.json': {'a': [point(4, 5), point(6.4, 5.6, 'dog')],
                      'city/b': [point(0, 19, 0)], 'c': []},
      'boxes.json': {'a': [box(4, 3, 23, 12)], 'b': [box(0, 0, 39, 19, 2),
                                                     box(5, 5, 6, 6)]}}
  return Reader([(name, json.dumps(content).encode())
                 for name, content in files.items()],
                mutations.of_json, _draw_all)


def zips(folder):
  """Zips of XML, of each compression."""
  for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2,
                 zipfile.ZIP_LZMA):
    with zipfile.ZipFile(folder / f'{method}.zip', 'w', method) as archive:
      for name, content in _XML:
        archive.writestr(f'Annotations/city/{name}', content)
  return Reader(
      _contents(sorted(folder.iterdir())), mutations.of_zip,
      lambda path: _draw_all(path, ('city/boxes', 'strokes')))


def tiny_network():
  """Returns the state dict of a tiny network, its variables and config."""
  config = demo.get_config().model.copy_and_resolve_references()
  config.update({'width': 2, 'head_width': 4, 'num_classes': len(CLASSES)})
  rng = np.random.default_rng(0)
  shapes = pretrained.variable_shapes(models.build(config))
  nested = {}
  for path, shape in shapes.items():
    *parts, last = path.split('/')
    place = nested
    for part in parts:
      place = place.setdefault(part, {})
    place[last] = rng.uniform(0.1, 1, shape).astype(np.float32)
  return pretrained.to_pytorch(nested), nested, config


def _tensors():
  """Returns small tensors of each type that NumPy knows, and bfloat16."""
  rng = np.random.default_rng(0)
  kinds = ('f4', 'f8', 'f2', 'i8', 'i4', 'u1', '?')
  found = {f'layer1.{i}.weight': rng.uniform(0, 9, (2, 3)).astype(kind)
           for i, kind in enumerate(kinds)}
  return found | {'conv1.weight': rng.uniform(0, 9, (4, 3, 1, 1)).astype('f4'),
                  'scalar': np.array(3.0, np.float32)}


def _read_weights(path):
  state_dict = weight_files.read_state_dict(path)
  for name, value in state_dict.items():
    assert isinstance(name, str)
    assert type(value) is np.ndarray and (
        value.dtype == np.float32 or value.dtype.kind in 'iub'), value.dtype
  try:
    pretrained.network_of(state_dict)
  except UserError as error:  # These belong to no network.
    assert_plain(error)


def safetensors_files(folder):
  """Files of tensors."""
  tensors = _tensors()
  safetensors.numpy.save_file(tensors, folder / 'a.safetensors',
                              {'format': 'pt'})
  safetensors.flax.save_file({
      'a': jax.numpy.ones([2, 3], ml_dtypes.bfloat16)},
                             folder / 'b.safetensors')
  return Reader(_contents(sorted(folder.iterdir())), mutations.of_safetensors,
                _read_weights)


def pth_files(folder):
  """Files of PyTorch, in both of its formats."""
  tensors = {name: torch.from_numpy(np.array(value))
             for name, value in _tensors().items()}
  for name, content, is_zip in (
      ('a.pth', tensors, True), ('b.pth', {'state_dict': tensors}, True),
      ('c.pth', tensors, False)):
    torch.save(content, folder / name, _use_new_zipfile_serialization=is_zip)
  return Reader(_contents(sorted(folder.iterdir())), mutations.of_bytes,
                _read_weights)


def networks(folder):
  """Files of whole networks, as prediction loads them."""
  state_dict, _, config = tiny_network()
  weight_files.write_state_dict(folder / 'a.safetensors', state_dict)

  def read(path):
    _, variables, _ = trained.load(config, path)
    leaves = jax.tree.leaves(variables)
    assert leaves and all(leaf.dtype == np.float32 for leaf in leaves)

  return Reader(_contents(sorted(folder.iterdir())), mutations.of_safetensors,
                read, share=0.1)


def _write_workdir(folder):
  """Writes what a run leaves: its config, classes, figures, a checkpoint."""
  _, variables, model_config = tiny_network()
  config = demo.get_config()
  config.model = model_config
  files = {config_files.OF_RUN: json.loads(config.to_json()),
           config_files.CLASSES: CLASSES,
           'run.json': {'versions': {'jax': '0'}},
           'metrics.json': {
               'miou': 0.5, 'pixel_accuracy': 0.7, 'step': 3,
               'iou': dict.fromkeys(CLASSES, 0.5),
               'confusion': [[1, 0, 0], [0, 1, 0], [1, 0, 1]]}}
  for name, content in files.items():
    (folder / name).write_text(json.dumps(content))
  state = TrainState(step=np.int32(3), opt_state=(), **variables)
  with checkpoint.open_manager(folder / 'checkpoints', intervals=[1], keep=2,
                               last_step=9) as manager:
    checkpoint.save(manager, 3, jax.tree.map(jax.numpy.asarray, state),
                    {'miou': 0.5})


def workdirs(folder):
  """JSON of a run's folder and of its checkpoint."""
  _write_workdir(folder)
  step = pathlib.PurePath('checkpoints/3')
  names = (config_files.OF_RUN, config_files.OF_RUN, config_files.CLASSES,
           'run.json', 'metrics.json', step / 'default/_METADATA',
           step / '_CHECKPOINT_METADATA', step / 'metrics/metrics')

  def read(path):
    del path
    problems = []
    for one in (read_config, read_figures, read_classes):
      try:
        one()
      except UserError as error:
        problems.append(error)
    if problems:
      raise problems[0]

  def read_config():
    config = config_files.of_run(folder)
    config_check.check_inference(config)
    _, variables, step = trained.load(config.model, folder, 'best')
    assert step == 3 and {*variables} == {'params', 'batch_stats'}

  def read_figures():
    runs.read_run(folder, 'a')

  def read_classes():
    evaluate._check_classes(folder, CLASSES, demo.get_config().data)

  files = [(str(name), (folder / name).read_bytes()) for name in names]
  return Reader(files, mutations.of_json, read, share=0.25)


READERS = {
    'images': pictures, 'masks': label_images, 'lists': lists,
    'class lists': class_lists, 'XML': xml_files, 'JSON': json_files,
    'zips': zips, 'safetensors': safetensors_files, 'pth': pth_files,
    'networks': networks, 'workdirs': workdirs}


def assert_plain(error):
  """Checks that what a refusal says is one line, or one a problem."""
  lines = getattr(error, 'problems', ()) or [str(error)]
  for line in lines:
    assert len(line.splitlines()) == 1 and len(line) < 6_000, line[:3_000]
