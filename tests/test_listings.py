"""Ids in lists, folders, zips, JSON: any spelling, and why one is missing."""

import json
import os
import re
import unicodedata
import zipfile

import numpy as np
from PIL import Image
import pytest

from scribble_jax import evaluate
from scribble_jax import predict
from scribble_jax.data import dataset_files
from scribble_jax.data import input_pipeline
from scribble_jax.data import loading
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.files import formats
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import missing
from scribble_jax.pseudo_labels import label_quality
from scribble_jax.pseudo_labels import settings
from scribble_jax.scribbles import outputs
from scribble_jax.weak_labels import annotations
from tests.test_annotations import point
from tests.test_dataset_files import xml
from tests.test_scribble_commands import run

COMPOSED, DECOMPOSED = (
    unicodedata.normalize(form, 'café') for form in ('NFC', 'NFD'))
TRAIN, VAL = (f'ImageSets/SegmentationAug/{name}.txt'
              for name in ('train', 'val'))
FOLDERS = ('JPEGImages', 'scribbles', 'pseudo_labels', 'SegmentationClassAug')


def make(folder, *names):
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
  return folder


def listed(tmp_path, names, text):
  """The ids of a list of this text, for images of these names."""
  folder = make(tmp_path / 'JPEGImages', *names)
  path = tmp_path / 'list.txt'
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return listings.listed_ids(path, folder, listings.files_by_id(
      folder, listings.IMAGE_SUFFIXES))


def rename(root, names):
  """Gives the data set's images other ids: {old: new}."""
  for folder in FOLDERS:
    for path in [*(root / folder).iterdir()]:
      new = root / folder / f'{names(path.stem)}{path.suffix}'
      new.parent.mkdir(exist_ok=True)
      path.rename(new)


def ids_of(root):
  return [(root / path).read_text().split() for path in (TRAIN, VAL)]


def write_lists(root, names):
  for path, ids in zip((TRAIN, VAL), ids_of(root), strict=True):
    (root / path).write_text('\n'.join(map(names, ids)))


# lists


