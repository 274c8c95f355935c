"""Checks the label images of a data set as a whole.

Counts are collected for each image while it is read for another purpose. Their
sum shows errors that no single file can show: another convention for unlabelled
pixels, a class that never occurs, and so on.
"""

import dataclasses

from absl import logging
import numpy as np

from scribble_jax.files.images import Remark
from scribble_jax.files.images import summaries
from scribble_jax.labels import IGNORE_LABEL

_DENSE = 0.9  # Strokes cover about 3 % of an image; dense masks exceed this.
_SHOWN_IDS = 5
_IMAGES = 'images'  # Beside `labels.KINDS`, the kind of the images themselves.
_SPLIT = {'train': 'training', 'val': 'val'}
_WHAT = {'scribbles': 'scribble', 'pseudo_labels': 'pseudo-label',
         'ground_truth': 'ground truth'}


@dataclasses.dataclass
class LabelCounts:
  """Counts over label images of one kind, of one image or many.

  Attributes:
    images: Number of label images.
    labels: Set of the classes, and IGNORE_LABEL, that occur.
    covered: Sum over the images of the share of pixels with a class.
    num_blank: Number of images without any pixel with a class.
    blank_ids: Ids of the first of those.
    colours: {value: {(red, green, blue): id}} of palettes, with the first two
      different colours of each value.
    remarks: `images.Remark`s, for the kind _IMAGES.
  """
  images: int = 0
  labels: set[int] = dataclasses.field(default_factory=set)
  covered: float = 0.0
  num_blank: int = 0
  blank_ids: list[str] = dataclasses.field(default_factory=list)
  colours: dict[int, dict[tuple[int, int, int], str]] = dataclasses.field(
      default_factory=dict)
  remarks: list[Remark] = dataclasses.field(default_factory=list)

  def add(self, other):
    """Adds the counts of other images, which follow in the list."""
    self.images += other.images
    self.labels |= other.labels
    self.covered += other.covered
    self.num_blank += other.num_blank
    self.remarks += other.remarks
    self.blank_ids += other.blank_ids[:_SHOWN_IDS - len(self.blank_ids)]
    for value, colours in other.colours.items():
      known = self.colours.setdefault(value, {})
      for colour, name in colours.items():
        if len(known) < 2:
          known.setdefault(colour, name)


def count(name, maps):
  """Returns {kind: LabelCounts} of one image.

  Args:
    name: Id of the image.
    maps: `loading.Maps`.
  """
  seen = {_IMAGES: LabelCounts(remarks=[*maps.remarks])}
  for kind, values in (
      ('scribbles', maps.scribble), ('pseudo_labels', maps.pseudo_label),
      (maps.truth_kind, maps.ground_truth)):
    if values is not None:
      counts = np.bincount(values.ravel(), minlength=256)
      labelled = values.size - int(counts[IGNORE_LABEL])
      seen[kind] = LabelCounts(
          1, set(np.flatnonzero(counts).tolist()), labelled / values.size,
          int(not labelled), [] if labelled else [name],
          {value: {colour: name}
           for value, colour in maps.colours.get(kind, {}).items()})
  return seen


def add(total, seen):
  """Adds {kind: LabelCounts} to a total, in the order of the list."""
  for kind, one in seen.items():
    total.setdefault(kind, LabelCounts()).add(one)


def find_problems(splits, class_names):
  """Returns the problems of a data set, and warnings about it.

  Args:
    splits: {'train' or 'val': {kind: LabelCounts}}.
    class_names: Background first.

  Returns:
    problems: List of lines that say what to do.
    warnings: Likewise.
  """
  problems, warnings = [], summaries(
      remark for kinds in splits.values() if _IMAGES in kinds
      for remark in kinds[_IMAGES].remarks)
  for split, kinds in splits.items():
    for kind, seen in kinds.items():
      if kind == _IMAGES:
        continue
      (problems if kind == 'scribbles' else warnings).extend(
          _colours(split, kind, seen))
      wrong = _nothing_to_learn(split, kind, seen, class_names)
      if (split, kind) == ('train', 'ground_truth'):  # Only for reports.
        warnings += wrong if seen.num_blank < seen.images else []
      elif wrong:
        problems += wrong
      else:
        warnings += _incomplete(split, kind, seen, class_names)
  return problems, warnings


