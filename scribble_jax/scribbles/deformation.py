"""Scribbles of lower quality (METHOD 10). A stand-in: nothing is deformed."""


def deform(scribble, *, shrink, drop, key):
  """[H, W] uint8 classes, 255 unlabelled -> a copy of the same.

  Args:
    scribble: [H, W] uint8.
    shrink: Share of each stroke's length to take away, in [0, 1].
    drop: Probability of each stroke to be removed, in [0, 1].
    key: (seed, image id), such as (0, '2007_000032').
  """
  del shrink, drop, key
  return scribble.copy()
