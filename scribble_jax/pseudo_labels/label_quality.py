"""Thresholds of pseudo-labels, their files, and their measured quality."""

import numpy as np
from tqdm import tqdm

from scribble_jax import hosts
from scribble_jax import metrics
from scribble_jax import results
from scribble_jax.files import atomic
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.pseudo_labels import calibration
from scribble_jax.pseudo_labels import scores
from scribble_jax.pseudo_labels.image_labeller import VARIANTS
from scribble_jax.tables import Table
from scribble_jax.tables import per_cent


def background_share(examples):
  """Returns the share of images with background strokes.

  Args:
    examples: Iterable of dicts with 'scribble'; images without foreground
      strokes are not counted.
  """
  with_background = [bool(np.any(example['scribble'] == 0))
                     for example in examples
                     if len(scores.classes_of(example['scribble'])) > 1]
  return float(np.mean(with_background)) if with_background else 1.0


def calibrate(label_images, examples, labels, *, num_classes, seed, sample,
              background_share):
  """Chooses the thresholds and measures the labels that they give.

  Args:
    label_images: From `network.make_labeller`.
    examples: Iterable, this process's share of the sample.
    labels: The config's `labels`, a dict.
    num_classes: C.
    seed: Seed for hiding strokes.
    sample: [N] indices of the records of the sample, in ascending order.
    background_share: From the function of this name.

  Returns:
    {'raw' and 'refined': {'thresholds': [C], 'hidden_strokes_miou' and
    'ground_truth_miou': with these thresholds, 'hidden_strokes_curve' and
    'ground_truth_curve': mIoU at each of `calibration.THRESHOLDS`}}, ready for
    JSON; None without labels to compare with.
  """
  targets = ('ground_truth', 'hidden_strokes')
  histograms = {
      (target, variant): calibration.ScoreHistogram(num_classes)
      for target in targets for variant in VARIANTS}
  # The seed is the place in the sample: damaged examples may be left out.
  requests = (_calibration_request(
      example, [seed, int(np.searchsorted(sample, example['record']))],
      background_share) for example in examples)
  for example, labelled in tqdm(
      label_images(requests, np.zeros([len(VARIANTS), num_classes])),
      desc='Calibrating', total=len(hosts.share(sample)), unit='image',
      dynamic_ncols=True):
    for target, found in zip(targets, labelled.found, strict=True):
      for variant, (classes, bins) in found.items():
        histograms[target, variant].add(example[target], classes, bins)
  for histogram in histograms.values():
    histogram.add_other_hosts()
  found = {}
  for variant in VARIANTS:
    thresholds = np.full(num_classes, labels['threshold'])
    if labels['calibration'] != 'none':
      thresholds = calibration.choose_thresholds(
          histograms['hidden_strokes', variant],
          per_class=labels['calibration'] == 'per_class',
          fallback=labels['threshold'])
    found[variant] = {'thresholds': thresholds.tolist()}
    for target in targets:
      histogram = histograms[target, variant]
      found[variant] |= {
          f'{target}_curve': (
              None if histogram.empty else histogram.miou().tolist()),
          f'{target}_miou': None if histogram.empty else metrics.mean_iou(
              histogram.confusion(thresholds))}
  return found


def _calibration_request(example, seed, background_share):
  """Returns a request with two scribbles to label from.

  The labels from the whole scribble are compared with 'ground_truth', those
  from its shown part with 'hidden_strokes'. A scribble and its target are both
  blank if one of them is, or if the image has no class to tell from the
  background.
  """
  scribble = example['scribble']
  shown, hidden = calibration.hide_strokes(
      np.random.default_rng(seed), scribble, background_share)
  blank = np.full_like(scribble, IGNORE_LABEL)
  if len(scores.classes_of(scribble)) == 1:
    hidden = blank
  (scribble, truth), (shown, hidden) = (
      (blank, blank) if any(np.all(x == IGNORE_LABEL) for x in pair) else pair
      for pair in ((scribble, example['ground_truth']), (shown, hidden)))
  return example | {'ground_truth': truth, 'hidden_strokes': hidden}, (
      scribble, shown)


def thresholds_of(calibration):
  """Returns the thresholds of `calibrate`, [len(VARIANTS), C]."""
  return np.array([calibration[variant]['thresholds'] for variant in VARIANTS])


