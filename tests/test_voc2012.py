"""From the official archives' structure to a data set that trains."""

import contextlib
import hashlib
import http.server
import io
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile

import numpy as np
from PIL import Image
import pytest
import scipy.io

from configs import scribblesup
from scribble_jax import train
from scribble_jax import voc2012
from scribble_jax.data import dataset_files
from scribble_jax.errors import UnwritableError
from scribble_jax.errors import UserError
from scribble_jax.files import downloads
from scribble_jax.files import masks
from scribble_jax.labels import IGNORE_LABEL

VOC_TRAIN, VOC_VAL = ['2007_000001', '2007_000002'], ['2008_000003', '2008_4']
# One is in VOC's train, one in VOC's val.
SBD_TRAIN, SBD_VAL = ['2007_000002', '2009_5', '2009_6'], ['2008_4', '2010_7']
TRAIN = ['2007_000001', '2007_000002', '2009_5', '2009_6', '2010_7']
EVERYTHING = sorted({*TRAIN, *VOC_VAL})
SIZE = 48


def image_file(name, suffix):
  """A photograph, or a mask with a person in it."""
  rng = np.random.default_rng(EVERYTHING.index(name))
  mask = np.zeros([SIZE, SIZE], np.uint8)
  mask[10:30, 12:40] = 15
  mask[10, :] = IGNORE_LABEL
  image = rng.integers(0, 90, [SIZE, SIZE, 3]) + 160 * (mask == 15)[..., None]
  file = io.BytesIO()
  if suffix == 'png':
    masks.write_mask(file, mask)
  else:
    Image.fromarray(image.astype(np.uint8)).save(file, 'JPEG')
  return file.getvalue()


def mat_file(name):
  mask = np.full([SIZE, SIZE], EVERYTHING.index(name), np.uint8)
  file = io.BytesIO()
  scipy.io.savemat(file, {'GTcls': {'Segmentation': mask, 'Boundaries': 1}})
  return file.getvalue()


def xml_file(tag):
  strokes = ''.join(
      f'<polygon><tag>{tag}</tag>' + ''.join(
          f'<point><X>{x}</X><Y>{y}</Y></point>' for x in (14, 20, 35))
      + '</polygon>' for tag, y in ((tag, 20), ('background', 40)))
  return (f'<annotation><size><width>{SIZE}</width><height>{SIZE}</height>'
          f'<depth>3</depth></size>{strokes}</annotation>').encode()


def lines(names):
  return ('\n'.join(names) + '\n').encode()


def voc_files():
  root = 'VOCdevkit/VOC2012'
  files = {f'{root}/JPEGImages/{name}.jpg': image_file(name, 'jpg')
           for name in EVERYTHING}
  files |= {f'{root}/SegmentationClass/{name}.png': image_file(name, 'png')
            for name in VOC_TRAIN + VOC_VAL}
  return files | {
      f'{root}/Annotations/2007_000001.xml': b'boxes',
      f'{root}/JPEGImages/2011_8.jpg': b'in no list',
      f'{root}/ImageSets/Segmentation/train.txt': lines(VOC_TRAIN),
      f'{root}/ImageSets/Segmentation/val.txt': lines(VOC_VAL),
      f'{root}/ImageSets/Segmentation/trainval.txt': lines(EVERYTHING),
      f'{root}/ImageSets/Main/train.txt': lines(['2011_8'])}


def sbd_files():
  root = 'benchmark_RELEASE/dataset'
  files = {f'{root}/cls/{name}.mat': mat_file(name)
           for name in {*SBD_TRAIN, *SBD_VAL}}
  return files | {f'{root}/inst/2009_5.mat': b'instances',
                  f'{root}/train.txt': lines(SBD_TRAIN),
                  f'{root}/val.txt': lines(SBD_VAL)}


def scribble_files(folder='scribble_annotation/pascal_2012/'):
  files = {f'{folder}{name}.xml': xml_file('plane') for name in EVERYTHING}
  return files | {
      'scribble_annotation/pascal_context/2009_5.xml': xml_file('sky'),
      'scribble_annotation/demo/2009_6.xml': b'another',
      '__MACOSX/._2009_6.xml': b'junk',
      'scribble_annotation/Readme.txt': b'text'}


