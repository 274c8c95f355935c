"""The page's server: what it answers, and whom it refuses."""

import io
import json
import pathlib
import stat
import subprocess
import sys
import zipfile

import numpy as np
from PIL import Image
import pytest
from starlette import testclient

from scribble_jax import config_files
from scribble_jax.annotate import access
from scribble_jax.annotate import server
from scribble_jax.annotate import suggestion_worker
from scribble_jax.annotate import trainer
from scribble_jax.annotate import training_jobs
from scribble_jax.files import formats
from scribble_jax.files import masks
from scribble_jax.sweep import process
from tests import annotated
from tests.annotated import document

PORT, TOKEN = 8765, 'x' * 43
HOST = f'127.0.0.1:{PORT}'
BASE = f'http://{HOST}'
DISC = {'version': 0, 'nothing': False, 'imported': False, 'strokes': [
    {'class': 1, 'width': 4, 'points': [[26, 20], [34, 20]]},
    {'class': 0, 'width': 3, 'points': [[5, 4], [50, 4]]}]}


class FakeSuggester:
  """Knows no masks."""

  paused = False

  @property
  def learner(self):
    return self

  def ask(self, name):
    future = suggestion_worker.concurrent.futures.Future()
    future.set_exception(suggestion_worker.NoMaskError('There is none.'))
    return future

  def open(self, name):
    pass

  def forget(self, name):
    pass

  def forget_all(self):
    pass

  def least_sure(self):
    return 'p1'

  def status(self):
    return {'state': 'ready', 'reason': '', 'glances': 0, 'glances_wanted': 0}


@pytest.fixture
def store(tmp_path):
  pictures = annotated.write_pictures(tmp_path / 'pictures')
  Image.new('1', (10_000, 10_000)).save(pictures / 'bomb.png')
  annotated.write_picture(pictures / 'sub/<b>&"\'.png')
  return annotated.open_store(pictures, tmp_path / 'work')


@pytest.fixture
def app(store):
  return server.Server(
      store, store._photographs, FakeSuggester(),
      training_jobs.Jobs(store.files.folder, 50)).make_app(
          '127.0.0.1', PORT, TOKEN)


@pytest.fixture
def page(app):
  """A browser that has followed the link."""
  client = testclient.TestClient(
      app, base_url=BASE, headers={'Origin': BASE}, follow_redirects=False)
  assert client.get(f'/?token={TOKEN}').status_code == 200
  return client


def written(store):
  """All that a refused request must not change."""
  return {path: path.read_bytes() for path in store.files.folder.rglob('*')
          if path.is_file() and path.suffix != '.lock' and path.name != 'lock'}


# Whom it refuses

ROUTES = ('/', '/page/main.js', '/api/project', '/api/picture?id=p0',
          '/photograph?id=p0', '/thumbnail?id=p0', '/export?kind=all',
          '/api/job', '/no/such')


@pytest.mark.parametrize('host', [
    'evil.example', f'evil.example:{PORT}', '127.0.0.1', '127.0.0.1:9999',
    f'127.0.0.1.evil.example:{PORT}', f'192.168.0.7:{PORT}', '',
    f'{HOST}@evil.example', f'localhost.:{PORT}'])
def test_other_names_of_this_machine(page, store, host):
  for path in ROUTES:
    answer = page.get(path, headers={'Host': host})
    assert answer.status_code == 403, path
    assert TOKEN not in answer.text
  before = written(store)
  assert page.get(f'/?token={TOKEN}', headers={'Host': host}).status_code == 403
  assert page.put('/api/strokes?id=p0', json=DISC, headers={
      'Host': host}).status_code == 403
  assert written(store) == before


@pytest.mark.parametrize('headers', [
    {'Origin': 'http://evil.example'}, {'Origin': 'null'},
    {'Origin': f'https://{HOST}'}, {'Origin': 'http://127.0.0.1:9999'},
    {'Origin': f'http://localhost:{PORT}'},  # Not the name that was asked.
    {'Sec-Fetch-Site': 'cross-site'}, {'Sec-Fetch-Site': 'same-site'}])
