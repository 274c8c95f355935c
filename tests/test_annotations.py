"""Points, boxes and VOC's XML as scribbles, on their own and in training."""

import json
import re
import shutil
import tracemalloc
import unicodedata
import zipfile

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

from scribble_jax.data import dataset_files
from scribble_jax.data import loading
from scribble_jax.errors import UserError
from scribble_jax.weak_labels import annotations
from scribble_jax.weak_labels import boxes
from scribble_jax.weak_labels import points
from tests import mutations
from tests.test_dataset_files import xml

CLASSES = ('background', 'cat', 'dog')
SIZE = (20, 40)  # Height, width.


def point(x, y, label=1):
  return {'x': x, 'y': y, 'cls': label, 'rank': 0}


def box(xmin, ymin, xmax, ymax, label='cat'):
  return {'xmin': xmin, 'ymin': ymin, 'xmax': xmax, 'ymax': ymax,
          'cls': label}


def voc_xml(objects, width=40, height=20):
  """VOC's format: [(name, xmin, ymin, xmax, ymax), ...]."""
  body = ''.join(
      f'<object><name>{name}</name><part><name>head</name><bndbox><xmin>1'
      f'</xmin></bndbox></part><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin>'
      f'<xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>'
      for name, xmin, ymin, xmax, ymax in objects)
  return (f'<annotation><size><width>{width}</width><height>{height}</height>'
          f'</size>{body}</annotation>').encode()


def draw_boxes(items, size=SIZE, key=(0, 'a')):
  return boxes.draw(boxes.in_json(items, CLASSES), size, key)


def filled(*rectangles, size=SIZE):
  """255 but for (first row, last row, first column, last column, label)."""
  mask = np.full(size, 255, np.uint8)
  for top, bottom, left, right, label in rectangles:
    mask[top:bottom + 1, left:right + 1] = label
  return mask


def without_background(mask):
  return np.where(mask == 0, 255, mask)


# points


def test_points_are_three_pixels_wide_and_later_ones_cover_earlier_ones():
  mask = points.draw(
      [point(4, 5), point(6.4, 5.6, 'dog'), point(0, 19, 0)], SIZE, CLASSES)
  np.testing.assert_array_equal(mask, filled(
      (4, 6, 3, 5, 1), (5, 7, 5, 7, 2), (18, 19, 0, 1, 0)))


def test_the_last_half_pixel_belongs_to_the_image():
  mask = points.draw([point(39.7, 19.9)], SIZE, CLASSES)
  np.testing.assert_array_equal(mask, filled((18, 19, 38, 39, 1)))


@pytest.mark.parametrize('wrong, message', [
    (point(40, 5), r'point 1 at \(40, 5\) is outside the image of 40x20'),
    (point(-0.1, 5), 'is outside the image'),
    (point(4, 20), 'is outside the image'),
    (point(4, 5, 3), 'unknown class 3; "cls" is a name .* from 0 to 2'),
    (point(4, 5, 255), 'unknown class 255'),
    (point(4, 5, -1), 'unknown class -1'),
    (point(4, 5, True), 'unknown class True'),
    (point(4, 5, 'cow'), "unknown class 'cow'"),
    ({'x': 4, 'y': 5}, 'unknown class None'),
    ({'x': 4, 'cls': 1}, 'y is None instead of a finite number'),
    (point('4', 5), "x is '4' instead of a finite number"),
    (point(float('nan'), 5), 'x is nan instead of a finite number'),
    (point(json.loads('1e400'), 5), 'x is inf instead of a finite number'),
    (point(4, 10**400), r'y is 10+\.\.\.0+ instead of a finite number'),
    (point(True, 5), 'x is True instead of a finite number'),
    ([4, 5], r'point 1 is \[4, 5\] instead of an object'),
])
def test_wrong_points(wrong, message):
  with pytest.raises(ValueError, match=message):
    points.draw([wrong], SIZE, CLASSES)


# boxes


