"""A person's way through the annotation page, with the strokes of a data set.

python tests/benchmarks/annotate_trial.py DATA --classes cow sheep car

The train strokes of pictures that show nothing but the background and these
classes are replayed one by one on the page's server, each followed by a mask.
Then the server trains and predicts, also val pictures that nobody has drawn
on. The mIoU of each stage is that of the data set's masks.
"""

import pathlib
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.sparse import csgraph

from scribble_jax import metrics
from tests import annotated
from tests.benchmarks import annotate
from tests.benchmarks import harness

IGNORE, WIDTH, EVERY = 255, 3, 4  # Pixels: of a stroke, between its points.


def add_arguments(parser):
  parser.add_argument('data', type=pathlib.Path, help='a data set')
  parser.add_argument('--classes', nargs='+', required=True)
  parser.add_argument('--pictures', type=int, default=40,
                      help='to draw on, and as many unseen ones')
  parser.add_argument('--steps', type=int, default=300)
  parser.add_argument('--labels', default='pseudo_labels',
                      help='folder of pseudo-labels to compare with')


def read_indices(path):
  return np.asarray(Image.open(path))


def chosen(data, split, indices, most):
  """Returns ids of pictures that show nothing but classes of `indices`."""
  names = (data / 'ImageSets/SegmentationAug' / f'{split}.txt').read_text()
  shown = {
      name: set(np.unique(read_indices(
          data / 'SegmentationClassAug' / f'{name}.png'))) - {IGNORE}
      for name in names.split()}
  found = [name for name, classes in shown.items()
           if classes <= set(indices) and classes - {0}]
  most = min(most, len(found))
  return [found[i * len(found) // most] for i in range(most)]


def strokes_of(scribble, indices):
  """Returns a scribble's strokes as the page has them.

  Args:
    scribble: [H, W] uint8.
    indices: Class indices, in the order of the page's classes.
  """
  strokes = []
  for label, index in enumerate(indices):
    places, count = ndimage.label(scribble == index, np.ones([3, 3]))
    for place in range(1, count + 1):
      points = longest_path(np.argwhere(places == place))
      strokes.append({'class': label, 'width': WIDTH, 'points': [
          [float(x) + 0.5, float(y) + 0.5] for y, x in points]})
  return strokes


def longest_path(pixels):
  """Returns points along the longest shortest path through some pixels."""
  near = np.abs(pixels[:, None] - pixels[None]).max(-1) == 1
  graph = near * np.linalg.norm(pixels[:, None] - pixels[None], axis=-1)
  start = int(np.argmax(csgraph.dijkstra(graph, indices=0)))
  far, before = csgraph.dijkstra(
      graph, indices=start, return_predecessors=True)
  path = [int(np.argmax(far))]
  while path[-1] != start:
    path.append(int(before[path[-1]]))
  return pixels[[*path[::EVERY], start]]


def draw(client, name, strokes):
  """Draws strokes; returns the last mask [H, W] and seconds of each mask."""
  document = client.get(f'/api/picture?id={name}').json()['document']
  seconds, answer = [], None
  for stroke in strokes:
    document['strokes'].append(stroke)
    start = time.perf_counter()
    document['version'] = client.put(
        f'/api/strokes?id={name}', json=document).json()['version']
    answer = client.post(f'/api/mask?id={name}')
    seconds.append(time.perf_counter() - start)
  return mask_of(answer), seconds


def mask_of(answer):
  """Returns the labels of an answer, [H, W]; None if there is no mask yet."""
  if 'X-Height' not in answer.headers:
    return None
  shape = int(answer.headers['X-Height']), int(answer.headers['X-Width'])
  return np.frombuffer(answer.content, np.uint8)[:shape[0] * shape[1]].reshape(
      shape)


def train(client, steps):
  """Trains and predicts; returns seconds."""
  start = time.perf_counter()
  client.post('/api/job', json={'change': 'start', 'steps': steps})
  while (status := client.get('/api/job').json())['running']:
    time.sleep(1)
  if status['stage'] != 'done':
    raise SystemExit(f'{status["stage"]}: {status["text"]}')
  return time.perf_counter() - start


def score(masks, truths):
  """Returns the mIoU in % of masks {id: [h, w]}, resized to their truths."""
  total = metrics.confusion_of_examples(({
      'ground_truth': truths[name],
      'prediction': np.asarray(Image.fromarray(mask).resize(
          truths[name].shape[::-1], Image.Resampling.NEAREST))}
      for name, mask in masks.items()), IGNORE + 1)
  return round(100 * float(metrics.mean_iou(total)), 1)


def main():
  args = harness.parse_args('annotate_trial', __doc__, add_arguments)
  data = args.data
  names = ['background', *args.classes]
  indices = [(data / 'classes.txt').read_text().split().index(name)
             for name in names]
  positions = np.full(256, IGNORE, np.uint8)  # Of a class index on the page.
  positions[indices] = np.arange(len(indices))
  drawn, unseen = (chosen(data, split, indices, args.pictures)
                   for split in ('train', 'val'))
  truths = {name: positions[read_indices(
      data / 'SegmentationClassAug' / f'{name}.png')]
      for name in drawn + unseen}
  with tempfile.TemporaryDirectory() as folder:
    pictures, work = pathlib.Path(folder, 'pictures'), pathlib.Path(
        folder, 'work')
    pictures.mkdir()
    for name in drawn + unseen:
      shutil.copy(data / 'JPEGImages' / f'{name}.jpg', pictures)
    annotated.open_store(pictures, work, names)
    with (annotated.served(pictures, f'--workdir={work}') as (
        process, link, _), annotated.client(link) as client):
      masks, seconds = {}, []
      for name in drawn:
        masks[name], took = draw(client, name, strokes_of(read_indices(
            data / 'scribbles' / f'{name}.png'), indices))
        seconds += took
      # With the strokes of all others.
      last = {name: mask_of(client.post(f'/api/mask?id={name}'))
              for name in drawn}
      glimpsed = {name: mask_of(client.post(f'/api/mask?id={name}'))
                  for name in unseen}
      memory = annotate.resident(process.pid)
      minutes = train(client, args.steps) / 60
    predicted = {name: read_indices(work / 'predictions' / f'{name}.png')
                 for name in unseen}
  peer = {name: positions[read_indices(data / args.labels / f'{name}.png')]
          for name in drawn}
  harness.report(args, [
      {'masks': what, 'pictures': len(found), 'mIoU (%)': score(found, truths)}
      for what, found in (
          (f'{args.labels} of the data set, drawn pictures', peer),
          ('page, after the last stroke of a picture',
           {name: mask for name, mask in masks.items() if mask is not None}),
          ('page, after the last stroke of all', last),
          ('page, pictures without strokes', glimpsed),
          (f'training of {args.steps} steps, unseen pictures', predicted))],
      strokes=len(seconds), mask_median_s=round(float(np.median(seconds)), 2),
      mask_95_percent_s=round(float(np.percentile(seconds, 95)), 2),
      server_mb=memory, train_and_predict_minutes=round(minutes, 1))


if __name__ == '__main__':
  main()
