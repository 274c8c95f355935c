"""Pictures are the same to training, evaluation and prediction; masks too."""

import functools
import io
import struct
import sys
import zlib

from absl import flags
from ml_collections import config_flags
import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from configs import scribblesup
from scribble_jax import evaluate
from scribble_jax import predict
from scribble_jax.data import dataset_files
from scribble_jax.data import input_pipeline
from scribble_jax.data import loading
from scribble_jax.data import records
from scribble_jax.data import val_files
from scribble_jax.errors import UserError
from scribble_jax.files import images
from scribble_jax.files import masks
from scribble_jax.scribbles import __main__ as scribbles
from tests.conftest import tiny_config

HEIGHT, WIDTH = 12, 17
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
RGB, GREY = COLOUR[..., :3], COLOUR[..., 0]
DEEP = RNG.integers(0, 2**16, (HEIGHT, WIDTH, 4)).astype(np.uint16)
# What EXIF's orientations make of an upright picture in the file: for 6, the
# first row holds the right side, from the top.
STORED = {1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2),
          4: np.flipud, 5: lambda x: x.swapaxes(0, 1), 6: np.rot90,
          7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
          8: lambda x: np.rot90(x, -1)}


def saved(pixels, kind, mode=None, **options):
  """Returns an array or Pillow image as a file."""
  if not isinstance(pixels, Image.Image):
    pixels = Image.fromarray(np.ascontiguousarray(pixels))
  if mode:
    pixels = pixels.convert(mode)
  content = io.BytesIO()
  pixels.save(content, kind, **options)
  return content.getvalue()


def exif(orientation):
  found = Image.Exif()
  found[0x0112] = orientation
  return found


def png(values, colour, bits, shape=None):
  """A PNG file by its specification: big-endian rows, each headed by a 0."""
  def chunk(kind, data):
    return (struct.pack('>I', len(data)) + kind + data
            + struct.pack('>I', zlib.crc32(kind + data)))

  height, width = shape or values.shape[:2]
  rows = b''.join(b'\0' + row.tobytes() for row in values)
  return (b'\x89PNG\r\n\x1a\n'
          + chunk(b'IHDR', struct.pack('>2I5B', width, height, bits, colour,
                                       0, 0, 0))
          + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))


def tiff(values, *, order='<', photometric=None, planar=1, shape=None,
         rows=None):
  """A TIFF file by its specification: one strip, or one a channel."""
  values = values.reshape(*values.shape[:2], -1)
  height, width = shape or values.shape[:2]
  channels, dtype = values.shape[2], values.dtype.newbyteorder(order)
  strips = [values] if planar == 1 else np.moveaxis(values, 2, 0)
  strips = [strip.astype(dtype).tobytes() for strip in strips]
  number = {'u': 1, 'i': 2, 'f': 3}[dtype.kind]
  if photometric is None:
    photometric = 2 if channels > 2 else 1
  tags = [(256, 'I', [width]), (257, 'I', [height]),
          (258, 'H', [8 * dtype.itemsize] * channels), (259, 'H', [1]),
          (262, 'H', [photometric]), (273, 'I', [0] * len(strips)),
          (277, 'H', [channels]), (278, 'I', [rows or height]),
          (279, 'I', [*map(len, strips)]), (284, 'H', [planar]),
          (339, 'H', [number] * channels)]
  place = 8 + 2 + 12 * len(tags) + 4  # Where long values go, then the strips.
  size = sum(len(found) * struct.calcsize(kind) for _, kind, found in tags)
  starts = place + size + np.cumsum([0, *map(len, strips)])[:-1]
  entries, behind = b'', b''
  for tag, kind, found in tags:
    found = starts.tolist() if tag == 273 else found
    packed = struct.pack(f'{order}{len(found)}{kind}', *found)
    entries += struct.pack(f'{order}HHI', tag, {'H': 3, 'I': 4}[kind],
                           len(found))
    if len(packed) > 4:
      entries += struct.pack(f'{order}I', place + len(behind))
      behind += packed
    else:
      entries += packed.ljust(4, b'\0')
  head = b'II' if order == '<' else b'MM'
  return (head + struct.pack(f'{order}HIH', 42, 8, len(tags)) + entries
          + bytes(4) + behind.ljust(size, b'\0') + b''.join(strips))