def test_a_stroke_crosses_a_boxs_middle_along_its_longer_side():
  mask = draw_boxes([box(4, 3, 23, 12), box(30, 2, 37, 17, 'dog')])
  # 20 columns from 4: half of them around 13. 16 rows from 2: around 9.
  np.testing.assert_array_equal(without_background(mask), filled(
      (6, 8, 8, 18, 1), (5, 13, 32, 34, 2)))


def test_background_strokes_are_outside_of_all_boxes():
  items = [box(4, 3, 23, 12), box(20, 2, 37, 17, 2)]
  for name in 'abcdef':
    mask = draw_boxes(items, key=(0, name))
    assert (mask == 0).any()
    assert not (mask[3:13, 4:24] == 0).any()
    assert not (mask[2:18, 20:38] == 0).any()
  assert not (draw_boxes([box(0, 0, 39, 19)]) == 0).any()  # No room.


def test_a_small_box_stays_on_top_of_a_large_one():
  small, large = box(17, 9, 23, 11, 2), box(0, 0, 39, 19, 1)
  expected = filled((8, 10, 9, 29, 1), (9, 11, 19, 21, 2))
  for items in ([small, large], [large, small]):
    np.testing.assert_array_equal(draw_boxes(items), expected)


def test_an_image_without_boxes_stays_unlabelled():
  np.testing.assert_array_equal(draw_boxes([]), filled())
  empty = annotations.Annotation('a', 'a.xml', annotations.XML, voc_xml([]))
  np.testing.assert_array_equal(
      annotations.read(empty, SIZE, CLASSES), filled())


def test_a_thin_boxs_stroke_stays_inside():
  mask = draw_boxes([box(10, 5, 20, 6)])
  np.testing.assert_array_equal(
      without_background(mask), filled((5, 6, 13, 17, 1)))


def test_a_box_may_be_one_pixel_wide():
  mask = draw_boxes([box(5, 3, 5, 12), box(30, 7, 30, 7, 'dog')])
  np.testing.assert_array_equal(without_background(mask), filled(
      (5, 9, 5, 5, 1), (7, 7, 30, 30, 2)))
  # Its 30 pixels are more than the 22 of the box that is drawn over it.
  crossing = [box(1, 9, 30, 9), box(10, 4, 11, 14, 'dog')]
  assert draw_boxes(crossing)[9, 8:14].tolist() == [1, 1, 2, 2, 1, 1]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(
    st.integers(0, 30), st.integers(0, 12), st.integers(1, 9),
    st.integers(1, 7), st.integers(1, 2)), min_size=1, max_size=5))
def test_strokes_stay_in_boxes_of_their_class_and_background_outside(drawn):
  items = [box(left, top, left + width, top + height, label)
           for left, top, width, height, label in drawn]
  mask = draw_boxes(items)
  inside = {label: np.zeros(SIZE, bool) for label in (1, 2)}
  for left, top, width, height, label in drawn:
    inside[label][top:top + height + 1, left:left + width + 1] = True
  assert not (mask == 0)[inside[1] | inside[2]].any()
  assert (mask == 0).any()  # There is always room.
  for label, region in inside.items():
    assert not (mask == label)[~region].any()
    assert (mask == label).any() or len(items) > 1 or not region.any()


def test_background_depends_on_seed_and_id():
  items = [box(4, 3, 13, 12)]
  first = draw_boxes(items)
  np.testing.assert_array_equal(draw_boxes(items), first)
  assert (draw_boxes(items, key=(1, 'a')) != first).any()
  assert (draw_boxes(items, key=(0, 'b')) != first).any()


def test_vocs_boxes_count_from_one_and_parts_are_no_objects():
  content = voc_xml([('cat', 5, 4, 24, 13)])
  mask = annotations.read(
      annotations.Annotation('a', 'a.xml', annotations.XML, content), SIZE,
      CLASSES)
  np.testing.assert_array_equal(mask, draw_boxes([box(4, 3, 23, 12)]))