def test_pages_of_others(page, store, headers):
  before = written(store)
  for path in ROUTES:
    assert page.get(path, headers=headers).status_code == 403, path
  for method, path, content in (
      ('PUT', '/api/strokes?id=p0', DISC), ('POST', '/api/mask?id=p0', {}),
      ('POST', '/api/classes', {'change': 'add', 'name': 'cat'}),
      ('POST', '/api/job', {'change': 'start', 'steps': 50})):
    answer = page.request(method, path, json=content, headers=headers)
    assert answer.status_code == 403, path
  assert written(store) == before


def test_changes_without_an_origin(app, store):
  client = testclient.TestClient(app, base_url=BASE)
  client.get(f'/?token={TOKEN}')
  assert client.get('/api/project').status_code == 200
  before = written(store)
  assert client.put('/api/strokes?id=p0', json=DISC).status_code == 403
  assert written(store) == before


@pytest.mark.parametrize('cookie', [
    None, f'scribble_jax_{PORT}=', f'scribble_jax_{PORT}=' + 'y' * 43,
    f'scribble_jax_9999={TOKEN}', f'x={TOKEN}', f'scribble_jax_{PORT}=\xff'])
def test_without_the_secret(app, store, cookie):
  headers = {'Origin': BASE} | ({'Cookie': cookie.encode('latin-1')}
                                if cookie else {})
  client = testclient.TestClient(app, base_url=BASE, headers=headers)
  before = written(store)
  for path in ROUTES:
    answer = client.get(path)
    assert answer.status_code == 403 and 'Open the link' in answer.text
  for path in ('/?token=', f'/?token={"y" * 43}', f'/api/project?token={TOKEN}',
               '/?token=%FF'):
    assert client.get(path).status_code == 403
  assert client.put('/api/strokes?id=p0', json=DISC).status_code == 403
  assert written(store) == before


def test_the_link_makes_a_cookie_that_scripts_cannot_read(app):
  client = testclient.TestClient(app, base_url=BASE)
  answer = client.get(f'/?token={TOKEN}')
  cookie = answer.headers['set-cookie'].lower()
  assert 'httponly' in cookie and 'samesite=strict' in cookie
  assert 'domain' not in cookie and 'url=/"' in answer.text
  assert TOKEN not in answer.text


def test_every_answer_has_the_headers(page):
  for path in (*ROUTES, '/api/picture?id=no'):
    headers = page.get(path).headers
    policy = headers['content-security-policy']
    assert policy.startswith("default-src 'self';")
    assert 'unsafe' not in policy and "frame-ancestors 'none'" in policy
    assert headers['x-content-type-options'] == 'nosniff'
    assert headers['referrer-policy'] == 'no-referrer'
    assert 'access-control-allow-origin' not in headers


def test_the_page_has_no_inline_script_or_style(page):
  text = page.get('/').text
  assert 'style=' not in text and '<style' not in text
  assert all('src=' in part.split('>')[0] for part in text.split('<script')[1:])
  assert ' on' not in text.replace(' on ', '').split('<body>')[0]
  for path in server.PAGE.iterdir():
    content = path.read_text()
    assert 'innerHTML' not in content and 'eval(' not in content
    assert 'http://' not in content.replace('http://www.w3.org/', '')
    assert 'https://' not in content


@pytest.mark.parametrize('name', [
    '../secret', '..%2fsecret', '..\\secret', '/etc/passwd', 'C:\\secret',
    'C:secret', '\\\\host\\share', 'p0/../p0', './p0', 'p0.png', 'p0%00',
    'CON', '', 'sub', 'p0/', '%2e%2e/p0', 'link'])
