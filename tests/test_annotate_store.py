"""The page's files: strokes as they are drawn, kept, mended and imported."""

import itertools
import json
import math
import os

import numpy as np
from PIL import Image
import pytest

from configs import own_data
from scribble_jax.annotate import __main__ as command
from scribble_jax.annotate import layout
from scribble_jax.annotate import mask_import
from scribble_jax.annotate import palette as palettes
from scribble_jax.annotate import photographs as photographs_of
from scribble_jax.annotate import store as stores
from scribble_jax.annotate import vector_strokes
from scribble_jax.data import ground_truth
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import listings
from scribble_jax.files import masks
from tests import annotated
from tests.annotated import document
from tests.annotated import open_store


@pytest.fixture
def pictures(tmp_path):
  return annotated.write_pictures(tmp_path / 'pictures')


@pytest.fixture
def store(pictures, tmp_path):
  return open_store(pictures, tmp_path / 'work')


def scribble(store, name='p0'):
  return masks.read_mask(store.files.path('scribbles', name))


# Drawing


def drawn(points, width, size=(9, 12)):
  canvas = np.full(size, 255, np.uint8)
  vector_strokes.draw([vector_strokes.Stroke(1, width, tuple(points))], canvas)
  return canvas


def test_pixels_by_hand():
  canvas = drawn([(2.5, 3.5), (5.5, 3.5)], 1)  # Middles of pixels.
  assert {*zip(*np.nonzero(canvas == 1), strict=True)} == {
      (3, column) for column in (2, 3, 4, 5)}
  dot = drawn([(4.5, 4.5)], 2)
  assert {*zip(*np.nonzero(dot == 1), strict=True)} == {
      (4, 4), (3, 4), (5, 4), (4, 3), (4, 5)}
  assert not (drawn([(-50, 3), (-20, 3)], 9) == 1).any()


@pytest.mark.parametrize('seed', range(5))
def test_pixels_are_those_near_the_line(seed):
  rng = np.random.default_rng(seed)
  points, width = rng.uniform(-20, 170, [4, 2]), rng.uniform(1, 20)
  canvas = drawn(map(tuple, points), width, (120, 150))
  for row in range(0, 120, 7):
    for column in range(0, 150, 7):
      place = np.array([column + 0.5, row + 0.5])
      distances = []
      for start, end in itertools.pairwise(points):
        along = end - start
        share = min(1, max(0, (place - start) @ along / (along @ along)))
        distances.append(math.dist(place, start + share * along))
      if abs(min(distances) - width / 2) > 1e-6:
        assert (canvas[row, column] == 1) == (min(distances) <= width / 2)


def test_later_strokes_cover_earlier_ones_and_the_eraser_all():
  canvas = np.full([8, 20], 255, np.uint8)
  line = lambda label, x0, x1: vector_strokes.Stroke(
      label, 3, ((x0, 4), (x1, 4)))
  vector_strokes.draw(
      [line(0, 2, 18), line(1, 6, 14), line(255, 9, 11)], canvas)
  assert [canvas[4, x] for x in (3, 7, 10, 13, 17)] == [0, 1, 255, 1, 0]


def test_thin_strokes_stay_on_a_smaller_picture(store):
  store.write('p0', document((1, 0.8, [(5, 5), (50, 30)])))
  for size in ((20, 30), (4, 6)):
    assert (store.labels('p0', size) == 1).any()
  labels = np.full([40, 60], 255, np.uint8)
  labels[17, 33] = 3
  small = vector_strokes.shrink_labels(labels, (4, 6))
  assert small[1, 3] == 3 and (small != 255).sum() == 1


# What a document may hold

GOOD = {'class': 1, 'width': 3, 'points': [[1, 2], [3.5, 4]]}


