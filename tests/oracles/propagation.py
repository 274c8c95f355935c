"""Scores spread by a random walk, pixel by pixel and neighbour by neighbour."""

import itertools
import math

import numpy as np


def block_means(values, counted, stride):
  """Means over the counted pixels of every block of stride x stride.

  Args:
    values: [H, W, C].
    counted: [H, W] bool.
    stride: A divisor of H and W.

  Returns:
    means: [H / stride, W / stride, C] float64, 0 where no pixel counts.
    occupied: [H / stride, W / stride] bool, whether any does.
  """
  occupied = np.zeros([length // stride for length in counted.shape], bool)
  means = np.zeros([*occupied.shape, values.shape[-1]])
  for row, column in np.ndindex(occupied.shape):
    block = np.s_[row * stride:(row + 1) * stride,
                  column * stride:(column + 1) * stride]
    if counted[block].any():
      occupied[row, column] = True
      means[row, column] = values[block][counted[block]].mean(0)
  return means, occupied


def neighbours(valid, dilations):
  """Returns {valid cell: [its valid neighbours]}; cells are (row, column)."""
  cells = {(int(row), int(column)) for row, column in np.argwhere(valid)}
  steps = [(distance * down, distance * right)
           for distance in dilations
           for down in (-1, 0, 1) for right in (-1, 0, 1)
           if (down, right) != (0, 0)]
  return {(row, column): [(row + down, column + right) for down, right in steps
                          if (row + down, column + right) in cells]
          for row, column in cells}


def affinities(colour, valid, contrast, dilations):
  """Returns {cell: [(neighbour, its share of the cell's walk)]}."""
  near = neighbours(valid, dilations)
  difference = {(i, j): np.sum((colour[i] - colour[j]) ** 2)
                for i in near for j in near[i]}
  mean = max(1e-6, sum(difference.values()) / max(1, len(difference)))
  shares = {}
  for i in near:
    squared = np.array([difference[i, j] for j in near[i]])
    squared -= squared.min(initial=np.inf)  # Lest exp makes all of them 0.
    weights = np.exp(-squared / (2 * contrast ** 2 * mean))
    shares[i] = list(zip(near[i], weights / weights.sum(), strict=True))
  return shares


def magnify(scores, ratio):
  """Bilinear with half-pixel centres and clamped edges."""
  height, width, channels = scores.shape
  result = np.zeros([height * ratio, width * ratio, channels])
  for row, column in np.ndindex(result.shape[:2]):
    y = min(max((row + 0.5) / ratio - 0.5, 0), height - 1)
    x = min(max((column + 0.5) / ratio - 0.5, 0), width - 1)
    for i in {math.floor(y), math.ceil(y)}:
      for j in {math.floor(x), math.ceil(x)}:
        result[row, column] += (
            (1 - abs(y - i)) * (1 - abs(x - j)) * scores[i, j])
  return result


def step(scores, prior, shares, restart):
  """One step of the walk; cells that take no part become 0."""
  result = np.zeros_like(scores)
  for i, terms in shares.items():
    walk = sum((share * scores[j] for j, share in terms),
               np.zeros(scores.shape[-1]))
    result[i] = (1 - restart) * walk + restart * prior[i]
  return result


def refine(image, prior, seeds, *, strides, dilations, iterations, contrast,
           restart):
  """Spreads scores from the strokes and the prior over similar colours.

  Args:
    image: [H, W, 3] uint8.
    prior: [H, W, K] in [0, 1].
    seeds: [H, W] int, the channel a stroke holds at 1, -1 for no stroke.
    strides: Of the grids, from coarse to fine; the last is 1.
    dilations: Distances to the 8 neighbours, all of which count.
    iterations: Steps on each grid.
    contrast: Colour differences that matter, in terms of the usual one.
    restart: The prior's share of a step on the coarsest grid.

  Returns:
    [H, W, K] float64.
  """
  height, width, channels = prior.shape
  multiple = math.lcm(32, strides[0])
  padded = [height + -height % multiple, width + -width % multiple]
  pad = lambda values: np.pad(values, [
      (0, padded[0] - height), (0, padded[1] - width),
      *[(0, 0)] * (values.ndim - 2)])
  inside = pad(np.ones([height, width], bool))
  held = pad(seeds >= 0)
  one_hot = pad(np.equal.outer(seeds, np.arange(channels)).astype(np.float64))
  image, prior = pad(image.astype(np.float64)), pad(prior.astype(np.float64))

  scores, valid = block_means(prior, inside, strides[0])
  for previous, stride in itertools.pairwise([strides[0], *strides]):
    was_valid = magnify(np.float64(valid)[..., None], previous // stride)
    colour, valid = block_means(image, inside, stride)
    cell_prior, _ = block_means(prior, inside, stride)
    seed_value, is_seed = block_means(one_hot, held, stride)
    shares = affinities(colour, valid, contrast, dilations)
    scores = magnify(scores, previous // stride) / np.maximum(was_valid, 1e-6)
    for _ in range(iterations):
      scores[is_seed] = seed_value[is_seed]
      scores = step(scores, cell_prior, shares, restart * stride / strides[0])
    scores[is_seed] = seed_value[is_seed]
  return scores[:height, :width]