def test_names_that_leave_the_folder(page, store, tmp_path, name):
  annotated.write_picture(tmp_path / 'secret.png')
  before = written(store)
  for method, path in (
      ('GET', '/api/picture'), ('GET', '/photograph'), ('GET', '/thumbnail'),
      ('GET', '/imported'), ('PUT', '/api/strokes'), ('POST', '/api/mask')):
    for query in (f'{path}?id={name}', f'{path}?id={name.replace("/", "%2F")}'):
      answer = page.request(method, query, json=DISC)
      assert answer.status_code == 404, query
  assert written(store) == before


@pytest.mark.parametrize('path', [
    '/page/../server.py', '/page/..%2fserver.py', '/page/%2e%2e/server.py',
    '/page//etc/passwd', '/page/..\\server.py', '/page/', '/page'])
def test_the_pages_files_are_all_there_is(page, path):
  answer = page.get(path)
  assert answer.status_code in (404, 405, 307) and 'import' not in answer.text


def test_links_that_leave_the_folder(tmp_path):
  pictures = annotated.write_pictures(tmp_path / 'pictures', 1)
  (pictures / 'link.png').symlink_to(
      annotated.write_picture(tmp_path / 'secret.png'))
  store = annotated.open_store(pictures, tmp_path / 'work')
  page = testclient.TestClient(server.Server(
      store, store._photographs, FakeSuggester(), None).make_app(
          '127.0.0.1', PORT, TOKEN), base_url=BASE, headers={'Origin': BASE})
  page.get(f'/?token={TOKEN}')
  assert 'outside' in page.get('/api/picture?id=link').json()['error']
  assert page.get('/photograph?id=link').status_code == 400
  assert page.put('/api/strokes?id=link', json=DISC).status_code == 400
  assert not (tmp_path / 'work/JPEGImages').exists()


def test_a_bomb_is_not_decoded(page, store):
  before = written(store)
  assert '100 megapixels' in page.get('/api/picture?id=bomb').json()['error']
  assert page.get('/photograph?id=bomb').status_code == 400
  thumbnail = page.get('/thumbnail?id=bomb')
  assert thumbnail.status_code == 200 and 'svg' in thumbnail.headers[
      'content-type']
  assert page.put('/api/strokes?id=bomb', json=DISC).status_code == 400
  assert written(store) == before


@pytest.mark.parametrize('content', [
    b'[' * 10_000_000, b'{"version": 0, "strokes": [' + b' ' * 10_000_000,
    b'[' * 100_000, b'', b'\xff\xfe', b'{"version": NaN, "strokes": []}',
    b'{"version": 0, "strokes": [{"class": 1, "width": 1e999, "points": []}]}',
    json.dumps({'version': 0, 'strokes': [
        {'class': 1, 'width': 1, 'points': [[1, 1]] * 200_001}]}).encode()])
def test_bodies_that_are_too_much(page, store, content):
  before = written(store)
  for headers in ({}, {'Transfer-Encoding': 'chunked'}):
    answer = page.put(
        '/api/strokes?id=p0', content=(
            iter([content]) if headers else content),
        headers={'Content-Type': 'application/json'})
    assert 400 <= answer.status_code < 500
  assert written(store) == before


def test_forms_are_no_json(page, store):
  before = written(store)
  for kind in ('text/plain', 'application/x-www-form-urlencoded', ''):
    assert page.put('/api/strokes?id=p0', content=json.dumps(DISC), headers={
        'Content-Type': kind}).status_code == 415
  assert written(store) == before


@pytest.mark.parametrize('change', [
    {'change': 'add', 'name': '<script>alert(1)</script>'},
    {'change': 'add', 'name': '<script>'}, {'change': 'add'},
    {'change': 'add', 'name': ['a']}, {'change': 'edit', 'id': 7, 'name': 'a'},
    {'change': 'edit', 'id': [1]}, {'change': 'delete', 'id': 0},
    {'change': 'edit', 'id': 1, 'colour': 'red"><script>'},
    {'change': 'edit', 'id': 1, 'colour': 5}, {'change': 'what'}, [], 'x'])
