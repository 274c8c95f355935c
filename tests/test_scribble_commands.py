"""python -m scribble_jax.scribbles: what it writes, prints and refuses."""

import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
from PIL import Image
import pytest

from scribble_jax import panels
from scribble_jax.data import dataset_files
from scribble_jax.data import loading
from scribble_jax.dataset_classes import VOC_CLASSES
from scribble_jax.errors import UserError
from scribble_jax.files import masks
from scribble_jax.scribbles import __main__ as command
from scribble_jax.scribbles import outputs
from scribble_jax.scribbles import parallel
from scribble_jax.weak_labels import deformation
from scribble_jax.weak_labels import simulation
from tests.test_annotations import box
from tests.test_annotations import point
from tests.test_annotations import voc_xml
from tests.test_dataset_files import xml

REPOSITORY = pathlib.Path(__file__).parent.parent


def run(*arguments):
  """Runs a command in this process; returns what it prints."""
  options = command.make_parser().parse_args([str(one) for one in arguments])
  if options.processes is None:
    options.processes = 1
  with contextlib.redirect_stdout(io.StringIO()) as printed:
    code = options.run(options)
  return (code, printed.getvalue()) if options.command == 'check' else (
      printed.getvalue())


def left_in(folder):
  """Names of what is there but for the empty files that lock an output."""
  return [path.name for path in folder.iterdir()
          if path.suffix != '.lock' or path.stat().st_size]


def contents(folder):
  return {str(path.relative_to(folder)): path.read_bytes()
          for path in folder.rglob('*') if path.is_file()}


@pytest.fixture
def dense(drawn_root):
  return drawn_root / 'SegmentationClassAug'


@pytest.fixture
def photographs(drawn_root):
  return drawn_root / 'JPEGImages'


# simulate


def test_strokes_agree_with_the_masks_and_are_described(dense, tmp_path):
  output = tmp_path / 'out'
  printed = run('simulate', dense, output, '--style=mixed', '--seed=3')
  paths = sorted(dense.iterdir())
  assert {path.name for path in output.iterdir()} == {
      *(path.name for path in paths), 'scribbles.json'}
  for path in paths:
    scribble, mask = (masks.read_mask(one) for one in (
        output / path.name, path))
    drawn = scribble != 255
    assert drawn.any()
    np.testing.assert_array_equal(scribble[drawn], mask[drawn])
  description = json.loads((output / 'scribbles.json').read_text())
  assert description['command'] == 'simulate' and description['seed'] == 3
  assert description['options']['style'] == 'mixed'
  assert description['input'] == str(dense)
  assert description['list'] is description['classes'] is None
  assert re.search(r'images +13 +-', printed)
  assert re.search(r'disagree with the mask \(%\) +0.00', printed)
  assert run('stats', output, '--masks', dense) == printed


def test_same_bytes_whatever_the_processes_and_the_other_images(
    dense, tmp_path):
  run('simulate', dense, tmp_path / 'one', '--style=mixed', '--seed=3')
  run('simulate', dense, tmp_path / 'two', '--style=mixed', '--seed=3',
      '--processes=2')
  ids = sorted(path.stem for path in dense.iterdir())[5:2:-1]
  (tmp_path / 'list').write_text('\n'.join(ids))
  run('simulate', dense, tmp_path / 'few', '--style=mixed', '--seed=3',
      '--list', tmp_path / 'list')
  run('simulate', dense, tmp_path / 'other', '--style=mixed', '--seed=4')
  one, two, few, other = (
      contents(tmp_path / name) for name in ('one', 'two', 'few', 'other'))
  assert one == two
  assert {name for name in few if name.endswith('.png')} == {
      f'{name}.png' for name in ids}
  assert all(one[f'{name}.png'] == few[f'{name}.png'] for name in ids)
  assert all(one[name] != other[name] for name in one)


