"""Tables and files of figures worked out by hand."""

import json

import numpy as np

from scribble_jax import results
from scribble_jax.files import formats

CONFUSION = np.array([[1, 0, 0], [2, 1, 0], [0, 0, 0]])


def test_table_shows_per_cent_and_a_dash_for_absent_classes():
  figures = results.summary(['background', 'cat', 'dog'], CONFUSION)
  assert results.table(figures).text().splitlines() == [
      'class       IoU (%)',
      '-------------------',
      'background    33.33',
      'cat           33.33',
      'dog               -',
      'mIoU          33.33',
  ]


def test_written_figures_are_json_without_nan(tmp_path):
  figures = results.summary(['background', 'cat', 'dog'], CONFUSION)
  formats.write_json(tmp_path / 'metrics.json', figures)
  text = (tmp_path / 'metrics.json').read_text()
  assert json.loads(text)['iou'] == {
      'background': 1 / 3, 'cat': 1 / 3, 'dog': None}
  assert [path.name for path in tmp_path.iterdir()] == ['metrics.json']