def test_changes_of_classes_that_are_refused(page, store, change):
  before = written(store)
  answer = page.post('/api/classes', json=change)
  assert answer.status_code in (200, 400) and [*answer.json()] == ['error']
  assert written(store) == before


def test_another_address(store):
  def ask(address, host):
    app = server.Server(store, store._photographs, FakeSuggester(), None)
    return testclient.TestClient(
        app.make_app(address, PORT, TOKEN), base_url=BASE).get(
            f'/?token={TOKEN}', headers={'Host': host}).status_code

  assert ask('0.0.0.0', f'192.168.0.7:{PORT}') == 200
  assert ask('0.0.0.0', f'evil.example:{PORT}') == 403
  assert ask('192.168.0.7', f'192.168.0.7:{PORT}') == 200
  assert ask('192.168.0.7', f'192.168.0.8:{PORT}') == 403
  assert ask('::1', f'[::1]:{PORT}') == 200
  assert access.is_loopback('localhost') and access.is_loopback('127.8.8.8')
  assert not access.is_loopback('0.0.0.0')
  assert not access.is_loopback('example.org')


def test_the_secret_is_the_users_own(tmp_path):
  token = access.read_token(tmp_path)
  assert access.read_token(tmp_path) == token and len(token) == 43
  assert stat.S_IMODE((tmp_path / 'token').stat().st_mode) == 0o600
  (tmp_path / 'token').write_text('short')
  assert access.read_token(tmp_path) != token


# What it answers


def test_a_drawing_is_saved(page, store):
  project = page.get('/api/project').json()
  assert [name for name, _ in project['pictures']] == [
      'bomb', 'p0', 'p1', 'p2', 'sub/<b>&"\'']
  assert page.get('/api/picture?id=p0').json() == {
      'width': 60, 'height': 40, 'document': {
          'version': 0, 'nothing': False, 'imported': False, 'strokes': []}}
  assert page.put('/api/strokes?id=p0', json=DISC).json() == {'version': 1}
  assert page.get('/api/picture?id=p0').json()['document'] == DISC | {
      'version': 1}
  conflict = page.put('/api/strokes?id=p0', json=DISC).json()['conflict']
  assert conflict == DISC | {'version': 1}
  assert dict(page.get('/api/project').json()['pictures'])['p0'] == 1


def test_names_of_pictures_may_be_anything(page, store):
  name = 'sub/<b>&"\''
  assert page.put('/api/strokes', params={'id': name},
                  json=DISC).json() == {'version': 1}
  assert store.files.path('scribbles', name).exists()
  assert page.get('/thumbnail', params={'id': name}).status_code == 200


def test_pictures(page):
  answer = page.get('/photograph?id=p0')
  assert Image.open(io.BytesIO(answer.content)).size == (60, 40)
  answer = page.get('/thumbnail?id=p0')
  assert answer.headers['content-type'] == 'image/jpeg'
  assert page.get('/api/mask?id=p0').status_code == 405
  assert page.post('/api/mask?id=p0').json()['reason'] == 'There is none.'
  assert page.get('/api/next').json()['id'] == 'p1'
  for name, kind in (('main.js', 'text/javascript'), ('style.css', 'text/css'),
                     ('icons.svg', 'image/svg+xml')):
    assert page.get(f'/page/{name}').headers['content-type'].startswith(kind)


def test_classes(page, store):
  palette = page.post('/api/classes', json={
      'change': 'add', 'name': 'Löwe & Sohn'}).json()['palette']
  assert palette[2]['name'] == 'Löwe & Sohn' and palette[2]['id'] == 2
  page.put('/api/strokes?id=p0', json=DISC)
  count = page.post('/api/classes', json={'change': 'count', 'id': 1}).json()
  assert count == {'strokes': 1, 'pictures': 1}
  page.post('/api/classes', json={
      'change': 'edit', 'id': 1, 'name': 'ball', 'colour': '#010203'})
  page.post('/api/classes', json={'change': 'delete', 'id': 2})
  assert store.palette.to_json()['classes'][1:] == [
      {'id': 1, 'name': 'ball', 'colour': '#010203'}]


