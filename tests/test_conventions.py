"""What label images mean: settings, class lists, and what is refused."""

import functools
import json
import pickle
import shutil
import sys

from absl import flags
from ml_collections import config_flags
import numpy as np
from PIL import Image
import pytest

from configs import demo
from configs import pseudo_labels
from configs import scribblesup
from scribble_jax import config_check
from scribble_jax import evaluate
from scribble_jax import labels
from scribble_jax import train
from scribble_jax.data import dataset_files
from scribble_jax.data import input_pipeline
from scribble_jax.data import label_checks
from scribble_jax.data import loading
from scribble_jax.data import record_writer
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.files import class_list
from scribble_jax.files import images
from scribble_jax.files import masks
from tests.test_scribble_commands import run

FOLDERS = ('scribbles', 'pseudo_labels', 'SegmentationClassAug')
NAMES = ('background', 'cat', 'dog')


# The settings


@pytest.mark.parametrize('index, text, kind, expected', [
    (255, '', 'scribbles', [0, 1, 2, 3, 254, 255]),
    (0, '', 'ground_truth', [255, 1, 2, 3, 254, 255]),
    ('scribbles=0', '', 'scribbles', [255, 1, 2, 3, 254, 255]),
    ('scribbles=0', '', 'ground_truth', [0, 1, 2, 3, 254, 255]),
    ('3,ground_truth=2', '', 'pseudo_labels', [0, 1, 2, 255, 254, 255]),
    ('3,ground_truth=2', '', 'ground_truth', [0, 1, 255, 3, 254, 255]),
    (255, '0:255,1-3:0-2', 'scribbles', [255, 0, 1, 2, -1, 255]),
    (255, '0-1:0, 254:1', 'scribbles', [0, 0, -1, -1, 1, 255]),
    (255, '0:0,255:1', 'scribbles', [0, -1, -1, -1, -1, 1]),
    (0, '1:0,3:1', 'scribbles', [255, 0, -1, 1, -1, -1]),
    (255, 'scribbles=0:255,1:0,ground_truth=2:2', 'scribbles',
     [255, 0, -1, -1, -1, 255]),
    (255, 'scribbles=0:255,1:0,ground_truth=2:2', 'ground_truth',
     [-1, -1, 2, -1, -1, 255]),
    (255, 'scribbles=0:255,1:0,ground_truth=2:2', 'pseudo_labels',
     [0, 1, 2, 3, 254, 255]),
    (255, '0:1,scribbles=', 'scribbles', [0, 1, 2, 3, 254, 255]),
])
def test_meaning_of_values(index, text, kind, expected):
  meaning = labels.meanings(index, text)[kind]
  values = [0, 1, 2, 3, 254, 255]
  assert [*(values if meaning is None else meaning[values])] == expected


@pytest.mark.parametrize('index', [
    -1, 256, 1.5, None, True, 'cat', 'cats=0', 'scribbles=', '0,1',
    'scribbles=0,scribbles=1'])
def test_unlabelled_index_that_is_none(index):
  with pytest.raises(UserError, match=(
      rf'config\.data\.unlabelled_index is {index!r}; it must be an index')):
    labels.meanings(index, '')


@pytest.mark.parametrize('text', [
    '0', '0:', ':0', '0:1:2', '0:256', '256:0', '-1:0', '0:cat', '0:1,0:2',
    '0-3:1,2:0', '3-1:0', '0-3:0-2', '1-:0', 'cats=0:1', 'scribbles=0',
    'scribbles=0:1,scribbles=1:2', 5])
def test_label_map_that_is_none(text):
  with pytest.raises(UserError, match=(
      rf'config\.data\.label_map is {text!r}; it must be VALUE:CLASS')):
    labels.meanings(255, text)


def test_label_map_and_class_list_or_unlabelled_index_disagree():
  with pytest.raises(UserError, match=(
      'maps 7 of ground_truth to 3, which is not in the class list. Map it to '
      '0 to 2, or to 255')):
    labels.meanings(255, 'ground_truth=7:3', 3)
  with pytest.raises(UserError, match='0 of scribbles to class 1, but .*'
                     'unlabelled_index says that it means unlabelled'):
    labels.meanings('scribbles=0', '0:1', 3)


