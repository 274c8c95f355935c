"""Figures of scribbles against hand-computed ones."""

import csv

import numpy as np
import pytest

from scribble_jax.scribbles import measures
from scribble_jax.scribbles import statistics


def bar(shape, top, bottom, left, right, label, mask=None):
  mask = np.full(shape, 255, np.uint8) if mask is None else mask
  mask[top:bottom + 1, left:right + 1] = label
  return mask


@pytest.mark.parametrize('height, width', [
    (1, 1), (1, 9), (2, 10), (3, 3), (3, 20), (4, 25), (5, 17)])
def test_length_and_width_of_bars(height, width):
  mask = bar([40, 40], 5, 4 + height, 7, 6 + width, 1)
  for scribble in (mask, mask.T.copy()):
    found = measures.measure('a', scribble)
    np.testing.assert_allclose(found.lengths, [width])
    np.testing.assert_allclose(found.widths, [height])


def test_length_of_a_diagonal():
  scribble = np.full([20, 20], 255, np.uint8)
  scribble[range(3, 13), range(3, 13)] = 1
  found = measures.measure('a', scribble)
  np.testing.assert_allclose(found.lengths, [9 * np.sqrt(2) + 1])
  np.testing.assert_allclose(found.widths, [1])


def test_strokes_are_connected_by_corners_and_told_apart_by_class():
  scribble = bar([20, 20], 2, 2, 2, 8, 1)
  bar([20, 20], 3, 3, 9, 12, 1, scribble)  # Touches the first by a corner.
  bar([20, 20], 4, 4, 2, 8, 0, scribble)
  bar([20, 20], 10, 10, 2, 8, 1, scribble)
  found = measures.measure('a', scribble)
  assert len(found.lengths) == 3
  assert found.classes == (0, 1) and found.covered == 7 + 4 + 7 + 7


def example():
  """A scribble and its mask, of 20x40 pixels."""
  mask = np.zeros([20, 40], np.uint8)
  mask[:, 20:30] = 1
  mask[:, 30:] = 2
  mask[18:, :] = 255
  scribble = bar(mask.shape, 8, 8, 2, 9, 0)  # 8 pixels, 11 to 18 from class 1.
  bar(mask.shape, 4, 4, 18, 22, 1, scribble)  # 2 of 5 are background.
  bar(mask.shape, 19, 19, 22, 24, 1, scribble)  # Of no class.
  return scribble, mask


def test_comparison_with_a_mask():
  found = measures.measure('a', *example())
  assert found.foreground == 18 * 20 / 800
  assert (found.compared, found.wrong) == (13, 2)
  assert (found.absent, found.present) == (1, 2)
  # Row 8 is 10 rows above the ones of no class: nearer than 11 and more.
  # Those of the other stroke are 1, 2 and 3 columns from the background.
  np.testing.assert_allclose(found.distance, 10)


def test_an_image_of_one_class_has_no_border():
  scribble = bar([20, 20], 8, 8, 2, 9, 0)
  found = measures.measure('a', scribble, np.zeros([20, 20], np.uint8))
  assert found.distance is None and found.wrong == 0


def test_summary_of_two_images():
  scribble, mask = example()
  empty = np.full([10, 10], 255, np.uint8)
  figures = statistics.summarise([
      measures.measure('a', scribble, mask),
      measures.measure('b', empty, np.ones([10, 10], np.uint8))])
  expected = {
      'images': 2,
      'pixels covered (%)': 100 * (16 / 800) / 2,
      'strokes per image': 1.5,
      'foreground classes per image': 0.5,
      'images without background stroke (%)': 50,
      'images without foreground stroke (%)': 50,
      'stroke length (pixels), median': 5,
      'stroke length (% of longer side), median': 12.5,
      'stroke width (pixels), median': 1,
      'foreground (%), mean': (45 + 100) / 2,
      'foreground (%), 10th percentile': 45 + 0.1 * 55,
      'foreground (%), 50th percentile': 72.5,
      'foreground (%), 90th percentile': 45 + 0.9 * 55,
      'stroke pixels that disagree with the mask (%)': 100 * 2 / 13,
      "distance to the region's border (pixels), median": 10,
      "mask's foreground classes without a stroke (%)": 100 * 2 / 3,
  }
  assert figures.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(figures[name], value, err_msg=name)


def test_table_stands_beside_scribblesup_and_has_no_number_without_masks():
  scribble, _ = example()
  table = statistics.table(
      statistics.summarise([measures.measure('a', scribble)])).text()
  lines = {line[:48].strip(): line[48:].split() for line in table.splitlines()}
  assert lines['pixels covered (%)'] == ['2.00', '3.00']
  assert lines['foreground classes per image'] == ['1.00', '1.46']
  assert lines['foreground (%), 90th percentile'] == ['-', '59.00']
  assert lines['images'] == ['1', '-']


def test_nothing_scribbled_at_all():
  empty = np.full([10, 10], 255, np.uint8)
  figures = statistics.summarise([measures.measure('a', empty, empty)])
  assert figures['stroke length (pixels), median'] is None
  assert figures['stroke pixels that disagree with the mask (%)'] is None
  assert 'images' in statistics.table(figures).text()


def test_csv_has_a_line_for_each_image(tmp_path):
  scribble, mask = example()
  statistics.write_csv(tmp_path / 'a.csv', [
      measures.measure('a', scribble, mask), measures.measure('b', scribble)])
  with open(tmp_path / 'a.csv', newline='') as f:
    first, second = csv.DictReader(f)
  assert first['id'] == 'a' and first['classes'] == '0 1'
  assert float(first['covered']) == 0.02 and first['wrong'] == '2'
  assert second['id'] == 'b' and second['wrong'] == ''
