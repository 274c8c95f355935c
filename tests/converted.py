"""Files of annotation tools, written independently of the code that reads them.

Each of WRITERS writes pictures of bitmaps, each of DRAWERS one of a polygon, a
line, a point and a box, as far as the tool knows such. READERS fuzz them.
"""

import base64
import contextlib
import functools
import io
import json
import pathlib
import shutil
import types
from unittest import mock
import zlib

import h5py
import numpy as np
from PIL import Image

from scribble_jax.convert import annotation_import
from scribble_jax.convert import hdf5_process
from scribble_jax.convert import rasterizing
from scribble_jax.errors import UserError
from scribble_jax.files import image_decoding
from scribble_jax.files import masks as mask_files
from tests import fuzzed
from tests import mutations

HEIGHT, WIDTH = 30, 40
NAMES = ('background', 'cat', 'dog')
COLOURS = ((0, 0, 0), (250, 0, 10), (9, 8, 7))


def scene():
  """Returns {id: [30, 40] uint8 of classes and 255}."""
  mask = np.full([HEIGHT, WIDTH], 255, np.uint8)
  mask[4:10, 5:20] = 1
  mask[6, 7:9] = 255
  speckle = np.random.default_rng(0).random([9, 14]) < 0.4
  mask[14:23, 22:36][speckle] = 2
  mask[27:29, 2:38] = 0
  return {'a': mask, 'b': mask[::-1, ::-1].copy()}


def write_photographs(folder, ids=('a', 'b')):
  """Writes a photograph for each id; returns the folder."""
  folder.mkdir(parents=True, exist_ok=True)
  for name in ids:
    pixels = np.random.default_rng(1).integers(
        0, 255, [HEIGHT, WIDTH, 3], np.uint8)
    Image.fromarray(pixels).save(folder / f'{name}.jpg')
  return folder


def _classes(mask):
  return [(label, name) for label, name in enumerate(NAMES)
          if (mask == label).any()]


def _box(region):
  rows, columns = np.nonzero(region)
  return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def _runs(pixels):
  """Lengths of runs, unset ones first, one pixel after another."""
  counts, value = [0], False
  for pixel in pixels:
    if bool(pixel) != value:
      counts.append(0)
      value = not value
    counts[-1] += 1
  return counts


def _png(mask):
  content = io.BytesIO()
  Image.fromarray(mask.astype(np.uint8)).save(content, 'PNG')
  return content.getvalue()


def brush(region, sizes=(2, 5, 9, 14)):
  """Label Studio's bits of a [H, W] bool: repeated and literal runs."""
  values = [channel for pixel in region.ravel()
            for channel in ((200, 30, 0, 255) if pixel else (0, 0, 0, 0))]
  bits = f'{len(values):032b}' + '00111' + ''.join(
      f'{size - 1:04b}' for size in sizes)
  place = 0
  while place < len(values):
    same = 1
    while place + same < len(values) and values[place + same] == values[place]:
      same += 1
    repeated = same > 4
    length = min(same if repeated else 7, len(values) - place, 2 ** sizes[-1])
    which = next(i for i, size in enumerate(sizes) if length <= 2 ** size)
    bits += f'{int(repeated)}{which:02b}{length - 1:0{sizes[which]}b}'
    bits += ''.join(f'{value:08b}' for value in (
        values[place:place + 1] if repeated else values[place:place + length]))
    place += length
  bits += '0' * (-len(bits) % 8)
  return [int(bits[i:i + 8], 2) for i in range(0, len(bits), 8)]


def unbrush(content):
  """The bytes of a brush, bit by bit."""
  bits, place = ''.join(f'{byte:08b}' for byte in content), 0

  def read(count):
    nonlocal place
    place += count
    return int(bits[place - count:place], 2)

  count, size = read(32), read(5) + 1
  sizes, out = [read(4) + 1 for _ in range(4)], []
  while len(out) < count:
    repeated, length = read(1), read(sizes[read(2)]) + 1
    out += ([read(size)] * length if repeated
            else [read(size) for _ in range(length)])
  return np.array(out, np.uint8)


# Bitmaps