def test_settings_of_generated_pseudo_labels():
  assert labels.of_generated(255, '') == (255, '')
  assert labels.of_generated('scribbles=0', 'ground_truth=1:0') == (
      'scribbles=0', 'ground_truth=1:0')
  given = 0, '1-4:0-3,ground_truth=1:0'
  before, after = labels.meanings(*given), labels.meanings(
      *labels.of_generated(*given))
  assert after['pseudo_labels'] is None
  for kind in ('scribbles', 'ground_truth'):
    np.testing.assert_array_equal(after[kind], before[kind])


def test_mistake_in_a_setting_is_told_at_once(config):
  config.data.label_map = '1:x'
  with pytest.raises(UserError, match=r'config\.data\.label_map'):
    config_check.check_training(config, 1)


@pytest.mark.parametrize('make', [
    scribblesup.get_config, demo.get_config, pseudo_labels.get_config,
    lambda: pseudo_labels.get_config('own_data:small')])
def test_both_settings_as_flags(make, monkeypatch):
  for given, expected in (('0', 0), ('scribbles=0', 'scribbles=0'),
                          ('0,ground_truth=4', '0,ground_truth=4')):
    arguments = ['program', f'--config.data.unlabelled_index={given}',
                 '--config.data.label_map=scribbles=0:255,1-3:0-2']
    monkeypatch.setattr(sys, 'argv', arguments)  # Where config_flags looks.
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_dict(
        'config', make(), flag_values=values, lock_config=True)
    values(arguments)
    data = holder.value.data
    assert data.unlabelled_index == expected
    assert data.label_map == 'scribbles=0:255,1-3:0-2'
    assert json.loads(data.to_json())['unlabelled_index'] == expected
  make().data.unlabelled_index = 'scribbles=3'  # As a config file does.


def test_another_setting_makes_other_records(config):
  first = contents(records.prepare(config.data))
  config.data.unlabelled_index = 'scribbles=1'
  scribbles = [one['scribble'] for one in input_pipeline.whole_examples(
      records.prepare(config.data), 'train')]
  assert not any((mask == 1).any() for mask in scribbles)
  config.data.unlabelled_index = 255
  assert contents(records.prepare(config.data)) == first


# Worked examples: files in another convention make the same records.


def rewrite(root, convert, folders=FOLDERS):
  """Lets `convert` change all values of the label images in some folders."""
  for folder in folders:
    for path in (root / folder).iterdir():
      Image.fromarray(convert(masks.read_mask(path)).astype(np.uint8)).save(
          path)


def contents(source):
  return {split: [found.read(i) for i in range(len(found.ends))]
          for split, found in source.shards.items()}


def highest_is_unlabelled(mask):
  return np.where(mask == 255, 4, mask)


def zero_is_unlabelled(mask):
  return np.where(mask == 255, 0, mask + 1)


def unknown_foreground_background(mask):
  return np.select([mask == 255, mask == 0], [0, 2], 1)


CONVENTIONS = {
    'highest': (highest_is_unlabelled, FOLDERS, 4, ''),
    'zero': (zero_is_unlabelled, FOLDERS, 255, '0:255,1-4:0-3'),
    'zero in strokes': (
        zero_is_unlabelled, FOLDERS[:1], 255, 'scribbles=0:255,1-4:0-3'),
    'binary': (unknown_foreground_background, FOLDERS, 0, '1:1,2:0')}


@pytest.mark.parametrize('convention', CONVENTIONS)
def test_files_in_another_convention(root, config, convention):
  convert, folders, index, label_map = CONVENTIONS[convention]
  if convention == 'binary':
    rewrite(root, lambda mask: np.where(mask == 255, 255, np.minimum(mask, 1)))
    (root / 'classes.txt').write_text('background\nthing\n')
  expected = contents(records.prepare(config.data))
  examples = dataset_files.list_examples(config.data, False)
  scribble = examples['train'][0].scribble
  truth = {one.id: masks.read_mask(one.ground_truth) for one in examples['val']}
  run('shrink', root / 'scribbles', root / 'expected', '--ratio=0.5')
  rewrite(root, convert, folders)
  config.data.unlabelled_index, config.data.label_map = index, label_map
  assert contents(records.prepare(config.data)) == expected

  names = dataset_files.read_class_names('classes.txt', root)
  for example in evaluate.load_examples(examples['val'], functools.partial(
      loading.load, class_names=names,
      meanings=labels.meanings(index, label_map))):
    np.testing.assert_array_equal(
        example['ground_truth'], truth[example['id']])
  options = f'--unlabelled_index={index}', f'--label_map={label_map}'
  assert run('check', root, *options)[0] == 0
  run('shrink', root / 'scribbles', root / 'again', '--ratio=0.5', *options)
  assert ((root / 'again' / scribble.name).read_bytes()
          == (root / 'expected' / scribble.name).read_bytes())


