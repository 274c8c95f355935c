r"""The annotation page: from stroke to mask, start, memory, frames a second.

python tests/benchmarks/annotate.py [--drawn 10 100 500] [--strokes 40]

Drawn scenes of one megapixel; the samples of all drawn pictures but one are
random numbers of the real shape, as nobody waits for 500 pictures to be looked
at. What is timed is what a person waits for: the request that saves the
strokes and the one that gets the mask, of the real server in a process of its
own. The frames are those of Chromium, where it is installed, on a photograph
of 24 megapixels that is moved, magnified and drawn on.
"""

import os
import pathlib
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import jax
import numpy as np
from PIL import Image

from scribble_jax.annotate import cell_classifier
from scribble_jax.annotate import feature_cache
from scribble_jax.annotate import feature_network
from scribble_jax.annotate import suggest
from scribble_jax.data import drawn_scenes
from tests import annotated
from tests.benchmarks import harness

SIZE = 816, 1224  # Height and width, one megapixel.
LARGE = 4000, 6000
CLASSES = 4
FRAMES = '''([steps]) => new Promise((resolve) => {
  const times = [];
  const canvas = document.getElementById('live');
  const box = canvas.getBoundingClientRect();
  const send = (kind, x, y, extra) => canvas.dispatchEvent(
      new (kind === 'wheel' ? WheelEvent : PointerEvent)(kind, {
        clientX: box.x + x, clientY: box.y + y, bubbles: true,
        pointerId: 1, cancelable: true, ...extra}));
  let step = 0;
  const frame = (time) => {
    times.push(time);
    if (step++ >= steps) {
      const seconds = times.slice(1).map((t, i) => (t - times[i]) / 1000);
      resolve(seconds);
      return;
    }
    send('wheel', 300 + step % 100, 300, {
      deltaY: step % 120 < 60 ? -40 : 40, ctrlKey: false});
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})'''


def add_arguments(parser):
  parser.add_argument('--drawn', type=int, nargs='+', default=[10, 100, 500],
                      help='pictures with strokes')
  parser.add_argument('--strokes', type=int, default=40, help='timed strokes')
  parser.add_argument('--pictures', type=int, default=5_000,
                      help='in a folder that is opened')


def write_scene(path, size, seed):
  """Writes a drawn scene, magnified to a size; returns its truth."""
  image, truth = drawn_scenes.draw_scene(np.random.default_rng(seed), 400)
  Image.fromarray(image).resize(size[::-1]).save(path, quality=90)
  return np.asarray(Image.fromarray(truth).resize(
      size[::-1], Image.Resampling.NEAREST))


def random_stroke(rng, size, label):
  x, y = rng.uniform(0.1, 0.8, 2) * size[::-1]
  points = np.stack([x + np.arange(0, 120, 6), y + 20 * np.sin(
      np.arange(20) / 4)], 1)
  return {'class': int(label), 'width': 12,
          'points': np.round(points, 1).tolist()}


def measure_masks(folder, count, args, network):
  """Returns a row: what a stroke takes with a number of drawn pictures."""
  size = (136, 204) if args.smoke else SIZE
  pictures, work = folder / f'pictures_{count}', folder / f'work_{count}'
  pictures.mkdir()
  write_scene(pictures / 'a.jpg', size, 0)
  for number in range(count):
    os.link(pictures / 'a.jpg', pictures / f'b{number}.jpg')
  rng = np.random.default_rng(0)
  store = annotated.open_store(
      pictures, work, [f'class {i}' for i in range(CLASSES)])
  width, digest = network
  cache = feature_cache.FeatureCache(
      work / 'cache', store._photographs, None, None, digest)
  for number in range(count):
    store.write(f'b{number}', annotated.document(*(
        (label, 12, [(50 + 9 * label, 60), (100, 100)])
        for label in range(CLASSES))))
    labels = np.repeat(np.arange(CLASSES), cell_classifier.SAMPLES_PER_CLASS)
    cache.keep_samples(f'b{number}', 1, cell_classifier.Samples(
        np.float16(rng.normal(size=[len(labels), width]) / 20), labels))
  start = time.perf_counter()
  with (annotated.served(pictures, f'--workdir={work}') as (process, link, _),
        annotated.client(link) as client):
    ready = time.perf_counter() - start
    document = client.get('/api/picture?id=a').json()['document']
    saves, masks = [], []
    for number in range(args.strokes + 5):
      document['strokes'].append(
          random_stroke(rng, size, number % CLASSES))
      start = time.perf_counter()
      document['version'] = client.put(
          '/api/strokes?id=a', json=document).json()['version']
      saves.append(time.perf_counter() - start)
      client.post('/api/mask?id=a')
      masks.append(time.perf_counter() - start)
    memory = resident(process.pid)
  saves, masks = saves[5:], masks[5:]  # The first ones compile.
  return {'drawn pictures': count, 'start (s)': round(ready, 2),
          'saved, median (s)': round(float(np.median(saves)), 3),
          'mask, median (s)': round(float(np.median(masks)), 3),
          'mask, 95 % (s)': round(float(np.percentile(masks, 95)), 3),
          'memory (MB)': memory}