@pytest.mark.parametrize('change', [
    [], 'x', None, {'strokes': 5}, {'version': -1}, {'version': 1.5},
    {'version': True}, {'nothing': 1}, {'imported': 'yes'},
    {'strokes': [5]}, {'strokes': [GOOD | {'class': 256}]},
    {'strokes': [GOOD | {'class': '1'}]}, {'strokes': [GOOD | {'width': 0}]},
    {'strokes': [GOOD | {'width': 1e9}]}, {'strokes': [GOOD | {'points': []}]},
    {'strokes': [GOOD | {'width': math.nan}]}, {'version': 10**400},
    {'strokes': [GOOD | {'width': 10**400}]},
    {'strokes': [GOOD | {'points': [[1]]}]},
    {'strokes': [GOOD | {'points': [[1, math.inf]]}]},
    {'strokes': [GOOD | {'points': [[1, '2']]}]},
    {'strokes': [GOOD | {'points': [[1, 99_999]]}]},
    {'strokes': [GOOD | {'more': 1}]}, {'strokes': [GOOD] * 5_001},
    {'strokes': [GOOD | {'points': [[1, 1]] * 200_001}]},
    {'strokes': [GOOD | {'points': [[1, 1]] * 50_000}] * 5}])
def test_documents_that_are_refused(change):
  good = {'version': 0, 'strokes': [GOOD]}
  assert vector_strokes.parse(good, (40, 60)).strokes[0].points[1] == (3.5, 4)
  with pytest.raises(ValueError):
    vector_strokes.parse(good | change if isinstance(change, dict) else change,
                  (40, 60))


# The store


def test_what_is_written_is_there(store, pictures):
  assert store.write('p0', document((1, 3, [(10, 10), (30, 20.5)]),
                                    (0, 2, [(5, 35)]))) == 1
  content = json.loads(store.files.path('strokes', 'p0', '.json').read_text())
  assert content['version'] == 1 and content['strokes'][0] == {
      'class': 1, 'width': 3, 'points': [[10, 10], [30, 20.5]]}
  expected = np.full([40, 60], 255, np.uint8)
  vector_strokes.draw(store.read('p0').strokes, expected)
  np.testing.assert_array_equal(scribble(store), expected)
  assert {*np.unique(expected)} == {0, 1, 255}
  folder = store.files.folder
  assert (folder / 'JPEGImages/p0.png').resolve() == pictures / 'p0.png'
  assert (folder / layout.LIST).read_text() == 'p0\n'
  assert (folder / 'classes.txt').read_text() == 'background\ndisc\n'
  assert not [*folder.rglob('*.partial')]


def test_training_reads_the_folder_at_once(store):
  for name in ('p0', 'p2'):
    store.write(name, document((1, 3, [(30, 20)]), (0, 3, [(5, 5), (50, 5)])))
  config = own_data.get_config('small')
  config.data.root = str(store.files.folder)
  config.data.val_list = 'none'
  dataset = records.prepare(
      config.data, False, ground_truth.listed_splits(config.data))
  assert dataset.num_examples('train') == 2


def test_each_change_is_drawn_as_if_all_were_drawn_anew(store):
  rng = np.random.default_rng(0)
  strokes = []
  for version in range(12):
    if version % 5 == 4:
      strokes.pop(int(rng.integers(len(strokes))))
    else:
      strokes.append((int(rng.choice([0, 1, 255])), float(rng.uniform(1, 9)),
                      [tuple(map(float, point))
                       for point in rng.uniform(0, 40, [3, 2])]))
    store.write('p0', document(*strokes, version=version))
    expected = np.full([40, 60], 255, np.uint8)
    vector_strokes.draw(store.read('p0').strokes, expected)
    np.testing.assert_array_equal(scribble(store), expected)


def test_undoing_all_takes_all_away(store):
  store.write('p0', document((1, 3, [(10, 10)])))
  store.write('p0', document(version=1))
  assert not store.listed and store.read('p0').version == 2
  assert not store.files.path('scribbles', 'p0').exists()
  assert (store.files.folder / layout.LIST).read_text() == ''


def test_nothing_of_the_classes_is_background(store):
  store.write('p1', document(nothing=True))
  assert (scribble(store, 'p1') == 0).all() and store.listed == {'p1'}