def test_rounds_differ_and_the_first_is_the_only_one_of_one(dense, tmp_path):
  run('simulate', dense, tmp_path / 'one')
  run('simulate', dense, tmp_path / 'more', '--rounds=2')
  one, more = contents(tmp_path / 'one'), contents(tmp_path / 'more')
  assert len(more) == 2 * 13 + 1
  for name in one:
    if name.endswith('.png'):
      assert more[f'round_0/{name}'] == one[name]
      assert more[f'round_1/{name}'] != one[name]
  run('simulate', dense, tmp_path / 'more', '--rounds=2', '--overwrite')
  assert contents(tmp_path / 'more') == more


def test_options_reach_the_strokes(dense, tmp_path):
  run('simulate', dense, tmp_path / 'spots', '--style=spot', '--width=1',
      '--background_strokes=0', '--max_parts=1')
  for path in (tmp_path / 'spots').glob('*.png'):
    scribble = masks.read_mask(path)
    truth = masks.read_mask(dense / path.name)
    assert np.sum(scribble != 255) == len({*np.unique(truth)} - {0, 255})
  run('simulate', dense, tmp_path / 'none', '--background_probability=0')
  assert not any((masks.read_mask(path) == 0).any()
                 for path in (tmp_path / 'none').glob('*.png'))


def test_panels_stand_apart_from_the_scribbles(dense, photographs, tmp_path):
  run('simulate', dense, tmp_path / 'out', '--panels=3', '--images',
      photographs)
  with Image.open(tmp_path / 'out/panels/panels.png') as picture:
    assert picture.mode == 'RGB' and picture.width > 3 * 180
  assert len(list((tmp_path / 'out').glob('*.png'))) == 13
  with pytest.raises(UserError, match='--panels needs .* Add --images'):
    run('simulate', dense, tmp_path / 'other', '--panels=3')
  assert not (tmp_path / 'other').exists()


def test_the_panels_legend_is_the_users(
    drawn_root, dense, photographs, tmp_path, monkeypatch):
  legends = []
  draw = panels.draw_panels
  monkeypatch.setattr(panels, 'draw_panels', lambda rows, names: (
      legends.append(names), draw(rows, names))[1])
  arguments = 'simulate', dense, tmp_path / 'out', '--images', photographs
  run(*arguments, '--panels=13')
  last = max(label for path in dense.iterdir()
             for label in np.unique(masks.read_mask(path)) if label != 255)
  assert legends.pop() == ('0 background', *map(str, range(1, last + 1)))
  run(*arguments, '--panels=1', '--overwrite', '--classes',
      drawn_root / 'classes.txt')
  assert legends.pop()[2] == 'spotted_shell'
  run(*arguments, '--panels=1', '--overwrite', '--classes=voc')
  assert legends.pop() == VOC_CLASSES


def test_bad_masks_are_listed_and_nothing_is_written(root, tmp_path):
  dense = root / 'SegmentationClassAug'
  first, second, *_ = sorted(dense.iterdir())
  Image.new('RGB', (48, 48)).save(first)
  second.write_text('no picture')
  with pytest.raises(UserError) as error:
    run('simulate', dense, tmp_path / 'out')
  head, *lines = str(error.value).splitlines()
  assert head == '2 problems. Mend these files and start again.'
  assert f'{first}: has mode RGB' in lines[0]
  assert f'{second}: is text that begins with' in lines[1]
  assert left_in(tmp_path) == ['data']


@pytest.mark.parametrize('error', [KeyboardInterrupt(), MemoryError()])
def test_an_interruption_leaves_nothing(dense, tmp_path, monkeypatch, error):
  simulate, calls = simulation.simulate_scribble, []

  def simulate_or_die(*arguments, **options):
    calls.append(arguments)
    if len(calls) == 5:
      raise error
    return simulate(*arguments, **options)

  monkeypatch.setattr(simulation, 'simulate_scribble', simulate_or_die)
  with pytest.raises(type(error)):
    run('simulate', dense, tmp_path / 'out')
  assert not left_in(tmp_path)


