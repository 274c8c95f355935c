"""Labels of one image: scores of each class, the best class, the label.

A pure function of arrays on the device, which processes one class at a time. It
is compiled for few shapes: `walk.padded` determines the sides, and all images
have as many places for classes as the data set.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.models.backbones import family
from scribble_jax.pseudo_labels import picture_features
from scribble_jax.pseudo_labels import propagation
from scribble_jax.pseudo_labels import scores
from scribble_jax.pseudo_labels.calibration import NUM_BINS

VARIANTS = ('raw', 'refined')


class Inputs(NamedTuple):
  """Inputs for the labels of an image, besides its pixels.

  Attributes:
    scribbles: [S, h, w] uint8, each used by itself; 255 without a stroke and
      beyond the image. The labels are made from the first one. A scribble
      without strokes is skipped.
    classes: [C] uint8, the image's classes: background, the others, then 0.
    count: [] int32, number of the image's classes.
    thresholds: [len(VARIANTS), C] float32, by class.
  """
  scribbles: np.ndarray
  classes: np.ndarray
  count: np.ndarray
  thresholds: np.ndarray


class LabelledImage(NamedTuple):
  """Labels and scores of an image.

  Attributes:
    labels: {variant: [h, w] uint8}, the pseudo-labels; 255 where undecided.
    found: {variant: (classes, bins)} for each of the scribbles, [h, w] uint8
      each: the best foreground class, 0 if all scores are 0, and its score as
      `calibration.ScoreHistogram.add` takes them.
    heat: [h, w] uint8, the best raw foreground score in units of 1/256.
  """
  labels: dict
  found: tuple
  heat: jax.Array


@dataclasses.dataclass(frozen=True)
class ImageLabeller:
  """Labels an image, as a `finish` for `inference.make_predict`.

  Attributes:
    walk: `propagation.Walk`.
    source: Name in `scores.SOURCES`.
    branch: As of `scores.make_network_scores`.
    undecided: As of `scores.label`.
    open_unnamed: Whether background is undecided where a class that is not
      the image's is the most probable.
    variants: The first one or all of VARIANTS, those to compute.
    backbone: `family.Backbone` if the source needs features.
  """
  walk: propagation.Walk
  source: str
  branch: str
  undecided: float
  open_unnamed: bool
  variants: tuple[str, ...] = VARIANTS
  backbone: family.Backbone | None = None

  def __call__(self, maps, image, size, inputs, variables=None,
               shared=None):
    """Returns the LabelledImage.

    Args:
      maps: [H, W, P], averaged `classification.class_maps`; None if the source
        needs no network.
      image: [H, W, 3] uint8 RGB.
      size: [2] int32, (height, width) of the image in pixels; pixels beyond are
        ignored.
      inputs: Inputs.
      variables: Variables of the backbone.
      shared: As of `picture_features.class_probabilities`.
    """
    sides = inputs.scribbles.shape[1:]
    inside = propagation.inside(size, sides)
    image = propagation.resized(image, sides).astype(jnp.float32)
    grids = propagation.make_grids(
        jnp.moveaxis(image, -1, 0), inside, self.walk)
    network, unnamed = lambda label: jnp.zeros(sides), False
    if maps is not None:
      maps = jnp.where(
          inside[..., None], propagation.resized(maps, sides), 0.0)
      network = scores.make_network_scores(maps, inputs.classes, self.branch)
      if self.open_unnamed:
        unnamed = scores.unnamed(maps, inputs.classes)
    features = None if self.backbone is None else (
        picture_features.cell_features(self.backbone, variables, image, inside))

    def of_scribble(scribble):
      """Returns the result of `_label`, all 255 without a stroke."""
      labels_of = lambda: self._label(
          grids, network if features is None else scores.make_feature_scores(
              features, scribble, inputs.classes, shared),
          unnamed, scribble, inputs)
      nothing = jax.tree.map(
          lambda x: jnp.full(x.shape, IGNORE_LABEL, x.dtype),
          jax.eval_shape(labels_of))
      return jax.lax.cond(
          jnp.any(scribble != IGNORE_LABEL), labels_of, lambda: nothing)

    results = jax.lax.map(of_scribble, inputs.scribbles)
    by_scribble = [jax.tree.map(lambda x, i=i: x[i], results)
                   for i in range(len(inputs.scribbles))]
    labels, _, heat = by_scribble[0]
    return LabelledImage(
        labels, tuple(found for _, found, _ in by_scribble), heat)

  def _label(self, grids, network, unnamed, scribble, inputs):
    """Returns labels, found and heat, as of LabelledImage, of one scribble."""
    best = self._best_by_variant(grids, network, scribble, inputs)
    labels, found = {}, {}
    stroke = scribble != IGNORE_LABEL
    for variant, thresholds, candidates in zip(
        self.variants, inputs.thresholds, best, strict=False):
      score = candidates.score()
      labels[variant] = scores.label(
          score, candidates.label, thresholds, scribble, self.undecided,
          unnamed)
      # A stroke keeps its class at any threshold.
      sure = jnp.where(stroke, jnp.float32(scribble > 0), score)
      found[variant] = (
          jnp.where(stroke, scribble,
                    jnp.where(score > 0, candidates.label, 0)),
          jnp.minimum(sure * NUM_BINS, NUM_BINS - 1).astype(jnp.uint8))
    heat = jnp.minimum(best[0].foreground * 256, 255).astype(jnp.uint8)
    return labels, found, heat

  def _best_by_variant(self, grids, network, scribble, inputs):
    """Returns `scores.Best` of each variant."""
    source = scores.SOURCES[self.source]
    refines = len(self.variants) > 1
    nothing, held = jnp.zeros(scribble.shape), scribble != IGNORE_LABEL

    # Of the walk of the strokes alone, and of the one that refines the scores.
    restarts = jnp.minimum(1.0, self.walk.restart * jnp.array(
        [1.0] * source.spreads_strokes + [source.trust] * refines))

    def add_class(number, best):
      """Returns each variant's Best with one more of the image's classes."""
      label = inputs.classes[number]
      of_network, stroke = network(label), scribble == label

      def walk(prior, restart):
        """Spreads strokes and prior; a scan compiles both walks once."""
        spread = propagation.spread(
            grids, prior, stroke, held, self.walk, restart)
        return (source.scores(spread, of_network, stroke, held),
                (prior, spread))

      raw, (priors, spreads) = jax.lax.scan(
          walk, nothing if source.spreads_strokes else source.scores(
              nothing, of_network, stroke, held), restarts)
      values = (priors[-1], spreads[-1]) if refines else (raw,)
      return tuple(candidates.with_class(number, label, x)
                   for candidates, x in zip(best, values, strict=True))

    # The loop's length is dynamic, so any number of classes compiles once.
    return jax.lax.fori_loop(
        0, inputs.count, add_class,
        (scores.no_class_yet(scribble.shape),) * len(self.variants))