def _nothing_to_learn(split, kind, seen, class_names):
  """Returns a list of a line if no image has a class except background."""
  line = (f'--config.data.{kind}: the {_WHAT[kind]} of all {seen.images} '
          f'{_SPLIT[split]} images ')
  others = ('name other files or none' if kind == 'pseudo_labels'
            else 'name other files')
  remedy = (f'{others.capitalize()}, or define what their values mean with '
            f'--config.data.label_map={kind}=VALUE:CLASS,...')
  if seen.num_blank == seen.images:
    return [f'{line}is unlabelled (255) everywhere. {remedy}']
  if seen.labels - {0, IGNORE_LABEL}:
    return []
  line += f'has no class but {class_names[0]} (0)'
  if IGNORE_LABEL not in seen.labels:
    return [f'{line}. {remedy}']
  zero = IGNORE_LABEL if kind == 'scribbles' else 0
  return [f'{line} beside unlabelled pixels (255). If 255 stands for '
          f'{class_names[1]}, set '
          f'--config.data.label_map={kind}=0:{zero},255:1; else {others}']


def _incomplete(split, kind, seen, class_names):
  """Returns lines about labels that are valid but probably unintended."""
  lines, what, place = [], _WHAT[kind], f'--config.data.{kind}: '
  if kind == 'scribbles' and seen.covered / seen.images > _DENSE:
    lines.append(
        f'{place}strokes cover {100 * seen.covered / seen.images:.1f} % of the '
        'pixels on average. If 0 means unlabelled in them, set '
        '--config.data.unlabelled_index=scribbles=0; if they are dense masks, '
        'this is full supervision')
  if kind == 'ground_truth' and len(seen.labels - {IGNORE_LABEL}) == 1:
    lines.append(
        f'{place}the ground truth of all {seen.images} {_SPLIT[split]} images '
        'has a single class, so a network that predicts nothing else has an '
        'mIoU of 100. If 0 is a class there, set '
        '--config.data.unlabelled_index=scribbles=0, which applies to strokes '
        'only')
  absent = [name for label, name in enumerate(class_names)
            if label not in seen.labels]
  if absent:
    are = 'class {} is' if len(absent) == 1 else 'classes {} are'
    lines.append(
        f'{place}the {are.format(", ".join(absent))} in no {what} of a '
        f'{_SPLIT[split]} image. Compare the order of the class list with the '
        'indices in the files')
  if seen.num_blank:
    ids = ', '.join(seen.blank_ids)
    more = ', ...' if seen.num_blank > len(seen.blank_ids) else ''
    lines.append(
        f'{place}{seen.num_blank} {_SPLIT[split]} images have an empty {what} '
        f'({ids}{more}), of {seen.images}. Label them or take them off the '
        'list')
  return lines


def _colours(split, kind, seen):
  """Returns a line for each value that has several colours."""
  lines, text = [], lambda colour: f'({", ".join(map(str, colour))})'
  for value, colours in sorted(seen.colours.items()):
    if len(colours) > 1:
      (one, first), (other, second) = colours.items()
      lines.append(
          f'--config.data.{kind}: in the palettes of the {_SPLIT[split]} '
          f'images, index {value} is {text(one)} in {first} and '
          f'{text(other)} in {second}: perhaps two classes. Let an index '
          'mean one class in all files; if it does, save them with one palette '
          'or in grey')
  return lines


def log_warnings(warnings):
  """Logs the warnings of `find_problems`."""
  for line in warnings:
    logging.warning('%s.', line)