def test_a_list_that_names_something_else(dense, tmp_path):
  (tmp_path / 'list').write_text('train_00000\nnobody\n')
  with pytest.raises(UserError, match='nothing for the listed id nobody'):
    run('simulate', dense, tmp_path / 'out', '--list', tmp_path / 'list')
  (tmp_path / 'empty').mkdir()
  with pytest.raises(UserError, match='empty holds no scribble, mask'):
    run('simulate', tmp_path / 'empty', tmp_path / 'out')


# Whose files are replaced


def test_an_earlier_output_is_replaced_when_told_to(dense, tmp_path):
  output = tmp_path / 'out'
  output.mkdir()
  run('simulate', dense, output)  # An empty folder is free.
  before = contents(output)
  with pytest.raises(UserError, match='earlier output.*--overwrite'):
    run('simulate', dense, output, '--seed=1')
  assert contents(output) == before
  run('simulate', dense, output, '--seed=1', '--overwrite')
  after = contents(output)
  assert after.keys() == before.keys() and after != before


@pytest.mark.parametrize('strange', ['mine.png', 'notes.txt', 'deep/mine.png'])
def test_other_files_are_never_replaced(dense, tmp_path, strange):
  output = tmp_path / 'out'
  run('simulate', dense, output)
  path = output / strange
  path.parent.mkdir(exist_ok=True)
  path.write_bytes(b'precious')
  with pytest.raises(UserError, match='out holds other files'):
    run('simulate', dense, output, '--overwrite')
  assert path.read_bytes() == b'precious'


def test_a_folder_or_file_of_somebody_else_is_never_replaced(root, tmp_path):
  before = contents(root)
  with pytest.raises(UserError, match='scribbles holds other files'):
    run('drop', root / 'scribbles', root / 'scribbles', '--ratio=0.5',
        '--overwrite')
  with pytest.raises(UserError, match=r'classes\.txt is a file'):
    run('drop', root / 'scribbles', root / 'classes.txt', '--ratio=0.5',
        '--overwrite')
  assert contents(root) == before


def test_two_commands_of_one_output_take_turns(tmp_path):
  refused = []

  def second():
    try:
      with outputs.whole_output(tmp_path / 'out', False, {}):
        refused.append(None)
    except UserError as error:
      refused.append(str(error))

  thread = threading.Thread(target=second)
  with outputs.whole_output(tmp_path / 'out', False, {}) as folder:
    (folder / 'first.png').touch()
    thread.start()
    thread.join(0.5)
    assert thread.is_alive() and not refused
  thread.join()
  (message,) = refused
  assert 'out holds an earlier output' in message
  assert set(contents(tmp_path / 'out')) == {'first.png', 'scribbles.json'}


