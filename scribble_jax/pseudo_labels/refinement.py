"""Predictions refined by the walk of stage 1."""

from collections.abc import Callable
import dataclasses

from scribble_jax import inference
from scribble_jax.pseudo_labels import propagation


def make_walk(refinement):
  """Returns the `propagation.Walk` of a config's `refinement`."""
  return propagation.Walk(**{
      key: tuple(value) if isinstance(value, list | tuple) else value
      for key, value in refinement.items()})


def make_finish(config, finish=inference.most_probable):
  """Returns what `evaluation.refine` makes of a `finish`.

  Args:
    config: ConfigDict as in configs/scribblesup.py.
    finish: As of `inference.make_predict`, of probabilities.
  """
  restart = config.evaluation.refine
  if not restart:
    return finish
  walk = make_walk(config.stage1.refinement)
  return _Refined(dataclasses.replace(walk, restart=restart), finish)


@dataclasses.dataclass(frozen=True)
class _Refined:
  """A `finish` of refined probabilities.

  Attributes:
    walk: `propagation.Walk`.
    finish: What is made of them.
  """
  walk: propagation.Walk
  finish: Callable

  def __call__(self, mean, image, size, inputs):
    """Returns what `finish` does."""
    refined = propagation.refine(mean, image, size, self.walk)
    return self.finish(refined, image, size, inputs)