def figures(curves):
  """Returns the measured quality of a variant, ready for JSON.

  Args:
    curves: `calibrate`'s entry of the variant.

  Returns:
    'thresholds' of the foreground classes; mIoU of the sample with them,
    'hidden_strokes_miou' on hidden strokes and 'miou' on the ground truth;
    'best_miou', the highest on the ground truth with one threshold for all
    classes, and that 'best_threshold'. None without labels to compare with.
  """
  curve = curves['ground_truth_curve']
  best = None if curve is None else int(np.argmax(curve))
  return {
      'thresholds': curves['thresholds'][1:],
      'hidden_strokes_miou': curves['hidden_strokes_miou'],
      'miou': curves['ground_truth_miou'],
      'best_miou': None if best is None else curve[best],
      'best_threshold': (None if best is None
                         else float(calibration.THRESHOLDS[best]))}


def label_requests(examples):
  """Yields requests for `network.make_labeller` that use the whole scribble.

  An image without a stroke stays unlabelled, because its classes are unknown.
  """
  for example in examples:
    scribble = example['scribble']
    yield example, (scribble, np.full_like(scribble, IGNORE_LABEL))


def write_label(folder, name, pseudo_label):
  """Writes NAME.png, whole or not at all."""
  path = listings.new_file(folder, name)
  with atomic.whole_file(path) as partial:
    masks.write_mask(partial, pseudo_label)


def examine(examples, folder, class_names):
  """Compares the pseudo-labels on disk with the ground truth.

  Args:
    examples: Iterable of dicts with 'id' and 'ground_truth'.
    folder: Folder of the pseudo-labels.
    class_names: Background first.

  Returns:
    'num_unlabelled', the number of images without a labelled pixel.
    'ground_truth': `results.summary` over the decided pixels, with 'decided',
    their share, and 'precision' and 'recall' by class name; None if no image
    has a ground truth.
  """
  confusion, num_labelled, num_unlabelled = 0, 0, 0
  for example in examples:
    truth = example['ground_truth']
    labels = masks.read_mask(folder / f'{example["id"]}.png', np.inf)
    decided = labels != IGNORE_LABEL
    num_unlabelled += not decided.any()
    num_labelled += np.sum(truth != IGNORE_LABEL)
    confusion += metrics.confusion_matrix(
        truth[decided], labels[decided], len(class_names))
  return {'num_unlabelled': int(num_unlabelled),
          'ground_truth': _quality(confusion, num_labelled, class_names)}


def _quality(confusion, num_labelled, class_names):
  if not np.any(confusion):
    return None
  precision, recall = metrics.precision_and_recall(confusion)
  return results.summary(class_names, confusion) | {
      'decided': float(confusion.sum() / num_labelled),
      'precision': results.by_class(class_names, precision),
      'recall': results.by_class(class_names, recall)}


def hidden_strokes_name(hidden_from_network):
  """Returns the name of the strokes that thresholds are chosen by.

  Args:
    hidden_from_network: Whether the source of the scores has not learned these
      strokes. A segmentation branch and the regression on all pictures learn
      all strokes. Hidden strokes then measure how well strokes are spread, not
      how good labels are where there is no stroke.
  """
  return ('hidden strokes' if hidden_from_network
          else 'strokes hidden from the walk alone')


def report(summary):
  """Returns a summary as text, with figures in per cent."""
  lines, truth = [], summary['ground_truth']
  if summary['num_unlabelled']:
    lines.append(f'{summary["num_unlabelled"]} of {summary["num_images"]} '
                 'pseudo-labels are empty (255): those images have no stroke.')
  if truth:
    lines.append(Table(('class', 'IoU (%)', 'precision', 'recall'), (
        *((name, *(per_cent(truth[figure][name])
                   for figure in ('iou', 'precision', 'recall')))
          for name in truth['iou']),
        ('mIoU', per_cent(truth['miou']), '', ''))).text())
    if truth['decided'] < 1:
      lines.append(f'{100 * truth["decided"]:.2f} % of the pixels are decided; '
                   'the figures are theirs.')
  for variant in VARIANTS:
    found = summary[variant]
    low, high = min(found['thresholds']), max(found['thresholds'])
    line = f'{variant}: threshold {low:.2f}' + (
        f' to {high:.2f}' if high > low else '')
    if found['hidden_strokes_miou'] is not None:
      line += (f', mIoU {100 * found["hidden_strokes_miou"]:.2f} on '
               f'{hidden_strokes_name(summary["hidden_from_network"])}')
    if found['miou'] is not None:
      line += (f', {100 * found["miou"]:.2f} on the ground truth of '
               f'{summary["calibration_images"]} images (at best '
               f'{100 * found["best_miou"]:.2f}, with '
               f'{found["best_threshold"]:.2f})')
    lines.append(line)
  return '\n'.join(lines)