@pytest.mark.parametrize('wrong, message', [
    (box(9, 3, 5, 9), r'box 1, \(9, 3\) to \(5, 9\), has no area'),
    (box(5, 9, 9, 8), 'has no area'),
    (box(5, 3, 41, 9), r'\(5, 3\) to \(41, 9\).* is outside the image of '
     '40x20'),
    (box(-2, 3, 30, 9), 'is outside'),
    (box(5, 3, 9, 25), 'is outside'),
    (box(5, 3, 9, 8, 'cow'), "box 1: unknown class 'cow'"),
    (box(None, 3, 9, 8), 'xmin is None instead of a finite number'),
])
def test_wrong_boxes(wrong, message):
  with pytest.raises(ValueError, match=message):
    draw_boxes([wrong])


@pytest.mark.parametrize('objects, message', [
    ([('cow', 1, 2, 3, 4)], "box 1: unknown class name 'cow'"),
    ([('cat', 1, 'nan', 3, 4)], r'box 1, \(0, nan\) .* needs finite numbers'),
    ([('cat', 1, 1, 'inf', 4)], 'needs finite numbers'),
    ([('cat', 1, '', 3, 4)], 'box 1: bndbox needs a number each as xmin'),
])
def test_wrong_xml_boxes(objects, message):
  annotation = annotations.Annotation(
      'a', 'a.xml', annotations.XML, voc_xml(objects))
  with pytest.raises(ValueError, match=message):
    annotations.read(annotation, SIZE, CLASSES)


def test_xml_draws_at_its_own_size_if_none_is_given():
  content = voc_xml([('cat', 5, 4, 24, 13)])
  annotation = annotations.Annotation('a', 'a.xml', annotations.XML, content)
  assert annotations.read(annotation, None, CLASSES).shape == SIZE
  with pytest.raises(ValueError, match='is for 40x20 pixels, its image has 4'):
    annotations.read(annotation, (4, 4), CLASSES)


@pytest.mark.parametrize('named', [
    {'width': 0, 'height': 0}, {'width': 0}, {'height': 0}])
@pytest.mark.parametrize('kind', ['boxes', 'strokes'])
def test_a_size_of_0_in_xml_is_unknown_and_the_images_is_taken(kind, named):
  sides = {'width': 40, 'height': 20} | named
  content, expected = (
      (voc_xml([('cat', 5, 4, 24, 13)], **sides), filled((6, 8, 8, 18, 1)))
      if kind == 'boxes' else
      (xml([('dog', [(4, 5), (12, 5)])], **sides), filled((4, 6, 4, 12, 2))))
  without = re.sub(b'<size>.*</size>', b'', content)
  assert without != content
  for one in (content, without):
    mask = read_xml(one, SIZE)
    np.testing.assert_array_equal(without_background(mask), expected)
    with pytest.raises(ValueError, match='no size of its image; name the fold'):
      read_xml(one, None)
  if len(named) == 1:  # The other side still has to agree.
    with pytest.raises(ValueError, match='is for .* pixels, its image has 41x'):
      read_xml(content, (21, 41))


def test_class_names_are_the_same_in_each_of_unicodes_forms():
  names = ('background', unicodedata.normalize('NFC', 'zèbre'))
  there = unicodedata.normalize('NFD', names[1])
  for kind, content in (
      (annotations.XML, voc_xml([(there, 5, 4, 24, 13)])),
      (annotations.XML, xml([(there, [(4, 5)])], 40, 20)),
      (annotations.POINTS, json.dumps([point(4, 5, there)]).encode()),
      (annotations.BOXES, json.dumps([box(4, 3, 23, 12, there)]).encode())):
    mask = annotations.read(
        annotations.Annotation('a', 'a', kind, content), SIZE, names)
    assert (mask == 1).any()


def read_xml(content, size):
  return annotations.read(annotations.Annotation(
      'a', 'a.xml', annotations.XML, content), size, CLASSES)


# files


@pytest.mark.parametrize('text, message', [
    ('{"a": [', 'broken JSON: Expecting value'),
    ('{"a": [], "b": [], "a": []}', "broken JSON: 'a' is there twice"),
    ('[1]', 'holds no JSON object'),
    ('[' * 100_000, 'broken JSON: maximum recursion depth'),
])
def test_broken_json(tmp_path, text, message):
  path = tmp_path / 'points.json'
  path.write_text(text)
  with pytest.raises(UserError, match=f'points.json .*{message}'):
    annotations.scribbles_by_id(path, '')


