"""The command that opens the page: what it prints, finds and refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import httpx2
import numpy as np
import pytest

from scribble_jax.annotate import __main__ as command
from scribble_jax.errors import UserError
from scribble_jax.files import masks
from tests import annotated

NO_NETWORK = '--backbone=none'
# Runs the command for each line of stdin, [arguments, file for the output],
# in a process that inherits the imports; prints the exit codes.
FORKS = """
import json, os, runpy, sys
from scribble_jax import command_line
from scribble_jax.annotate import mask_import, suggestion_worker, training_jobs
for line in sys.stdin:
  arguments, output = json.loads(line)
  if not os.fork():
    file = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ['annotate', *arguments]
    runpy.run_module('scribble_jax.annotate', run_name='__main__')
  print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@pytest.fixture
def pictures(tmp_path):
  return annotated.write_pictures(tmp_path / 'pictures')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """Yields a function: (exit code, output) of a start that is refused."""
  output = tmp_path_factory.mktemp('run') / 'output.txt'
  with subprocess.Popen(
      [sys.executable, '-c', FORKS], cwd=annotated.ROOT, text=True,
      stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
    def run_once(*arguments):
      output.unlink(missing_ok=True)
      json.dump([[*map(str, arguments), '--no_browser'], str(output)],
                process.stdin)
      print(file=process.stdin, flush=True)
      return int(process.stdout.readline()), output.read_text()

    yield run_once
    process.stdin.close()


def test_from_the_link_to_a_stroke_and_on(pictures, tmp_path, run):
  work = tmp_path / 'pictures_annotated'
  with (annotated.served(pictures, NO_NETWORK) as (_, link, port),
        annotated.client(link) as client):
    assert link.startswith(f'http://127.0.0.1:{port}/?token=')
    client.post('/api/classes', json={'change': 'add', 'name': 'disc'})
    saved = client.put('/api/strokes?id=p0', json={
        'version': 0, 'nothing': False, 'imported': False, 'strokes': [
            {'class': 1, 'width': 3, 'points': [[30, 20]]}]})
    assert saved.json() == {'version': 1}
    assert (masks.read_mask(work / 'scribbles/p0.png') == 1).any()
    code, output = run(pictures)
    assert code == 1 and output == (
        f'error: Another server works on {work}. Use its page, or end it.\n')
    cookies = dict(client.cookies)
  # The same again, by the folder's own name; the old cookie is still good.
  with annotated.served(work, NO_NETWORK, port=port):
    found = httpx2.get(f'http://127.0.0.1:{port}/api/picture?id=p0',
                      cookies=cookies)
    assert found.json()['document']['version'] == 1


@pytest.mark.parametrize('name, code', [('SIGINT', 130), ('SIGTERM', -15)])
def test_signals_end_it(pictures, name, code):
  with annotated.served(pictures, NO_NETWORK) as (process, _, _):
    time.sleep(1)
    process.send_signal(getattr(signal, name))
    assert process.wait(30) == code
    assert 'Traceback' not in process.stdout.read()


def test_the_next_free_port_is_taken(pictures, tmp_path):
  with (annotated.served(pictures, NO_NETWORK) as (_, _, port),
        annotated.served(pictures, NO_NETWORK, f'--workdir={tmp_path / "b"}',
                         port=port) as (_, link, _)):
    assert f':{port + 1}/' in link or f':{port + 2}/' in link


def test_what_is_missing(pictures, tmp_path):
  stub = tmp_path / 'stub/starlette'
  stub.mkdir(parents=True)
  (stub / '__init__.py').write_text("raise ImportError('no starlette')")
  ended = subprocess.run(
      [sys.executable, '-m', 'scribble_jax.annotate', str(pictures)],
      cwd=annotated.ROOT, text=True, capture_output=True, timeout=120,
      check=False, env=os.environ | {'PYTHONPATH': str(stub.parent)})
  assert ended.returncode == 1 and ended.stdout + ended.stderr == (
      'error: The page needs starlette and uvicorn (no starlette). Run: pip '
      "install 'scribble-jax[annotate]'\n")


@pytest.mark.parametrize('arguments, message', [
    ((), 'Name one folder of photographs'),
    (('a', 'b'), 'Name one folder of photographs'),
    (('no/such',), 'does not exist. Name a folder of photographs'),
    (('gs://bucket/x',), 'not on gs://'),
    (('PICTURES', '--port=99999'), 'port'),
    (('PICTURES', '--backbone=resnet'), 'Choose one of: resnet18'),
    (('PICTURES', '--checkpoint=.'), 'is no workdir of a training run'),
    (('PICTURES', '--address=203.0.113.9'), '--address=203.0.113.9'),
    (('PICTURES', '--import=no/such'), 'no/such does not exist')])
def test_mistakes_are_one_line(pictures, arguments, message, run):
  code, output = run(*(
      pictures if one == 'PICTURES' else one for one in arguments))
  assert code == 1 and message in output and 'Traceback' not in output
  assert output.startswith('error: ') and output.count('\n') == 1


def test_a_folder_without_photographs(tmp_path):
  (tmp_path / 'a.txt').write_text('x')
  with pytest.raises(UserError, match='holds no photograph'):
    command.open_store(tmp_path, tmp_path / 'work', 50)


def test_a_data_set_brings_its_strokes(drawn_root, tmp_path):
  folders = command.find_folders(str(drawn_root), str(tmp_path / 'work'))
  photographs, store = command.open_store(*folders, 50)
  assert store.palette.names == (
      drawn_root / 'classes.txt').read_text().splitlines()
  assert len(store.listed) == 10 and len(photographs.paths) == 13
  for name in store.listed:
    np.testing.assert_array_equal(
        masks.read_mask(store.files.path('scribbles', name)),
        masks.read_mask(drawn_root / f'scribbles/{name}.png'))


def test_another_address_says_what_it_opens(pictures):
  with annotated.served(pictures, NO_NETWORK, '--address=0.0.0.0') as (
      process, link, port):
    assert '--address=0.0.0.0 lets everybody in your network' in process.printed
    own = f'http://127.0.0.1:{port}/?{link.split("?")[1]}'
    with annotated.client(own) as client:
      assert client.get('/api/project').status_code == 200
