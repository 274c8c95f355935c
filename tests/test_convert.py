"""Annotations of other tools: to the exact pixels, and back."""

import base64
import io
import json
import os
import subprocess
import sys
import zipfile

import h5py
import numpy as np
from PIL import Image
import pytest

from scribble_jax.convert import __main__ as command
from scribble_jax.convert import contours
from scribble_jax.convert import hdf5_process
from scribble_jax.convert import rasterizing
from scribble_jax.convert import rle
from scribble_jax.errors import UserError
from scribble_jax.files import masks
from tests import converted
from tests import mutations
from tests.test_scribble_commands import contents
from tests.test_scribble_commands import left_in
from tests.test_scribble_commands import run


def convert(capsys, *arguments):
  """Runs the command; returns what it prints."""
  command.main(command.make_parser().parse_args(
      [str(one) for one in arguments]))
  return capsys.readouterr().out


def refusal(capsys, *arguments):
  """Returns the line by which the command refuses its arguments."""
  with pytest.raises(UserError) as error:
    convert(capsys, *arguments)
  assert len(str(error.value).splitlines()) == 1
  return str(error.value)


def scribbles(target):
  return {path.relative_to(target / 'scribbles').with_suffix('').as_posix():
          masks.read_mask(path)
          for path in sorted((target / 'scribbles').rglob('*.png'))}


@pytest.fixture
def source(tmp_path):
  folder = tmp_path / 'source'
  folder.mkdir()
  return folder


@pytest.fixture
def photographs(tmp_path):
  return converted.write_photographs(tmp_path / 'photographs')


# Read


@pytest.mark.parametrize('kind', converted.WRITERS)
def test_bitmaps_come_across_to_the_pixel(
    kind, source, photographs, tmp_path, capsys):
  expected = converted.scene()
  converted.WRITERS[kind](source, expected)
  if kind == 'cvat_masks':  # Black is what nobody has annotated.
    for mask in expected.values():
      mask[mask == 0] = 255
  flags = ('--from=masks',) if kind == 'masks' else ()  # As napari's, else.
  report = convert(capsys, source, tmp_path / 'out',
                   f'--images={photographs}', *flags)
  found = scribbles(tmp_path / 'out')
  if kind == 'supervisely':
    found = {name.removeprefix('ds/'): mask for name, mask in found.items()}
  assert found.keys() == expected.keys()
  for name, mask in expected.items():
    np.testing.assert_array_equal(found[name], mask)
  assert (tmp_path / 'out/classes.txt').read_text().split() == [
      *converted.NAMES]
  pixels = sum(int((mask == 1).sum()) for mask in expected.values())
  if kind != 'ilastik':  # It has blocks.
    assert ['cat', '2', '2', str(pixels)] in [
        line.split() for line in report.splitlines()]
  assert f'2 pictures of {kind} in' in report
  assert not list(tmp_path.glob('**/pickled'))


@pytest.mark.parametrize('kind', converted.DRAWERS)
def test_shapes_come_across_to_the_pixel(
    kind, source, photographs, tmp_path, capsys):
  write, drawn = converted.DRAWERS[kind]
  write(source)
  report = convert(capsys, source, tmp_path / 'out', '--boxes=mask',
                   f'--images={photographs}')
  np.testing.assert_array_equal(
      scribbles(tmp_path / 'out')['a'], converted.drawn(drawn))
  count = len(drawn) - ('box' in drawn)
  assert ['cat', '1', str(count)] in [
      line.split()[:3] for line in report.splitlines()]
  if kind == 'scribbles4all':
    assert '1 left out: is of unlabelled pixels' in report


def enclosed(rings, size):
  """Pixels whose middle an odd number of rings encloses, one by one."""
  found = np.zeros(size, bool)
  for row, column in np.ndindex(*size):
    for ring in rings:
      for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if (y0 <= row + 0.5) != (y1 <= row + 0.5):
          found[row, column] ^= column + 0.5 >= (
              x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0))
  return found


def test_polygons_are_filled_by_the_middles_of_pixels():
  rng = np.random.default_rng(0)
  for _ in range(30):
    rings = [rng.uniform(-5, 25, [rng.integers(1, 9), 2])
             for _ in range(rng.integers(1, 3))]
    np.testing.assert_array_equal(
        rasterizing.fill(rings, (18, 20)), enclosed(rings, (18, 20)))