def damaged_zip(path, method):
  """A zip whose one file is damaged while the list of files is whole."""
  with zipfile.ZipFile(path, 'w', method) as archive:
    archive.writestr('a.xml', voc_xml([('cat', 5, 4, 24, 13)]))
  content = bytearray(path.read_bytes())
  content[40:60] = b'\xff' * 20
  path.write_bytes(content)


@pytest.mark.parametrize('method', [
    zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2,
    zipfile.ZIP_LZMA])
def test_a_zip_with_damaged_data(tmp_path, method):
  damaged_zip(tmp_path / 'boxes.zip', method)
  with pytest.raises(UserError, match='boxes.zip is no complete zip file'):
    annotations.scribbles_by_id(tmp_path / 'boxes.zip', '')


def test_a_zip_whose_data_ends_early(tmp_path):
  path = tmp_path / 'boxes.zip'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('a.xml', b'<annotation/>')
  content = bytearray(path.read_bytes())
  central = content.index(b'PK\x01\x02')
  for place in (central + 20, central + 24):  # Both of its sizes.
    content[place:place + 4] = (10_000).to_bytes(4, 'little')
  path.write_bytes(content)
  with pytest.raises(UserError, match='boxes.zip is no complete zip file'):
    annotations.scribbles_by_id(path, '')


@pytest.mark.parametrize('count, blocks, lies, message', [
    (1, 1_024, False, r'a\.xml has 1024 MB; the annotation of one image has '
     r'at most 8\. Take these files out'),
    (300, 4, False, r'holds 1\.2 GB of XML, more than the 1 GB that are read\. '
     'Unpack it'),
    (1, 1_024, True, 'is no complete zip file'),
    (300, 1_024, True, 'is no complete zip file')])
def test_a_small_zip_that_would_unpack_to_gigabytes(
    tmp_path, count, blocks, lies, message):
  path = tmp_path / 'boxes.zip'
  path.write_bytes(mutations.bomb(count, blocks, lies))
  tracemalloc.start()
  try:
    with pytest.raises(UserError, match=f'boxes.zip.*{message}'):
      annotations.scribbles_by_id(path, '')
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert peak < 50e6


def test_xml_that_is_too_large_for_one_image_is_not_parsed():
  strokes = b'<annotation>' + b'<x/>' * 2**21
  with pytest.raises(ValueError, match=r'has 8 MB; the annotation of one image '
                     'has at most 8'):
    read_xml(strokes, SIZE)


@pytest.mark.parametrize('side', ['9' * 4_000, '1' + '0' * 400, '-40', '1e3'])
@pytest.mark.parametrize('size', [SIZE, None])
def test_sides_of_an_image_that_are_no_number_of_pixels(side, size):
  with pytest.raises(ValueError, match="names '.* as the width of its image"):
    read_xml(voc_xml([], width=side), size)


@pytest.mark.parametrize('name', ['\ud800', 'a\0', '../a', '', '.'])
def test_json_ids_that_no_image_can_have(tmp_path, name):
  path = tmp_path / 'points.json'
  path.write_text(json.dumps({name: []}))
  with pytest.raises(UserError, match='is no path below the folder of images'):
    annotations.scribbles_by_id(path, '')


@pytest.mark.parametrize('name, message', [
    ('folder', r'a\.xml: .*No such file.* Mend these files'),
    ('points.json', 'Cannot read .*points.json: .*denied'),
    ('boxes.zip', 'boxes.zip is no complete zip file .*denied')])
def test_files_that_cant_be_read(tmp_path, monkeypatch, name, message):
  if name == 'folder':
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'folder/a.xml').symlink_to('nowhere')
  else:
    (tmp_path / name).touch()

    def refuse(*arguments, **options):
      raise PermissionError(13, 'Permission denied')  # Root may read all.

    monkeypatch.setattr('io.open', refuse)
    monkeypatch.setattr('pathlib.Path.read_text', refuse)
  with pytest.raises(UserError, match=message):
    annotations.scribbles_by_id(tmp_path / name, '')


