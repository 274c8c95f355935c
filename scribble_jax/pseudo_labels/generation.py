"""All of stage 1: from scribbles to pseudo-labels on disk (METHOD 1)."""

import contextlib

from absl import logging
import jax
import numpy as np
from tqdm import tqdm

from scribble_jax import config_check
from scribble_jax import hosts
from scribble_jax import panels
from scribble_jax import switches
from scribble_jax.data import dense_sets
from scribble_jax.data import input_pipeline
from scribble_jax.data import record_folders
from scribble_jax.data import records
from scribble_jax.files import atomic
from scribble_jax.files import formats
from scribble_jax.files import storage
from scribble_jax.files import write_errors
from scribble_jax.pseudo_labels import config_rules
from scribble_jax.pseudo_labels import label_quality
from scribble_jax.pseudo_labels import network
from scribble_jax.pseudo_labels import plots
from scribble_jax.pseudo_labels import settings
from scribble_jax.pseudo_labels.image_labeller import VARIANTS
from scribble_jax.training import loop


def prepare(config):
  """Returns the Stage1 of stage 2's config, after making its records.

  Args:
    config: ConfigDict as in configs/scribblesup.py.

  Raises:
    UserError: A value or a file is wrong.
  """
  return _prepare(config_rules.stage1_config(config), 'config.stage1.')


def _prepare(config, section):
  """`prepare` for stage 1's own config; `section` as in `config_rules`."""
  config_rules.check(config, jax.device_count(), section)
  dense_sets.prepare(config.data)
  dataset = records.prepare(config.data, False, splits=('train',))
  return settings.Stage1(
      config_check.with_classes(config, dataset.class_names), dataset)


def with_pseudo_labels(config, stage1):
  """Makes the pseudo-labels for stage 2's config, as far as missing.

  Args:
    config: ConfigDict as in configs/scribblesup.py.
    stage1: From `prepare`.

  Returns:
    The config with their folder as `data.pseudo_labels`.

  Raises:
    UserError: A value or a file is wrong.
    Stopped: A signal stopped the training.
  """
  labels, pseudo_ignore = stage1.config.labels, config.method.pseudo_ignore
  if switches.is_official(pseudo_ignore) and (
      labels.undecided or labels.unnamed != 'background'):
    logging.warning(
        'Pixels that config.stage1.labels leaves undecided will be trained as '
        'background: --config.method.pseudo_ignore=corrected ignores them.')
  folder = settings.place(config, stage1)
  workdir = storage.path(config.data.root, folder)
  summary = _generate_at(workdir, stage1)
  if summary['num_unlabelled'] and switches.is_official(pseudo_ignore):
    logging.warning(
        '%d images without a stroke have empty pseudo-labels, which will be '
        'trained as background: --config.method.pseudo_ignore=corrected '
        'ignores them.', summary['num_unlabelled'])
  if hosts.is_first():
    truth = summary['ground_truth']
    print(f'Pseudo-labels of stage 1 are in {workdir}'
          + (f'; their mIoU is {100 * truth["miou"]:.2f}.' if truth else '.'))
  return settings.with_generated(config, folder)


def generate(config, workdir, other_data=False):
  """Trains the classifier and writes the pseudo-labels, as far as missing.

  Args:
    config: ConfigDict as in configs/pseudo_labels.py.
    workdir: Folder for the classifier's run, `pseudo_labels/ID.png`,
      summary.json and plots.
    other_data: Whether a run that learned from other data may be resumed.

  Returns:
    The summary, a dict.

  Raises:
    UserError: A value or a file is wrong.
    Stopped: A signal stopped the training.
  """
  stage1 = _prepare(config, 'config.')
  if hosts.is_first():
    folder = stage1.dataset.folder
    record_folders.warn_of_several(folder.parent, [folder])
  return _generate_at(workdir, stage1, other_data)