def test_stats_and_simulate_translate_masks(root, tmp_path):
  dense = root / 'SegmentationClassAug'
  before = run('stats', root / 'scribbles', '--masks', dense)
  run('simulate', dense, tmp_path / 'before')
  rewrite(root, zero_is_unlabelled, ('SegmentationClassAug',))
  option = '--label_map=ground_truth=0:255,1-4:0-3'
  assert run('stats', root / 'scribbles', '--masks', dense, option) == before
  run('simulate', dense, tmp_path / 'after', option)
  for path in (tmp_path / 'before').glob('*.png'):
    assert path.read_bytes() == (tmp_path / 'after' / path.name).read_bytes()


def test_value_that_the_label_map_lacks(root, config):
  config.data.label_map = 'scribbles=0-1:0-1,3:3'
  with pytest.raises(UserError, match=(
      r'scribbles/train_\d+\.png: holds the value 2, which the label map lacks;'
      ' add 2:CLASS to it, or 2:255 for unlabelled')):
    records.prepare(config.data)
  code, printed = run('check', root, '--label_map=scribbles=0-1:0-1,3:3')
  assert code == 1 and 'holds the value 2' in printed


def test_evaluate_translates_the_ground_truth(root, config, monkeypatch):
  truth = {path.stem: masks.read_mask(path)
           for path in (root / FOLDERS[2]).iterdir()}
  rewrite(root, zero_is_unlabelled, FOLDERS[2:])
  monkeypatch.setattr(evaluate.trained, 'load', lambda *_: (None, None, 0))
  monkeypatch.setattr(evaluate.inference, 'make_predict', lambda *_, **__: None)
  monkeypatch.setattr(
      evaluate.inference, 'with_predictions', lambda _, __, examples: (
          one | {'prediction': truth[one['id']]} for one in examples))
  config.data.label_map = 'ground_truth=0:255,1-4:0-3'
  assert evaluate.evaluate(config, 'x', 0, root / 'out')['miou'] == 1


# What is refused


def fill(root, folder, value_of_255=255, keep=()):
  """Lets a folder's masks be 0 and one value, 3x3 pixels of it."""
  for path in (root / folder).iterdir():
    if path.stem not in keep:
      mask = np.zeros([48, 48], np.uint8)
      mask[4:7, 4:7] = value_of_255
      masks.write_mask(path, mask)


def blank(root, folder):
  for path in (root / folder).iterdir():
    masks.write_mask(path, np.full([48, 48], 255, np.uint8))


REFUSED = {
    'strokes of 0 and 255': (
        lambda root: fill(root, 'scribbles'),
        'data.scribbles: the scribble of all 10 training images has no class '
        'but background (0) beside unlabelled pixels (255). If 255 stands for '
        'striped_fish, set --config.data.label_map=scribbles=0:255,255:1'),
    'pseudo-labels of 0 and 255': (
        lambda root: fill(root, 'pseudo_labels'),
        'data.pseudo_labels: the pseudo-label of all 10 training images has no '
        'class but background (0) beside unlabelled pixels (255). If 255 '
        'stands for striped_fish, set '
        '--config.data.label_map=pseudo_labels=0:0,255:1'),
    'ground truth of 0 and 255': (
        lambda root: fill(root, 'SegmentationClassAug'),
        'data.ground_truth: the ground truth of all 3 val images has no class '
        'but background (0) beside unlabelled pixels (255). If 255 stands for '
        'striped_fish, set --config.data.label_map=ground_truth=0:0,255:1'),
    'ground truth of 0': (
        lambda root: fill(root, 'SegmentationClassAug', 0),
        'data.ground_truth: the ground truth of all 3 val images has no class '
        'but background (0). Name other files, or define what their values '
        'mean with --config.data.label_map=ground_truth=VALUE:CLASS,...'),
    'no stroke at all': (
        lambda root: blank(root, 'scribbles'),
        'data.scribbles: the scribble of all 10 training images is unlabelled '
        '(255) everywhere. Name other files'),
    'ground truth of 255': (
        lambda root: blank(root, 'SegmentationClassAug'),
        'data.ground_truth: the ground truth of all 3 val images is unlabelled '
        '(255) everywhere. Name other files'),
}


