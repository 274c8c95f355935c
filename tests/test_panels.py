"""The layout of pictures."""

import numpy as np

from scribble_jax import panels


def test_panels_leave_out_columns_that_say_nothing():
  mask = np.ones([40, 60], np.uint8)
  example = {
      'image': np.zeros([40, 60, 3], np.uint8), 'prediction': mask,
      'scribble': np.full_like(mask, 255), 'scribble_distance': mask,
      'pseudo_label': mask, 'pseudo_label_distance': mask,
      'ground_truth': np.full_like(mask, 255)}
  with_four = panels.draw_panels([example], ['background', 'cat'])
  with_eight = panels.draw_panels(
      [example | {'scribble': mask, 'ground_truth': mask}],
      ['background', 'cat'])
  # Magnified to 180 pixels, with gaps of 6.
  assert with_four.shape[1] == 4 * 186 + 6
  assert with_eight.shape[1] == 8 * 186 + 6


def test_errors_are_where_prediction_and_ground_truth_differ():
  truth = np.uint8([[0, 1], [255, 1]]).repeat(90, 0).repeat(90, 1)
  example = {
      'image': np.full([180, 180, 3], 255, np.uint8), 'ground_truth': truth,
      'prediction': np.zeros([180, 180], np.uint8), 'title': 'an image'}
  picture = panels.draw_panels([example], ['background', 'cat'])
  corner = picture[22 + 22:, 6 + 3 * 186:]  # Below column's and image's title.
  np.testing.assert_array_equal(  # Right, wrong, unknown, wrong.
      corner[45:180:90, 45:180:90],
      [[[255, 255, 255], [220, 20, 60]], [[160, 160, 160], [220, 20, 60]]])


def test_some_examples_may_lack_a_ground_truth():
  mask = np.ones([40, 60], np.uint8)
  known = {'image': np.zeros([40, 60, 3], np.uint8), 'prediction': mask,
           'ground_truth': mask}
  unknown = known | {'ground_truth': np.full_like(mask, 255)}
  together = panels.draw_panels([known, unknown], ['background', 'cat'])
  alone = panels.draw_panels([unknown], ['background', 'cat'])
  assert together.shape[1] == 8 * 186 + 6  # Two examples of four columns.
  assert alone.shape[1] == 2 * 186 + 6
