"""Refinement of predictions by the random walk of stage 1."""

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
  """Returns a `finish` that first refines the probabilities, if configured.

  Args:
    config: ConfigDict as in configs/scribblesup.py; `evaluation.refine` is the
      restart of the walk, 0 for no refinement.
    finish: As of `inference.make_predict`, for probabilities.
  """
  restart = config.evaluation.refine
  return _Refined(dataclasses.replace(
      make_walk(config.stage1.refinement), restart=restart), finish
  ) if restart else finish


@dataclasses.dataclass(frozen=True)
class _Refined:
  """A `finish` that refines the probabilities and passes them to another.

  Attributes:
    walk: `propagation.Walk`.
    finish: The other one.
  """
  walk: propagation.Walk
  finish: Callable

  def __call__(self, mean, image, size, inputs):
    """Returns the result of `finish`; arguments as of `make_predict`."""
    refined = propagation.refine(mean, image, size, self.walk)
    return self.finish(refined, image, size, inputs)
