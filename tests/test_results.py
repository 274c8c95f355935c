"""Tables and files of figures worked out by hand."""

import json

import numpy as np
import pytest

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


def test_figures_on_strokes_by_hand():
  figures = results.stroke_summary(['background', 'cat', 'dog'], CONFUSION)
  assert figures == {
      'stroke_accuracy': 0.5, 'confusion': CONFUSION.tolist(),
      'stroke_accuracy_by_class': {
          'background': 1.0, 'cat': 1 / 3, 'dog': None}}
  assert results.table(figures).text().splitlines() == [
      'class        accuracy on stroke pixels (%)',
      '------------------------------------------',
      'background                          100.00',
      'cat                                  33.33',
      'dog                                      -',
      'all strokes                          50.00',
  ]
  assert results.measure(figures) == 'stroke_accuracy'
  assert results.measure(results.summary('ab', np.zeros([2, 2]))) is None


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_json_without_numbers_that_json_lacks(tmp_path, value):
  (tmp_path / 'metrics.json').write_text('{"miou": 0.5}')
  with pytest.raises(ValueError, match='not JSON compliant'):
    formats.write_json(tmp_path / 'metrics.json', {'miou': [value]})
  assert (tmp_path / 'metrics.json').read_text() == '{"miou": 0.5}'
  assert len([*tmp_path.iterdir()]) == 1
