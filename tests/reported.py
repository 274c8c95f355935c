"""Folders as training and sweeps leave them, and pages taken apart."""

import base64
import csv
import html.parser
import io
import json

import numpy as np
from tensorboard.summary import Writer

from scribble_jax.files import formats

HOSTILE = '<blink>"\'& $x_{'


def write_json(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(content))


def write_run(folder, iou, *, evaluated=False, config=None, num_images=1449,
              protocol=None, **figures):
  """Leaves what a finished run leaves, with the given {class: IoU}.

  Args:
    folder: pathlib.Path.
    iou: {class: IoU}.
    evaluated: Whether with an evaluation; then validation found 0.5.
    config: Additions to the config.
    num_images: Of the evaluation.
    protocol: Changes to the evaluation's.
    **figures: Additions to the figures.
  """
  figures = {'step': 33100, 'pixel_accuracy': 0.9, 'iou': iou, 'miou': float(
      np.mean([value for value in iou.values() if value is not None]))
  } | figures
  write_json(folder / 'config.json', {
      'seed': 0, 'num_steps': 33100, 'model': {
          'head': 'deeplabv3plus', 'backbone': 'resnet101'}} | (config or {}))
  write_json(folder / 'metrics.json',
             figures | ({'miou': 0.5} if evaluated else {}))
  if evaluated:
    write_json(folder / 'evaluation/metrics.json', figures | {
        'num_images': num_images, 'protocol': {
            'scales': [0.5, 1.0], 'long_side': 512, 'window': 465,
            'flip': False, 'batch_size': 16} | (protocol or {})})


def write_everything(folder):
  """Leaves a run with all that a run may leave, under hostile names."""
  write_run(folder, {'background': 0.9, HOSTILE: 0.5},
            confusion=[[6, 2], [0, 0]], best_miou=0.8, best_step=20,
            images_per_second=12.34, config={HOSTILE: HOSTILE})
  write_json(folder / 'run.json', {
      'command': ['python', '-m', 'scribble_jax.main', HOSTILE],
      'versions': {'jax': '0.10.2', HOSTILE: HOSTILE}, 'cores': 2,
      'processor': HOSTILE, 'started': '2024-02-20T10:00:00', 'seconds': 3723,
      'starts': 3})
  for name in ('train', 'val', 'best', 'worst'):
    formats.write_png(folder / f'panels_{name}.png',
                      np.full([4, 1500, 3], len(name), np.uint8))
  (folder / 'val_images.csv').write_text(
      'id,miou,pixel_accuracy\n"a,<i>",0.25,0.5\nb,1.0,1.0\nempty,,\n')
  with_scalars(folder)


def with_scalars(folder, steps=(20, 40)):
  writer = Writer(str(folder))
  for step in steps:
    for tag in ('loss/total', 'loss/lorm', 'val/miou'):
      writer.add_scalar(tag, 1 / step, step)
  writer.close()


def point(name, series, mious, **axes):
  return {'name': name, 'series': series, 'label': f'{series} {axes}',
          'axes': axes, 'overrides': {}}, mious


def write_sweep(folder, *points, seeds=(0, 1), flags=()):
  """Leaves a sweep of `point`s with one IoU a seed; None for no run."""
  write_json(folder / 'sweep.json', {
      'title': f'Robustness {HOSTILE}', 'question': f'Why {HOSTILE}?',
      'base': 'configs/demo.py', 'flags': list(flags), 'seeds': list(seeds),
      'command': ['python', '-m', 'scribble_jax.sweep', HOSTILE],
      'points': [entry for entry, _ in points],
      'base_config': {'stage1': {'seed': 0}, 'data': {'scribble_seed': 0}},
      'axis_labels': {'shrink': f'Shrink {HOSTILE}'}, 'log_axes': ['shrink']})
  for entry, mious in points:
    for seed, miou in zip(seeds, mious, strict=True):
      if miou is not None:
        write_run(folder / entry['name'] / f'seed_{seed}',
                  {'background': miou, 'cat': miou},
                  config={'seed': seed, 'name': entry['name'], 'same': 1})


class Parser(html.parser.HTMLParser):
  """Collects tags, addresses, visible text and tables of a page."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.addresses, self.texts = set(), [], []
    self.tables = {}  # CSV's name -> rows.
    self.saved = {}  # CSV's name -> its text in the page.
    self._rows, self._cell = [], None
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    self.tags.add(tag)
    self.addresses += [attrs[key] for key in ('src', 'href', 'srcset', 'data')
                       if key in attrs]
    if tag == 'table':
      self._rows = []
    elif tag == 'tr':
      self._rows.append([])
    elif tag in ('td', 'th'):
      self._cell = None if attrs.get('class') == 'bar' else ''
    if 'download' in attrs:
      self.tables[attrs['download']] = self._rows
      data = attrs['href'].removeprefix('data:text/csv;base64,')
      self.saved[attrs['download']] = base64.b64decode(data).decode()

  def handle_endtag(self, tag):
    if tag in ('td', 'th') and self._cell is not None:
      self._rows[-1].append(self._cell)
      self._cell = None

  def handle_data(self, text):
    self.texts.append(text)
    if self._cell is not None:
      self._cell += text


def parsed(folder):
  return Parser((folder / 'report.html').read_text())


def rows_of(folder, name):
  return list(csv.reader(io.StringIO((folder / name).read_text())))
