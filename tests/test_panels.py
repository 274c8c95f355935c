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
  with_seven = panels.draw_panels(
      [example | {'scribble': mask, 'ground_truth': mask}],
      ['background', 'cat'])
  # Magnified to 180 pixels, with gaps of 6.
  assert with_four.shape[1] == 4 * 186 + 6
  assert with_seven.shape[1] == 7 * 186 + 6