def test_a_place_that_cant_be_written(dense, tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(UserError, match='Cannot write .*Name another folder'):
    run('simulate', dense, tmp_path / 'file/out')


# shrink and drop


@pytest.mark.parametrize('name', ['shrink', 'drop'])
def test_deformations_are_those_of_training(drawn_root, tmp_path, name):
  scribbles = drawn_root / 'scribbles'
  ids = sorted(path.stem for path in scribbles.iterdir())
  (tmp_path / 'list').write_text('\n'.join(ids[5:2:-1]))
  expected = {}
  ratios = {'shrink': 0.0, 'drop': 0.0, name: 0.5}
  for one in ids:
    masks.write_mask(tmp_path / 'expected.png', deformation.deform(
        masks.read_mask(scribbles / f'{one}.png'), **ratios, key=(7, one)))
    expected[one] = (tmp_path / 'expected.png').read_bytes()
  assert any(content != (scribbles / f'{one}.png').read_bytes()
             for one, content in expected.items())
  for output, chosen, options in (
      ('one', ids, ['--processes=1']), ('two', ids, ['--processes=2']),
      ('few', ids[3:6], ['--list', tmp_path / 'list'])):
    run(name, scribbles, tmp_path / output, '--ratio=0.5', '--seed=7', *options)
    written = contents(tmp_path / output)
    del written['scribbles.json']
    assert written == {f'{one}.png': expected[one] for one in chosen}


def test_deformed_boxes_are_those_of_training(config, root, tmp_path):
  ids = (root / config.data.train_list).read_text().split()
  boxes = root / 'boxes.json'
  boxes.write_text(json.dumps({
      name: [box(4, 3, 23, 12), box(30, 20, 40, 40, 'dog')] for name in ids}))
  run('shrink', boxes, tmp_path / 'out', '--ratio=0.5', '--seed=5', '--images',
      root / 'JPEGImages')
  config.data.scribbles = 'boxes.json'
  for example in dataset_files.list_examples(config.data, True)['train']:
    maps, _ = loading.load(example, VOC_CLASSES)
    np.testing.assert_array_equal(
        masks.read_mask(tmp_path / f'out/{example.id}.png'),
        deformation.deform(
            maps.scribble, shrink=0.5, drop=0, key=(5, example.id)))
  for seed in (0, 5):
    run('from-boxes', boxes, tmp_path / f'drawn_{seed}', '--seed', seed,
        '--images', root / 'JPEGImages')
  assert (contents(tmp_path / 'drawn_0').items()
          ^ contents(tmp_path / 'drawn_5').items())


def test_ratio_0_changes_nothing(drawn_root, tmp_path):
  run('shrink', drawn_root / 'scribbles', tmp_path / 'out', '--ratio=0')
  for path in (drawn_root / 'scribbles').iterdir():
    np.testing.assert_array_equal(
        masks.read_mask(path), masks.read_mask(tmp_path / 'out' / path.name))


def test_points_need_the_images_sizes(photographs, tmp_path):
  name = next(photographs.iterdir()).stem
  (tmp_path / 'points.json').write_text(json.dumps({name: [point(3, 4)]}))
  arguments = 'drop', tmp_path / 'points.json', tmp_path / 'out', '--ratio=0'
  with pytest.raises(UserError, match=f'{name}: the size .* is missing; name'):
    run(*arguments)
  run(*arguments, '--images', photographs)
  assert (masks.read_mask(tmp_path / f'out/{name}.png') == 1).sum() == 9


# from-xml, from-points, from-boxes


def converted(command, source, photographs, tmp_path, *options):
  run(command, source, tmp_path / 'out', '--images', photographs, *options)
  (path,) = (tmp_path / 'out').glob('*.png')
  with Image.open(path) as image:
    assert image.mode == 'P'
  return masks.read_mask(path)


def test_from_xml(photographs, tmp_path):
  name = next(photographs.iterdir()).stem
  (tmp_path / 'xml').mkdir()
  (tmp_path / f'xml/{name}.xml').write_bytes(
      xml([('dog', [(4, 5), (12, 5)])], 48, 48))
  mask = converted('from-xml', tmp_path / 'xml', photographs, tmp_path)
  assert (mask[4:7, 4:13] == 12).all() and (mask != 255).sum() == 27


def test_from_points_with_other_classes(photographs, drawn_root, tmp_path):
  name = next(photographs.iterdir()).stem
  (tmp_path / 'points.json').write_text(json.dumps(
      {name: [point(3, 4, 'spotted_shell')]}))
  mask = converted('from-points', tmp_path / 'points.json', photographs,
                   tmp_path, '--classes', drawn_root / 'classes.txt')
  assert (mask[3:6, 2:5] == 2).all() and (mask != 255).sum() == 9


@pytest.mark.parametrize('kind', ['json', 'xml'])
def test_from_boxes(photographs, tmp_path, kind):
  name = next(photographs.iterdir()).stem
  source = tmp_path / ('xml' if kind == 'xml' else 'boxes.json')
  if kind == 'xml':
    source.mkdir()
    (source / f'{name}.xml').write_bytes(
        voc_xml([('cat', 5, 4, 24, 13)], 48, 48))
  else:
    source.write_text(json.dumps({name: [box(4, 3, 23, 12)]}))
  mask = converted('from-boxes', source, photographs, tmp_path)
  assert (mask[6:9, 8:19] == 8).all() and (mask == 8).sum() == 33
  assert (mask == 0).any()


def test_bad_annotations_are_listed(photographs, tmp_path):
  first, second = sorted(path.stem for path in photographs.iterdir())[:2]
  (tmp_path / 'points.json').write_text(json.dumps(
      {first: [point(3, 4), point(99, 4)], second: [point(3, 4, 'unicorn')]}))
  with pytest.raises(UserError) as error:
    run('from-points', tmp_path / 'points.json', tmp_path / 'out', '--images',
        photographs)
  _, one, two = str(error.value).splitlines()
  assert f'points.json: {first}: point 2 at (99, 4) is outside' in one
  assert f"points.json: {second}: point 1: unknown class 'unicorn'" in two
  assert not (tmp_path / 'out').exists()


def test_an_annotation_without_an_image(photographs, tmp_path):
  for name, message in (
      ('nobody', r'no image for the id nobody; it holds train_00000\.jpg, '),
      ('../x', r"points\.json: '\.\./x' is no path below the folder of im")):
    (tmp_path / 'points.json').write_text(json.dumps({name: [point(3, 4)]}))
    with pytest.raises(UserError, match=message):
      run('from-points', tmp_path / 'points.json', tmp_path / 'out', '--images',
          photographs)


def test_the_wrong_kind_of_annotation(drawn_root, photographs, tmp_path):
  with pytest.raises(UserError, match='png holds no boxes or XML'):
    run('from-boxes', drawn_root / 'scribbles', tmp_path / 'out', '--images',
        photographs)


# stats


def test_stats_of_drawn_scribbles(drawn_root, dense, tmp_path):
  printed = run('stats', drawn_root / 'scribbles', '--masks', dense,
                '--csv', tmp_path / 'all.csv', '--processes', 2)
  assert re.search(r'images +10 +-', printed)
  assert re.search(r'disagree with the mask \(%\) +0.00', printed)
  assert len((tmp_path / 'all.csv').read_text().splitlines()) == 11


def test_stats_problems(root, tmp_path):
  scribbles = root / 'scribbles'
  first, second, *_ = sorted(scribbles.iterdir())
  (root / 'SegmentationClassAug' / first.name).unlink()
  arguments = ('stats', scribbles, '--masks', root / 'SegmentationClassAug')
  with pytest.raises(UserError, match=f'no mask for the id {first.stem}'):
    run(*arguments)
  first.unlink()
  masks.write_mask(second, np.zeros([48, 50], np.uint8))
  with pytest.raises(UserError, match='is 50x48 pixels, its mask 48x48'):
    run(*arguments)
  second.unlink()
  with pytest.raises(UserError, match='Cannot write .*all.csv'):
    run(*arguments, '--csv', root / 'nowhere/all.csv')


# check


def test_check_of_a_good_data_set(root):
  code, printed = run('check', root)
  assert code == 0 and printed.startswith('OK\n')
  assert '0.00 % of the stroke pixels disagree' in printed
  assert ('images are 48 to 48 pixels wide and 48 to 48 high; 13 of 13 are '
          'smaller than the crop of 465') in printed


def test_check_lists_everything_that_training_would_complain_about(root):
  ids = (root / 'ImageSets/SegmentationAug/train.txt').read_text().split()
  for name in ids[:9]:
    Image.new('RGB', (48, 48)).save(root / f'scribbles/{name}.png')
    Image.new('RGB', (48, 48)).save(root / f'pseudo_labels/{name}.png')
  (root / f'JPEGImages/{ids[9]}.jpg').unlink()
  with open(root / 'ImageSets/SegmentationAug/val.txt', 'a') as f:
    f.write('nobody\n')
  code, printed = run('check', root)
  first, *lines = printed.split('Worth knowing')[0].splitlines()
  assert code == 1 and first == '21 problems:' and len(lines) == 21
  assert sum('has mode RGB' in line for line in lines) == 18
  assert sum('nothing for the listed id nobody' in line for line in lines) == 2


def test_check_says_what_a_person_would_want_to_know(root):
  ids = (root / 'ImageSets/SegmentationAug/train.txt').read_text().split()
  scribbles = root / 'scribbles'
  empty = np.full([48, 48], 255, np.uint8)
  for name in ids:
    masks.write_mask(scribbles / f'{name}.png', empty)
  alone = empty.copy()
  alone[:4, :4] = 0
  masks.write_mask(scribbles / f'{ids[1]}.png', alone)
  wrong = masks.read_mask(root / f'SegmentationClassAug/{ids[2]}.png') % 3 + 1
  masks.write_mask(scribbles / f'{ids[2]}.png', wrong)
  code, printed = run('check', root, '--crop_size=40')
  assert code == 0
  assert ('8 training images have an empty scribble (train_00000, train_00003, '
          'train_00004, train_00005, train_00006, ...), of 10.') in printed
  assert f'1 image ({ids[1]}) of 10 with strokes on the background alo' in (
      printed)
  assert f'disagree with the ground truth, in 1 image ({ids[2]})' in printed
  assert '0 of 13 are smaller than the crop of 40' in printed
  for name in ids:
    masks.write_mask(scribbles / f'{name}.png', alone)
  alone[:4, 4:] = 1
  masks.write_mask(scribbles / f'{ids[1]}.png', alone)
  _, printed = run('check', root)
  assert ('the classes spotted_shell, checked_star are in no scribble of a '
          'training image. Compare the order') in printed


def test_check_of_data_without_dense_ground_truth(root, caplog):
  for mask in (root / 'SegmentationClassAug').glob('val*'):
    shutil.copy(mask, root / 'scribbles' / mask.name)
  shutil.rmtree(root / 'SegmentationClassAug')
  code, printed = run('check', root)
  assert code == 1 and '--config.data.ground_truth=none validates' in printed
  flags = 'check', root, '--ground_truth=none'
  assert run(*flags)[0] == 0
  assert run(*flags, '--val_list=none')[0] == 0
  assert "config.data.val_list is 'none'" in caplog.text
  for scribble in (root / 'scribbles').glob('val*'):
    scribble.unlink()
  code, printed = run(*flags)
  assert code == 1 and 'has no strokes of a val image' in printed


def test_check_of_ids_in_both_lists(root):
  lists = root / 'ImageSets/SegmentationAug'
  name = (lists / 'train.txt').read_text().split()[0]
  with open(lists / 'val.txt', 'a') as f:
    f.write(f'{name}\n')
  code, printed = run('check', root)
  assert code == 1 and f'1 image ({name}) in both lists' in printed


def test_check_with_other_paths(root):
  shutil.rmtree(root / 'pseudo_labels')
  (root / 'scribbles').rename(root / 'elsewhere')
  code, printed = run('check', root)
  assert code == 1 and 'scribbles does not exist. Put' in printed
  assert run('check', root, '--scribbles=elsewhere',
             '--pseudo_labels=none')[0] == 0
  code, printed = run('check', root, '--scribbles=elsewhere')
  assert code == 1 and 'pseudo_labels does not exist' in printed
  assert run('check', root, '--scribbles=elsewhere',
             '--pseudo_labels=none', '--classes=voc')[0] == 0


def test_check_of_nothing(tmp_path):
  code, printed = run('check', tmp_path / 'nowhere')
  assert code == 1 and printed.count('nowhere does not exist') == 1


# The command line


@pytest.mark.parametrize('arguments, message', [
    ([], 'the following arguments are required: COMMAND'),
    (['draw'], "invalid choice: 'draw'"),
    (['drop', 'a', 'b', '--ratio=2'], "--ratio: '2' is not a number from 0 to"),
    (['drop', 'a', 'b'], 'arguments are required: --ratio'),
    (['simulate', 'a', 'b', '--width=0'], "'0' is not a number of at least 1"),
    (['simulate', 'a', 'b', '--seed=-1'], "'-1' is not a number of at least 0"),
    (['simulate', 'a', 'b', '--coverage=nan'], "'nan' is not a number from"),
    (['stats', 'a', '--unknown'], 'unrecognized arguments: --unknown'),
])
def test_typos_are_one_line(arguments, message):
  with pytest.raises(UserError) as error:
    command.make_parser().parse_args(arguments)
  assert message in str(error.value) and '(try --help)' in str(error.value)
  assert '\n' not in str(error.value)


def start(*arguments):
  return subprocess.Popen(
      [sys.executable, '-m', 'scribble_jax.scribbles', *map(str, arguments)],
      cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
      text=True, start_new_session=True)


@pytest.mark.parametrize('name', ['shrink', 'drop'])
def test_help_says_what_a_deformation_reads(name, capsys):
  with pytest.raises(SystemExit):
    command.make_parser().parse_args([name, '--help'])
  assert 'Accepts whatever training reads' in capsys.readouterr().out


def test_what_every_process_imports_is_light():
  # JAX and TensorFlow would cost each of them seconds.
  subprocess.run([sys.executable, '-c', (
      'import sys; import scribble_jax.scribbles.commands; '
      'import scribble_jax.scribbles.checks; '
      'assert not {"jax", "tensorflow"} & set(sys.modules)')],
                 cwd=REPOSITORY, check=True)


def test_a_mistake_is_one_line_and_exit_code_1(tmp_path):
  process = start('stats', tmp_path / 'nowhere')
  printed, error = process.communicate()
  assert process.returncode == 1 and not printed
  (line,) = error.splitlines()
  assert line.startswith('error: ') and 'nowhere does not exist' in line


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_sigterm_is_one_line_and_leaves_nothing(
    dense, tmp_path, number):
  process = start('simulate', dense, tmp_path / 'out', '--rounds=4000',
                  '--processes=2')
  deadline = time.monotonic() + 120
  while not list(tmp_path.glob('.out.partial/round_0/*.png')):
    assert time.monotonic() < deadline and process.poll() is None
    time.sleep(0.05)
  if number == signal.SIGINT:  # A terminal sends it to all of the processes.
    os.killpg(process.pid, number)
  else:
    process.send_signal(number)
  _, error = process.communicate(timeout=60)  # Workers hold its pipes too.
  assert process.returncode == 130
  assert error.splitlines()[-1] == 'Interrupted. Nothing was written.'
  assert 'Traceback' not in error
  assert not left_in(tmp_path)


def test_a_process_that_is_killed_is_one_line():
  with pytest.raises(UserError, match='A process was killed.*--processes'):
    list(parallel.map_tasks(_die, list(range(20)), 2, 'Dying'))


def _die(number):
  del number
  signal.raise_signal(signal.SIGKILL)


def test_masks_in_subfolders_that_are_left_out_are_told(tmp_path, caplog):
  mask = np.zeros([20, 20], np.uint8)
  mask[5:15, 5:15] = 1
  for name in ('a.png', 'more/b.png', 'more/c.png'):
    (tmp_path / 'masks' / name).parent.mkdir(parents=True, exist_ok=True)
    masks.write_mask(tmp_path / 'masks' / name, mask)
  run('simulate', tmp_path / 'masks', tmp_path / 'strokes')
  assert '2 files in subfolders are left out' in caplog.text
  assert {path.stem for path in (tmp_path / 'strokes').rglob('*.png')} == {'a'}
  caplog.clear()
  (tmp_path / 'masks/a.png').unlink()
  run('simulate', tmp_path / 'masks', tmp_path / 'all')
  assert not caplog.text
  assert {path.stem for path in (tmp_path / 'all').rglob('*.png')} == {'b', 'c'}