def test_regions_become_polygons_and_regions_again():
  rng = np.random.default_rng(0)
  for density in (0, 0.1, 0.5, 0.9, 1) * 6:
    region = rng.random([12, 15]) < density
    found = np.zeros([12, 15], int)
    for polygon in contours.polygons(region):
      found += enclosed([polygon.tolist()], region.shape)
    np.testing.assert_array_equal(found, region)


@pytest.mark.parametrize('kind', ['qupath', 'supervisely', 'coco'])
def test_holes_and_several_parts(kind, source, photographs, tmp_path, capsys):
  outer = [[2.2, 3.1], [35.4, 5.2], [20.3, 27.8]]
  hole, other = [[10, 8], [20, 8], [18, 15]], [[30, 20], [38, 20], [38, 28]]
  expected = enclosed([outer, hole], (30, 40)) | enclosed([other], (30, 40))
  if kind == 'qupath':
    (source / 'a.json').write_text(json.dumps([{
        'type': 'Feature', 'properties': {'classification': {'name': 'cat'}},
        'geometry': {'type': 'MultiPolygon',
                     'coordinates': [[outer, hole], [other]]}}]))
  elif kind == 'supervisely':  # Whose outline counts; middles are whole.
    (source / 'a.jpg.json').write_text(json.dumps({
        'size': {'height': 30, 'width': 40}, 'objects': [{
            'classTitle': 'cat', 'geometryType': 'polygon',
            'points': {'exterior': [[2, 3], [30, 3], [30, 20], [2, 20]],
                       'interior': [[[9, 9], [20, 9], [20, 15], [9, 15]]]}}]}))
    expected = np.zeros([30, 40], bool)
    expected[3:21, 2:31] = True
    expected[10:15, 10:20] = False
  else:  # Parts alone.
    (source / 'a.json').write_text(json.dumps({
        'images': [{'id': 1, 'file_name': 'a.jpg', 'width': 40, 'height': 30}],
        'categories': [{'id': 1, 'name': 'cat'}], 'annotations': [{
            'image_id': 1, 'category_id': 1, 'segmentation': [
                np.ravel(outer).tolist(), np.ravel(other).tolist()]}]}))
    expected = enclosed([outer], (30, 40)) | enclosed([other], (30, 40))
  convert(capsys, source, tmp_path / 'out', f'--images={photographs}')
  np.testing.assert_array_equal(scribbles(tmp_path / 'out')['a'] == 1, expected)


def test_compressed_run_lengths_are_those_of_pycocotools(
    source, photographs, tmp_path, capsys):
  coco = pytest.importorskip('pycocotools.mask')
  rng = np.random.default_rng(0)
  for density in (0, 0.02, 0.5, 0.98, 1) * 9:
    mask = rng.random(rng.integers(1, 50, 2)) < density
    text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))['counts']
    counts = rle.decode_text(text.decode())
    np.testing.assert_array_equal(
        rle.decode_counts(counts, mask.size), mask.T.ravel())
    assert rle.encode_text(rle.encode_counts(mask.T.ravel())) == text.decode()
  expected = converted.scene()
  converted.coco(source, expected)
  path = source / 'instances.json'
  content = json.loads(path.read_text())
  for item in content['annotations']:
    item['segmentation'] = coco.frPyObjects(item['segmentation'], 30, 40)
    item['segmentation']['counts'] = item['segmentation']['counts'].decode()
  path.write_text(json.dumps(content))
  convert(capsys, path, tmp_path / 'out', f'--images={photographs}')
  for name, mask in scribbles(tmp_path / 'out').items():
    np.testing.assert_array_equal(mask, expected[name])


@pytest.mark.parametrize('dtype', ['int64', 'uint64', 'uint16', 'int8'])
@pytest.mark.parametrize('compression', [None, 'zlib'])
def test_label_images_of_any_integers(
    dtype, compression, source, photographs, tmp_path, capsys):
  tifffile = pytest.importorskip('tifffile')
  values = converted.scene()['a'] + np.uint8(1)
  for name, shown in (('a', np.maximum(values, 1)), ('b', values)):
    tifffile.imwrite(source / f'{name}.tif', shown.astype(dtype),
                     compression=compression)
  convert(capsys, source, tmp_path / 'out', f'--images={photographs}')
  np.testing.assert_array_equal(scribbles(tmp_path / 'out')['b'],
                                np.where(values == 0, 255, values))
  assert (tmp_path / 'out/classes.txt').read_text().split() == [
      'background', 'class_1', 'class_2', 'class_3']