def test_export(page, store):
  page.put('/api/strokes?id=p0', json=DISC)
  store.files.start_predictions([0, 1])
  masks.write_mask(store.files.path('predictions', 'p1'),
                   np.ones([40, 60], np.uint8))
  answer = page.get('/export?kind=all')
  assert 'annotations.zip' in answer.headers['content-disposition']
  archive = zipfile.ZipFile(io.BytesIO(answer.content))
  assert archive.testzip() is None
  names = archive.namelist()
  for name in ('classes.txt', 'strokes/p0.json', 'scribbles/p0.png',
               'predictions/p1.png', 'p0.missing.txt'):
    assert name in names
  assert not any(name.startswith(('cache', '/', '..')) for name in names)
  assert page.get('/export?kind=what').status_code == 400


# Jobs, with a process that only pretends to train

FAKE = '''
import signal, sys, time
from scribble_jax.annotate import trainer
flags = dict(one[2:].split('=') for one in sys.argv[1:])
made = trainer.Job(flags['workdir'], flags['run'], int(flags['steps']), 50, 0)
signal.signal(signal.SIGTERM, made.stop)
made.tell(trainer.TRAINING)
print('Training:  40%|####      | 20/50 [00:10<00:15]', flush=True)
made._stopping.wait(60)
made.tell(trainer.STOPPED)
'''


def test_a_job_outlives_its_server(tmp_path, monkeypatch):
  (tmp_path / 'fake.py').write_text(FAKE)
  real = subprocess.Popen
  monkeypatch.setattr(
      training_jobs.subprocess, 'Popen', lambda command, **options: real(
          [sys.executable, str(tmp_path / 'fake.py'), *command[3:]], **options))
  monkeypatch.setenv('PYTHONPATH', str(annotated.ROOT))
  first = training_jobs.Jobs(tmp_path, 50)
  assert first.status()['stage'] == 'none'
  with pytest.raises(
      training_jobs.UserError, match='no training to resume'):
    first.start(50, resume=True)
  with pytest.raises(training_jobs.UserError, match='Choose one of'):
    first.start(7, resume=False)
  first.start(50, resume=False)
  annotated.wait_until(lambda: first.status()['percent'] == 40)
  with pytest.raises(training_jobs.UserError, match='A training is running'):
    first.start(50, resume=False)
  again = training_jobs.Jobs(tmp_path, 50)  # As a server that is started again.
  status = again.status()
  assert status['running'] and status['what'] == 'Training'
  again.stop()
  annotated.wait_until(lambda: not first.is_running())
  assert again.status()['stage'] == 'stopped'
  again.start(0, resume=True)
  annotated.wait_until(lambda: again.status()['stage'] == 'training')
  assert again._state()['run'].endswith('runs/1')
  again._children[-1].kill()
  annotated.wait_until(lambda: again.status()['stage'] == 'lost')


def fake_commands(monkeypatch, run):
  """Returns the list that the commands of jobs go to; a training writes."""
  commands = []

  def start(module, arguments, *_):
    commands.append([module, *arguments])
    (root,) = (pathlib.Path(one.split('=')[1]) for one in arguments
               if one.startswith('--config.data.root=')) if (
                   module == 'scribble_jax.main') else (None,)
    if root:
      run.mkdir(exist_ok=True)
      formats.write_json(run / config_files.CLASSES,
                         (root / 'classes.txt').read_text().split())

  monkeypatch.setattr(process, 'run', start)
  return commands