def _task(name, result):
  return {'id': 7, 'data': {'image': f'/data/upload/3/0a1b2c3d-{name}.jpg'},
          'annotations': [{'id': 1, 'was_cancelled': True, 'result': []},
                          {'id': 2, 'result': result}]}


def _region(kind, value, **more):
  return {'type': kind, 'original_width': WIDTH, 'original_height': HEIGHT,
          'value': value, 'from_name': 'x', 'to_name': 'y', **more}


def label_studio(folder, masks):
  (folder / 'tasks.json').write_text(json.dumps([_task(name, [
      _region('brushlabels', {'format': 'rle', 'rle': brush(mask == label),
                              'brushlabels': [title]})
      for label, title in _classes(mask)]) for name, mask in masks.items()]))


def labelme(folder, masks):
  for name, mask in masks.items():
    found = []
    for label, title in _classes(mask):
      top, left, bottom, right = map(int, _box(mask == label))
      found.append({
          'label': title, 'shape_type': 'mask', 'points': [
              [left, top], [right - 1, bottom - 1]], 'mask': base64.b64encode(
                  _png((mask == label)[top:bottom, left:right])).decode()})
    (folder / f'{name}.json').write_text(json.dumps({
        'version': '5.4.1', 'imagePath': f'..\\photos\\{name}.jpg',
        'imageData': None, 'imageHeight': HEIGHT, 'imageWidth': WIDTH,
        'shapes': found}))


def cvat(folder, masks):
  images = ''
  for name, mask in masks.items():
    items = ''
    for label, title in _classes(mask):
      top, left, bottom, right = _box(mask == label)
      counts = _runs((mask == label)[top:bottom, left:right].ravel())
      items += (f'<mask label="{title}" source="manual" occluded="0" '
                f'rle="{", ".join(map(str, counts))}" left="{left}" '
                f'top="{top}" width="{right - left}" height="{bottom - top}" '
                'z_order="0"></mask>')
    images += (f'<image id="0" name="{name}.jpg" width="{WIDTH}" '
               f'height="{HEIGHT}">{items}</image>')
  labels = ''.join(f'<label><name>{name}</name></label>' for name in NAMES)
  (folder / 'annotations.xml').write_text(
      '<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1'
      f'</version><meta><task><labels>{labels}</labels></task></meta>{images}'
      '</annotations>')


def cvat_masks(folder, masks):
  (folder / 'labelmap.txt').write_text(
      '# label:color_rgb:parts:actions\n' + ''.join(
          f'{name}:{",".join(map(str, colour))}::\n'
          for name, colour in zip(NAMES, COLOURS, strict=True)))
  (folder / 'SegmentationClass').mkdir()
  for name, mask in masks.items():
    colours = np.zeros([HEIGHT, WIDTH, 3], np.uint8)
    for label, colour in enumerate(COLOURS):
      colours[mask == label] = colour
    Image.fromarray(colours).save(folder / f'SegmentationClass/{name}.png')


def coco(folder, masks):
  annotations = []
  for number, mask in enumerate(masks.values()):
    annotations += [{
        'id': len(annotations), 'image_id': number, 'category_id': 10 * label,
        'iscrowd': 1, 'segmentation': {
            'size': [HEIGHT, WIDTH], 'counts': _runs((mask == label).T.ravel())}
    } for label, _ in _classes(mask)]
  (folder / 'instances.json').write_text(json.dumps({
      'images': [{'id': number, 'file_name': f'{name}.jpg', 'width': WIDTH,
                  'height': HEIGHT} for number, name in enumerate(masks)],
      'categories': [{'id': 10 * number, 'name': name}
                     for number, name in enumerate(NAMES)],
      'annotations': annotations}))


def napari(folder, masks):
  for suffix, (name, mask) in zip(('.tif', '.npz'), masks.items(), strict=True):
    values = (mask.astype(np.int32) + 1) % 256
    if suffix == '.tif':
      Image.fromarray(values).save(folder / f'{name}_labels.tif')
    else:
      np.savez_compressed(folder / f'{name}_labels.npz', values)
  (folder / 'classes.txt').write_text('\n'.join(NAMES))