# What becomes of shapes


def draw(capsys, source, target, *flags, drawer='cvat'):
  """Converts a polygon, line, point and box; returns the mask and report."""
  if not any(source.iterdir()):
    converted.DRAWERS[drawer][0](source)
    converted.write_photographs(source)
  report = convert(capsys, source, target, *flags)
  return scribbles(target)['a'], report


def test_polygons_and_boxes_become_strokes_inside(source, tmp_path, capsys):
  filled, _ = draw(capsys, source, tmp_path / 'filled', '--boxes=mask')
  for polygons, boxes in (('stroke', 'stroke'), ('box', 'stroke')):
    flags = f'--polygons={polygons}', f'--boxes={boxes}'
    target = tmp_path / polygons
    mask, report = draw(capsys, source, target, *flags)
    assert 0 < (mask == 2).sum() < (filled == 2).sum()
    assert (filled[mask == 2] == 2).all()
    inside = mask[converted.PLACES['polygon']]
    assert 0 < (inside == 1).sum() < inside.size
    # Nothing but these, as other shapes say what background is not.
    assert (filled[mask != 255] == mask[mask != 255]).all()
    assert (mask[converted.PLACES['line']] == 1).all()
    assert [line.split()[2] for line in report.splitlines()[3:5]] == ['3', '1']
    np.testing.assert_array_equal(mask, draw(
        capsys, source, tmp_path / f'{polygons}_again', *flags)[0])


def test_boxes_alone_bring_background_strokes(source, tmp_path, capsys):
  mask, _ = draw(capsys, source, tmp_path / 'out', '--polygons=box',
                 drawer='coco')
  outside = np.ones(mask.shape, bool)
  for kind in ('polygon', 'box'):
    outside[converted.PLACES[kind]] = False
  assert set(np.unique(mask)) == {0, 1, 2, 255}
  assert outside[mask == 0].all() and not outside[(mask > 0) & (mask < 255)
                                                 ].any()


def test_width_of_lines_and_points_without_one(source, tmp_path, capsys):
  mask, _ = draw(capsys, source, tmp_path / 'out', '--width=5')
  assert (mask[18:23, 4:30] == 1).all() and (mask[17, 4:30] == 255).all()
  assert (mask[3:8, 33:38] == 1).all() and (mask[5, 32] == 255)


def test_all_that_is_not_annotated_may_be_background(source, tmp_path, capsys):
  mask, report = draw(capsys, source, tmp_path / 'out', '--boxes=mask',
                      '--unannotated=background')
  expected = converted.drawn(converted.ALL)
  expected[expected == 255] = 0
  np.testing.assert_array_equal(mask, expected)
  assert 'background         1       0' in report


def test_later_shapes_and_higher_ones_are_on_top(source, tmp_path, capsys):
  box = '<box label="{}" z_order="{}" xtl="2" ytl="2" xbr="9" ybr="9"/>'
  (source / 'a.xml').write_text(
      '<annotations><image name="a.jpg" width="40" height="30">' + ''.join(
          box.format(*one) for one in (('up', 1), ('x', 0), ('down', 0)))
      + '</image></annotations>')
  mask, _ = draw(capsys, source, tmp_path / 'out', '--boxes=mask',
                 f'--images={converted.write_photographs(tmp_path / "p")}')
  names = (tmp_path / 'out/classes.txt').read_text().split()
  assert names[mask[5, 5]] == 'up'


def labelme_of(folder, *labels, path='a.jpg', **more):
  (folder / 'a.json').write_text(json.dumps({
      'imagePath': path, 'imageHeight': 30, 'imageWidth': 40, 'shapes': [
          {'label': label, 'shape_type': 'linestrip',
           'points': [[2, 2 + 5 * i], [9, 2 + 5 * i]]} | more
          for i, label in enumerate(labels)]}))