def test_commands_of_a_job(tmp_path, monkeypatch):
  pictures = annotated.write_pictures(tmp_path / 'pictures')
  annotated.write_picture(pictures / 'sub/large.png', width=1200, height=90)
  store = annotated.open_store(pictures, tmp_path / 'work')
  store.write('p0', document((1, 3, [(30, 20)]), (0, 3, [(3, 3)])))
  (tmp_path / 'work/job').mkdir()
  commands = fake_commands(monkeypatch, tmp_path / 'run')
  work = lambda: trainer.Job(
      str(tmp_path / 'work'), str(tmp_path / 'run'), 50, 50, 0).work()
  work()
  (train, small, large) = commands
  assert train[0] == 'scribble_jax.main' and '--config.num_steps=50' in train
  assert f'--config.data.root={tmp_path / "work"}' in train
  assert small[-3:] == [str(pictures / f'p{i}.png') for i in range(3)]
  assert not any('long_side' in one for one in small)
  assert '--config.evaluation.long_side=640' in large
  assert f'--output={tmp_path / "work/predictions/sub"}' in large
  state = formats.read_json(tmp_path / 'work/job/state.json')
  assert state['stage'] == 'done'

  # With strokes on a large one, all are trained on as smaller copies.
  store.write('sub/large', document((1, 2, [(30, 20), (1100, 80)])))
  commands.clear()
  work()
  root = tmp_path / 'work/cache/training'
  assert f'--config.data.root={root}' in commands[0]
  with Image.open(root / 'JPEGImages/sub/large.jpg') as image:
    assert image.size == (640, 48)
  copy = masks.read_mask(root / 'scribbles/sub/large.png')
  assert copy.shape == (48, 640) and (copy == 1).sum() > 500
  assert (root / 'ImageSets/SegmentationAug/train.txt').read_text() == (
      'p0\nsub/large\n')


def test_a_job_of_other_classes_predicts_nothing(tmp_path, monkeypatch):
  store = annotated.open_store(annotated.write_pictures(
      tmp_path / 'pictures'), tmp_path / 'work', ('background', 'a', 'b'))
  store.write('p0', document((1, 3, [(30, 20)]), (2, 3, [(3, 3)])))
  (tmp_path / 'work/job').mkdir()
  commands = fake_commands(monkeypatch, tmp_path / 'run')
  state = lambda: formats.read_json(tmp_path / 'work/job/state.json')
  work = lambda: trainer.Job(
      str(tmp_path / 'work'), str(tmp_path / 'run'), 50, 50, 0).work()
  work()
  assert state()['stage'] == 'done' and len(commands) == 2
  store.change_palette(lambda palette: palette.without(1))
  store.change_palette(lambda palette: palette.added('c'))  # As many again.
  commands.clear()
  work()
  assert state()['stage'] == 'failed' and 'Start a new one' in state()['text']
  assert not commands


def test_a_photograph_that_cannot_be_read_is_left_out(tmp_path, monkeypatch):
  pictures = annotated.write_pictures(tmp_path / 'pictures')
  store = annotated.open_store(pictures, tmp_path / 'work')
  for name in ('p0', 'p1'):
    store.write(name, document((1, 3, [(30, 20)]), (0, 3, [(3, 3)])))
  (pictures / 'p1.png').write_bytes(b'nothing')
  (tmp_path / 'work/job').mkdir()
  commands = fake_commands(monkeypatch, tmp_path / 'run')
  trainer.Job(str(tmp_path / 'work'), str(tmp_path / 'run'), 50, 50, 0).work()
  root = tmp_path / 'work/cache/training'
  assert f'--config.data.root={root}' in commands[0]
  assert (root / 'ImageSets/SegmentationAug/train.txt').read_text() == 'p0\n'
  with Image.open(root / 'JPEGImages/p0.jpg') as image:
    assert image.size == (60, 40)  # Not smaller than it is.
  (pictures / 'p0.png').write_bytes(b'nothing')
  trainer.Job(str(tmp_path / 'work'), str(tmp_path / 'run'), 50, 50, 0).work()
  assert 'can be read' in formats.read_json(
      tmp_path / 'work/job/state.json')['text']


def test_a_full_disk_is_told(page, store, monkeypatch):
  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(store, 'write', full)
  answer = page.put('/api/strokes?id=p0', json=DISC)
  assert answer.status_code == 507 and 'No space left' in answer.json()['error']