@pytest.mark.parametrize('mistake', REFUSED)
def test_set_that_tells_nothing_is_refused(root, config, mistake):
  spoil, line = REFUSED[mistake]
  spoil(root)
  with pytest.raises(UserError) as error:
    records.prepare(config.data)
  assert line in str(error.value) and '\n' not in str(error.value)
  assert not list(root.glob('records/[!.]*'))
  code, printed = run('check', root)
  assert code == 1 and line in printed.split('Worth knowing')[0]


def test_case_that_must_never_happen_again(root, config, tmp_path):
  for folder in FOLDERS:
    fill(root, folder)
  (root / 'classes.txt').write_text('background\ncrack\n')
  with pytest.raises(UserError, match='3 problems') as error:
    train.train(config, str(tmp_path / 'run'))
  assert str(error.value).count('If 255 stands for crack') == 3
  # As the messages say:
  config.data.label_map = ('scribbles=0:255,255:1,pseudo_labels=0:0,255:1,'
                           'ground_truth=0:0,255:1')
  records.prepare(config.data)


@pytest.mark.parametrize('spoil, line', [
    (blank, 'is unlabelled (255) everywhere'), (fill, 'If 255 stands for')])
def test_evaluation_refuses_ground_truth_that_tells_nothing(
    root, config, tmp_path, monkeypatch, spoil, line):
  spoil(root, 'SegmentationClassAug')
  monkeypatch.setattr(evaluate.trained, 'load', lambda *_: (None, None, 0))
  with pytest.raises(UserError) as error:
    evaluate.evaluate(config, 'x', 0, tmp_path / 'out')
  assert line in str(error.value) and not (tmp_path / 'out').exists()


def test_single_images_of_background_alone_are_fine(root, config, caplog):
  for folder in FOLDERS:
    fill(root, folder, 0, keep={'train_00000', 'train_00001', 'val_00000'})
  records.prepare(config.data)
  assert 'no class but' not in caplog.text


def save(path, values, palette):
  image = Image.fromarray(np.asarray(values, np.uint8))
  image.putpalette(palette)
  image.save(path)


RED, BLUE, GREY = (200, 0, 0), (0, 0, 200), (9, 9, 9)


def recolour(root, folder, palettes):
  """Gives the first files of a folder palettes, for values of 0, 1 and 2."""
  paths = sorted((root / folder).iterdir())
  for path, palette in zip(paths, palettes, strict=False):
    values = np.full([48, 48], 255)
    values[:3], values[10:12] = 0, 1
    save(path, values, [channel for colour in palette for channel in colour])


@pytest.fixture
def grey(root):
  rewrite(root, lambda mask: mask)  # Without palettes.
  return root


def test_index_of_two_colours_is_refused(grey, config):
  recolour(grey, 'scribbles', [(GREY, RED, BLUE), (GREY, BLUE, RED)])
  line = ('index 1 is (200, 0, 0) in train_00000 and (0, 0, 200) in train_00001'
          ': perhaps two classes. Let an index mean one class in all files')
  with pytest.raises(UserError) as error:
    records.prepare(config.data)
  assert line in str(error.value) and 'index 0' not in str(error.value)
  code, printed = run('check', grey)
  assert code == 1 and line in printed.split('Worth knowing')[0]


@pytest.mark.parametrize('palettes', [
    [(GREY, RED, BLUE), (GREY, RED, GREY)],  # 2 is in no file.
    [(GREY, RED, BLUE)]])  # The others are grey.
def test_palettes_that_agree_where_it_matters(grey, config, caplog, palettes):
  recolour(grey, 'scribbles', palettes)
  records.prepare(config.data)
  assert 'perhaps two classes' not in caplog.text


def test_unlabelled_pixels_may_have_any_colour(grey, config):
  for number, colour in enumerate((RED, BLUE)):
    values = np.zeros([48, 48])
    values[:3] = 1
    save(grey / f'scribbles/train_0000{number}.png', values,
         [*colour, *GREY])
  config.data.unlabelled_index = 'scribbles=0'
  records.prepare(config.data)