def as_rgb(grey):
  return np.repeat(grey[..., None], 3, -1)


def by_tensorflow(content):
  return tf.io.decode_jpeg(
      content, 3, dct_method='INTEGER_ACCURATE').numpy()


def orientation_cases():
  for kind, suffix, options in (
      ('PNG', 'png', {}), ('TIFF', 'tif', {}),
      ('WEBP', 'webp', {'lossless': True, 'exact': True}),
      ('JPEG', 'jpg', {'quality': 90})):
    for orientation, store in STORED.items():
      content = saved(store(RGB), kind, exif=exif(orientation), **options)
      expected = RGB
      if kind == 'JPEG':  # Blocks of 8 pixels: what is lost depends on them.
        upright = by_tensorflow(saved(store(RGB), kind, **options))
        inverse = {6: 8, 8: 6}.get(orientation, orientation)
        expected = STORED[inverse](upright)
      yield f'{kind}_{orientation}.{suffix}', content, expected


def mode_cases():
  coarse = GREY // 64  # Of 2 bits.
  packed = np.zeros([HEIGHT, -(-WIDTH // 4)], np.uint8)
  for column in range(WIDTH):
    packed[:, column // 4] |= coarse[:, column] << (6 - 2 * (column % 4))
  palette = Image.fromarray(GREY)
  palette.putpalette(RNG.integers(0, 256, 768, np.uint8).tobytes())
  colours = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)[GREY]
  light = 255 - COLOUR.astype(int)
  cmyk = np.rint(light[..., :3] * light[..., 3:] / 255)
  big = DEEP.astype('>u2')
  yield 'grey.png', saved(GREY, 'PNG'), as_rgb(GREY)
  yield 'grey_2_bits.png', png(packed, 0, 2, GREY.shape), as_rgb(coarse * 85)
  yield 'palette.png', saved(palette, 'PNG'), colours
  yield 'clear_palette.png', saved(palette, 'PNG', transparency=7), colours
  yield 'soft_palette.png', saved(
      palette, 'PNG', transparency=bytes(range(256))), colours
  yield 'clear_colour.png', saved(RGB, 'PNG', transparency=(1, 2, 3)), RGB
  yield 'rgba.png', saved(COLOUR, 'PNG'), RGB
  yield 'la.png', png(COLOUR[..., :2], 4, 8), as_rgb(GREY)
  yield 'grey_16.png', saved(DEEP[..., 0], 'PNG'), as_rgb(DEEP[..., 0] >> 8)
  yield 'rgb_16.png', png(big[..., :3], 2, 16), DEEP[..., :3] >> 8
  yield 'rgba_16.png', png(big, 6, 16), DEEP[..., :3] >> 8
  yield 'la_16.png', png(big[..., :2], 4, 16), as_rgb(DEEP[..., 0] >> 8)
  for suffix, kind in (('png', 'PNG'), ('tiff', 'TIFF'), ('bmp', 'BMP')):
    yield f'bits.{suffix}', saved(GREY > 99, kind), as_rgb(
        np.where(GREY > 99, 255, 0))
  yield 'rgb.bmp', saved(RGB, 'BMP'), RGB
  yield 'rgba.webp', saved(COLOUR, 'WEBP', lossless=True, exact=True), RGB
  yield 'palette.tif', saved(palette, 'TIFF'), colours
  yield 'cmyk.tif', saved(Image.fromarray(COLOUR, 'CMYK'), 'TIFF'), cmyk
  yield 'white_is_0.tif', tiff(GREY, photometric=0), as_rgb(255 - GREY)
  for compression in ('tiff_lzw', 'tiff_adobe_deflate', 'packbits'):
    yield f'{compression}.tif', saved(
        RGB, 'TIFF', compression=compression), RGB
  for order in '<>':
    name = 'little' if order == '<' else 'big'
    yield f'grey_{name}.tif', tiff(GREY, order=order), as_rgb(GREY)
    yield f'rgba_{name}.tif', tiff(COLOUR, order=order), RGB
    yield f'planes_{name}.tif', tiff(RGB, order=order, planar=2), RGB
    yield f'16_{name}.tif', tiff(DEEP[..., 0], order=order), as_rgb(
        DEEP[..., 0] >> 8)
    yield f'rgb_16_{name}.tif', tiff(
        DEEP[..., :3], order=order), DEEP[..., :3] >> 8


def jpeg_cases():
  """TensorFlow is the independent decoder of these."""
  smooth = Image.fromarray(RGB).resize((50, 41), Image.Resampling.BICUBIC)
  for subsampling in (0, 1, 2):
    for progressive in (False, True):
      content = saved(smooth, 'JPEG', subsampling=subsampling,
                      progressive=progressive, quality=60)
      yield f'{subsampling}_{progressive}.jpeg', content, by_tensorflow(content)
  for name, content in {
      'grey.jpg': saved(smooth, 'JPEG', 'L'),
      'cmyk.jpg': saved(smooth, 'JPEG', 'CMYK'),
      'rgb.jpg': saved(smooth, 'JPEG', keep_rgb=True),
      'stereo.jpg': saved(
          smooth, 'MPO', save_all=True, append_images=[smooth])}.items():
    yield name, content, by_tensorflow(content)


def write_data(root, files, mask=None):
  """Writes a data set of images, each with a name of its own.

  Args:
    root: Folder.
    files: [(name, content, expected pixels)].
    mask: [H, W] uint8 of all images; None: a dot, of the image's size.
  """
  for folder in ('JPEGImages', 'scribbles', 'SegmentationClassAug',
                 'ImageSets/SegmentationAug'):
    (root / folder).mkdir(parents=True)
  ids = [name.replace('.', '_') for name, *_ in files]
  for split in ('train', 'val'):
    (root / f'ImageSets/SegmentationAug/{split}.txt').write_text('\n'.join(ids))
  (root / 'classes.txt').write_text('background\ncat\n')
  for one, (name, content, expected) in zip(ids, files, strict=True):
    suffix = name[name.rindex('.'):]
    (root / f'JPEGImages/{one}{suffix}').write_bytes(content)
    dot = np.full(expected.shape[:2], 255, np.uint8)
    dot[0, 0] = 1
    for folder in ('scribbles', 'SegmentationClassAug'):
      masks.write_mask(root / f'{folder}/{one}.png',
                       dot if mask is None else mask)


def config_for(root, **data):
  config = tiny_config(root)
  config.data.classes = 'classes.txt'
  config.data.pseudo_labels = 'none'
  config.data.update(data)
  return config


def seen_by_all(config, tmp_path, monkeypatch):
  """Returns {program: {id: pixels}} of training, evaluation and prediction."""
  source = records.prepare(config.data, False)
  training = {
      example['id']: example['image'] for example in
      input_pipeline.whole_examples(source, 'train')}
  reading = images.Reading(config.data.image_range, config.data.max_megapixels)
  examples = dataset_files.list_examples(config.data, False, ('val',))['val']
  evaluation = {
      example['id']: example['image'] for example in
      evaluate.load_examples(examples, functools.partial(
          loading.load, class_names=('background', 'cat'), reading=reading))}
  prediction = {}

  def predict_images(variables, images):
    del variables
    prediction.update({path.stem: pixels for (path, _), pixels, _ in images})
    return ()

  monkeypatch.setattr(predict.trained, 'load', lambda *_: (None, None, 0))
  monkeypatch.setattr(
      predict.inference, 'make_predict', lambda *_, **__: predict_images)
  predict.predict(
      config, '', 'latest', [f'{config.data.root}/{config.data.images}'],
      tmp_path / 'out', False)
  return {'training': training, 'evaluation': evaluation,
          'prediction': prediction}


CASES = [*orientation_cases(), *mode_cases(), *jpeg_cases()]


@pytest.fixture(scope='module')
def seen(tmp_path_factory):
  root = tmp_path_factory.mktemp('pictures')
  write_data(root / 'data', CASES)
  with pytest.MonkeyPatch.context() as patch:
    return seen_by_all(config_for(root / 'data'), root, patch)


@pytest.mark.parametrize('program', ['training', 'evaluation', 'prediction'])
@pytest.mark.parametrize('name, _, expected', CASES, ids=[x[0] for x in CASES])
def test_all_see_the_same_upright_picture(seen, program, name, _, expected):
  pixels = seen[program][name.replace('.', '_')]
  assert pixels.dtype == np.uint8
  np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize('name, content, expected', CASES,
                         ids=[x[0] for x in CASES])
def test_size_is_told_without_decoding(name, content, expected):
  del name
  assert images.read_size(content, 100) == expected.shape[:2]


def test_records_keep_the_files_that_tensorflow_decodes_alike():
  kept = {name for name, content, _ in CASES
          if images.read(content, images.READING).is_plain}
  assert kept == {
      'PNG_1.png', 'JPEG_1.jpg', 'grey.png', 'grey_2_bits.png', 'palette.png',
      'clear_palette.png', 'soft_palette.png', 'clear_colour.png', 'rgba.png',
      'la.png', 'bits.png', 'grey.jpg',
      'rgb.jpg', 'stereo.jpg',
      *(f'{one}_{other}.jpeg' for one in range(3) for other in (False, True))}


def test_jpegs_of_rare_codings_become_png():
  content = bytearray(saved(RGB, 'JPEG'))
  assert images.read(bytes(content), images.READING).is_plain
  frame = content.index(b'\xff\xc0')
  for marker in (0xC3, 0xC9, 0xCA):  # Lossless, arithmetic.
    content[frame + 1] = marker
    assert images._frame_marker(bytes(content)) == marker


@pytest.mark.parametrize('orientation', [0, 9, 60_000])
def test_an_orientation_that_is_none_is_upright(orientation):
  content = saved(RGB, 'PNG', exif=exif(orientation))
  picture = images.read(content, images.READING)
  np.testing.assert_array_equal(picture.pixels, RGB)


# EXIF orientation and masks


def turned_data(root, orientation, mask_shape, side=HEIGHT):
  pixels = RGB[:, :side] if side == HEIGHT else RGB
  content = saved(
      STORED[orientation](pixels), 'JPEG', exif=exif(orientation))
  write_data(root, [('a.jpg', content, pixels)],
             np.ones(mask_shape, np.uint8))
  return config_for(root)


def xml(width, height):
  return (f'<annotation><size><width>{width}</width><height>{height}</height>'
          '</size><polygon><tag>cat</tag><point><X>3</X><Y>14</Y></point>'
          '</polygon></annotation>')


@pytest.mark.parametrize('orientation', range(5, 9))
def test_a_mask_that_only_fits_the_stored_picture(tmp_path, orientation):
  config = turned_data(
      tmp_path / 'data', orientation, (WIDTH, HEIGHT), WIDTH)
  with pytest.raises(UserError) as error:
    records.prepare(config.data, False)
  lines = [line.strip() for line in str(error.value).splitlines()[1:]]
  assert len(lines) == 3  # Scribble and ground truth; that again for val.
  assert lines[0] == (
      f'{tmp_path}/data/scribbles/a_jpg.png: is for the picture as it is '
      'stored, 12x17 pixels, but its image is 17x12 pixels upright (EXIF '
      f'orientation {orientation}). Turn this one too, or save the image '
      'upright')


@pytest.mark.parametrize('name, content', [
    ('scribbles/a_jpg.xml', xml(HEIGHT, WIDTH)),
    ('points.json', '{"a_jpg": [{"x": 3, "y": 14, "cls": 1}]}')])
def test_strokes_that_only_fit_the_stored_picture(tmp_path, name, content):
  root = tmp_path / 'data'
  config = turned_data(root, 6, (HEIGHT, WIDTH), WIDTH)
  (root / 'scribbles/a_jpg.png').unlink()
  (root / name).write_text(content)
  config.data.scribbles = name.split('/')[0]
  with pytest.raises(UserError, match='is for the picture as it is stored, '
                     '12x17 pixels, but its image is 17x12 pixels upright'):
    records.prepare(config.data, False)


def test_a_mask_of_any_other_size_is_of_another_size(tmp_path):
  config = turned_data(tmp_path / 'data', 6, (5, 6), WIDTH)
  with pytest.raises(UserError, match='is 6x5 pixels, its image 17x12'):
    records.prepare(config.data, False)


@pytest.mark.parametrize('orientation, side, warned', [
    (1, HEIGHT, False), (6, WIDTH, False), (6, HEIGHT, True),
    (3, WIDTH, True)])
def test_masks_whose_size_does_not_tell_are_a_warning(
    tmp_path, caplog, capsys, orientation, side, warned):
  root = tmp_path / 'data'
  config = turned_data(root, orientation, (HEIGHT, side), side)
  records.prepare(config.data, False)
  line = '1 image (a_jpg.jpg) stored turned or mirrored (EXIF orientation)'
  assert (line in caplog.text) == warned
  options = scribbles.make_parser().parse_args(
      ['check', str(root), '--pseudo_labels=none'])
  options.run(options)
  assert (line in capsys.readouterr().out) == warned


def test_commands_that_ask_for_a_size_see_the_upright_one(tmp_path):
  content = saved(STORED[6](RGB), 'JPEG', exif=exif(6))
  (tmp_path / 'images').mkdir()
  (tmp_path / 'images/a.jpg').write_bytes(content)
  (tmp_path / 'points.json').write_text(
      '{"a": [{"x": 16, "y": 11, "cls": 1}]}')
  options = scribbles.make_parser().parse_args([
      'from-points', str(tmp_path / 'points.json'), str(tmp_path / 'out'),
      f'--images={tmp_path}/images'])
  options.run(options)
  assert masks.read_mask(tmp_path / 'out/a.png').shape == (HEIGHT, WIDTH)


# More than 8 bits


def stretched(values, low, high):
  """Returns values as the config's range has them, one at a time."""
  return np.array([
      round(255 * min(max((float(value) - low) / (high - low), 0), 1))
      for value in values.flat], np.uint8).reshape(values.shape)


SHORT = DEEP >> 4  # 12 bits.
SIGNED = DEEP[..., 0].astype(np.int32) - 2**15
RANGE_CASES = [
    ('grey.png', saved(SHORT[..., 0], 'PNG'), SHORT[..., 0]),
    ('rgb.png', png(SHORT.astype('>u2')[..., :3], 2, 16), SHORT[..., :3]),
    ('rgba.png', png(SHORT.astype('>u2'), 6, 16), SHORT[..., :3]),
    ('lzw.tif', saved(SHORT[..., 0], 'TIFF', compression='tiff_lzw'),
     SHORT[..., 0]),
    *((f'{name}_{"little" if order == "<" else "big"}.tif',
       tiff(values, order=order), values)
      for order in '<>'
      for name, values in {
          'grey': SHORT[..., 0], 'rgb': SHORT[..., :3],
          'signed': SIGNED.astype(np.int16), 'signed_32': SIGNED * 1000,
          'float': SIGNED.astype(np.float32) / 7}.items())]


def test_a_range_stretches_alike_for_all(tmp_path, monkeypatch, caplog):
  low, high = -100, 4095
  write_data(tmp_path / 'data', [
      *RANGE_CASES, ('8.png', saved(RGB, 'PNG'), RGB)])
  config = config_for(tmp_path / 'data', image_range=(low, high))
  found = seen_by_all(config, tmp_path, monkeypatch)
  for program, pictures in found.items():
    for name, _, values in RANGE_CASES:
      expected = stretched(values, low, high)
      np.testing.assert_array_equal(
          pictures[name.replace('.', '_')],
          expected if expected.ndim == 3 else as_rgb(expected),
          err_msg=f'{program} {name}')
    np.testing.assert_array_equal(pictures['8_png'], RGB)  # As it is.
  assert 'bits per value' not in caplog.text
  # The range is part of what the records are made of.
  records.prepare(config.data, False)
  assert caplog.text.count('Preparing') == 1
  config.data.image_range = (0, 4095)
  records.prepare(config.data, False)
  assert caplog.text.count('Preparing') == 2
  assert 'differ in image_range' in caplog.text


def test_not_a_number_is_black():
  values = np.array([[np.nan, np.inf, -np.inf, 1]], np.float32)
  picture = images.read(tiff(values), images.Reading((0, 2)))
  assert picture.pixels[..., 0].tolist() == [[0, 255, 0, 128]]


@pytest.mark.parametrize('values, message', [
    (SIGNED.astype(np.int16), r'signed 16-bit values, from -3\d+ to 3\d+,'),
    (SIGNED, r'32-bit values, from -3\d+ to 3\d+, whose range'),
    (np.float32([[0.5, np.nan]]), 'floating-point values, from 0 to 0.5, whose'
     r'.*--config\.data\.image_range=LOW,HIGH'),
])
def test_values_of_an_unknown_range_need_one(values, message):
  with pytest.raises(ValueError, match=message):
    images.read(tiff(values), images.READING)


@pytest.mark.parametrize('values, file', [
    (SHORT[..., 0], lambda x: saved(x, 'PNG')),
    (SHORT[..., :3], lambda x: png(x.astype('>u2'), 2, 16)), (SHORT, tiff)])
def test_little_of_16_bits_is_a_warning(
    tmp_path, caplog, capsys, monkeypatch, values, file):
  files = [(f'{i}.png', file(values), values) for i in range(7)]
  files.append(('full.png', saved(DEEP[..., 0], 'PNG'), DEEP))
  write_data(tmp_path / 'data', files)
  config = config_for(tmp_path / 'data')
  largest = values[..., :3].max() if values.ndim == 3 else values.max()
  line = (f'7 images (0_png.png, 1_png.png, 2_png.png, 3_png.png, 4_png.png, '
          f'...) with 16 bits per value and no value above {largest}: they '
          'become dark, with 16 of 256 shades. Stretch them by '
          f'--config.data.image_range=0,{largest}, in training and')
  seen_by_all(config, tmp_path, monkeypatch)
  assert caplog.text.count(line) == 2  # Of records and of prediction.
  val_files.checked(config.data, ('background', 'cat'))
  assert caplog.text.count(line) == 3
  options = scribbles.make_parser().parse_args(
      ['check', str(tmp_path / 'data'), '--pseudo_labels=none',
       '--processes=1'])
  options.run(options)
  assert line in capsys.readouterr().out


# What is refused, by whom


def resized(content, marker, place):
  """Returns a JPEG file whose frame says 60,000 pixels each way."""
  place += content.index(marker)
  return content[:place] + struct.pack('>2H', 60_000, 60_000) + content[
      place + 4:]


HUGE = (60_000, 60_000)
BOMBS = {
    'png': png(GREY, 0, 8, HUGE), 'tif': tiff(RGB, shape=HUGE),
    'jpg': resized(saved(RGB, 'JPEG'), b'\xff\xc0', 5),
    'bmp': saved(RGB, 'BMP')[:18] + struct.pack('<2i', *HUGE)
    + saved(RGB, 'BMP')[26:]}
HEIC = b'\0\0\0\x18ftypheic\0\0\0\0' + bytes(range(256))
HTML = b'<!DOCTYPE html>\n<html><body>404</body></html>'


@pytest.mark.parametrize('content, message', [
    *((content, 'is 60000x60000 pixels, 3600 megapixels, more than the limit '
       'of 100. Cut it into tiles, or raise --config.data.max_megapixels')
      for content in BOMBS.values()),
    (png(GREY, 0, 8, (13_000, 14_000)),
     'is 14000x13000 pixels, 182 megapixels, more than the limit of 100'),
    (b'', 'is empty (0 bytes)'),
    (HTML, "is text that begins with '<!DOCTYPE html>"),
    (HEIC, 'is a HEIC file, whatever its name; save it as JPEG, PNG, TIFF, '
     'BMP or WEBP'),
    (bytes(range(200)), 'is no picture as JPEG, PNG, TIFF, BMP or WEBP'),
    (saved(RGB, 'GIF'), 'is a GIF file'),
    (saved(RGB, 'PNG')[:-200], 'is truncated or damaged (image file is'),
    (saved(RGB, 'JPEG')[:-60], 'is truncated or damaged (image file is'),
    (saved(RGB, 'PNG')[:20], 'is a truncated or damaged PNG file'),
    (tiff(RGB)[:40], 'is a TIFF file that is truncated or damaged, or of a'),
    (tiff(RGB, rows=5), 'is truncated or damaged (rows are missing)'),
    (tiff(COLOUR[..., :2]), 'or of a kind that is not read, such as 2 or more'),
    (tiff(GREY.astype(float)), 'a kind that is not read'),
    (tiff(DEEP[..., :3], planar=2), 'stores its channels one after another'),
    (tiff(DEEP[..., 0], photometric=0), 'stores white as 0 (MinIsWhite)'),
    (tiff(GREY.astype(np.int8)), 'has signed 8-bit values'),
    (saved(RGB, 'TIFF', save_all=True, append_images=[Image.fromarray(RGB)]),
     'has 2 pages; save each as a file'),
])
def test_what_is_no_picture_says_what_it_is(content, message):
  for read in (lambda: images.read(content, images.READING),
               lambda: images.read(content, images.Reading((0, 9)))):
    with pytest.raises(ValueError) as error:
      read()
    assert message in str(error.value)


def test_previews_behind_a_picture_are_no_pages(tmp_path):
  page, small = Image.fromarray(RGB), Image.fromarray(RGB[::2, ::2])
  small.encoderinfo = {'tiffinfo': {254: 1}}  # NewSubfileType.
  page.save(tmp_path / 'a.tif', save_all=True, append_images=[small])
  picture = images.read((tmp_path / 'a.tif').read_bytes(), images.READING)
  np.testing.assert_array_equal(picture.pixels, RGB)


def test_one_limit_for_all(tmp_path, monkeypatch, capsys):
  """5x4 pixels are 20 millionths of a megapixel."""
  root = tmp_path / 'data'
  pixels = RGB[:4, :5]
  write_data(root, [('a.png', saved(pixels, 'PNG'), pixels)])
  message = 'is 5x4 pixels, 0 megapixels, more than the limit of 1.9e-05'
  small = {'max_megapixels': 19e-6}
  config = config_for(root, **small)
  with pytest.raises(UserError) as error:
    records.prepare(config.data, False)
  assert message in str(error.value)
  with pytest.raises(UserError) as error:
    val_files.checked(config.data, ('background', 'cat'))
  assert message in str(error.value)
  parse = scribbles.make_parser().parse_args
  for arguments in (
      ['check', str(root), '--pseudo_labels=none'],
      ['simulate', f'{root}/SegmentationClassAug', f'{tmp_path}/1'],
      ['stats', f'{root}/scribbles'],
      ['shrink', f'{root}/scribbles', f'{tmp_path}/2', '--ratio=0']):
    options = parse(arguments)
    options.max_megapixels = 19e-6
    try:
      options.run(options)
      found = capsys.readouterr().out
    except UserError as error:
      found = str(error)
    assert message in found, arguments
  config = config_for(root, max_megapixels=20e-6)
  seen_by_all(config, tmp_path, monkeypatch)


def test_prediction_skips_what_is_too_large(tmp_path, monkeypatch, capsys):
  write_data(tmp_path / 'data', [
      ('huge.png', BOMBS['png'], RGB), ('good.png', saved(RGB, 'PNG'), RGB)])
  monkeypatch.setattr(records, 'prepare', lambda *_: None)
  monkeypatch.setattr(input_pipeline, 'whole_examples', lambda *_: ())
  monkeypatch.setattr(dataset_files, 'list_examples', lambda *_: {'val': ()})
  found = seen_by_all(config_for(tmp_path / 'data'), tmp_path, monkeypatch)
  assert [*found['prediction']] == ['good_png']
  assert ('huge_png.png: is 60000x60000 pixels, 3600 megapixels'
          in capsys.readouterr().err)


@pytest.mark.parametrize('kind', images.FORMATS)
def test_damaged_files_are_read_or_named(kind):
  rng, content = np.random.default_rng(0), saved(RGB, kind)
  for number in range(300):
    spoilt = bytearray(content)
    for place in rng.integers(0, len(spoilt), rng.integers(1, 5)):
      spoilt[place] = rng.integers(0, 256)
    if number % 4 == 0:
      del spoilt[rng.integers(0, len(spoilt)):]
    for read in (functools.partial(images.read, reading=images.READING),
                 functools.partial(images.read_size, max_megapixels=1)):
      try:
        read(bytes(spoilt))
      except ValueError as error:
        assert '\n' not in str(error)


def test_the_range_is_set_as_the_warning_says(monkeypatch):
  values = flags.FlagValues()
  arguments = ['', '--config.data.image_range=0,4095']
  monkeypatch.setattr(sys, 'argv', arguments)
  config_flags.DEFINE_config_dict(
      'config', scribblesup.get_config(), flag_values=values)
  values(arguments)
  assert values.config.data.image_range == (0, 4095)


# Masks


LABELS = RNG.integers(0, 21, (HEIGHT, WIDTH)).astype(np.uint8)


def palette_of(labels):
  content = io.BytesIO()
  masks.write_mask(content, labels)
  return Image.open(content)


@pytest.mark.parametrize('content', [
    *(saved(LABELS, 'TIFF', compression=compression)
      for compression in ('raw', 'tiff_lzw', 'tiff_adobe_deflate')),
    saved(palette_of(LABELS), 'TIFF'),
    saved(palette_of(LABELS), 'TIFF', compression='tiff_lzw'),
    saved(LABELS.astype(np.uint16), 'PNG'),
    *(tiff(LABELS.astype(dtype), order=order)
      for dtype in (np.uint8, np.uint16, np.int16, np.int32)
      for order in '<>'),
    tiff(LABELS.astype(np.uint32)),
    *(saved(STORED[orientation](LABELS), kind, exif=exif(orientation))
      for orientation in STORED for kind in ('PNG', 'TIFF')),
])
def test_masks_are_indices_whatever_stores_them(tmp_path, content):
  (tmp_path / 'mask').write_bytes(content)
  mask = masks.read_mask(tmp_path / 'mask')
  assert mask.dtype == np.uint8
  np.testing.assert_array_equal(mask, LABELS)


@pytest.mark.parametrize('content, message', [
    (tiff(LABELS.astype(np.uint16) + 250), 'has values from 250 to 270; class'),
    (tiff(LABELS.astype(np.int16) - 1), 'has values from -1 to 19; class ind'),
    (tiff(LABELS.astype(np.float32)), 'has mode F, not one class index'),
    (tiff(as_rgb(LABELS)), 'has mode RGB, not one class index per pixel'),
    (tiff(LABELS, photometric=0), 'has inverted values (MinIsWhite) or fewer'),
    (saved(LABELS, 'TIFF', compression='jpeg'), 'is compressed with losses'),
    (saved(LABELS, 'JPEG'), 'is a JPEG file, whatever its name; save it as '
     'PNG or TIFF'),
    (saved(LABELS, 'TIFF', save_all=True,
           append_images=[Image.fromarray(LABELS)]), 'has 2 pages'),
    (b'', 'is empty'), (HTML, 'is text that begins with'),
    (BOMBS['png'], 'is 60000x60000 pixels'),
    (saved(LABELS, 'PNG')[:-60], 'is truncated or damaged'),
])
def test_what_is_no_mask_says_why(tmp_path, content, message):
  (tmp_path / 'mask.png').write_bytes(content)
  with pytest.raises(ValueError) as error:
    masks.read_mask(tmp_path / 'mask.png')
  assert message in str(error.value)


def test_tiff_masks_are_found_wherever_png_masks_are(root, config, capsys):
  before = {
      name: value for example in dataset_files.list_examples(
          config.data, True)['train']
      for name, value in [(example.id, loading.load(
          example, tuple('abcd'))[0])]}
  for folder in ('scribbles', 'pseudo_labels', 'SegmentationClassAug'):
    for path in [*(root / folder).iterdir()]:
      Image.open(path).save(path.with_suffix('.tif'))
      path.unlink()
  for path in [*(root / 'JPEGImages').iterdir()]:
    Image.open(path).save(path.with_suffix('.tiff'))
    path.unlink()
  for example in dataset_files.list_examples(config.data, True)['train']:
    maps, problems = loading.load(example, tuple('abcd'))
    assert not problems
    for part in ('image', 'scribble', 'pseudo_label', 'ground_truth'):
      np.testing.assert_array_equal(
          getattr(maps, part), getattr(before[example.id], part))
  parse = scribbles.make_parser().parse_args
  for arguments in (
      ['stats', f'{root}/scribbles', f'--masks={root}/SegmentationClassAug'],
      ['simulate', f'{root}/SegmentationClassAug', f'{root}/drawn',
       '--panels=1', f'--images={root}/JPEGImages']):
    options = parse([*arguments, '--processes=1'])
    options.run(options)
    assert 'strokes' in capsys.readouterr().out