def test_another_page_is_told(store):
  store.write('p0', document((1, 3, [(10, 10)])))
  before = store.files.path('strokes', 'p0', '.json').read_bytes()
  with pytest.raises(stores.ConflictError) as error:
    store.write('p0', document((0, 3, [(20, 20)])))
  assert error.value.document.version == 1
  assert store.files.path('strokes', 'p0', '.json').read_bytes() == before


def test_strokes_of_no_class_are_refused(store):
  with pytest.raises(ValueError, match=r'do not exist \(\[7\]\)'):
    store.write('p0', document((7, 3, [(10, 10)])))
  with pytest.raises(ValueError, match='imported strokes that do not exist'):
    store.write('p0', document(imported=True))
  assert not (store.files.folder / 'strokes').exists()


@pytest.mark.parametrize('lost', ['mask', 'both'])
def test_a_killed_process_loses_nothing(store, pictures, tmp_path, lost):
  store.write('p0', document((1, 3, [(10, 10), (20, 20)])))
  expected = scribble(store)
  # As if it had been killed between the vectors and the mask.
  mask = store.files.path('scribbles', 'p0')
  os.utime(mask, ns=(0, 0))
  mask.write_bytes(b'half')
  os.utime(mask, ns=(0, 0))
  if lost == 'both':
    mask.unlink()
    (store.files.folder / layout.LIST).unlink()
  again = open_store(pictures, tmp_path / 'work')
  np.testing.assert_array_equal(scribble(again), expected)
  assert (again.files.folder / layout.LIST).read_text() == 'p0\n'


def test_a_write_that_fails_leaves_the_earlier_file(store, monkeypatch):
  store.write('p0', document((1, 3, [(10, 10)])))

  def fail(*_):
    raise OSError('No space left on device')

  monkeypatch.setattr(atomic.os, 'replace', fail)
  with pytest.raises(OSError):
    store.write('p0', document((1, 3, [(30, 30)]), version=1))
  assert store.read('p0').strokes[0].points == ((10, 10),)


# Classes


def test_a_deleted_class_takes_its_strokes(store):
  store.change_palette(
      lambda palette: palette.added('ring'))
  store.write('p0', document((1, 3, [(10, 10)]), (2, 3, [(40, 30)]),
                             (0, 3, [(5, 35)])))
  store.write('p1', document((1, 3, [(10, 10)])))
  assert store.count_strokes(1) == (2, 2)
  store.change_palette(
      lambda palette: palette.without(1))
  assert store.palette.names == ['background', 'ring']
  assert {*np.unique(scribble(store))} == {0, 1, 255}  # The ring moved up.
  assert scribble(store)[30, 40] == 1 and scribble(store)[10, 10] == 255
  assert store.read('p0').version == 2 and store.listed == {'p0'}
  # Its identifier is not given again: a page may still know it.
  assert store.palette.added('new').classes[-1].label == 3


def test_renaming_changes_no_mask(store):
  store.write('p0', document((1, 3, [(10, 10)])))
  path = store.files.path('scribbles', 'p0')
  before = path.stat().st_mtime_ns
  store.change_palette(
      lambda palette: palette.changed(1, 'ball', '#102030'))
  assert path.stat().st_mtime_ns == before
  assert (store.files.folder / 'classes.txt').read_text() == (
      'background\nball\n')


def test_a_killed_deletion_is_finished(store, pictures, tmp_path, monkeypatch):
  store.change_palette(
      lambda palette: palette.added('ring'))
  store.write('p0', document((1, 3, [(10, 10)]), (2, 3, [(40, 30)])))
  monkeypatch.setattr(store, '_redraw', killed)
  with pytest.raises(KeyboardInterrupt):
    store.change_palette(lambda palette: palette.without(1))
  again = open_store(pictures, tmp_path / 'work')
  assert {*np.unique(scribble(again))} == {1, 255}
  (stroke,) = again.read('p0').strokes
  assert stroke.label == 2
  again.write('p0', document((2, 3, [(40, 30)]), version=2))


def killed(*_, **__):
  raise KeyboardInterrupt