def test_index_of_two_colours_in_ground_truth_is_a_warning(
    grey, config, caplog):
  for number, colour in enumerate((RED, BLUE)):
    values = np.zeros([48, 48])
    values[:3] = 1
    save(grey / f'SegmentationClassAug/val_0000{number}.png', values,
         [*GREY, *colour])
  records.prepare(config.data)
  assert ('data.ground_truth: in the palettes of the val images, index 1 is '
          '(200, 0, 0) in val_00000 and (0, 0, 200) in val_00001') in (
              caplog.text)


# What is warned of, again at the second start


def test_dense_strokes_are_a_warning(root, config, caplog):
  for path in (root / 'scribbles').iterdir():
    masks.write_mask(path, masks.read_mask(root / FOLDERS[2] / path.name))
  line = ('strokes cover 100.0 % of the pixels on average. If 0 means '
          'unlabelled in them, set --config.data.unlabelled_index=scribbles=0')
  for _ in range(2):
    caplog.clear()
    records.prepare(config.data)
    assert line in caplog.text
  assert 'Preparing' not in caplog.text
  code, printed = run('check', root)
  assert code == 0 and line in printed.split('Worth knowing')[1]


def test_ordinary_strokes_cause_no_warning(config, caplog):
  records.prepare(config.data)
  assert [*caplog.messages][1:] == []  # Only that records are made.


def test_class_without_a_stroke_is_a_warning(root, config, caplog):
  rewrite(root, lambda mask: np.where(mask == 2, 255, mask), FOLDERS[:1])
  line = 'the class spotted_shell is in no scribble of a training image'
  for _ in range(2):
    caplog.clear()
    records.prepare(config.data)
    assert line in caplog.text
  code, printed = run('check', root)
  assert code == 0 and line in printed.split('Worth knowing')[1]


def test_strokes_that_deformation_removes_are_missed(root, config, caplog):
  names = dataset_files.read_class_names('classes.txt', root)
  for path in (root / 'scribbles').iterdir():
    mask = np.full([48, 48], 255, np.uint8)
    for label in range(4):
      mask[10 * label + 2:10 * label + 5, 5:40] = label
    masks.write_mask(path, mask)
  path = root / config.data.train_list  # Two images, in which one stays each.
  path.write_text('\n'.join(path.read_text().split()[:2]))
  config.data.scribble_drop = 1.0
  kept = {int(label) for one in input_pipeline.whole_examples(
      records.prepare(config.data), 'train') for label in
          np.unique(one['scribble'])}
  absent = [name for label, name in enumerate(names) if label not in kept]
  assert len(absent) >= 2
  assert f'the classes {", ".join(absent)} are in no scribble' in caplog.text


def test_what_was_seen_adds_up_in_any_grouping():
  rng = np.random.default_rng(0)
  parts = []
  for number in range(12):
    mask = rng.integers(0, 3, [5, 7]).astype(np.uint8)
    mask[rng.random(mask.shape) < 0.5] = 255
    if number % 2:
      mask[:] = 255
    parts.append(label_checks.count(f'id{number}', loading.Maps(
        np.zeros([*mask.shape, 3], np.uint8), b'', mask, None, None,
        'ground_truth', {'scribbles': {0: (number, 0, 0), 1: GREY}},
        (images.Remark(images.DARK, f'id{number}', 4095),))))
    assert parts[-1].keys() == {'images', 'scribbles'}
    assert parts[-1]['scribbles'].covered == np.mean(mask != 255)
  whole, halves = {}, [{}, {}]
  for part in parts:
    label_checks.add(whole, pickle.loads(pickle.dumps(part)))
  for half, some in zip(halves, (parts[:5], parts[5:]), strict=True):
    for part in some:
      label_checks.add(half, part)
  total = {}
  for half in halves:
    written = record_writer.Written()
    written.seen = half
    label_checks.add(total, pickle.loads(pickle.dumps(written)).seen)
  assert total['scribbles'].covered == pytest.approx(whole['scribbles'].covered)
  total['scribbles'].covered = whole['scribbles'].covered
  assert total == whole
  seen = whole['scribbles']
  assert (seen.images, seen.num_blank) == (12, 6)
  assert seen.blank_ids == ['id1', 'id3', 'id5', 'id7', 'id9']
  assert seen.colours == {0: {(0, 0, 0): 'id0', (1, 0, 0): 'id1'},
                          1: {GREY: 'id0'}}


# Class lists


