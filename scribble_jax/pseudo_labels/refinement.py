"""Refinement of predictions by the random walk of stage 1."""

from collections.abc import Callable
import dataclasses
import itertools

from scribble_jax import config_check
from scribble_jax import inference
from scribble_jax.pseudo_labels import propagation


def add_rules(rules, refinement, section):
  """Adds the rules for a config's `refinement`.

  Args:
    rules: `config_check.Rules`.
    refinement: ConfigDict.
    section: Its key in the config.
  """
  strides = refinement.strides
  rules.require(
      strides and strides[-1] == 1 and all(
          small >= 1 and large % small == 0 and large > small
          for large, small in itertools.pairwise(strides)),
      f'{section}.strides', strides,
      'pixels from coarse to fine, each dividing the one before, the last 1')
  rules.require(refinement.dilations and min(refinement.dilations) >= 1,
                f'{section}.dilations', refinement.dilations,
                'one or more distances of at least 1 pixel')
  rules.require(refinement.iterations >= 1, f'{section}.iterations',
                refinement.iterations, 'at least 1')
  rules.require(refinement.contrast > 0, f'{section}.contrast',
                refinement.contrast, 'above 0')
  rules.require(0 <= refinement.restart <= 1, f'{section}.restart',
                refinement.restart, 'from 0 to 1')


def check(config):
  """Raises UserError for invalid values of `evaluation.refine`.

  Args:
    config: ConfigDict as in configs/scribblesup.py.
  """
  rules = config_check.Rules()
  rules.require(0 <= config.evaluation.refine <= 1, 'evaluation.refine',
                config.evaluation.refine, 'from 0 (off) to 1')
  if config.evaluation.refine:
    add_rules(rules, config.stage1.refinement, 'stage1.refinement')
  rules.enforce()


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