def test_a_class_that_was_killed_while_it_was_added(
    store, pictures, tmp_path, monkeypatch):
  with monkeypatch.context() as patched:
    patched.setattr(layout.pathlib.Path, 'write_text', killed)  # classes.txt
    with pytest.raises(KeyboardInterrupt):
      store.change_palette(lambda palette: palette.added('ring'))
  assert open_store(pictures, tmp_path / 'work').palette.names == [
      'background', 'disc', 'ring']


def test_a_deletion_goes_past_a_damaged_file(store, pictures, tmp_path):
  store.change_palette(lambda palette: palette.added('ring'))
  for name in ('p0', 'p1', 'p2'):
    store.write(name, document((1, 3, [(10, 10)]), (2, 3, [(40, 30)])))
  path = store.files.path('strokes', 'p1', '.json')
  whole = path.read_text()
  path.write_text('{')
  with pytest.raises(UserError, match='p1.json'):
    store.change_palette(lambda palette: palette.without(1))
  for name in ('p0', 'p2'):
    assert {*np.unique(scribble(store, name))} == {1, 255}
  assert store.listed == {'p0', 'p2'}
  with pytest.raises(UserError, match='p1.json'):
    open_store(pictures, tmp_path / 'work')
  path.write_text(whole)
  again = open_store(pictures, tmp_path / 'work')
  assert {*np.unique(scribble(again, 'p1'))} == {1, 255}


def test_a_deletion_while_a_photograph_is_away(store, pictures, tmp_path):
  store.change_palette(lambda palette: palette.added('ring'))
  store.write('p0', document((1, 3, [(10, 10)]), (2, 3, [(40, 30)])))
  (pictures / 'p0.png').rename(tmp_path / 'away.png')
  other = open_store(pictures, tmp_path / 'work')
  other.change_palette(lambda palette: palette.without(1))
  (tmp_path / 'away.png').rename(pictures / 'p0.png')
  again = open_store(pictures, tmp_path / 'work')
  assert {*np.unique(scribble(again))} == {1, 255} and 'p0' in again.listed


@pytest.mark.parametrize('name', [
    '', '   ', '<script>alert(1)</script>', 'a\x00b', 'x' * 61, 'disc', 'DISC',
    5, None, 'void', 'cat 1 2 3', '\u202ecat'])
def test_names_that_are_refused(store, name):
  with pytest.raises(UserError):
    store.change_palette(
      lambda palette: palette.added(name))
  assert (store.files.folder / 'classes.txt').read_text() == (
      'background\ndisc\n')


def test_colours_and_numbers_of_classes(store):
  with pytest.raises(UserError, match='#rrggbb'):
    store.palette.changed(1, colour='red; background: url(//x)')
  with pytest.raises(UserError, match='stays'):
    store.palette.without(0)
  with pytest.raises(UserError, match='There is no class'):
    store.palette.without(9)
  palette = store.palette
  for number in range(2, palettes.MAX_CLASSES):
    palette = palette.added(f'c{number}')
  with pytest.raises(UserError, match='already. Delete one'):
    palette.added('more')


def test_names_changed_in_the_file_count(store, pictures, tmp_path):
  path = store.files.folder / 'classes.txt'
  path.write_text('background\nball\n')
  assert open_store(pictures, tmp_path / 'work').palette.names == [
      'background', 'ball']
  path.write_text('background\nball\nring\n')
  with pytest.raises(UserError, match='has 3 names'):
    open_store(pictures, tmp_path / 'work')


def test_predictions_keep_their_meaning(store):
  store.change_palette(
      lambda palette: palette.added('ring'))
  store.files.start_predictions([0, 1, 2])
  predicted = np.uint8(np.arange(40 * 60).reshape(40, 60) % 3)
  masks.write_mask(store.files.path('predictions', 'p0'), predicted)
  np.testing.assert_array_equal(store.prediction('p0'), predicted)
  store.change_palette(
      lambda palette: palette.without(1))  # The ring's index becomes 1.
  np.testing.assert_array_equal(
      store.prediction('p0'), np.where(predicted == 2, 2, 0))
  assert store.predicted() == {'p0'} and not store.listed
  store.files.start_predictions([0, 1, 2])  # Of the same classes: they stay.
  assert store.predicted() == {'p0'}
  store.files.start_predictions([0, 2])
  assert store.predicted() == set() and store.prediction('p0') is None