@pytest.mark.parametrize('names, problem', [
    (['__ignore__', 'background', 'cat'],
     "name 1: '__ignore__' is no class; take it off the list. If masks hold 0 "
     'for it, add --config.data.label_map=0:255,1-2:0-1'),
    (['background', 'Void', 'cat'],
     'If masks hold 1 for it, add --config.data.label_map=0:0,1:255,2:1'),
    (['background', 'cat', 'Unlabelled'],
     'If masks hold 2 for it, add --config.data.unlabelled_index=2'),
    (['unlabeled', 'cat', 'dog'], "'unlabeled' is no class"),
    (['background', 'cat', "don't care"], 'is no class'),
    (['# label:color_rgb:parts:actions', 'background', 'cat'],
     "name 1: '# label:color_rgb:parts:actions' is a comment"),
    (['background:0,0,0::', 'cat:128,0,0::'],
     "name 1: 'background:0,0,0::' names a colour"),
    (['background 0 0 0', 'cat 128 0 0'], 'names a colour'),
    (['background, 0, 0, 0', 'cat, 128, 0, 0'], 'names a colour'),
    (['background;0;0;0', 'cat;128;0;0'], "'cat;128;0;0' names a colour"),
    (['name,r,g,b', 'cat,1,2,3'], "name 1: 'name,r,g,b' names a colour"),
    (['0 background', '1 cat'], "name 1: '0 background' begins with a number"),
    (['0: background', '1: cat'], 'begins with a number'),
    (['1,background', '2,cat'], 'begins with a number'),
    (['cat', 'background', 'dog'], "name 2: 'background' is not the first"),
    (['cat', 'dog', '_background_'], "name 3: '_background_' is not the first"),
])
def test_list_with_other_things_than_class_names(
    root, config, names, problem):
  for text in ('\n'.join(names), '\r\n'.join(['', *names, '', ''])):
    (root / 'classes.txt').write_bytes(text.encode())
    with pytest.raises(UserError) as error:
      records.prepare(config.data)
    assert f'{root}/classes.txt, name ' in str(error.value)
    assert problem in str(error.value)
  code, printed = run('check', root)
  assert code == 1 and problem in printed
  with pytest.raises(UserError, match=r'config\.data\.classes, name '):
    dataset_files.read_class_names(tuple(names), root)


@pytest.mark.parametrize('names', [
    ['_background_', 'cat'], ['BACKGROUND', 'cat'], ['road', 'sidewalk', 'sky'],
    ['background', '2 wheeler', '3d printer'], ['background', 'avoid', 'C#'],
    ['background', 'car (1, 2 or 3 doors)', 'route 66'],
    ['impervious surfaces', 'tree', 'clutter/background'],
    ['背景', '猫'], ['фон', 'кот']])
def test_unusual_names_are_fine(names):
  class_list.check('classes.txt', names)


def test_ground_truth_of_one_class_is_a_warning(root, config, caplog):
  rewrite(root, lambda mask: np.where(mask == 1, 1, 255),
          ['SegmentationClassAug'])
  records.prepare(config.data)
  assert ('the ground truth of all 3 val images has a single class'
          in caplog.text)


def test_labels_of_stage_1_named_by_hand_are_not_translated(root, config):
  made = root / 'stage1/0/pseudo_labels'
  shutil.copytree(root / 'pseudo_labels', made)
  before = records.prepare(config.data).learned_from(True)['pseudo-labels']
  rewrite(root, zero_is_unlabelled, ['scribbles', 'SegmentationClassAug'])
  config.data.pseudo_labels = 'stage1/0/pseudo_labels'
  config.data.label_map = '0:255,1-4:0-3,255:255'
  translated = records.prepare(config.data).learned_from(True)
  assert translated['pseudo-labels'] != before  # Of somebody else.
  (made.parent / 'settings.json').write_text('{}')
  own = records.prepare(config.data).learned_from(True)
  assert own['pseudo-labels'] == before


def test_an_image_in_both_lists_is_told(root, config, caplog):
  lists = root / 'ImageSets/SegmentationAug'
  name = (lists / 'val.txt').read_text().split()[0]
  masks.write_mask(root / f'scribbles/{name}.png', masks.read_mask(
      root / f'SegmentationClassAug/{name}.png'))
  config.data.pseudo_labels = 'none'
  with open(lists / 'train.txt', 'a') as f:
    f.write(f'{name}\n')
  records.prepare(config.data)
  assert f'1 image ({name}) in both lists' in caplog.text
