"""What users bring: lists in both spellings, masks, XML, folders and zips."""

import shutil
import zipfile

import numpy as np
from PIL import Image
import pytest

from scribble_jax.data import dataset_files
from scribble_jax.data import loading
from scribble_jax.dataset_classes import VOC_CLASSES
from scribble_jax.files import images
from scribble_jax.files import masks
from scribble_jax.weak_labels import annotations

CLASSES = ('background', 'cat', 'dog')


def xml(strokes, width=20, height=10):
  """ScribbleSup's format: [(tag, [(x, y), ...]), ...]."""
  polygons = ''.join(
      f'<polygon><tag>{tag}</tag>' + ''.join(
          f'<point><X>{x}</X><Y>{y}</Y></point>' for x, y in points)
      + '</polygon>' for tag, points in strokes)
  return (f'<annotation><size><width>{width}</width><height>{height}</height>'
          f'<depth>3</depth></size>{polygons}</annotation>').encode()


def draw(content, size=(10, 20)):
  return annotations.read(
      annotations.Annotation('a', 'a.xml', annotations.XML, content), size,
      CLASSES)


def test_stroke_is_three_pixels_wide():
  mask = draw(xml([('dog', [(4, 5), (12, 5)])]))
  expected = np.full([10, 20], 255)
  expected[4:7, 4:13] = 2
  np.testing.assert_array_equal(mask, expected)


def test_names_that_scribblesup_gives_to_vocs_classes():
  names = ('plane', 'bike', 'table', 'plant', 'monitor')
  for classes, labels in (
      (VOC_CLASSES, [1, 2, 11, 16, 20]), (names, range(5))):
    for name, label in zip(names, labels, strict=True):
      mask = annotations.read(
          annotations.Annotation('a', 'a.xml', annotations.XML, xml(
              [(name, [(4, 5), (12, 5)])])), (10, 20), classes)
      assert mask[5, 8] == label


def test_lone_point_is_a_dot_and_later_strokes_cover_earlier_ones():
  mask = draw(xml([('cat', [(2, 5), (17, 5)]), ('background', [(10, 5)])]))
  assert (mask[4:7, 9:12] == 0).all()
  assert set(mask[5, 2:9]) | set(mask[5, 12:18]) == {1}
  assert (mask == 0).sum() == 9


@pytest.mark.parametrize('broken, message', [
    (xml([('unicorn', [(1, 1)])]), "unknown class name 'unicorn'"),
    (xml([('cat', [])]), "a stroke of class 'cat' has no point"),
    (xml([], width=21), 'is for 21x10 pixels, its image has 20x10'),
    (xml([('cat', [('', 1)])]),
     r"the point \(, 1\) of a stroke of class 'cat' is no two numbers"),
    *((xml([('cat', [(4, 5), (x, 5)])]),
       rf"the point \({x}, 5\) of a stroke of class 'cat' is far outside")
      for x in ('nan', 'inf', '-1e300')),
    (xml([('cat', [(4, 5), (5, 'nan')])]), 'is far outside'),
    (xml([('cat', [(25, 5), (30, 7)])]),
     r"class 'cat', from \(25, 5\) to \(30, 7\), is outside the image of "
     '20x10'),
    (xml([('cat', [(-9, 5)])]), r'from \(-9, 5\) to \(-9, 5\), is outside'),
    (xml([], width=''), "names '' as the width of its image instead of a num"),
    (xml([], height='ten'), "names 'ten' as the height of its image"),
    (b'<annotation>', 'broken XML'),
    (b'<?xml version="1.0" encoding="martian"?><annotation/>',
     r'broken XML \(unknown encoding: martian'),
    (b'<?xml version="1.0" encoding="big5"?><annotation/>',
     r'broken XML \(multi-byte encodings'),
])
def test_broken_xml(broken, message):
  with pytest.raises(ValueError, match=message):
    draw(broken)


def test_a_stroke_may_leave_the_image_or_cross_it_between_its_points():
  expected = np.full([10, 20], 255)
  expected[4:7] = 1
  for first, last in ((4, 99_999), (-30, 50)):
    mask = draw(xml([('cat', [(first, 5), (last, 5)])]))
    np.testing.assert_array_equal(
        mask[:, max(first, 0):], expected[:, max(first, 0):])


def test_an_annotation_of_any_size_has_the_size_of_an_image():
  with pytest.raises(ValueError, match='is 1000000x1000000 .* limit of 100'):
    draw(xml([], 10**6, 10**6), None)