@pytest.mark.parametrize('line, expected', [
    ('p00', 'p00'), ('p00.jpg', 'p00'), ('p00.JPG', 'p00'), ('p00.PNG', 'p00'),
    ('p00.xml', 'p00'), ('./p00.jpg', 'p00'), ('/p00', 'p00'),
    ('/JPEGImages/p00.jpg /Masks/p01.png', 'p00'),
    ('/JPEGImages/p00 /Masks/p01', 'p00'), ('images/p00 masks/p01', 'p00'),
    ('/elsewhere/JPEGImages/p00.jpg', 'p00'), ('images/p00.png', 'p00'),
    ('../JPEGImages/p00.jpg', 'p00'),
    (r'JPEGImages\p00.jpg', 'p00'), (r'C:\data\p00.JPG C:\m\p01.png', 'p00'),
    ('p00.jpg p01.png', 'p00'), ('p00.jpg,p01.png', 'p00'),
    ('p00.jpg;p01.png', 'p00'), ('p00.jpg\tp01.png', 'p00'),
    ('"p00.jpg","p01.png"', 'p00'), ("'p00' 'p01'", 'p00'),
    ('p00\tp01', 'p00'), ('  p00  ', 'p00'), ('\ufeffp00', 'p00'),
    ('leaf 00', 'leaf 00'), ('leaf 00.jpg', 'leaf 00'),
    ('leaf 00.jpg leaf 01.png', 'leaf 00'), ('a,b', 'a,b'),
    ('/JPEG Images/leaf 00.jpg', 'leaf 00'), ('my images/leaf 00', 'leaf 00'),
    ('/JPEG Images/leaf 00.jpg /My Masks/leaf 01.png', 'leaf 00'),
    ('"leaf 00.jpg" "leaf 01.png"', 'leaf 00'),
    ('photo.v2', 'photo.v2'), ('photo.v2.jpg', 'photo.v2'),
    ('city/x', 'city/x'), (r'city\x.png', 'city/x'),
    ('leftImg8bit/train/city/x.png gtFine/train/city/p00.png', 'city/x'),
    ('JPEGImages/city/x', 'city/x'), ('x', 'x'),
    (COMPOSED, COMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_line_in_any_spelling(tmp_path, line, expected):
  names = ('p00.jpg', 'p01.jpg', 'leaf 00.jpg', 'leaf 01.jpg', 'photo.jpg',
           'photo.v2.jpg', 'leaf.jpg', 'a,b.jpg', 'a.jpg', 'city/x.png',
           'x.JPG', f'{DECOMPOSED}.jpg')
  assert listed(tmp_path, names, line) == [expected]


def test_ids_with_blanks_are_ids_of_their_own(tmp_path):
  names = ['leaf 00', 'leaf 01', 'leaf 02']
  assert listed(tmp_path, [f'{name}.jpg' for name in names],
                '\r\n'.join(names)) == names


def test_junk_in_a_list_is_no_image(tmp_path):
  assert listed(tmp_path, ['p00.jpg'], '.DS_Store\np00.jpg\nThumbs.db\n'
                'JPEGImages/._p00.jpg') == ['p00']


@pytest.mark.parametrize('text, message', [
    ('p00\n../p00\n', r'list\.txt: \.\./p00 leads out of \S+JPEGImages\. List'),
    ('city/../../p00', r'city/\.\./\.\./p00 leads out of'),
    ('p00\nJPEGImages/p00.jpg', r'p00 is listed 2 times'),
    (f'{COMPOSED}\n{DECOMPOSED}', f'{COMPOSED} is listed 2 times'),
    ('p00\n'.encode('utf-16'), r'list\.txt is not UTF-8 text; it looks like '
     r'UTF-16, .* Save it as UTF-8'),
    ('p00\n'.encode('utf-16-le'), 'it looks like UTF-16'),
    ('é'.encode('latin-1'), 'it looks like Windows-1252 or Latin-1'),
    ('._p00', 'list.txt lists no image')])
def test_mistakes_in_a_list(tmp_path, text, message):
  with pytest.raises(UserError, match=message):
    listed(tmp_path, ['p00.jpg'], text)


def test_a_list_that_cant_be_read(tmp_path, monkeypatch):
  (tmp_path / 'folder').mkdir()
  with pytest.raises(UserError, match='folder is a folder. It lists'):
    listings.read_ids(tmp_path / 'folder')
  (tmp_path / 'list').touch()

  def refuse(*arguments, **options):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr('io.open', refuse)
  with pytest.raises(UserError, match='Cannot read .*list: .*denied'):
    listings.read_ids(tmp_path / 'list')


# folders, zips and JSON files


@pytest.mark.parametrize('name, junk', [
    ('._p00.png', True), ('.hidden', True), ('__MACOSX/p00.xml', True),
    ('Thumbs.db', True), ('thumbs.DB', True), ('desktop.ini', True),
    ('.DS_Store', True), ('.ipynb_checkpoints/p00.png', True),
    ('city/.x/p00.png', True), ('p00.png', False), ('city/p00.v2.png', False),
    ('_p00.png', False), ('MACOSX/p00.png', False)])
def test_junk(tmp_path, name, junk):
  assert listings.is_junk(name) is junk
  folder = make(tmp_path / 'folder', f'a/{name}', name)
  assert bool(listings.files_by_id(folder, ('.png', '.xml', '.db'))) is not junk


def test_files_are_found_below_the_folder_and_through_links(tmp_path):
  folder = make(tmp_path / '.cache/masks', 'p00.PNG', 'city/x.png',
                'city/deep/y.png', 'notes.txt')
  make(tmp_path / 'other', 'z.png')
  (folder / 'linked').symlink_to(tmp_path / 'other')
  (folder / 'city/loop').symlink_to(folder)
  found = listings.files_by_id(folder, ('.png',))
  assert found == {
      'p00': folder / 'p00.PNG', 'city/x': folder / 'city/x.png',
      'city/deep/y': folder / 'city/deep/y.png',
      'linked/z': folder / 'linked/z.png'}


@pytest.mark.parametrize('names', [
    ('p00.png', 'p00.PNG'), (f'{COMPOSED}.png', f'{DECOMPOSED}.png'),
    (f'{DECOMPOSED}/x.png', f'{COMPOSED}/x.png')])
def test_two_files_of_one_id(tmp_path, names):
  with pytest.raises(UserError, match='has the same id. Keep one file per id'):
    listings.files_by_id(make(tmp_path / 'masks', *names), ('.png',))


def test_a_name_that_is_no_text(tmp_path):
  with open(os.fsencode(tmp_path) + b'/caf\xe9.png', 'wb'):
    pass
  with pytest.raises(UserError, match=r"caf\\udce9\.png': the name is not UTF"):
    listings.files_by_id(tmp_path, ('.png',))


def refuse_folder(monkeypatch, folder):
  """Root may read all."""
  scan = os.scandir

  def refuse(path='.'):
    if str(path) == str(folder):
      raise PermissionError(13, 'Permission denied', str(path))
    return scan(path)

  monkeypatch.setattr('os.scandir', refuse)


def test_a_folder_that_cant_be_read(tmp_path, monkeypatch):
  folder = make(tmp_path / 'masks', 'a.png', 'closed/b.png')
  refuse_folder(monkeypatch, folder / 'closed')
  files = listings.files_by_id(folder, ('.png',))
  assert [*files] == ['a']
  assert missing.explain(folder, files, ['a', 'closed/b'], ('.png',)) == [
      f'{folder}: nothing for the listed id closed/b; {folder}/closed cannot '
      'be read: Permission denied']
  refuse_folder(monkeypatch, folder)
  with pytest.raises(UserError, match='Cannot read .*masks: .*denied'):
    listings.files_by_id(folder, ('.png',))


def write_zip(path, *names):
  with zipfile.ZipFile(path, 'w') as archive:
    for name in names:
      archive.writestr(name, xml([('cat', [(1, 1)])]))
  return path


@pytest.mark.parametrize('names, ids, expected', [
    (['a.xml', '._a.xml', '__MACOSX/a.xml', '.x/b.xml', 'c.txt'], [], ['a']),
    (['scribbles/a.xml', 'scribbles/city/x.xml'], [], ['a', 'city/x']),
    ([r'scribbles\a.xml', r'scribbles\b.XML'], [], ['a', 'b']),
    (['city/x.xml'], [], ['x']), (['city/x.xml'], ['city/x'], ['city/x']),
    (['top/city/x.xml', 'top/a.xml'], ['city/x', 'a'], ['city/x', 'a']),
    (['one/a.xml', 'two/b.xml'], ['a', 'b'], ['a', 'b']),
    ([f'{DECOMPOSED}.xml'], [], [COMPOSED])])
def test_ids_in_a_zip(tmp_path, names, ids, expected):
  found = annotations.scribbles_by_id(
      write_zip(tmp_path / 'a.zip', *names), '', ids)
  assert [*found] == expected
  assert [one.id for one in found.values()] == expected


def test_a_zip_of_macos_does_not_say_that_its_names_are_utf_8(tmp_path):
  path = write_zip(tmp_path / 'a.zip', f'{DECOMPOSED}.xml')
  content = bytearray(path.read_bytes())
  for mark, place in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
    flags = content.index(mark) + place
    assert content[flags + 1] == 8
    content[flags + 1] = 0
  path.write_bytes(content)
  assert [*annotations.scribbles_by_id(path, '')] == [COMPOSED]


@pytest.mark.parametrize('names, message', [
    (['a/x.xml', 'b/x.xml'], r'another file has the same id\. Keep one XML'),
    (['../x.xml', 'a.xml'], r"'\.\./x\.xml' is no path below the folder"),
    (['a.png'], 'a.zip holds no XML file. Unpack')])
def test_mistakes_in_a_zip(tmp_path, names, message):
  with pytest.raises(UserError, match=message):
    annotations.scribbles_by_id(
        write_zip(tmp_path / 'a.zip', *names), '', ['x'])


def test_ids_in_json(tmp_path):
  path = tmp_path / 'points.json'
  names = ('a', 'b.jpg', r'city\c.PNG', '/d', 'photo.v2', DECOMPOSED, 'leaf 00')
  path.write_text(json.dumps({name: [point(1, 1)] for name in names}))
  assert [*annotations.scribbles_by_id(path, '')] == [
      'a', 'b', 'city/c', 'd', 'photo.v2', COMPOSED, 'leaf 00']
  for names, message in (
      (['a', 'a.jpg'], 'points.json: a is listed 2 times'),
      ([COMPOSED, DECOMPOSED], 'is listed 2 times'),
      (['a/../../b'], "'a/../../b' is no path below the folder of images"),
      ([''], "'' is no path below"), (['a\0'], 'is no path below')):
    path.write_text(json.dumps({name: [] for name in names}))
    with pytest.raises(UserError, match=message):
      annotations.scribbles_by_id(path, '')
  path.write_bytes('{"a": []}'.encode('utf-16'))
  with pytest.raises(UserError, match='points.json is not UTF-8 text.*UTF-16'):
    annotations.scribbles_by_id(path, '')


# why there is nothing


@pytest.mark.parametrize('name, there, advice', [
    ('p00', 'p00.gif', 'which is not read: save as .png, .tif, .tiff or .xml'),
    ('p00', 'p00.json', 'which is not read'), ('p00', 'p00', 'not read'),
    ('city/x', 'city/x.gif', 'which is not read'),
    ('p00', 'P00.png', 'but capitals, blanks, dashes and zeros must agree'),
    ('leaf 00', 'leaf00.png', 'but capitals, blanks'),
    ('p00', "'p00 .png'", 'but capitals, blanks'),
    ('p00', "' p00.png'", 'but capitals, blanks'),
    ('leaf 00', r"'leaf\xa000.png'", 'but capitals, blanks'),
    ('p_00', 'p-00.png', 'dashes'), ('7', '0007.png', 'zeros must agree'),
    ('x', 'city/x.png', 'list it as city/x, or move the file'),
    ('city/x', 'x.png', 'list it as x, or move the file'),
    ('p00', 'p00_mask.png', r'rename it to p00\.png'),
    ('p00', 'p00_0000.png', 'named by its id'),
    ('p00', 'p00.jpg.png', 'named by its id'),
    ('p00', 'mask_p00.xml', r'rename it to p00\.xml'),
    ('7', 'mask_0007.png', 'named by its id'),
    ('p00', 'p00/mask.png', 'named by its id')])
def test_what_is_there_in_place_of_a_file(tmp_path, name, there, advice):
  file = there
  if there.startswith("'"):
    file = there[1:-1].replace(r'\xa0', '\xa0')
  folder = make(tmp_path / 'scribbles', file, 'other.png')
  files = listings.files_by_id(folder, annotations.SUFFIXES)
  (line,) = missing.explain(
      folder, files, ['other', name], annotations.SUFFIXES)
  assert line.startswith(
      f'{folder}: nothing for the listed id {name}; there is {there}, ')
  assert re.search(advice, line)


@pytest.mark.parametrize('mine, theirs', [
    ('city/{}_leftImg8bit', 'city/{}_gtFine_labelIds.png'),
    ('img_{}', 'mask_{}.png')])
def test_files_that_are_all_named_in_another_way(tmp_path, mine, theirs):
  numbers = [f'{number:03}' for number in range(20)]
  ids = [mine.format(number) for number in numbers]
  folder = make(tmp_path / 'masks', *map(theirs.format, numbers))
  files = listings.files_by_id(folder, ('.png',))
  (line,) = missing.explain(folder, files, ids, ('.png',))
  assert line.startswith(f'{folder}: nothing for the listed ids {ids[0]}, ')
  assert f'there are {theirs.format("000")}, {theirs.format("001")}, ' in line
  assert line.endswith(f'and 17 more, but a file is named by its id alone: if '
                       f'it belongs there, rename it to {ids[0]}.png')


@pytest.mark.parametrize(
    'name', ['2007_000033', 'nobody', 'scene_c', 'other_a'])
def test_no_other_images_file_is_suggested(tmp_path, name):
  names = ['2007_000032', '2007_000039', 'scene_a', 'scene_b']
  folder = make(tmp_path / 'masks', *(f'{name}.png' for name in names),
                f'._{name}.png', 'Thumbs.db')
  files = listings.files_by_id(folder, ('.png',))
  for ids in ([*names, name], [names[0], name]):
    assert missing.explain(folder, files, ids, ('.png',)) == [
        f'{folder}: nothing for the listed id {name}']


@pytest.mark.parametrize('names, expected', [
    ([], 'it holds no file'), (['.DS_Store'], 'it holds no file'),
    (['deep/'], 'it holds no file'),
    (['b.txt', 'c.png', 'd.png', 'e.png'],
     'it holds b.txt, c.png, d.png and 1 more')])
def test_what_a_folder_holds_if_it_has_none_of_the_ids(
    tmp_path, names, expected):
  folder = tmp_path / 'masks'
  folder.mkdir()
  for name in names:
    (folder / name).mkdir() if name.endswith('/') else (folder / name).touch()
  files = listings.files_by_id(folder, ('.png',))
  assert missing.explain(folder, files, ['x', 'y'], ('.png',)) == [
      f'{folder}: nothing for the listed ids x, y; {expected}']


def test_one_line_for_all_ids_of_a_cause(tmp_path):
  ids = [f'p{number:03}' for number in range(300)]
  folder = make(
      tmp_path / 'masks', *(f'{name}_mask.png' for name in ids[:200]),
      *(f'{name}.gif' for name in ids[200:299]))
  files = listings.files_by_id(folder, ('.png',))
  lines = missing.explain(folder, files, ids, ('.png',), 'no mask for the id')
  assert lines == [
      f'{folder}: no mask for the ids {", ".join(ids[:10])} and 190 more; '
      'there are p000_mask.png, p001_mask.png, p002_mask.png and 197 more, but '
      'a file is named by its id alone: if it belongs there, rename it to '
      'p000.png',
      f'{folder}: no mask for the ids {", ".join(ids[200:210])} and 89 more; '
      'there are p200.gif, p201.gif, p202.gif and 96 more, which are not read: '
      'save as .png',
      f'{folder}: no mask for the id p299']


def test_a_line_of_two_columns_is_told(tmp_path):
  folder = make(tmp_path / 'images', 'p00.jpg', 'p01.jpg')
  files = listings.files_by_id(folder, ('.jpg',))
  (line,) = missing.explain(folder, files, ['p00 1', 'p01,-1'], ('.jpg',))
  assert line == (
      f'{folder}: nothing for the listed ids p00 1, p01,-1; there are p00, '
      'p01, but the list has more in that line: write one id per line')


def test_keys_of_json_are_told_as_they_are(tmp_path):
  path = tmp_path / 'points.json'
  path.write_text(json.dumps({'P00': [], 'photo.v2': [], 'p02_1': []}))
  files = annotations.scribbles_by_id(path, '')
  one, two = missing.explain(path, files, ['p00', 'p02'], ('.png',))
  assert 'listed id p00; there is P00, but capitals' in one
  assert 'listed id p02; there is p02_1, but a file is named' in two


def test_training_says_it_for_each_folder(root, config):
  (train, _), folder = ids_of(root), root / 'JPEGImages'
  for name in train:
    (folder / f'{name}.jpg').rename(folder / f'{name}.heic')
  (root / f'scribbles/{train[0]}.png').rename(
      root / f'scribbles/{train[0]}_scribble.png')
  _, problems = dataset_files.find_examples(config.data, True, ('train',))
  assert len(problems) == 2
  assert problems[0].startswith(
      f'{folder}: nothing for the listed ids {train[0]}, ')
  assert problems[0].endswith(
      'which are not read: save as .jpg, .jpeg, .png, .tif, .tiff, .bmp or '
      '.webp')
  assert problems[1].startswith(
      f'{root}/scribbles: nothing for the listed id {train[0]}; there is '
      f'{train[0]}_scribble.png, but a file is named by its id')


# whole data sets


@pytest.mark.parametrize('folder', FOLDERS[:3])
def test_a_link_to_a_file_that_was_moved(root, config, folder):
  path = min((root / folder).iterdir())
  path.unlink()
  path.symlink_to(root / 'nowhere')
  with pytest.raises(UserError, match=rf'{path} cannot be read: No such file.* '
                     'Copy the file there, or mend the link'):
    records.prepare(config.data)


@pytest.mark.parametrize('names, spelled', [
    (lambda name: f'city/{name}', lambda name: f'city/{name}'),
    (lambda name: f'{name[:-1]}/{name[-1]}',
     lambda name: f'{name[:-1]}\\{name[-1]}'),
    (lambda name: f'leaf {name}', lambda name: f'leaf {name}'),
    (lambda name: f'{DECOMPOSED} {name}', lambda name: f'{COMPOSED} {name}'),
    (lambda name: f'{COMPOSED}/{name}',
     lambda name: f'/JPEGImages/{DECOMPOSED}/{name}.jpg /M/{name}.png')])
def test_a_data_set_of_such_ids(root, config, names, spelled):
  before = dataset_files.list_examples(config.data, True)['train']
  whole = [loading.load(example, [*'abcd'])[0] for example in before]
  rename(root, names)
  write_lists(root, spelled)
  after = dataset_files.list_examples(config.data, True)
  assert len(after['val']) == 3
  assert [example.id for example in after['train']] == [
      unicodedata.normalize('NFC', names(example.id)) for example in before]
  for example, content in zip(after['train'], whole, strict=True):
    maps, problems = loading.load(example, [*'abcd'])
    assert not problems and maps.file == content.file
    for part in ('scribble', 'pseudo_label', 'ground_truth'):
      np.testing.assert_array_equal(
          getattr(maps, part), getattr(content, part))


def test_records_keep_the_ids_of_subfolders(root, config):
  rename(root, lambda name: f'city {name[-1]}/{name}')
  write_lists(root, lambda name: f'city {name[-1]}/{name}.jpg')
  dataset = records.prepare(config.data)
  found = input_pipeline.whole_examples(dataset, 'val')
  assert [example['id'] for example in found] == [
      f'city {number}/val_0000{number}' for number in range(3)]


def test_junk_beside_the_files_of_training_changes_nothing(root, config):
  before = dataset_files.list_examples(config.data, True)
  for folder in FOLDERS:
    for path in [*(root / folder).iterdir()]:
      (path.parent / f'._{path.name}').write_bytes(b'\0\5\26\7')
    make(root / folder, '.DS_Store', 'Thumbs.db', 'desktop.ini',
         '__MACOSX/._a.png')
  make(root, 'scribbles/._a.xml')
  assert dataset_files.list_examples(config.data, True) == before


# what is written


def test_pseudo_labels_and_predictions_of_subfolders(tmp_path):
  label = np.eye(3, dtype=np.uint8)
  folder = tmp_path / settings.FOLDER
  folder.mkdir()
  assert settings.written(tmp_path / 'nowhere') == set()
  for name in ('a', 'city/x', 'city/y'):
    label_quality.write_label(folder, name, label)
  make(folder, '._a.png', '.DS_Store')
  np.testing.assert_array_equal(masks.read_mask(folder / 'city/x.png'), label)
  assert settings.written(folder) == {'a', 'city/x', 'city/y'}
  formats.write_json(tmp_path / 'summary.json', {'num_images': 3})
  formats.write_json(tmp_path / 'settings.json', {})
  assert settings.is_finished(tmp_path, {})
  (folder / 'city/x.png').unlink()
  assert not settings.is_finished(tmp_path, {})
  examples = [{'id': name, 'ground_truth': label} for name in ('a', 'city/y')]
  assert label_quality.examine(examples, folder, ('b', 'c'))[
      'ground_truth']['miou'] == 1
  with evaluate._output_folder(tmp_path / 'evaluation') as output:
    for example in evaluate._kept(
        [{'id': 'city/x', 'prediction': label}], {}, output):
      assert example
  np.testing.assert_array_equal(masks.read_mask(
      tmp_path / 'evaluation/predictions/city/x.png'), label)


def test_scribbles_commands_go_through_subfolders(root, tmp_path):
  rename(root, lambda name: f'{name.split("_")[0]}/{name}')
  dense, photographs = root / 'SegmentationClassAug', root / 'JPEGImages'
  run('simulate', dense, tmp_path / 'out', '--rounds=2')
  found = listings.files_by_id(tmp_path / 'out/round_1', ('.png',))
  assert found.keys() == listings.files_by_id(dense, ('.png',)).keys()
  assert 'val/val_00000' in found and len(found) == 13
  run('drop', tmp_path / 'out/round_0', tmp_path / 'dropped', '--ratio=0.5')
  assert (tmp_path / 'dropped/val/val_00000.png').exists()
  (tmp_path / 'list').write_text(
      '/JPEGImages/val/val_00001.jpg /Masks/val/val_00001.png\n')
  (tmp_path / 'points.json').write_text(json.dumps(
      {'val/val_00001.jpg': [point(3, 4)], 'val/val_00002': []}))
  run('from-points', tmp_path / 'points.json', tmp_path / 'points', '--images',
      photographs, '--list', tmp_path / 'list')
  assert [*listings.files_by_id(tmp_path / 'points', ('.png',))] == [
      'val/val_00001']
  assert '13' in run('stats', tmp_path / 'out/round_0', '--masks', dense)


def test_without_a_list_subfolders_beside_the_files_are_left_alone(
    root, tmp_path):
  dense = root / 'SegmentationClassAug'
  make(dense, 'coloured/a.png')
  run('simulate', dense, tmp_path / 'out')
  assert len(listings.files_by_id(tmp_path / 'out', ('.png',))) == 13


def test_junk_in_an_output_does_not_keep_it(root, tmp_path):
  dense = root / 'SegmentationClassAug'
  run('simulate', dense, tmp_path / 'out')
  make(tmp_path / 'out', '.DS_Store', 'Thumbs.db', '._train_00000.png')
  run('simulate', dense, tmp_path / 'out', '--overwrite')
  assert outputs._files(tmp_path / 'out')
  make(tmp_path / 'evaluation', 'metrics.json', 'predictions/a.png',
       '.DS_Store')
  evaluate._check_output(tmp_path / 'evaluation')
  make(tmp_path / 'evaluation', 'mine')
  with pytest.raises(UserError, match='holds other files than an evaluation'):
    evaluate._check_output(tmp_path / 'evaluation')


def test_prediction_leaves_junk_in_folders_alone(tmp_path):
  make(tmp_path, '._a.jpg', '.hidden.png', 'city/b.jpg')
  Image.new('RGB', (4, 4)).save(tmp_path / 'a.jpg')
  assert predict._expand([tmp_path]) == [tmp_path / 'a.jpg']


def test_a_line_of_all_ids_is_refused_at_once(tmp_path):
  path = tmp_path / 'train.txt'
  path.write_text(' '.join(f'a/p{number}' for number in range(200_000)))
  with pytest.raises(UserError, match=(
      r"train\.txt: the line that begins with 'a/p0 a/p1 .*' has \d+ "
      r'characters\. List one image per line')):
    listings.listed_ids(path, tmp_path, {})


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path):
  (tmp_path / 'a\\..\\..\\x.jpg').write_bytes(b'')
  with pytest.raises(UserError, match='leads out of the folder'):
    listings.files_by_id(tmp_path, ('.jpg',))