def _generate_at(workdir, stage1, other_data=False):
  """`generate` for a Stage1."""
  config, dataset = stage1.config, stage1.dataset
  workdir = loop.open_workdir(workdir)
  with (write_errors.named(workdir),
        atomic.only_one_process(workdir / settings.FOLDER) if hosts.is_first()
        else contextlib.nullcontext()):
    wanted = stage1.settings()
    if not hosts.gather(settings.is_finished(workdir, wanted))[0]:
      with hosts.together():
        if hosts.is_first():
          settings.start_folder(workdir, wanted, other_data)
      label_images = network.make_labeller(config, workdir, dataset)
      _make(config, workdir, dataset, label_images)
    return formats.read_json(workdir / settings.SUMMARY)


def _make(config, workdir, dataset, label_images):
  """Chooses thresholds, writes the labels, the summary and the plots."""
  folder = workdir / settings.FOLDER
  calibration = hosts.gather(
      formats.read_json(workdir / settings.CALIBRATION))[0]
  if calibration is None:
    calibration = _calibrate(config, dataset, label_images)
    if hosts.is_first():
      formats.write_json(workdir / settings.CALIBRATION, calibration)
  _write_labels(config, dataset, label_images, calibration, folder)
  hosts.wait_for_all()  # The summary reads the labels of all hosts.
  if hosts.is_first():
    rows = [_panel_row(*result) for result in label_images(
        label_quality.label_requests(
            _examples(dataset, limit=config.num_panels)),
        label_quality.thresholds_of(calibration))]
    plots.write_curve(
        workdir / 'thresholds.png', calibration, _final(config),
        label_quality.hidden_strokes_name(not network.learns_strokes(config)))
    formats.write_png(workdir / 'panels.png',
                      panels.draw_panels(rows, dataset.class_names))
    formats.write_json(workdir / settings.SUMMARY,
                       _summary(config, dataset, calibration, folder))
  hosts.wait_for_all()  # All hosts read the summary.


def _final(config):
  """Returns which of VARIANTS is written as pseudo-labels."""
  return 'refined' if config.labels.refine else 'raw'


def _examples(dataset, **which):
  return input_pipeline.whole_examples(dataset, 'train', **which)


def _calibrate(config, dataset, label_images):
  """Returns `label_quality.calibrate` of a sample of the images."""
  total = dataset.num_examples('train')
  count = min(config.labels.calibration_images, total)
  sample = np.sort(
      np.random.default_rng(config.seed).permutation(total)[:count])
  chosen = np.isin(np.arange(total), sample)
  calibration = label_quality.calibrate(
      label_images, _examples(dataset, chosen=chosen, shared=True),
      config.labels.to_dict(), num_classes=config.model.num_classes,
      seed=config.seed, sample=sample,
      background_share=label_quality.background_share(
          _examples(dataset, chosen=chosen)))
  return calibration | {'num_images': count}


def _write_labels(config, dataset, label_images, calibration, folder):
  """Writes the missing pseudo-labels of this host's share of the images."""
  done = settings.written(folder)
  progress = tqdm(
      _examples(dataset, shared=True), desc='Writing pseudo-labels',
      total=len(hosts.share(range(dataset.num_examples('train')))),
      unit='image', dynamic_ncols=True)
  missing = (example for example in progress if example['id'] not in done)
  final = _final(config)
  for example, labelled in label_images(
      label_quality.label_requests(missing),
      label_quality.thresholds_of(calibration),
      VARIANTS[:VARIANTS.index(final) + 1]):
    label_quality.write_label(folder, example['id'], labelled.labels[final])


def _panel_row(example, labelled):
  """Returns the pictures of one example for `panels.draw_panels`."""
  return {'image': example['image'], 'scribble': example['scribble'],
          'heat_map': plots.heat_map(example['image'], labelled.heat),
          'raw_pseudo_label': labelled.labels['raw'],
          'pseudo_label': labelled.labels['refined'],
          'ground_truth': example['ground_truth']}


def _summary(config, dataset, calibration, folder):
  """Returns the summary of the pseudo-labels, ready for JSON."""
  return {
      'num_images': dataset.num_examples('train'),
      'calibration_images': calibration['num_images'],
      'labels': _final(config),
      'hidden_from_network': not network.learns_strokes(config),
      **{variant: label_quality.figures(calibration[variant])
         for variant in VARIANTS},
      **label_quality.examine(_examples(dataset), folder, dataset.class_names)}