def tar(files, mode='w'):
  target = io.BytesIO()
  with tarfile.open(fileobj=target, mode=mode) as archive:
    for name, content in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
  return target.getvalue()


def zipped(files):
  target = io.BytesIO()
  with zipfile.ZipFile(target, 'w') as archive:
    for name, content in files.items():
      archive.writestr(name, content)
  return target.getvalue()


class Server(http.server.ThreadingHTTPServer):
  """Serves bytes by the last part of a path, and can misbehave.

  Attributes:
    files: {name: bytes}.
    asked: [(name, Range or None)] of all requests.
    breaks: Bytes after which the next answers end too early, one by one.
    ranges: Whether Range is understood.
    hold: Event; answers stop in the middle until it is set.
  """
  daemon_threads = True

  def __init__(self):
    super().__init__(('127.0.0.1', 0), Handler)
    self.files, self.asked, self.breaks = {}, [], []
    self.ranges, self.hold = True, None
    self.url = f'http://127.0.0.1:{self.server_port}'


class Handler(http.server.BaseHTTPRequestHandler):

  def do_GET(self):
    name = self.path.split('?')[0].rsplit('/', 1)[-1]
    asked = self.headers['Range']
    self.server.asked.append((name, asked))
    content, start = self.server.files.get(name), 0
    if content is None:
      self.send_error(404)
      return
    if asked and self.server.ranges:
      start = int(re.fullmatch(r'bytes=(\d+)-', asked)[1])
    if start >= len(content):
      self.send_error(416)
      return
    self.send_response(206 if start else 200)
    self.send_header('Content-Length', str(len(content) - start))
    self.end_headers()
    if self.server.breaks:
      content = content[:start + self.server.breaks.pop(0)]
    if self.server.hold:
      self.wfile.write(content[start:len(content) // 2])
      self.server.hold.wait(60)
      start = max(start, len(content) // 2)
    with contextlib.suppress(OSError):
      self.wfile.write(content[start:])

  def log_message(self, *args):
    pass


@pytest.fixture
def server(monkeypatch):
  """Serves the archives; the program knows it by their official addresses."""
  with Server() as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.files = {'voc.tar': tar(voc_files()),
                    'sbd.tgz': tar(sbd_files(), 'w:gz'),
                    'strokes.zip': zipped(scribble_files())}
    for key, name in (('VOC', 'voc.tar'), ('SBD', 'sbd.tgz')):
      monkeypatch.setattr(voc2012, key, (f'{server.url}/{name}', hashlib.md5(
          server.files[name]).hexdigest()))
    monkeypatch.setattr(
        voc2012, 'NUM_IMAGES', {'train': len(TRAIN), 'val': len(VOC_VAL)})
    monkeypatch.setattr(downloads, '_PAUSES', (0, 0, 0))
    yield server
    server.shutdown()


def make(server, output, **options):
  options.setdefault('scribbles', f'{server.url}/strokes.zip?dl=1')
  voc2012.make(output, **options)


def names_in(folder):
  return sorted(path.relative_to(folder).as_posix()
                for path in folder.rglob('*')
                if path.is_file() and path.suffix != '.lock')


def test_folder_is_what_training_reads(server, tmp_path, capsys):
  make(server, tmp_path / 'VOC')
  assert names_in(tmp_path / 'VOC') == sorted([
      *(f'ImageSets/SegmentationAug/{split}.txt' for split in ('train', 'val')),
      *(f'JPEGImages/{name}.jpg' for name in EVERYTHING),
      *(f'SegmentationClassAug/{name}.png' for name in VOC_VAL),
      *(f'scribbles/{name}.xml' for name in EVERYTHING), 'voc2012.json'])
  lists = tmp_path / 'VOC/ImageSets/SegmentationAug'
  assert (lists / 'train.txt').read_text().split() == TRAIN
  assert (lists / 'val.txt').read_text().split() == VOC_VAL
  for name in EVERYTHING:  # As the archives hold them.
    assert (tmp_path / f'VOC/JPEGImages/{name}.jpg').read_bytes() == (
        image_file(name, 'jpg'))
    assert (tmp_path / f'VOC/scribbles/{name}.xml').read_bytes() == (
        xml_file('plane'))
  assert 'is complete' in capsys.readouterr().out
  assert names_in(tmp_path / 'VOC_archives') == [
      'sbd.tgz', 'strokes.zip', 'voc.tar']

  # A second start asks nobody and changes nothing.
  before, asked = (lists / 'train.txt').stat(), len(server.asked)
  start = time.monotonic()
  make(server, tmp_path / 'VOC')
  assert time.monotonic() - start < 0.5 and len(server.asked) == asked
  assert (lists / 'train.txt').stat() == before
  assert 'nothing to do' in capsys.readouterr().out


def test_train_masks_are_voc_s_or_else_sbd_s(server, tmp_path):
  make(server, tmp_path / 'VOC')
  with pytest.raises(UserError, match='was made without --train_masks'):
    make(server, tmp_path / 'VOC', train_masks=True)
  asked = len(server.asked)
  make(server, tmp_path / 'dense', train_masks=True,
       archives=tmp_path / 'VOC_archives')
  assert len(server.asked) == asked  # All are at hand.
  found = {path.stem: masks.read_mask(path) for path in (
      tmp_path / 'dense/SegmentationClassAug').iterdir()}
  assert sorted(found) == EVERYTHING
  for name, mask in found.items():
    expected = (np.full([SIZE, SIZE], EVERYTHING.index(name))
                if name in {'2009_5', '2009_6', '2010_7'} else
                np.asarray(Image.open(io.BytesIO(image_file(name, 'png')))))
    np.testing.assert_array_equal(mask, expected)
  make(server, tmp_path / 'dense')  # Masks too many do no harm.


def test_a_network_trains_from_it(server, tmp_path):
  make(server, tmp_path / 'VOC')
  config = scribblesup.get_config()
  config.backbone_weights = 'none'
  config.data.root = str(tmp_path / 'VOC')
  config.data.pseudo_labels = 'none'
  config.data.crop_size = 33
  config.batch_size, config.num_steps = 4, 2
  config.model.backbone = 'resnet18'
  config.model.width, config.model.head_width = 4, 8
  config.evaluation.long_side = None
  config.optim.warmup_steps = 1
  config.log_every = config.eval_every = config.checkpoint_every = 2
  config.num_panels = 1
  train.train(config, str(tmp_path / 'run'))
  metrics = json.loads((tmp_path / 'run/metrics.json').read_text())
  assert 0 <= metrics['miou'] <= 1


def test_strokes_have_voc_s_classes(server, tmp_path):
  """ScribbleSup's files say plane where VOC says aeroplane."""
  make(server, tmp_path / 'VOC')
  config = scribblesup.get_config().data
  config.root, config.pseudo_labels = str(tmp_path / 'VOC'), 'none'
  example = dataset_files.list_examples(config, False)['train'][0]
  mask = dataset_files.annotations.read(
      example.scribble, (SIZE, SIZE), config.classes)
  assert mask[20, 20] == config.classes.index('aeroplane') == 1
  assert mask[40, 20] == 0 and mask[5, 5] == IGNORE_LABEL


@pytest.mark.parametrize('pack, folder', [
    (zipped, ''), (zipped, 'a/b c/'), (tar, './x/'),
    (lambda files: tar(files, 'w:xz'), 'pascal_2012/')])
def test_scribbles_in_any_archive_and_folder(server, tmp_path, pack, folder):
  path = tmp_path / 'mine.bin'
  path.write_bytes(pack(scribble_files(folder)))
  make(server, tmp_path / 'VOC', scribbles=str(path))
  assert len(names_in(tmp_path / 'VOC/scribbles')) == len(EVERYTHING)
  assert (tmp_path / 'VOC/scribbles/2009_5.xml').read_bytes() == (
      xml_file('plane'))
  assert [name for name, _ in server.asked] == ['voc.tar', 'sbd.tgz']


# Downloads


def test_connection_that_breaks_is_taken_up_where_it_broke(server, tmp_path):
  server.breaks = [1_000, 2_000]
  make(server, tmp_path / 'VOC')
  assert server.asked == [
      ('strokes.zip', None), ('strokes.zip', 'bytes=1000-'),
      ('strokes.zip', 'bytes=3000-'), ('voc.tar', None), ('sbd.tgz', None)]


def test_server_without_ranges(server, tmp_path):
  server.breaks, server.ranges = [1_000], False
  make(server, tmp_path / 'VOC')
  assert (tmp_path / 'VOC_archives/strokes.zip').read_bytes() == (
      server.files['strokes.zip'])


def test_connection_that_breaks_again_and_again(server, tmp_path):
  (tmp_path / 'VOC_archives').mkdir()
  (tmp_path / 'VOC_archives/strokes.zip').write_bytes(
      server.files['strokes.zip'])
  server.breaks = [1_000] * 3
  with pytest.raises(UserError, match=(
      r'^Cannot download http.*/voc\.tar: the connection ended too early\. '
      'Start the same command again .*put voc.tar from elsewhere into .*VOC_'
      r'archives\.$')):
    make(server, tmp_path / 'VOC')
  assert names_in(tmp_path / 'VOC_archives') == [
      'strokes.zip', 'voc.tar.partial']
  assert not (tmp_path / 'VOC').exists()
  make(server, tmp_path / 'VOC')
  assert server.asked[3] == ('voc.tar', 'bytes=3000-')


def test_partial_file_that_was_complete(server, tmp_path):
  (tmp_path / 'VOC_archives').mkdir()
  (tmp_path / 'VOC_archives/voc.tar.partial').write_bytes(
      server.files['voc.tar'])
  make(server, tmp_path / 'VOC')


def test_server_that_is_gone_or_has_no_such_file(server, tmp_path):
  del server.files['strokes.zip']
  with pytest.raises(UserError, match=(
      'HTTP Error 404.*has moved before: look for it at https://jifengdai.org.*'
      '--scribbles=FILE_OR_URL')):
    make(server, tmp_path / 'VOC')
  assert [name for name, _ in server.asked].count('strokes.zip') == 1
  server.shutdown()
  server.server_close()
  with pytest.raises(UserError, match=r'Connection refused\. Start the same'):
    make(server, tmp_path / 'VOC', archives=tmp_path / 'others')


def test_wrong_content_is_set_aside(server, tmp_path):
  good = server.files['sbd.tgz']
  server.files['sbd.tgz'] = b'Moved. Please see our new page.'
  with pytest.raises(UserError, match=(
      r'sbd\.tgz is not the file that it should be: its md5 is .*It is renamed '
      r'to sbd\.tgz\.wrong\. Start the same')) as error:
    make(server, tmp_path / 'VOC')
  assert '\n' not in str(error.value)
  assert 'sbd.tgz' not in names_in(tmp_path / 'VOC_archives')
  server.files['sbd.tgz'] = good
  make(server, tmp_path / 'VOC')


def test_page_in_place_of_the_scribbles(server, tmp_path):
  server.files['strokes.zip'] = b'<html>Sign in</html>'
  with pytest.raises(UserError, match=(
      r'strokes\.zip is no complete tar or zip file .*Delete it')):
    make(server, tmp_path / 'VOC')
  assert not (tmp_path / 'VOC').exists()


@pytest.mark.parametrize('url', ['nowhere.zip', 'https:/x', 'ftp://x/y.zip'])
def test_scribbles_that_are_nowhere(server, tmp_path, url):
  with pytest.raises(UserError, match=f'^--scribbles={url} is no file and no'):
    make(server, tmp_path / 'VOC', scribbles=url)
  assert not server.asked  # Gigabytes come behind.


# Processes


def start(tmp_path, server, *more):
  """The command; every address of the network leads to the server."""
  return subprocess.Popen(
      [sys.executable, '-m', 'scribble_jax.voc2012',
       f'--output={tmp_path}/VOC', *more], text=True,
      cwd=pathlib.Path(__file__).parents[1],
      env=os.environ | {'http_proxy': server.url, 'no_proxy': ''},
      stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_interrupted_process_resumes(server, tmp_path):
  name = 'VOCtrainval_11-May-2012.tar'
  server.files[name] = bytes(400_000)
  server.hold = threading.Event()
  partial = tmp_path / f'VOC_archives/{name}.partial'
  (tmp_path / 'strokes').write_bytes(server.files['strokes.zip'])
  scribbles = f'--scribbles={tmp_path}/strokes'
  process = start(tmp_path, server, scribbles)
  deadline = time.monotonic() + 120
  while not (partial.exists() and partial.stat().st_size > 100_000):
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.02)
  process.send_signal(signal.SIGINT)
  _, errors = process.communicate(timeout=60)
  server.hold.set()
  server.hold = None
  assert process.returncode == 75, errors
  assert errors.splitlines()[-1] == (
      'Interrupted. The same command goes on from what has come.')
  size = partial.stat().st_size
  assert 100_000 < size <= 200_000

  # What comes is not VOC, which shows at the end.
  process = start(tmp_path, server, scribbles)
  output, errors = process.communicate(timeout=120)
  assert server.asked[-1] == (name, f'bytes={size}-')
  assert process.returncode == 1 and not output
  assert errors.splitlines()[-1].startswith(
      f'error: {tmp_path}/VOC_archives/{name} is not the file')
  assert 'Traceback' not in errors


def test_two_at_once_make_one(server, tmp_path):
  threads = [threading.Thread(target=make, args=(server, tmp_path / 'VOC'))
             for _ in range(2)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert sorted(name for name, _ in server.asked) == [
      'sbd.tgz', 'strokes.zip', 'voc.tar']
  assert (tmp_path / 'VOC/voc2012.json').exists()


def test_kill_while_writing_leaves_nothing(server, tmp_path, monkeypatch):
  def interrupt(path, content):
    raise KeyboardInterrupt
  monkeypatch.setattr(voc2012, '_write_sbd_mask', interrupt)
  with pytest.raises(KeyboardInterrupt):
    make(server, tmp_path / 'VOC', train_masks=True)
  assert {path.name for path in tmp_path.iterdir()} == {
      '.VOC.lock', 'VOC_archives'}
  make(server, tmp_path / 'VOC')


# Disks


@contextlib.contextmanager
def largest_file(num_bytes):
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
  yield
  resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_full_disk_while_downloading_is_one_line(server, tmp_path):
  with largest_file(2_000), pytest.raises(UnwritableError, match=(
      f'^Cannot write to {tmp_path}/VOC_archives: File too large. Make room')):
    make(server, tmp_path / 'VOC')
  assert not (tmp_path / 'VOC').exists()
  make(server, tmp_path / 'VOC')
  assert server.asked[1] == ('strokes.zip', 'bytes=2000-')


def test_full_disk_while_writing_the_data_set_is_one_line(server, tmp_path):
  make(server, tmp_path / 'first')
  with largest_file(600), pytest.raises(UnwritableError, match=(
      f'^Cannot write to {tmp_path}: File too large. Make room')):
    make(server, tmp_path / 'VOC', archives=tmp_path / 'first_archives')
  assert not [*tmp_path.glob('*VOC*/**/*.jpg')]
  make(server, tmp_path / 'VOC', archives=tmp_path / 'first_archives')


@pytest.mark.parametrize('kind', ['file', 'folder'])
def test_output_that_is_something_else(server, tmp_path, kind):
  if kind == 'file':
    (tmp_path / 'VOC').write_text('mine')
  else:
    (tmp_path / 'VOC/mine').mkdir(parents=True)
  with pytest.raises(UserError, match='holds something else .* --output'):
    make(server, tmp_path / 'VOC')
  assert not server.asked


# What archives hold


def test_numbers_that_differ_name_what_is_missing(
    server, tmp_path, monkeypatch):
  monkeypatch.setattr(voc2012, 'NUM_IMAGES', {'train': 6, 'val': 2})
  path = tmp_path / 'strokes'
  path.write_bytes(zipped(scribble_files() | {
      'scribble_annotation/pascal_2012/2011_9.xml': xml_file('cat')}))
  with pytest.raises(UserError) as error:
    make(server, tmp_path / 'VOC', scribbles=str(path))
  assert error.value.problems == (
      'train has 5 images, not 6',
      f'2011_9 has strokes in {path}, but no list has it')
  assert not (tmp_path / 'VOC').exists()


def test_missing_strokes_photographs_and_masks(server, tmp_path, monkeypatch):
  path = tmp_path / 'strokes'
  files = scribble_files()
  del files['scribble_annotation/pascal_2012/2007_000001.xml']
  del files['scribble_annotation/pascal_2012/2008_4.xml']  # Of val.
  path.write_bytes(zipped(files))
  with pytest.raises(UserError, match=(
      f'^{path} holds no strokes of 2007_000001. See https.* --scribbles=')):
    make(server, tmp_path / 'VOC', scribbles=str(path))

  files = voc_files()
  del files['VOCdevkit/VOC2012/JPEGImages/2009_5.jpg']
  del files['VOCdevkit/VOC2012/SegmentationClass/2008_4.png']
  server.files['voc.tar'] = tar(files)
  monkeypatch.setattr(voc2012, 'VOC', (voc2012.VOC[0], hashlib.md5(
      server.files['voc.tar']).hexdigest()))
  for train_masks in (False, True):
    with pytest.raises(UserError) as error:
      make(server, tmp_path / 'VOC', archives=tmp_path / 'others',
           train_masks=train_masks)
    assert error.value.problems == (
        f'{tmp_path}/others/voc.tar holds no photograph of 2009_5',
        'the archives hold no dense mask of 2008_4')
    assert not (tmp_path / 'VOC').exists()


def member(name, kind=tarfile.REGTYPE, target=''):
  def add(archive):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    archive.addfile(info)
  return add


@pytest.mark.parametrize('add, refused', [
    (member('../2007_000001.xml'), True), (member('a/../b/1.txt'), True),
    (member('/etc/passwd'), True), (member('a\\..\\..\\x.xml'), True),
    (member('x/2007_000001.xml', tarfile.SYMTYPE, 'b.xml'), True),
    (member('x/2007_000001.xml', tarfile.LNKTYPE, 'b.xml'), True),
    (member('x/1.txt', tarfile.SYMTYPE, '/etc/passwd'), True),
    (member('x/1.txt', tarfile.SYMTYPE, '../../../x'), True),
    (member('x/1.xml', tarfile.CHRTYPE), True),
    (member('x', tarfile.DIRTYPE), False), (member('x/1.txt'), False)])
def test_members_of_tars_that_lead_elsewhere(server, tmp_path, add, refused):
  path = tmp_path / 'strokes.tar'
  path.write_bytes(tar(scribble_files()))
  with tarfile.open(path, 'a') as archive:
    add(archive)
  if not refused:
    make(server, tmp_path / 'VOC', scribbles=str(path))
    return
  with pytest.raises(UserError, match='Use the original archive') as error:
    make(server, tmp_path / 'VOC', scribbles=str(path))
  assert str(error.value).startswith(f'{path} holds ')


@pytest.mark.parametrize('name, mode', [
    ('../2007_000001.xml', 0o100644), ('/x/2007_000001.xml', 0o100644),
    ('a\\..\\x.xml', 0o100644), ('x/2007_000001.xml', 0o120777)])
def test_members_of_zips_that_lead_elsewhere(server, tmp_path, name, mode):
  path = tmp_path / 'strokes.zip'
  path.write_bytes(zipped(scribble_files()))
  with zipfile.ZipFile(path, 'a') as archive:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    archive.writestr(info, b'/etc/passwd')
  with pytest.raises(UserError, match='Use the original archive'):
    make(server, tmp_path / 'VOC', scribbles=str(path))


@pytest.mark.parametrize('pack', [
    zipped, tar, lambda files: tar(files, 'w:gz')])
def test_archive_that_ends_in_the_middle(server, tmp_path, pack):
  path = tmp_path / 'strokes'
  content = pack({f'a{n}.bin': bytes(range(256)) * 40 for n in range(9)}
                 | scribble_files())
  path.write_bytes(content[:len(content) // 2])
  with pytest.raises(UserError, match='is no complete tar or zip file'):
    make(server, tmp_path / 'VOC', scribbles=str(path))


def test_file_that_claims_to_be_huge(server, tmp_path):
  path = tmp_path / 'strokes.zip'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('2007_000001.xml', bytes(2**25 + 1))
  with pytest.raises(UserError, match='larger than 32 MB'):
    make(server, tmp_path / 'VOC', scribbles=str(path))


def test_damaged_sbd_mask(server, tmp_path, monkeypatch):
  files = sbd_files()
  files['benchmark_RELEASE/dataset/cls/2009_5.mat'] = b'MATLAB 5.0 no more'
  server.files['sbd.tgz'] = tar(files, 'w:gz')
  monkeypatch.setattr(voc2012, 'SBD', (voc2012.SBD[0], hashlib.md5(
      server.files['sbd.tgz']).hexdigest()))
  with pytest.raises(UserError, match=r'cls/2009_5\.mat holds no mask'):
    make(server, tmp_path / 'VOC', train_masks=True)
