"""What the tests of the annotation page share: pictures, stores, servers."""

import contextlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time

import httpx2
import numpy as np
from PIL import Image
import uvicorn

from scribble_jax.annotate import __main__ as command
from scribble_jax.annotate import access
from scribble_jax.annotate import palette as palettes
from scribble_jax.annotate import photographs as photographs_of
from scribble_jax.annotate import server
from scribble_jax.annotate import store as stores
from scribble_jax.annotate import suggestion_worker
from scribble_jax.annotate import training_jobs
from scribble_jax.annotate import vector_strokes

ROOT = pathlib.Path(__file__).parents[1]
_STARTED = 'Ctrl-C ends.'


def write_picture(path, width=60, height=40, seed=0):
  """A red disc on green, with noise."""
  y, x = np.mgrid[:height, :width]
  image = np.full([height, width, 3], [40, 130, 50])
  image[np.hypot(x - width / 2, y - height / 2) < height / 4] = [200, 40, 40]
  image += np.random.default_rng(seed).integers(-9, 10, image.shape)
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.uint8(image)).save(path)
  return path


def write_pictures(folder, count=3, **size):
  for number in range(count):
    write_picture(folder / f'p{number}.png', seed=number, **size)
  return folder


def open_store(pictures, workdir, names=('background', 'disc')):
  photographs = photographs_of.Photographs(pictures, workdir / 'cache')
  return stores.Store(workdir, photographs, palettes.of_names(names))


def document(*strokes, version=0, **flags):
  return vector_strokes.Document(version, tuple(
      vector_strokes.Stroke(label, width, tuple(points))
      for label, width, points in strokes), **flags)


@contextlib.contextmanager
def served(pictures, *flags, port=None):
  """Yields (process, link, port) of the command, and ends it."""
  port = port or free_port()
  process = subprocess.Popen(
      [sys.executable, '-m', 'scribble_jax.annotate', str(pictures),
       '--no_browser', f'--port={port}', *flags], cwd=ROOT, text=True,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
      env=os.environ | {'PYTHONUNBUFFERED': '1'})
  try:
    yield process, read_link(process), port
  finally:
    process.kill()
    process.wait()
    process.stdout.close()


@contextlib.contextmanager
def hosted(pictures, workdir):
  """Yields (None, link, port) of a server without masks, in a thread.

  It starts in a fraction of the time of `served`.
  """
  (workdir / 'cache').mkdir(parents=True, exist_ok=True)
  photographs, store = command.open_store(
      *command.find_folders(str(pictures), str(workdir)), 50)
  address, port = '127.0.0.1', free_port()
  token = access.read_token(workdir / 'cache')
  suggester = suggestion_worker.Suggester(
      store, photographs, suggestion_worker.NO_NETWORK)
  running = uvicorn.Server(uvicorn.Config(
      server.Server(store, photographs, suggester,
                    training_jobs.Jobs(workdir, 50)).make_app(
                        address, port, token),
      lifespan='off', timeout_graceful_shutdown=2, ws='none', access_log=False,
      log_config=None))
  listener = command.listen(address, port)
  thread = threading.Thread(target=running.run, args=([listener],))
  thread.start()
  try:
    yield None, f'http://{address}:{port}/?token={token}', port
  finally:
    running.should_exit = True
    thread.join()
    listener.close()
    suggester.close()


def read_link(process):
  """Returns the link that a server prints; keeps all in `process.printed`."""
  process.printed = ''
  for line in process.stdout:
    process.printed += line
    if _STARTED in line:
      return re.search(r'http\S+token=\S+', process.printed)[0]
  raise AssertionError(process.printed)


def free_port():
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    return found.getsockname()[1]


def wait_until(condition, seconds=60):
  """Waits for a condition; fails if it does not come."""
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.05)


@contextlib.contextmanager
def client(link):
  """Yields a client that has followed the link."""
  base = link.split('/?')[0]
  with httpx2.Client(base_url=base, headers={'Origin': base},
                    timeout=120) as found:
    found.get(link)
    yield found