def test_classes_and_their_order(source, photographs, tmp_path, capsys):
  labelme_of(source, 'dog', '_background_', 'void', 'cat')
  flag = f'--images={photographs}'
  report = convert(capsys, source, tmp_path / 'found', flag)
  assert "1 left out of 'void': means unlabelled" in report
  (source / 'labels.txt').write_text('__ignore__\n_background_\nbird\ncat\n')
  convert(capsys, source, tmp_path / 'listed', flag)
  (tmp_path / 'c.txt').write_text('_background_\ncat\nbird')
  report = convert(capsys, source, tmp_path / 'chosen', flag,
                   f'--classes={tmp_path / "c.txt"}')
  assert "1 left out of 'dog': is not in the class list" in report
  assert {name: (tmp_path / name / 'classes.txt').read_text().split()
          for name in ('found', 'listed', 'chosen')} == {
              'found': ['_background_', 'dog', 'cat'],
              'listed': ['_background_', 'bird', 'cat', 'dog'],
              'chosen': ['_background_', 'cat', 'bird']}
  assert [int(scribbles(tmp_path / 'listed')['a'][row, 5])
          for row in (2, 7, 12, 17)] == [3, 0, 255, 2]


def test_what_is_not_read_is_told(source, photographs, tmp_path, capsys):
  converted.draw_label_studio(source)
  path = source / 'tasks.json'
  (task,) = json.loads(path.read_text())
  labels = {'ellipselabels': ['cat']}
  task['annotations'] = [task['annotations'][1], {'result': [
      converted._region('ellipselabels', {
          'x': 1, 'y': 2, 'radiusX': 3, 'radiusY': 4} | labels),
      converted._region('choices', {'choices': ['yes']}),
      converted._region('rectanglelabels', {  # About its upper left corner.
          'x': 50, 'y': 50, 'width': 20, 'height': 20, 'rotation': 90,
          'rectanglelabels': ['dog']}),
      converted._region('polygonlabels', {
          'points': [[200, 0], [300, 0], [200, 90]],
          'polygonlabels': ['dog']})]}]
  unfinished = task | {'annotations': []}
  away = task | {'data': {'image': 's3://x/y/c.jpg?z=1'}}
  path.write_text(json.dumps([task, unfinished, away]))
  report = convert(capsys, source, tmp_path / 'out', f'--images={photographs}')
  for text in (
      '6 left out: is of an earlier annotation of the same picture',
      "2 left out of 'cat': 'ellipselabels' is not read",
      "2 left out: 'choices' has no class",
      "1 left out of 'dog': has no pixel in the picture",
      '1 left out: is a picture without annotation',
      f'is a picture whose photograph is not there ({path}: task 3, c.jpg)'):
    assert text in report, (text, report)
  mask = scribbles(tmp_path / 'out')['a']
  turned = np.full([30, 40], 255)
  turned[15:23, 14:20] = 1  # 8 wide and 6 high, it hangs to the left now.
  np.testing.assert_array_equal(mask, turned)


@pytest.mark.parametrize('key', ['x', 'width', 'height', 'rotation'])
@pytest.mark.parametrize('value', [10**400, float('nan'), float('inf'), '3'])
def test_numbers_of_no_use(key, value, source, photographs, tmp_path, capsys):
  (source / 'a.json').write_text(json.dumps([converted._task('a', [
      converted._region('rectanglelabels', {
          'x': 1, 'y': 2, 'width': 3, 'height': 4, 'rotation': 1,
          'rectanglelabels': ['cat']} | {key: value})])]))
  assert f"a.json: task 1: '{key}' is" in refusal(
      capsys, source, tmp_path / 'out', f'--images={photographs}')


# Where sources and photographs are


def test_photographs_beside_the_annotations(source, tmp_path, capsys):
  for name in ('x', 'y'):
    (source / name).mkdir()
    labelme_of(source / name, 'cat')
    converted.write_photographs(source / name, ['a'])
  convert(capsys, source, tmp_path / 'out')
  assert [*scribbles(tmp_path / 'out')] == ['x/a', 'y/a']
  for name in ('x', 'y'):
    assert (tmp_path / f'out/JPEGImages/{name}/a.jpg').samefile(
        source / name / 'a.jpg')
  assert (tmp_path / 'out/ImageSets/SegmentationAug/train.txt').read_text(
      ) == 'x/a\ny/a\n'


@pytest.mark.parametrize('how', ['link', 'symlink', 'copy'])
def test_photographs_are_linked_or_copied(how, source, tmp_path, capsys):
  draw(capsys, source, tmp_path / 'out', f'--photographs={how}')
  path = tmp_path / 'out/JPEGImages/a.jpg'
  assert path.read_bytes() == (source / 'a.jpg').read_bytes()
  assert path.is_symlink() == (how == 'symlink')
  assert path.samefile(source / 'a.jpg') == (how != 'copy')