@pytest.mark.parametrize('palette', [True, False])
def test_mask_is_indices_whether_palette_or_grey(tmp_path, palette):
  mask = np.array([[0, 1, 20, 255]], np.uint8)
  path = tmp_path / 'mask.png'
  if palette:
    masks.write_mask(path, mask)
  else:
    Image.fromarray(mask).save(path)
  np.testing.assert_array_equal(masks.read_mask(path), mask)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA', '1'])
def test_mask_of_colours_is_refused(tmp_path, mode):
  Image.new(mode, (4, 4)).save(tmp_path / 'mask.png')
  with pytest.raises(ValueError, match='class index'):
    masks.read_mask(tmp_path / 'mask.png')


def test_palette_is_vocs():
  palette = masks.voc_palette()
  # From the PASCAL VOC devkit's published colour map.
  assert palette[1].tolist() == [128, 0, 0]
  assert palette[2].tolist() == [0, 128, 0]
  assert palette[15].tolist() == [192, 128, 128]
  assert palette[255].tolist() == [224, 224, 192]


def test_both_spellings_of_a_list_name_the_same_images(root, config):
  expected = dataset_files.list_examples(config.data, True)
  for name in (config.data.train_list, config.data.val_list):
    ids = (root / name).read_text().split()
    (root / name).write_text(''.join(
        f'/JPEGImages/{i}.jpg /SegmentationClassAug/{i}.png\n' for i in ids))
  assert dataset_files.list_examples(config.data, True) == expected


@pytest.mark.parametrize('packed', [True, False])
def test_scribbles_as_xml(root, config, packed):
  ids = (root / config.data.train_list).read_text().split()
  shutil.rmtree(root / 'scribbles')
  (root / 'scribbles').mkdir()
  for name in ids:
    (root / f'scribbles/{name}.xml').write_bytes(
        xml([('dog', [(4, 5), (12, 5)])], 48, 48))
  if packed:
    with zipfile.ZipFile(root / 'scribbles.zip', 'w') as archive:
      for path in (root / 'scribbles').iterdir():
        archive.write(path, f'scribble_annotation/{path.name}')
    config.data.scribbles = 'scribbles.zip'
  example = dataset_files.list_examples(config.data, True)['train'][0]
  maps, problems = loading.load(example, CLASSES + tuple('abcd'))
  assert not problems
  assert (maps.scribble[4:7, 4:13] == 2).all()
  assert (maps.scribble != 255).sum() == 27


def test_fingerprint_changes_with_the_part_that_changed(root, config):
  before = dataset_files.fingerprint(
      dataset_files.list_examples(config.data, True))
  path = next((root / 'pseudo_labels').iterdir())
  masks.write_mask(path, np.zeros([48, 48], np.uint8))
  after = dataset_files.fingerprint(
      dataset_files.list_examples(config.data, True))
  assert {part for part in before if before[part] != after[part]} == {
      'pseudo_labels'}


@pytest.mark.parametrize('name, mode', [
    ('image.png', 'RGB'), ('image.png', 'P'), ('image.jpg', 'L'),
    ('stereo.jpg', 'RGB')])
def test_images_may_be_png_or_jpeg(tmp_path, name, mode):
  image, path = Image.new(mode, (20, 10)), tmp_path / name
  if name == 'stereo.jpg':  # MPO: a JPEG with another one behind it.
    image.save(path, 'MPO', save_all=True, append_images=[image])
  else:
    image.save(path)
  maps, problems = loading.load(dataset_files.Example('image', path), CLASSES)
  assert not problems and maps.size == (10, 20)


def test_a_mask_too_large_to_decode_is_a_problem(tmp_path):
  image, mask = tmp_path / 'image.jpg', tmp_path / 'mask.png'
  Image.new('RGB', (4, 4)).save(image)
  Image.new('L', (100, 100)).save(mask)
  maps, (problem,) = loading.load(
      dataset_files.Example('image', image, ground_truth=mask), CLASSES,
      images.Reading(max_megapixels=0.001))
  assert maps is None and 'mask.png: is 100x100 pixels' in problem


def test_other_formats_are_a_problem_that_names_the_file(tmp_path):
  Image.new('RGB', (20, 10)).save(tmp_path / 'image.jpg', 'GIF')
  maps, (problem,) = loading.load(
      dataset_files.Example('image', tmp_path / 'image.jpg'), CLASSES)
  assert maps is None and 'image.jpg: is a GIF file, whatever' in problem