def resident(process):
  """Returns the peak of a process's memory in MB, where Linux tells it."""
  try:
    status = pathlib.Path(f'/proc/{process}/status').read_text()
  except OSError:
    return ''
  return int(status.split('VmHWM:')[1].split()[0]) // 1024


def measure_folder(folder, count):
  """Returns seconds from the command to its link, and to the list."""
  pictures = folder / 'many'
  pictures.mkdir()
  write_scene(pictures / 'a.jpg', SIZE, 0)
  for number in range(count - 1):
    os.link(pictures / 'a.jpg', pictures / f'b{number}.jpg')
  start = time.perf_counter()
  with (annotated.served(
      pictures, f'--workdir={folder / "many_work"}') as (_, link, _),
        annotated.client(link) as client):
    ready = time.perf_counter() - start
    begin = time.perf_counter()
    assert len(client.get('/api/project').json()['pictures']) == count
    listed = time.perf_counter() - begin
    client.get('/api/picture?id=a')
    client.get('/photograph?id=a')
    opened = time.perf_counter() - begin
  return {'pictures': count, 'start (s)': round(ready, 2),
          'list (s)': round(listed, 3), 'first picture (s)': round(opened, 3)}


def measure_frames(folder, smoke):
  """Returns {'frames a second, ...': number}, {} without a browser."""
  browser = next(filter(None, map(
      shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
  if not browser:
    return {}
  from playwright import sync_api
  pictures = folder / 'large'
  pictures.mkdir()
  write_scene(pictures / 'a.jpg', (400, 600) if smoke else LARGE, 0)
  with annotated.served(
      pictures, f'--workdir={folder / "large_work"}', '--backbone=none') as (
          _, link, _), sync_api.sync_playwright() as playwright:
    found = playwright.chromium.launch(
        executable_path=browser, args=['--no-sandbox'])
    page = found.new_page(viewport={'width': 1366, 'height': 820})
    page.goto(link)
    page.locator('body[data-ready=true]').wait_for()
    page.wait_for_timeout(500 if smoke else 4000)
    seconds = page.evaluate(FRAMES, [20 if smoke else 240])
    found.close()
  return {'frames a second, median': round(1 / float(np.median(seconds)), 1),
          'frames a second, slowest of 20': round(
              1 / float(np.percentile(seconds, 95)), 1)}


def main():
  args = harness.parse_args('annotate', __doc__, add_arguments)
  if args.smoke:
    args.drawn, args.strokes, args.pictures = [2], 2, 30
  backbone, variables, digest = feature_network.load('efficientnet_lite0')
  width = jax.eval_shape(
      lambda: suggest.picture_features.cell_features(
          backbone, variables, np.zeros([128, 128, 3], np.float32),
          np.ones([128, 128], bool))).shape[-1]
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    frames = measure_frames(folder, args.smoke)
    many = measure_folder(folder, args.pictures)
    rows = [measure_masks(folder, count, args, (width, digest))
            for count in args.drawn]
  harness.report(args, rows, folder=many, frames=frames)
  print(many, frames, sep='\n')


if __name__ == '__main__':
  main()