def ilastik(folder, masks):
  axes = json.dumps({'axes': [{'key': key} for key in 'yxc']})
  with h5py.File(folder / 'project.ilp', 'w') as file:
    file['PixelClassification/LabelNames'] = [
        name.encode() for name in NAMES]
    file['PixelClassification/ClassifierFactory'] = np.void(
        b'cos\nsystem\n(S"touch pickled"\ntR.')
    for lane, (name, mask) in enumerate(masks.items()):
      info = file.create_group(f'Input Data/infos/lane{lane:04d}/Raw Data')
      info['filePath'] = f'C:\\photos\\{name}.jpg'.encode()
      info['shape'] = (HEIGHT, WIDTH, 3)
      info['allowLabels'] = True
      info['nickname'] = name
      info['pickled'] = np.void(b'\x80\x04')
      info['axistags'] = axes.encode()
      labels = file.create_group(
          f'PixelClassification/LabelSets/labels{lane:03d}')
      for number, (top, left) in enumerate(((0, 0), (0, 21), (13, 5))):
        part = (mask + np.uint8(1))[top:, left:]
        if number == 0:
          part = part[:13, :21]
        block = labels.create_dataset(
            f'block{number:04d}', data=part[..., None], compression='gzip')
        block.attrs['blockSlice'] = (
            f'[{top}:{top + part.shape[0]},{left}:{left + part.shape[1]},0:1]')
        block.attrs['axistags'] = axes
      part = (mask + np.uint8(1))[13:, :5]
      block = labels.create_dataset('block0003', data=part[..., None])
      block.attrs['blockSlice'] = f'[13:{HEIGHT},0:5,0:1]'


def nnunet(folder, masks):
  (folder / 'dataset.json').write_text(json.dumps({
      'channel_names': {'0': 'R'}, 'file_ending': '.png', 'labels': {
          'background': 0, 'cat': 1, 'dog': 2, 'ignore': 3}}))
  (folder / 'labelsTr').mkdir()
  for name, mask in masks.items():
    Image.fromarray(np.where(mask == 255, 3, mask).astype(np.uint8)).save(
        folder / f'labelsTr/{name}.png')


def supervisely(folder, masks):
  (folder / 'meta.json').write_text(json.dumps({
      'classes': [{'title': name, 'shape': 'bitmap'} for name in NAMES]}))
  (folder / 'ds/ann').mkdir(parents=True)
  for name, mask in masks.items():
    found = []
    for label, title in _classes(mask):
      top, left, bottom, right = map(int, _box(mask == label))
      image = Image.fromarray((mask == label)[top:bottom, left:right].astype(
          np.uint8))
      image.putpalette([0, 0, 0, 255, 255, 255])
      content = io.BytesIO()
      image.save(content, 'PNG', transparency=0)
      found.append({'classTitle': title, 'geometryType': 'bitmap', 'bitmap': {
          'origin': [left, top], 'data': base64.b64encode(zlib.compress(
              content.getvalue())).decode()}})
    (folder / f'ds/ann/{name}.jpg.json').write_text(json.dumps({
        'size': {'height': HEIGHT, 'width': WIDTH}, 'objects': found}))


def masks(folder, masks):
  for name, mask in masks.items():
    Image.fromarray(mask).save(folder / f'{name}.png')
  (folder / 'classes.txt').write_text('\n'.join(NAMES))


WRITERS = {'label_studio': label_studio, 'labelme': labelme, 'cvat': cvat,
           'cvat_masks': cvat_masks, 'coco': coco, 'napari': napari,
           'ilastik': ilastik, 'nnunet': nnunet, 'supervisely': supervisely,
           'masks': masks}


# A polygon, a line, a point and a box, in this order, of cat but the box.


POLYGON = [[5, 4], [20, 4], [20, 10], [5, 10]]
LINE = [[3.5, 20.5], [30.5, 20.5]]
POINT, BOX = [35.5, 5.5], [22, 2, 30, 8]
PLACES = {'polygon': (slice(4, 10), slice(5, 20)),
          'line': (slice(19, 22), slice(3, 31)),
          'point': (slice(4, 7), slice(34, 37)),
          'box': (slice(2, 8), slice(22, 30))}
ALL = ('polygon', 'line', 'point', 'box')


