"""From scores to pseudo-labels: the threshold, the files, the figures."""

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
  """Returns how many of the images with foreground strokes have others too."""
  with_background = [bool(np.any(example['scribble'] == 0))
                     for example in examples
                     if len(scores.classes_of(example['scribble'])) > 1]
  return float(np.mean(with_background)) if with_background else 1.0


def calibrate(label_images, examples, labels, *, num_classes, seed, sample,
              background_share):
  """Chooses the thresholds and measures what they are worth.

  Args:
    label_images: From `network.make_labeller`.
    examples: Iterable, this process's share of the sample.
    labels: The config's `labels`, a dict.
    num_classes: C.
    seed: Of what is hidden.
    sample: [N], which records the sample is, in ascending order.
    background_share: From the function of this name.

  Returns:
    {'raw' and 'refined': {'thresholds': [C], 'hidden_strokes_miou' and
    'ground_truth_miou': with them, 'hidden_strokes_curve' and
    'ground_truth_curve': mIoU at each of `calibration.THRESHOLDS`}}, ready for
    JSON; None where there is nothing to compare with.
  """
  hidden_strokes, truth = (
      {variant: calibration.ScoreHistogram(num_classes) for variant in VARIANTS}
      for _ in range(2))
  # By place in the sample: damaged examples may be left out.
  requests = (_calibration_request(
      example, [seed, int(np.searchsorted(sample, example['record']))],
      background_share) for example in examples)
  for example, labelled in tqdm(
      label_images(requests, np.zeros([len(VARIANTS), num_classes])),
      desc='Calibrating', total=len(hosts.share(sample)), unit='image',
      dynamic_ncols=True):
    for target, found, histograms in zip(
        (example['ground_truth'], example['hidden']), labelled.found,
        (truth, hidden_strokes), strict=True):
      for variant, (classes, bins) in found.items():
        histograms[variant].add(target, classes, bins)
  for histogram in (*hidden_strokes.values(), *truth.values()):
    histogram.add_other_hosts()
  curve = lambda histogram: (
      None if histogram.empty else histogram.miou().tolist())
  found = {}
  for variant in VARIANTS:
    thresholds = _thresholds(hidden_strokes[variant], labels, num_classes)
    found[variant] = {
        'thresholds': thresholds.tolist(),
        'hidden_strokes_curve': curve(hidden_strokes[variant]),
        'ground_truth_curve': curve(truth[variant]),
        'hidden_strokes_miou': _miou(hidden_strokes[variant], thresholds),
        'ground_truth_miou': _miou(truth[variant], thresholds)}
  return found


def _calibration_request(example, seed, background_share):
  """Returns the request of an example, with 'hidden' strokes.

  The scribbles are the whole one, to be compared with the ground truth, and the
  shown part, to be compared with the hidden one. Where there is nothing to
  compare with, no label, or nothing to tell apart, neither is asked about nor
  compared.
  """
  shown, hidden = calibration.hide_strokes(
      np.random.default_rng(seed), example['scribble'], background_share)
  pairs = []
  for scribble, target, useless in (
      (example['scribble'], example['ground_truth'], False),
      (shown, hidden, len(scores.classes_of(example['scribble'])) == 1)):
    if useless or np.all(target == IGNORE_LABEL):
      scribble = np.full_like(scribble, IGNORE_LABEL)
    if np.all(scribble == IGNORE_LABEL):
      target = scribble
    pairs.append((scribble, target))
  scribbles, (truth, hidden) = zip(*pairs, strict=True)
  return example | {'ground_truth': truth, 'hidden': hidden}, scribbles


def _miou(histogram, thresholds):
  return None if histogram.empty else metrics.mean_iou(
      histogram.confusion(thresholds))


def _thresholds(histogram, labels, num_classes):
  if labels['calibration'] == 'none':
    return np.full(num_classes, labels['threshold'])
  return calibration.choose_thresholds(
      histogram, per_class=labels['calibration'] == 'per_class',
      fallback=labels['threshold'])


def thresholds_of(calibration):
  """Returns [len(VARIANTS), C]."""
  return np.array([calibration[variant]['thresholds'] for variant in VARIANTS])


def figures(curves):
  """Returns what the thresholds of a variant are worth, ready for JSON.

  Args:
    curves: `calibrate`'s entry of the variant.

  Returns:
    'thresholds' of the foreground classes; the sample's mIoU with them:
    'hidden_strokes_miou' on hidden strokes and 'miou' on the ground truth;
    'best_miou', the highest that one threshold for all classes reaches there,
    and that 'best_threshold'. None where there is nothing to compare with.
  """
  thresholds, curve = curves['thresholds'], curves['ground_truth_curve']
  best = None if curve is None else int(np.argmax(curve))
  return {
      'thresholds': thresholds[1:],
      'hidden_strokes_miou': curves['hidden_strokes_miou'],
      'miou': curves['ground_truth_miou'],
      'best_miou': None if best is None else curve[best],
      'best_threshold': (None if best is None
                         else float(calibration.THRESHOLDS[best]))}


def label_requests(examples):
  """Yields requests for `network.make_labeller` about the labels alone.

  An image without a stroke stays unlabelled: nothing tells its classes.
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
  """Looks at the pseudo-labels on disk, and compares them with ground truth.

  Args:
    examples: Iterable of dicts with 'id' and 'ground_truth'.
    folder: Of the pseudo-labels.
    class_names: Background first.

  Returns:
    'num_unlabelled', of images without a labelled pixel. 'ground_truth': as of
    `results.summary` over the decided pixels, with 'decided', their share,
    'precision' and 'recall' by class name; None if no image has a ground truth.
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
  """Returns what to call the strokes that thresholds are chosen by.

  Args:
    hidden_from_network: Whether what scores the classes has not learned them.
      A segmentation branch and the regression on all pictures learn all
      strokes. Hidden ones then show how well strokes are spread, not how well
      labels do where there is no stroke.
  """
  return ('hidden strokes' if hidden_from_network
          else 'strokes hidden from the walk alone')


def report(summary):
  """Returns a summary as text, figures in per cent."""
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