def test_an_entry_that_is_no_list(tmp_path):
  path = tmp_path / 'points.json'
  path.write_text('{"a": 3}')
  (annotation,) = annotations.scribbles_by_id(path, '').values()
  with pytest.raises(ValueError, match='holds no list of points'):
    annotations.read(annotation, SIZE, CLASSES)


# training


def train_ids(root, config):
  return (root / config.data.train_list).read_text().split()


def write_entries(root, config, name, entries):
  (root / name).write_text(json.dumps(entries))
  config.data.scribbles = name
  return dataset_files.list_examples(config.data, True)


def load(examples, index=0):
  names = ('background', *'abc')
  return loading.load(examples['train'][index], names)


def test_points_as_the_scribbles_of_training(root, config):
  entries = {name: [point(4, 5), point(30, 31, 0)]
             for name in train_ids(root, config)}
  maps, problems = load(write_entries(root, config, 'points.json', entries))
  assert not problems
  np.testing.assert_array_equal(maps.scribble, filled(
      (4, 6, 3, 5, 1), (30, 32, 29, 31, 0), size=maps.size))


def test_boxes_as_the_scribbles_of_training(root, config):
  ids = train_ids(root, config)
  examples = write_entries(root, config, 'boxes.json', {
      name: [box(4, 3, 23, 12, 'b')] for name in ids})
  maps, problems = load(examples)
  assert not problems
  np.testing.assert_array_equal(
      without_background(maps.scribble),
      filled((6, 8, 8, 18, 2), size=maps.size))
  assert (maps.scribble == 0).any()
  # Another image's background is another one's, in every run the same.
  other, _ = load(examples, 1)
  assert (other.scribble != maps.scribble).any()
  again, _ = load(dataset_files.list_examples(config.data, True))
  np.testing.assert_array_equal(again.scribble, maps.scribble)


@pytest.mark.parametrize('packed', [True, False])
def test_vocs_boxes_as_the_scribbles_of_training(root, config, packed):
  shutil.rmtree(root / 'scribbles')
  (root / 'scribbles').mkdir()
  for name in train_ids(root, config):
    (root / f'scribbles/{name}.xml').write_bytes(
        voc_xml([('c', 5, 4, 24, 13)], 48, 48))
  if packed:
    with zipfile.ZipFile(root / 'boxes.zip', 'w') as archive:
      for path in (root / 'scribbles').iterdir():
        archive.write(path, f'Annotations/{path.name}')
    config.data.scribbles = 'boxes.zip'
  maps, problems = load(dataset_files.list_examples(config.data, True))
  assert not problems
  np.testing.assert_array_equal(
      without_background(maps.scribble),
      filled((6, 8, 8, 18, 3), size=maps.size))


def test_problem_names_file_and_id(root, config):
  first, *rest = train_ids(root, config)
  entries = {name: [point(4, 5)] for name in rest} | {first: [point(99, 5)]}
  _, (problem,) = load(write_entries(root, config, 'points.json', entries))
  assert problem.startswith(f'{root / "points.json"}: {first}: point 1 at')


def test_an_id_that_the_json_lacks(root, config):
  first, *rest = train_ids(root, config)
  with pytest.raises(
      UserError, match=f'points.json: nothing for the listed id {first}'):
    write_entries(root, config, 'points.json',
                  {name: [point(4, 5)] for name in rest})


def test_fingerprint_follows_the_listed_images_entries(root, config):
  entries = {name: [point(4, 5)] for name in train_ids(root, config)}

  def fingerprint(**changed):
    return dataset_files.fingerprint(write_entries(
        root, config, 'points.json', entries | changed))

  before = fingerprint()
  name = next(iter(entries))
  after = fingerprint(**{name: [point(4, 6)]})
  assert {part for part in before if before[part] != after[part]} == {
      'scribbles'}
  assert fingerprint(unlisted=[point(1, 1)]) == before


def test_a_folder_of_pngs_may_hold_its_description(root, config):
  before = dataset_files.list_examples(config.data, True)
  (root / 'scribbles/scribbles.json').write_text('{"command": "drop"}')
  assert dataset_files.list_examples(config.data, True) == before