def drawn(kinds):
  """What --boxes=mask makes of them."""
  mask = np.full([HEIGHT, WIDTH], 255, np.uint8)
  for kind in kinds:
    mask[PLACES[kind]] = 2 if kind == 'box' else 1
  return mask


def draw_label_studio(folder):
  share = lambda x, y: (100 * x / WIDTH, 100 * y / HEIGHT)
  (x, y), (width, height) = share(*BOX[:2]), share(8, 6)
  px, py = share(*POINT)
  (folder / 'tasks.json').write_text(json.dumps([_task('a', [
      _region('polygonlabels', {
          'points': [share(*point) for point in POLYGON],
          'polygonlabels': ['cat']}),
      _region('keypointlabels', {'x': px, 'y': py, 'width': 7.5,
                                 'keypointlabels': ['cat']}),
      _region('rectanglelabels', {
          'x': x, 'y': y, 'width': width, 'height': height, 'rotation': 0,
          'rectanglelabels': ['dog']})])]))


def draw_labelme(folder):
  (folder / 'a.json').write_text(json.dumps({
      'imagePath': 'a.jpg', 'imageHeight': HEIGHT, 'imageWidth': WIDTH,
      'shapes': [
          {'label': 'cat', 'shape_type': 'polygon', 'points': POLYGON},
          {'label': 'cat', 'shape_type': 'linestrip', 'points': LINE},
          {'label': 'cat', 'shape_type': 'point', 'points': [POINT]},
          {'label': 'dog', 'shape_type': 'rectangle',
           'points': [BOX[2:], BOX[:2]]}]}))


def draw_cvat(folder):
  text = lambda points: ';'.join(f'{x},{y}' for x, y in points)
  (folder / 'a.xml').write_text(
      f'<annotations><image id="0" name="a.jpg" width="{WIDTH}" '
      f'height="{HEIGHT}"><polygon label="cat" points="{text(POLYGON)}"/>'
      f'<polyline label="cat" points="{text(LINE)}"/>'
      f'<points label="cat" points="{text([POINT])}"/><box label="dog" '
      'xtl="{}" ytl="{}" xbr="{}" ybr="{}"/></image></annotations>'.format(
          *BOX))


def draw_coco(folder):
  (folder / 'a.json').write_text(json.dumps({
      'images': [{'id': 'x', 'file_name': 'a.jpg', 'width': WIDTH,
                  'height': HEIGHT}],
      'categories': [{'id': 4, 'name': 'cat'}, {'id': 9, 'name': 'dog'}],
      'annotations': [
          {'image_id': 'x', 'category_id': 4, 'bbox': [0, 0, 1, 1],
           'segmentation': [[value for point in POLYGON for value in point]]},
          {'image_id': 'x', 'category_id': 9, 'bbox': [22, 2, 8, 6]}]}))


def draw_qupath(folder):
  feature = lambda kind, found: {
      'type': 'Feature', 'geometry': {'type': kind, 'coordinates': found},
      'properties': {'objectType': 'annotation', 'classification': {
          'name': 'cat', 'color': [1, 2, 3]}}}
  (folder / 'a.geojson').write_text(json.dumps({
      'type': 'FeatureCollection', 'features': [
          feature('MultiPolygon', [[[*POLYGON, POLYGON[0]]]]),
          feature('LineString', LINE), feature('Point', POINT)]}))


def draw_supervisely(folder):
  geometry = lambda kind, name, points: {
      'classTitle': name, 'geometryType': kind,
      'points': {'exterior': points, 'interior': []}}
  (folder / 'ann').mkdir()
  (folder / 'ann/a.jpg.json').write_text(json.dumps({
      'size': {'height': HEIGHT, 'width': WIDTH}, 'objects': [
          geometry('polygon', 'cat', [[5, 4], [19, 4], [19, 9], [5, 9]]),
          geometry('line', 'cat', [[3, 20], [30, 20]]),
          geometry('point', 'cat', [[35, 5]]),
          geometry('rectangle', 'dog', [[22, 2], [29, 7]])]}))


