"""Every mistake of a user: what, where, remedy; and nothing half-written."""

import math
import pathlib
import re

import numpy as np
from PIL import Image
import pytest

from scribble_jax import train
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.files import masks
from tests.conftest import record_folders
from tests.test_dataset_files import xml


def train_id(root, index=0):
  return (root / 'ImageSets/SegmentationAug/train.txt').read_text().split()[
      index]


def scribble(root):
  return root / f'scribbles/{train_id(root)}.png'


def write_rgb(path):
  Image.new('RGB', (48, 48)).save(path)


def truncate(path):
  path.write_bytes(path.read_bytes()[:-60])


def write_index(path, index):
  mask = np.full([48, 48], 255, np.uint8)
  mask[3, 4] = index
  masks.write_mask(path, mask)


def list_again(root, name):
  with open(root / 'ImageSets/SegmentationAug/train.txt', 'a') as f:
    f.write(f'{name}\n')


def write_xml(root, strokes, **size):
  scribble(root).unlink()
  scribble(root).with_suffix('.xml').write_bytes(xml(strokes, **size))


SIZE = {'width': 48, 'height': 48}
MISTAKES = {
    'no list': (
        lambda root: (root / 'ImageSets/SegmentationAug/val.txt').unlink(),
        r'val\.txt does not exist\. It lists the images'),
    'empty list': (
        lambda root: (root / 'ImageSets/SegmentationAug/val.txt').write_text(
            '\n'), r'val\.txt lists no image'),
    'no folder': (
        lambda root: (root / 'JPEGImages').rename(root / 'elsewhere'),
        r'JPEGImages does not exist'),
    'no scribbles': (
        lambda root: (root / 'scribbles').rename(root / 'elsewhere'),
        r'scribbles does not exist\. Put the scribbles there'),
    'no pseudo-labels': (
        lambda root: (root / 'pseudo_labels').rename(root / 'elsewhere'),
        r'pseudo_labels does not exist.*--config\.data\.pseudo_labels=none'),
    'no class list': (
        lambda root: (root / 'classes.txt').unlink(),
        r'classes\.txt does not exist.*background first'),
    'no image': (
        lambda root: (root / f'JPEGImages/{train_id(root)}.jpg').unlink(),
        r'JPEGImages: nothing for the listed id {id}\.'),
    'no scribble': (
        lambda root: scribble(root).unlink(),
        r'scribbles: nothing for the listed id {id}'),
    'no pseudo-label': (
        lambda root: (root / f'pseudo_labels/{train_id(root)}.png').unlink(),
        r'pseudo_labels: nothing for the listed id {id}'),
    'sizes differ': (
        lambda root: masks.write_mask(
            scribble(root), np.zeros([48, 50], np.uint8)),
        r'scribbles/{id}\.png: is 50x48 pixels, its image 48x48'),
    'class index': (
        lambda root: write_index(scribble(root), 37),
        r'scribbles/{id}\.png: class index 37 is not in the class list'),
    'rgb mask': (
        lambda root: write_rgb(scribble(root)),
        r'scribbles/{id}\.png: has mode RGB, not one class index per pixel'),
    'truncated jpeg': (
        lambda root: truncate(root / f'JPEGImages/{train_id(root)}.jpg'),
        r'JPEGImages/{id}\.jpg: is truncated or damaged \(image file is trunc'),
    'truncated png': (
        lambda root: truncate(scribble(root)),
        r'scribbles/{id}\.png: .*truncated'),
    'no png at all': (
        lambda root: scribble(root).write_text('mask'),
        r'scribbles/{id}\.png: is text that begins with .mask., not a picture'),
    'xml class': (
        lambda root: write_xml(root, [('unicorn', [(1, 1)])], **SIZE),
        r"scribbles/{id}\.xml: unknown class name 'unicorn'"),
    'xml point': (
        lambda root: write_xml(root, [('background', [])], **SIZE),
        r"scribbles/{id}\.xml: a stroke of class 'background' has no point"),
    'xml size': (
        lambda root: write_xml(root, [], width=50, height=48),
        r'scribbles/{id}\.xml: is for 50x48 pixels'),
    'listed twice': (
        lambda root: list_again(root, train_id(root)),
        r'train\.txt: {id} is listed 2 times'),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistake_in_the_data(root, config, mistake):
  spoil, message = MISTAKES[mistake]
  name = train_id(root)
  spoil(root)
  with pytest.raises(UserError, match=message.replace('{id}', name)) as error:
    records.prepare(config.data)
  assert '\n' not in str(error.value)
  assert not record_folders(root / 'records')


def test_missing_root(config):
  config.data.root = '/nowhere/at/all'
  with pytest.raises(UserError, match=r'/nowhere/at/all does not exist\. Set'):
    records.prepare(config.data)


def test_problems_are_listed_together_first_twenty(root, config):
  for i in range(10):
    name = train_id(root, i)
    write_rgb(root / f'scribbles/{name}.png')
    write_index(root / f'pseudo_labels/{name}.png', 99)
  val = (root / 'ImageSets/SegmentationAug/val.txt').read_text().split()
  write_rgb(root / f'SegmentationClassAug/{val[0]}.png')
  with pytest.raises(UserError) as error:
    records.prepare(config.data)
  first, *listed, last = str(error.value).splitlines()
  assert first.startswith('21 problems.')
  assert len(listed) == 20 and last.strip() == '... and 1 more'
  assert not record_folders(root / 'records')


def test_bad_sources_leave_the_old_records_alone(root, config):
  folder = pathlib.Path(records.prepare(config.data).builder.data_dir)
  before = {path: path.read_bytes() for path in folder.iterdir()}
  write_rgb(scribble(root))
  with pytest.raises(UserError):
    records.prepare(config.data)
  assert before == {
      path: path.read_bytes() for path in folder.iterdir()}
  assert record_folders(root / 'records') == [folder]


@pytest.mark.parametrize('damage', [
    lambda path: path.write_bytes(path.read_bytes()[:-10]),
    lambda path: path.write_bytes(path.read_bytes() + b'x'),
    lambda path: path.unlink(),
])
def test_damaged_record_file(root, config, damage):
  records.prepare(config.data)
  path = next((root / 'records').glob('*/*train.tfrecord*'))
  damage(path)
  with pytest.raises(UserError, match=re.escape(
      str(path)) + ' is missing or truncated.*Delete'):
    records.prepare(config.data)


@pytest.mark.parametrize('damage', [
    lambda content: b'', lambda content: content[:len(content) // 2],
    lambda content: content.replace(b'"', b"'").replace(b'PK', b'XX')])
@pytest.mark.parametrize('name', [
    'index.npz', 'dataset_info.json', 'features.json'])
def test_damaged_description_of_records(root, config, name, damage):
  records.prepare(config.data)
  (path,) = root.rglob(name)
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(UserError, match=re.escape(
      str(path.parent)) + ' is damaged .*Delete it; the next start'):
    records.prepare(config.data)


def test_flipped_bit_in_a_record(root, config, tmp_path):
  records.prepare(config.data)
  path = next((root / 'records').glob('*/*train.tfrecord*'))
  content = bytearray(path.read_bytes())
  content[5000] ^= 1
  path.write_bytes(content)
  with pytest.raises(UserError, match='records are damaged'):
    train.train(config, str(tmp_path / 'run'))


def test_empty_scribble_is_a_warning_with_a_count(root, config, caplog):
  for i in range(2):
    masks.write_mask(root / f'scribbles/{train_id(root, i)}.png',
                     np.full([48, 48], 255, np.uint8))
  records.prepare(config.data)
  assert '2 training images have an empty scribble' in caplog.text


def set_values(config, changes):
  config.update_from_flattened_dict(changes)


@pytest.mark.parametrize('changes, message', [
    ({'data.lambda_c': math.inf}, r'data\.lambda_c is inf; it must be a fin'),
    ({'optim.lr': math.nan}, r'optim\.lr is nan; it must be a finite number'),
    ({'data.crop_size': 6}, r'data\.crop_size is 6; it must be at least 7'),
    ({'batch_size': 3}, r'batch_size is 3; .*multiple of the 4 device'),
    ({'num_steps': 0}, r'num_steps is 0'),
    ({'data.image_range': (7,)}, r'data\.image_range is \(7,\); .*two number'),
    ({'data.image_range': (9, 7)}, r'image_range is \(9, 7\); .*smaller first'),
    ({'data.max_megapixels': 182.0},
     r'max_megapixels is 182\.0; .*at most 178, .*tiles'),
    ({'optim.warmup_steps': 9}, r'warmup_steps is 9'),
    ({'optim.name': 'adam'}, r"optim\.name is 'adam'; it .* 'sgd' or 'adamw'"),
    ({'optim.backbone_lr_factor': 0.0},
     r"backbone_lr_factor is 0\.0; it must be above 0; .*freeze_backbone"),
    ({'optim.layer_decay': 1.5}, r'layer_decay is 1\.5; .* and at most 1'),
    ({'optim.ema_decay': 1.0}, r'ema_decay is 1\.0; .*from 0 to below 1'),
    ({'optim.accumulate': 0}, r'optim\.accumulate is 0; it must be 1, or'),
    ({'optim.accumulate': 2}, r'accumulate is 2; .*4 dev.* batch_size, 4'),
    ({'model.freeze_backbone': 'half'},
     r"freeze_backbone is 'half'\. Choose one of: none, stages, all"),
    ({'method.normaliser': 'mine'}, r"method\.normaliser is 'mine'"),
    ({'loss_weights.lorm': -1.0}, r'loss_weights\.lorm is -1'),
    ({'model.num_classes': 5}, r'num_classes is 5, but the data set has 4'),
    ({'model.backbone': 'vgg'}, r"backbone is 'vgg'\. Choose one of: resnet18"),
])
def test_mistake_in_the_config(config, tmp_path, changes, message):
  set_values(config, changes)
  with pytest.raises(UserError, match=message):
    train.train(config, str(tmp_path / 'run'))


def test_typo_in_a_config_file(config, tmp_path):
  config.optim.weight_dekay = config.optim.weight_decay
  del config.optim.weight_decay
  with pytest.raises(UserError, match=(
      r'2 problems(.|\n)*config\.optim\.weight_dekay is unknown\n'
      r' *config\.optim\.weight_decay is missing')):
    train.train(config, str(tmp_path / 'run'))


def test_unwritable_workdir(config, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='Cannot write to the workdir'):
    train.train(config, str(tmp_path / 'file/run'))


def test_unwritable_records(root, config):
  (root / 'file').write_text('')
  config.data.records = 'file/records'
  with pytest.raises(UserError, match='Cannot write .*--config.data.records'):
    records.prepare(config.data)