# Places


def test_a_store_of_other_photographs_is_refused(store, tmp_path):
  other = annotated.write_pictures(tmp_path / 'other')
  with pytest.raises(UserError, match='Name another --workdir'):
    open_store(other, tmp_path / 'work')


def test_a_store_never_mixes_with_other_files(pictures, tmp_path):
  with pytest.raises(UserError, match='folder of its own'):
    open_store(pictures, pictures)
  with pytest.raises(UserError, match='outside of the photographs'):
    open_store(pictures, pictures / 'work')
  data = annotated.write_pictures(tmp_path / 'data/JPEGImages')
  with pytest.raises(UserError, match='holds other files'):
    open_store(data, tmp_path / 'data')
  assert [path.name for path in (tmp_path / 'data').iterdir()] == ['JPEGImages']
  open_store(pictures, tmp_path / 'work')
  (tmp_path / 'elsewhere').mkdir()
  (tmp_path / 'work/strokes').symlink_to(tmp_path / 'elsewhere')
  with pytest.raises(UserError, match='link that leads out'):
    open_store(pictures, tmp_path / 'work')


def test_any_name_is_listed_so_that_training_finds_it(tmp_path):
  names = ['summer trip/IMG 1', '2019/my pics/a b', 'scan.tif', "it's", 'a,b;c',
           'say "cheese"', 'v1.2', 'plain-1']
  for name in names:
    annotated.write_picture(tmp_path / 'pictures' / f'{name}.png')
  store = open_store(tmp_path / 'pictures', tmp_path / 'work')
  for name in names:
    store.write(name, document((1, 3, [(10, 10)])))
  folder = store.files.folder
  files = listings.files_by_id(folder / 'JPEGImages', ('.png',))
  assert sorted(listings.listed_ids(
      folder / layout.LIST, folder / 'JPEGImages', files)) == sorted(names)