def test_a_photograph_that_cannot_be_linked_is_copied(
    source, tmp_path, capsys, monkeypatch):
  def refuse(*_):
    raise OSError(18, 'Invalid cross-device link')
  monkeypatch.setattr(os, 'link', refuse)
  draw(capsys, source, tmp_path / 'out')
  assert not (tmp_path / 'out/JPEGImages/a.jpg').samefile(source / 'a.jpg')


def zip_of(path, folder, names=lambda name: name):
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    for file in sorted(folder.rglob('*.*')):
      archive.writestr(names(file.relative_to(folder).as_posix()),
                       file.read_bytes())
  return path


def test_zips_are_read_and_removed(source, tmp_path, capsys, monkeypatch):
  (tmp_path / 'tmp').mkdir()
  monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'tmp'))
  converted.draw_cvat(source)
  converted.write_photographs(source / 'images')
  path = zip_of(tmp_path / 'a.zip', source, lambda name: f'task_1/{name}')
  convert(capsys, path, tmp_path / 'out', '--boxes=mask')
  np.testing.assert_array_equal(scribbles(tmp_path / 'out')['a'],
                                converted.drawn(converted.ALL))
  assert not list((tmp_path / 'tmp').iterdir())
  content = path.read_bytes()
  for number in range(50):
    path.write_bytes(mutations.of_bytes(np.random.default_rng(number), content))
    target = tmp_path / f'out{number}'
    try:
      convert(capsys, path, target)
    except UserError as error:
      assert len(str(error).splitlines()) == 1
      assert not target.exists()
    assert not list((tmp_path / 'tmp').iterdir())


@pytest.mark.parametrize('name', [
    '../a.xml', '/a.xml', 'b/../../a.xml', 'C:\\a.xml', '..\\a.xml'])
def test_zips_that_lead_out_are_refused(
    name, source, tmp_path, capsys, monkeypatch):
  converted.draw_cvat(source)
  path = zip_of(tmp_path / 'a.zip', source, lambda _: name)
  assert 'leads out of the folder' in refusal(capsys, path, tmp_path / 'out')
  assert sorted(left_in(tmp_path)) == ['a.zip', 'source']


@pytest.mark.parametrize('lies', [False, True])
def test_zip_bombs_are_refused(lies, tmp_path, capsys):
  path = tmp_path / 'a.zip'
  path.write_bytes(mutations.bomb(3, 4_000, lies))
  line = refusal(capsys, path, tmp_path / 'out')
  assert ('is no complete zip' if lies else 'far more than its own') in line


@pytest.mark.parametrize('files, line', [
    (['a.txt'], 'is of no known kind'), ([], 'is of no known kind'),
    (['a.ilp', 'b.geojson'], 'may be of ilastik or qupath'),
    (['a.json'], 'broken JSON'), (['a.png'], 'photographs by --images')])
def test_what_is_not_recognised(files, line, source, tmp_path, capsys):
  (source / 'more').mkdir()
  for name in ('more/readme', *files):
    (source / name).write_text('x')
  assert line in refusal(capsys, source, tmp_path / 'out')
  assert left_in(tmp_path) == ['source']


# What is refused


def test_xml_entities_are_refused(source, photographs, tmp_path, capsys):
  converted.draw_cvat(source)
  text = (source / 'a.xml').read_text()
  for head in ('<!DOCTYPE x [<!ENTITY a "b">]>',
               '<!-- --><!DOCTYPE x SYSTEM "file:///etc/passwd">'):
    (source / 'a.xml').write_text(head + text)
    assert 'entities, which are not read' in refusal(
        capsys, source, tmp_path / 'out', f'--images={photographs}')


class _Bad:
  def __reduce__(self):
    return os.mkdir, ('unpickled',)