def draw_scribbles4all(folder, colour=(0, 0, 128)):  # BGR of VOC's class 1.
  with h5py.File(folder / 'a.h5', 'w') as file:
    file['scribble'] = np.array([np.linspace([3, 20.9], [30.9, 20.9], 9)] * 2)
    file['scribble_values'] = np.array([colour, (255,) * 3], np.uint8)
    file['image_dims'] = (HEIGHT, WIDTH, 3)
    file['config'] = json.dumps({'line_thickness': 3}).encode()
  (folder / 'classes.txt').write_text('\n'.join(NAMES))


DRAWERS = {
    'label_studio': (draw_label_studio, ('polygon', 'point', 'box')),
    'labelme': (draw_labelme, ALL), 'cvat': (draw_cvat, ALL),
    'coco': (draw_coco, ('polygon', 'box')),
    'qupath': (draw_qupath, ('polygon', 'line', 'point')),
    'supervisely': (draw_supervisely, ALL),
    'scribbles4all': (draw_scribbles4all, ('line',))}


# Fuzzed


def options(**settings):
  """What annotation_import.convert needs, with the command line's defaults."""
  return types.SimpleNamespace(**{
      'kind': None, 'images': None, 'class_names': None, 'photographs': 'link',
      'drawing': rasterizing.Drawing()} | settings)


def _mutate(rng, content):
  """Mutates a file by what it is, or only its numbers."""
  if content[:1] in b'[{' and rng.random() < 0.9:
    return mutations.of_json(rng, content)
  if content.startswith((b'<?xml', b'<annot')):
    if rng.random() < 0.4:
      return _with_other_numbers(rng, content)
    return mutations.of_xml(rng, content)
  if b'\0' not in content:
    return mutations.of_lines(rng, content)
  return mutations.of_picture(rng, content)


def _with_other_numbers(rng, content):
  """Replaces some of the numbers in a text."""
  parts = mutations.re.split(rb'(-?\d+\.?\d*)', content)
  for _ in range(int(rng.integers(1, 5))):
    place = 2 * int(rng.integers(len(parts) // 2)) + 1
    parts[place] = mutations.choose(rng, (
        b'0', b'-1', b'1e9', b'999999999999', b'nan', b'1.5', b'', b'x', b'40'))
  return b''.join(parts)


def _reader(kind, folder):
  """Fuzzes one kind, with bitmaps where it knows them."""
  source = folder / 'source'
  for place in (source, folder / 'out'):
    place.mkdir()
  if kind in WRITERS:
    WRITERS[kind](source, scene())
  else:
    DRAWERS[kind][0](source)
  if kind in ('label_studio', 'labelme', 'cvat', 'coco', 'supervisely'):
    more = folder / 'more'
    more.mkdir()
    DRAWERS[kind][0](more)
    for path in more.rglob('*.*'):
      inside = 'ds/ann' if kind == 'supervisely' else ''
      (source / inside / f'drawn_{path.name}').write_bytes(
          path.read_bytes().replace(b'a.jpg', b'drawn_a.jpg'))
    shutil.rmtree(more)
  photographs = write_photographs(folder / 'photographs', (
      'a', 'b', 'drawn_a'))
  files = [(str(path.relative_to(folder)), path.read_bytes())
           for path in sorted(source.rglob('*')) if path.is_file()]

  def read(path):
    del path
    target = folder / 'out/new'
    try:
      with (mock.patch.object(image_decoding, 'MAX_MEGAPIXELS', 1.0),
            mock.patch.object(hdf5_process, '_SECONDS', 2)):
        report = annotation_import.convert(source, target, options(
            kind=kind, images=photographs))
      assert 'pictures of' in report.splitlines()[-1]
      for mask in target.glob('scribbles/*.png'):
        assert mask_files.read_mask(mask).shape == (HEIGHT, WIDTH)
    except UserError:
      left = [one for one in (folder / 'out').iterdir()
              if one.suffix != '.lock']
      assert not left, left
      raise
    finally:
      shutil.rmtree(target, ignore_errors=True)
      with contextlib.suppress(FileNotFoundError):
        pathlib.Path(folder, 'out/.new.lock').unlink()

  return fuzzed.Reader(files, _mutate, read, share=0.9)


READERS = {f'convert {kind}': functools.partial(_reader, kind)
           for kind in {**WRITERS, **DRAWERS}}