def test_photographs_that_cannot_be_shown(pictures, tmp_path):
  secret = annotated.write_picture(tmp_path / 'secret.png')
  (pictures / 'link.png').symlink_to(secret)
  (pictures / 'cut.png').write_bytes(secret.read_bytes()[:200])
  (pictures / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
  Image.new('1', (10_000, 10_000)).save(pictures / 'bomb.png')
  photographs = photographs_of.Photographs(pictures, tmp_path / 'cache')
  for name, reason in (('link', 'outside of the folder'), ('cut', 'truncated'),
                       ('gone', 'cannot be read'), ('bomb', '100 megapixels')):
    for read in (photographs.read, photographs.shown, photographs.thumbnail):
      if name == 'cut' and read == photographs.shown:
        continue  # The browser finds that out.
      with pytest.raises(photographs_of.UnreadableError, match=reason):
        read(name)
  assert not (tmp_path / 'cache').exists()
  assert photographs.size('p0') == (40, 60)


def test_turned_photographs_are_upright(pictures, tmp_path):
  image = Image.open(pictures / 'p0.png')
  exif = Image.Exif()
  exif[0x0112] = 6  # Turned by 90 degrees.
  for suffix in ('jpg', 'png'):
    image.save(pictures / f'turned_{suffix}.{suffix}', exif=exif)
  photographs = photographs_of.Photographs(pictures, tmp_path / 'cache')
  for name in ('turned_jpg', 'turned_png'):
    assert photographs.size(name) == (60, 40)
    content, kind = photographs.shown(name)
    assert kind == 'image/jpeg' and b'Exif' not in content
  content, kind = photographs.shown('p0')
  assert content == (pictures / 'p0.png').read_bytes() and kind == 'image/png'


# Import


def test_imported_strokes_lie_below(store, pictures, tmp_path):
  folder = tmp_path / 'strokes'
  folder.mkdir()
  mask = np.full([40, 60], 255, np.uint8)
  mask[10:12, 5:40], mask[30, 5:50] = 1, 0
  masks.write_mask(folder / 'p0.png', mask)
  masks.write_mask(folder / 'p1.png', mask[:20])  # Of another size.
  masks.write_mask(folder / 'unknown.png', mask)
  photographs = photographs_of.Photographs(pictures, tmp_path / 'cache')
  count, problems = mask_import.import_masks(store, photographs, folder)
  assert count == 1 and len(problems) == 1 and '60x20' in problems[0]
  np.testing.assert_array_equal(scribble(store), mask)
  store.write('p0', document((255, 9, [(20, 11)]), (1, 3, [(50, 35)]),
                             version=1, imported=True))
  found = scribble(store)
  assert found[11, 20] == 255 and found[35, 50] == 1 and found[30, 10] == 0
  store.write('p0', document((1, 3, [(50, 35)]), version=2))
  assert (scribble(store) != 255).sum() == (found[33:] == 1).sum()
  assert mask_import.import_masks(store, photographs, folder)[0] == 0


def test_an_interrupted_import_goes_on(pictures, tmp_path, monkeypatch):
  data, work = tmp_path / 'data', tmp_path / 'work'
  annotated.write_pictures(data / 'JPEGImages')
  (data / 'scribbles').mkdir()
  (data / 'classes.txt').write_text('background\ndisc\n')
  mask = np.full([40, 60], 255, np.uint8)
  mask[10:12, 5:40] = 1
  for name in ('p0', 'p1', 'p2'):
    masks.write_mask(data / f'scribbles/{name}.png', mask)
  with monkeypatch.context() as patched:
    patched.setattr(stores.Store, 'import_labels', killed)
    with pytest.raises(KeyboardInterrupt):
      command.open_store(data, work, 50)
  for _ in range(2):
    _, store = command.open_store(data, work, 50)
    assert store.listed == {'p0', 'p1', 'p2'} and store.importing is None
    np.testing.assert_array_equal(scribble(store, 'p2'), mask)


def test_an_import_of_nothing_but_damage_is_an_error(pictures, tmp_path):
  (tmp_path / 'strokes').mkdir()
  (tmp_path / 'strokes/p0.png').write_bytes(b'nothing')
  for imported, message in (('strokes', 'no strokes could be imported'),
                            ('typo', 'or is no folder')):
    with pytest.raises(UserError, match=message):
      command.open_store(pictures, tmp_path / 'work', 50, tmp_path / imported)
  _, store = command.open_store(pictures, tmp_path / 'work', 50)
  assert store.importing is None and not store.listed


def test_a_mask_that_could_not_be_written_is_written_by_the_next_try(
    store, monkeypatch):
  def full(*_):
    raise OSError(28, 'No space left on device')

  for name, kind in (('p0', 'write_bitmap'), ('p1', 'write_list')):
    with monkeypatch.context() as patched:
      patched.setattr(layout.Layout, kind, full)
      for _ in range(2):
        with pytest.raises(OSError, match='No space'):
          store.write(name, document((1, 3, [(10, 10)])))
    with pytest.raises(stores.ConflictError) as conflict:
      store.write(name, document((1, 3, [(10, 10)])))
    assert conflict.value.document.version == 1
    assert scribble(store, name)[10, 10] == 1 and name in store.listed
    assert name in (store.files.folder / layout.LIST).read_text()


def test_a_failed_change_of_classes_is_finished_by_the_next_one(
    store, monkeypatch):
  store.change_palette(lambda palette: palette.added('ring'))
  store.write('p0', document((1, 3, [(10, 10)]), (2, 3, [(40, 30)])))
  with monkeypatch.context() as patched:
    patched.setattr(layout.Layout, 'write_bitmap', killed)
    with pytest.raises(KeyboardInterrupt):
      store.change_palette(lambda palette: palette.without(1))
  store.change_palette(lambda palette: palette.changed(2, 'hoop'))
  assert {*np.unique(scribble(store))} == {1, 255}