def test_pickles_in_npz_are_refused(
    source, photographs, tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  np.savez(source / 'a.npz', np.array([[_Bad()]], object))
  assert 'integers' in refusal(
      capsys, source, tmp_path / 'out', f'--images={photographs}')
  assert not (tmp_path / 'unpickled').exists()


def test_npz_that_claims_more_than_there_is(
    source, photographs, tmp_path, capsys):
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(header, {
      'descr': '<i8', 'fortran_order': False, 'shape': (10**7, 10**6)})
  with zipfile.ZipFile(source / 'a.npz', 'w') as archive:
    archive.writestr('arr_0.npy', header.getvalue())
  assert 'megapixels' in refusal(
      capsys, source, tmp_path / 'out', f'--images={photographs}')


def test_data_of_other_files_are_refused(
    source, photographs, tmp_path, capsys):
  (tmp_path / 'secret').write_bytes(bytes(range(100)))
  place = 'PixelClassification/LabelSets/labels000'
  with h5py.File(tmp_path / 'other.h5', 'w') as file:
    file['x'] = np.ones([5, 5, 1], np.uint8)
  for kind in ('external', 'link', 'virtual'):
    converted.ilastik(source, converted.scene())
    with h5py.File(source / 'project.ilp', 'a') as file:
      name = f'{place}/block9'
      if kind == 'external':
        file.create_dataset(name, (5, 5, 1), 'u1', external=[
            (str(tmp_path / 'secret'), 0, 25)])
      elif kind == 'link':
        file[name] = h5py.ExternalLink(str(tmp_path / 'other.h5'), 'x')
      else:
        layout = h5py.VirtualLayout((5, 5, 1), 'u1')
        layout[:] = h5py.VirtualSource(tmp_path / 'other.h5', 'x', (5, 5, 1))
        file.create_virtual_dataset(name, layout)
    assert 'lies in another file' in refusal(
        capsys, source, tmp_path / 'out', f'--images={photographs}')


def test_paths_that_lead_out(source, photographs, tmp_path, capsys):
  converted.draw_coco(source)
  path = source / 'a.json'
  path.write_text(path.read_text().replace('a.jpg', '../photographs/a.jpg'))
  assert 'no path below the folder' in refusal(
      capsys, source, tmp_path / 'out', f'--images={photographs}')
  path.unlink()
  labelme_of(source, 'cat', path='../photographs/a.jpg')
  assert 'photograph is not there' in refusal(
      capsys, source, tmp_path / 'out')


def test_sizes_that_differ(source, photographs, tmp_path, capsys):
  converted.draw_cvat(source)
  Image.new('RGB', (41, 30)).save(photographs / 'a.jpg')
  line = refusal(capsys, source, tmp_path / 'out', f'--images={photographs}')
  assert line.startswith(
      f'{source}/a.xml: image a.jpg: is for 40x30 pixels, {photographs}/a.jpg '
      'has 41x30')


def test_photographs_of_one_name_and_damaged_ones(
    source, photographs, tmp_path, capsys):
  converted.draw_cvat(source)
  flag = f'--images={photographs}'
  for name in ('x', 'y'):
    converted.write_photographs(photographs / name, ['a'])
  (photographs / 'a.jpg').unlink()
  assert 'several photographs are named a.jpg' in refusal(
      capsys, source, tmp_path / 'out', flag)
  (photographs / 'a.jpg').write_bytes(b'no picture')
  assert 'several photographs' in refusal(
      capsys, source, tmp_path / 'out', flag)
  for name in ('x', 'y'):
    (photographs / f'{name}/a.jpg').unlink()
  assert refusal(capsys, source, tmp_path / 'out', flag).startswith(
      f'{photographs}/a.jpg: is text that begins with')


def test_a_folder_that_is_there_is_left_alone(source, tmp_path, capsys):
  draw(capsys, source, tmp_path / 'out')
  before = contents(tmp_path / 'out')
  assert 'exists. Name a new folder.' in refusal(
      capsys, source, tmp_path / 'out')
  assert contents(tmp_path / 'out') == before


@pytest.mark.parametrize('kind, package', [
    ('ilastik', 'h5py'), ('napari', 'tifffile')])
def test_packages_that_are_not_installed(
    kind, package, source, photographs, tmp_path, capsys, monkeypatch):
  if kind == 'ilastik':
    converted.ilastik(source, converted.scene())
  else:
    (source / 'a.tif').write_bytes(b'II*\0' + bytes(99))
  monkeypatch.setitem(sys.modules, package, None)
  assert "pip install 'scribble-jax[convert]'" in refusal(
      capsys, source, tmp_path / 'out', f'--images={photographs}')


@pytest.mark.parametrize('flags', [
    ['--width=0'], ['--seed=-1'], ['--from=coco', '--to=coco'], ['--to=xyz'],
    ['--from=xyz'], ['--polygons=x']])
def test_flags_of_no_meaning(flags, source, tmp_path, capsys):
  assert '--' in refusal(capsys, source, tmp_path / 'out', *flags)


def test_as_a_process(source, tmp_path):
  converted.draw_cvat(source)
  done = subprocess.run(
      [sys.executable, '-m', 'scribble_jax.convert', source, tmp_path / 'out'],
      capture_output=True, text=True, check=False)
  assert done.returncode == 1 and not done.stdout
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert 'photograph is not there' in done.stderr
  assert left_in(tmp_path) == ['source']


# And back


@pytest.fixture
def predictions(tmp_path):
  folder = tmp_path / 'predictions'
  folder.mkdir()
  converted.masks(folder, converted.scene())
  Image.new('RGB', (40, 30)).save(folder / 'a_overlay.png')  # As predict does.
  return folder


def back(capsys, predictions, photographs, kind, *flags):
  """Writes masks for a tool; returns its folder and the report."""
  target = predictions.parent / 'written'
  report = convert(capsys, predictions, target, f'--to={kind}',
                   f'--images={photographs}', *flags)
  pixels = sum(int((mask == 1).sum()) for mask in converted.scene().values())
  assert ['cat', '2', str(pixels)] in [
      line.split() for line in report.splitlines()]
  return target


@pytest.mark.parametrize('flags', [
    ['--to=coco'], ['--to=coco', '--rle=uncompressed'], ['--to=label_studio'],
    ['--to=label_studio', '--shapes=polygon'], ['--to=labelme'],
    ['--to=napari']])
def test_there_and_back(flags, predictions, photographs, tmp_path, capsys):
  kind = flags[0].removeprefix('--to=')
  target = back(capsys, predictions, photographs, kind, *flags[1:])
  if kind == 'label_studio':  # Where a person accepts what is predicted.
    path = target / 'tasks.json'
    path.write_text(path.read_text().replace('"predictions"', '"annotations"'))
  convert(capsys, target, tmp_path / 'again', f'--images={photographs}')
  found = scribbles(tmp_path / 'again')
  for name, mask in converted.scene().items():
    np.testing.assert_array_equal(found[name], mask)
  assert (tmp_path / 'again/classes.txt').read_text().split() == [
      *converted.NAMES]


# Of pycocotools.
@pytest.mark.filterwarnings('ignore:__array__ implementation')
@pytest.mark.parametrize('form', ['compressed', 'uncompressed'])
def test_coco_as_pycocotools_reads_it(
    form, predictions, photographs, tmp_path, capsys):
  pytest.importorskip('pycocotools')
  from pycocotools.coco import COCO
  target = back(capsys, predictions, photographs, 'coco', f'--rle={form}')
  data = COCO(target / 'annotations.json')
  for image in data.loadImgs(data.getImgIds()):
    expected = converted.scene()[image['file_name'].removesuffix('.jpg')]
    found = np.full([30, 40], 255)
    for item in data.loadAnns(data.getAnnIds([image['id']])):
      region = data.annToMask(item) > 0
      (category,) = data.loadCats(item['category_id'])
      found[region] = converted.NAMES.index(category['name'])
      assert item['area'] == region.sum()
      top, left, bottom, right = converted._box(region)
      assert item['bbox'] == [left, top, right - left, bottom - top]
    np.testing.assert_array_equal(found, expected)


def test_label_studio_as_its_own_decoder_reads_it(
    predictions, photographs, tmp_path, capsys):
  target = back(capsys, predictions, photographs, 'label_studio',
                '--url=https://example.org/')
  tasks = json.loads((target / 'tasks.json').read_text())
  for task, (name, mask) in zip(
      tasks, converted.scene().items(), strict=True):
    assert task['data'] == {'image': f'https://example.org/{name}.jpg'}
    (prediction,) = task['predictions']
    for label, result in enumerate(prediction['result']):
      assert result['value']['brushlabels'] == [converted.NAMES[label]]
      assert (result['original_width'], result['original_height']) == (40, 30)
      pixels = converted.unbrush(result['value']['rle']).reshape(30, 40, 4)
      np.testing.assert_array_equal(pixels, np.where(
          mask == label, 255, 0)[..., None].repeat(4, -1))
  config = (target / 'labels.xml').read_text()
  assert config.count('<Label value=') == 3 and 'BrushLabels' in config


def test_labelme_files_beside_their_photographs(
    predictions, photographs, tmp_path, capsys):
  target = back(capsys, predictions, photographs, 'labelme',
                '--without_background')
  for name, mask in converted.scene().items():
    content = json.loads((target / f'{name}.json').read_text())
    assert (target / content['imagePath']).samefile(photographs / f'{name}.jpg')
    assert [item['label'] for item in content['shapes']] == ['cat', 'dog']
    for label, item in enumerate(content['shapes'], 1):
      (left, top), (right, bottom) = item['points']
      found = np.zeros([30, 40], bool)
      found[top:bottom + 1, left:right + 1] = np.asarray(Image.open(
          io.BytesIO(base64.b64decode(item['mask']))))
      np.testing.assert_array_equal(found, mask == label)


def test_napari_reads_integers(predictions, photographs, tmp_path, capsys):
  tifffile = pytest.importorskip('tifffile')
  target = back(capsys, predictions, photographs, 'napari')
  for name, mask in converted.scene().items():
    np.testing.assert_array_equal(
        tifffile.imread(target / f'{name}.tif'), mask + np.uint8(1))


def test_masks_that_cannot_be_written(predictions, tmp_path, capsys):
  flags = predictions, tmp_path / 'out', '--to=coco'
  Image.fromarray(np.full([3, 3], 7, np.uint8)).save(predictions / 'c.png')
  assert f'{predictions}/c.png: class index 7 is not in' in refusal(
      capsys, *flags)
  (predictions / 'c.png').write_bytes(b'x')
  assert f'{predictions}/c.png: is text' in refusal(capsys, *flags)
  (predictions / 'c.png').unlink()
  assert 'holds no photograph for a' in refusal(
      capsys, *flags, f'--images={predictions.parent}')
  (predictions / 'classes.txt').unlink()
  assert 'Name one by --classes' in refusal(capsys, *flags)
  assert sorted(left_in(tmp_path)) == ['predictions']


def test_hdf5_that_hangs_or_crashes_is_given_up(
    source, photographs, tmp_path, capsys, monkeypatch):
  converted.ilastik(source, converted.scene())
  command = source, tmp_path / 'out', f'--images={photographs}'
  with monkeypatch.context() as patched:
    patched.setattr(hdf5_process, '_SECONDS', 0)
    assert 'HDF5 crashes or hangs' in refusal(capsys, *command)
  process, _ = hdf5_process._start()
  process.kill()
  process.wait()
  assert 'HDF5 crashes or hangs' in refusal(capsys, *command)
  convert(capsys, *command)


def test_a_photograph_of_another_folder_is_another_one(
    source, tmp_path, capsys):
  converted.draw_coco(source)
  path = source / 'a.json'
  path.write_text(path.read_text().replace('a.jpg', 'x/a.jpg'))
  converted.write_photographs(source / 'y')
  assert 'photograph is not there' in refusal(
      capsys, source, tmp_path / 'out')
  for place in ('images/x', '.'):  # Outer folders may be more, or fewer.
    converted.write_photographs(tmp_path / f'p{place[:1]}' / place)
    convert(capsys, source, tmp_path / f'out{place[:1]}',
            f'--images={tmp_path / f"p{place[:1]}"}')


def test_what_nobody_has_annotated_is_no_background(
    source, photographs, tmp_path, capsys):
  converted.draw_label_studio(source)
  path = source / 'tasks.json'
  (task,) = json.loads(path.read_text())
  task['data']['image'] = 'b.jpg'
  path.write_text(json.dumps(
      [*json.loads(path.read_text()), task | {'annotations': []}]))
  report = convert(capsys, source, tmp_path / 'out', f'--images={photographs}',
                   '--unannotated=background')
  assert [*scribbles(tmp_path / 'out')] == ['a']
  assert f'is a picture without annotation ({path}: task 2)' in report


def test_a_class_list_beside_strokes_orders_them(
    source, photographs, tmp_path, capsys):
  converted.draw_label_studio(source)
  (source / 'classes.txt').write_text('background\nbird\ndog\n')
  convert(capsys, source, tmp_path / 'out', f'--images={photographs}')
  assert (tmp_path / 'out/classes.txt').read_text().split() == [
      'background', 'bird', 'dog', 'cat']


def test_training_can_start(source, photographs, tmp_path, capsys):
  converted.cvat(source, converted.scene())
  convert(capsys, source, tmp_path / 'out', f'--images={photographs}')
  code, printed = run('check', tmp_path / 'out', '--val_list=none',
                      '--ground_truth=none', '--pseudo_labels=none')
  assert code == 0, printed
