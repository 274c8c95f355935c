"""What one image comes to: scores by class, the best class, the label.

A pure function of arrays on the device, which works on a class at a time. Few
shapes of arrays are compiled: `walk.padded` decides them, and all images have
as many places for classes as the data set has.
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
  """What an image is labelled from besides its pixels.

  Attributes:
    scribbles: [S, h, w] uint8, each used by itself, 255 where there is no
      stroke and beyond the image. The first one makes the labels. One without
      any stroke is skipped.
    classes: [C] uint8, the image's classes: background, the others, then 0.
    count: [] int32, how many they are.
    thresholds: [len(VARIANTS), C] float32, by class.
  """
  scribbles: np.ndarray
  classes: np.ndarray
  count: np.ndarray
  thresholds: np.ndarray


class LabelledImage(NamedTuple):
  """What an image comes to.

  Attributes:
    labels: {variant: [h, w] uint8}, the pseudo-label; 255 where undecided.
    found: For each of the scribbles {variant: (classes, bins)}, [h, w] uint8:
      the best foreground class and how sure it is, as
      `calibration.ScoreHistogram` counts them; class 0 where nothing speaks for
      any.
    heat: [h, w] uint8, the best raw foreground score in units of 1/256.
  """
  labels: dict
  found: tuple
  heat: jax.Array


@dataclasses.dataclass(frozen=True)
class ImageLabeller:
  """Labels an image, as `finish` of `inference.make_predict`.

  Attributes:
    walk: `propagation.Walk`.
    source: Of `scores.SOURCES`.
    branch: As of `scores.make_network_scores`.
    undecided: As of `scores.label`.
    open_unnamed: Whether the label is undecided where another class than the
      image's is the likeliest.
    variants: Which of VARIANTS are wanted, from the first one on.
    backbone: `family.Backbone`, where the source needs features.
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
      maps: [H, W, P], means of `classification.class_maps`; None if the source
        needs no network.
      image: [H, W, 3] uint8 RGB.
      size: [2] int32, (height, width) of the image in pixels; whatever lies
        beyond takes no part.
      inputs: Inputs.
      variables: The backbone's own.
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
    network_with = lambda scribble: network
    if self.backbone is not None:
      network_with = scores.make_feature_scores(
          picture_features.cell_features(
              self.backbone, variables, image, inside),
          inputs.classes, shared)

    def of_scribble(scribble):
      """Returns `_label`, or 255 everywhere without any stroke."""
      labels_of = lambda: self._label(
          grids, network_with(scribble), unnamed, scribble, inputs)
      nothing = jax.tree.map(
          lambda x: jnp.full(x.shape, IGNORE_LABEL, x.dtype),
          jax.eval_shape(labels_of))
      return jax.lax.cond(
          jnp.any(scribble != IGNORE_LABEL), labels_of, lambda: nothing)

    results = jax.lax.map(of_scribble, inputs.scribbles)
    labels, _, heat = jax.tree.map(lambda x: x[0], results)
    return LabelledImage(labels, tuple(
        jax.tree.map(lambda x, i=i: x[i], results[1])
        for i in range(len(inputs.scribbles))), heat)

  def _label(self, grids, network, unnamed, scribble, inputs):
    """Returns the labels, what is found and the heat with one scribble."""
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

    # Of the walks of the strokes alone, and from the scores.
    restarts = jnp.minimum(1.0, self.walk.restart * jnp.array(
        [1.0] * source.spreads_strokes + [source.trust] * refines))

    def add_class(number, best):
      """Returns each variant's Best with one more of the image's classes."""
      label = inputs.classes[number]
      of_network, stroke = network(label), scribble == label

      def walk(prior, restart):
        """Spreads strokes and prior, twice at most in one compiled loop."""
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

    # A loop of any length, so that the number of classes compiles nothing.
    return jax.lax.fori_loop(
        0, inputs.count, add_class,
        (scores.no_class_yet(scribble.shape),) * len(self.variants))
