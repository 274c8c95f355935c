"""Stage 1 as a whole: from scribbles to pseudo-labels on disk (METHOD 1)."""

import contextlib
import hashlib
import json

from absl import logging
import jax
import numpy as np
from tqdm import tqdm

from scribble_jax import config_check
from scribble_jax import hosts
from scribble_jax import labels
from scribble_jax import panels
from scribble_jax import switches
from scribble_jax.data import embedded
from scribble_jax.data import input_pipeline
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.files import formats
from scribble_jax.files import listings
from scribble_jax.files import storage
from scribble_jax.files import write_errors
from scribble_jax.pseudo_labels import config_rules
from scribble_jax.pseudo_labels import labelling
from scribble_jax.pseudo_labels import network
from scribble_jax.pseudo_labels import pictures
from scribble_jax.training import loop

FOLDER = 'pseudo_labels'  # Below the workdir.
_CALIBRATION, _SETTINGS, _SUMMARY = (
    'calibration.json', 'settings.json', 'summary.json')
# Counts the changes of what is made of the same settings; another one makes
# pseudo-labels anew.
_VERSION = 2


def with_pseudo_labels(config):
  """Makes the pseudo-labels that stage 2's config wants generated.

  Args:
    config: ConfigDict as in configs/scribblesup.py.

  Returns:
    The config with `data.pseudo_labels` naming their folder, one for each
    variety of settings and data.

  Raises:
    UserError: Whatever a user can mend.
    Stopped: By a signal, in the training.
  """
  stage1, source = _prepare(
      config_rules.stage1_config(config), 'config.stage1.')
  _warn_of_open_pixels(stage1.labels, config.method.pseudo_ignore)
  settings = json.dumps(_settings(stage1, source), sort_keys=True)
  name = hashlib.sha256(settings.encode()).hexdigest()[:8]
  folder = storage.path(config.data.stage1, name)
  workdir = storage.path(config.data.root, folder)
  summary = _generate_at(workdir, stage1, source)
  if summary['num_unlabelled'] and config.method.pseudo_ignore == 'official':
    logging.warning(
        '%d images without a stroke have empty pseudo-labels, which will be '
        'trained as background: --config.method.pseudo_ignore=corrected '
        'ignores them.', summary['num_unlabelled'])
  if hosts.is_first():
    truth = summary['ground_truth']
    print(f'Pseudo-labels of stage 1 are in {workdir}'
          + (f'; their mIoU is {100 * truth["miou"]:.2f}.' if truth else '.'))
  config = config.copy_and_resolve_references()
  config.data.pseudo_labels = str(folder / FOLDER)
  with config.ignore_type():
    config.data.unlabelled_index, config.data.label_map = labels.of_generated(
        config.data.unlabelled_index, config.data.label_map)
  return config


def _warn_of_open_pixels(labels, pseudo_ignore):
  if switches.is_official(pseudo_ignore) and (
      labels.undecided or labels.unnamed != 'background'):
    logging.warning(
        'What config.stage1.labels leaves undecided will be trained as '
        'background: --config.method.pseudo_ignore=corrected ignores it.')


def generate(config, workdir):
  """Trains the classifier and writes the pseudo-labels, as far as missing.

  Args:
    config: ConfigDict as in configs/pseudo_labels.py.
    workdir: Folder for the classifier's run, `pseudo_labels/ID.png`,
      summary.json and pictures.

  Returns:
    The summary, a dict.

  Raises:
    UserError: Whatever a user can mend.
    Stopped: By a signal, in the training.
  """
  return _generate_at(workdir, *_prepare(config, 'config.'))


def _prepare(config, section):
  """Returns the config with its classes, and the records."""
  config_rules.check(config, jax.device_count(), section)
  embedded.prepare(config.data)
  source = records.prepare(config.data, False, splits=('train',))
  return config_check.with_classes(config, source.class_names), source


def _generate_at(workdir, config, source):
  """`generate` from records."""
  workdir = loop.open_workdir(workdir)
  with (write_errors.named(workdir),
        atomic.only_one_process(workdir / FOLDER) if hosts.is_first()
        else contextlib.nullcontext()):
    settings = _settings(config, source)
    if not hosts.gather(_is_finished(workdir, settings))[0]:
      with hosts.together():
        if hosts.is_first():
          _start_folder(workdir, settings)
      judge = network.make_judge(config, workdir, source)
      _make(config, workdir, source, judge)
    return formats.read_json(workdir / _SUMMARY)


def _make(config, workdir, source, judge):
  """Chooses thresholds, writes the labels, then what they came to."""
  folder = workdir / FOLDER
  calibration = hosts.gather(formats.read_json(workdir / _CALIBRATION))[0]
  if calibration is None:
    calibration = _calibrate(config, source, judge)
    if hosts.is_first():
      formats.write_json(workdir / _CALIBRATION, calibration)
  _write_labels(config, source, judge, calibration, folder)
  hosts.wait_for_all()  # What follows reads what all have written.
  if hosts.is_first():
    rows = [_panel_row(config, item, calibration) for item in judge(
        _examples(source, limit=config.num_panels))]
    pictures.write_curve(
        workdir / 'thresholds.png', calibration, _final(config),
        labelling.hidden_strokes_name(not network.learns_strokes(config)))
    formats.write_png(workdir / 'panels.png',
                      panels.draw_panels(rows, source.class_names))
    formats.write_json(workdir / _SUMMARY,
                       _summary(config, source, calibration, folder))
  hosts.wait_for_all()  # What follows reads what the first one wrote.


def _final(config):
  """Returns which of `labelling.STAGES` the pseudo-labels are."""
  return 'refined' if config.labels.refine else 'raw'


def _examples(source, **which):
  return input_pipeline.whole_examples(source, 'train', **which)


def _settings(config, source):
  """Returns all that the pseudo-labels depend on, ready for JSON.

  Returns:
    'classifier': what it learns, and from what; 'labels': what is made of it.
  """
  labels = ('labels', 'refinement', 'evaluation')
  without_effect = ('log_every', 'checkpoint_every', 'keep_checkpoints',
                    'num_panels', 'mesh', 'profile')
  everything = json.loads(config.to_json())
  data = everything.pop('data')  # Files count by what they hold.
  everything['model'].pop('remat')  # Memory, not labels, depends on it.
  classifier = {key: value for key, value in everything.items()
                if key not in (*labels, *without_effect)}
  return {
      'labels': {key: everything[key] for key in labels} | {
          'version': _VERSION},
      'classifier': classifier | {
          'crop_size': data['crop_size'], 'augmentation': data['augmentation'],
          'shuffle_buffer': data['shuffle_buffer'],
          'data': dict(source.builder.info.metadata)}}


def _is_finished(workdir, settings):
  """Whether the pseudo-labels of these settings are complete."""
  summary = formats.read_json(workdir / _SUMMARY)
  return (bool(summary)
          and formats.read_json(workdir / _SETTINGS) == settings
          and len(_written(workdir / FOLDER)) == summary['num_images'])


def _written(folder):
  """Returns the ids of the pseudo-labels in a folder."""
  return ({*listings.files_by_id(folder, ('.png',))} if folder.is_dir()
          else set())


def _start_folder(workdir, settings):
  """Keeps finished pseudo-labels of the same settings, and no others.

  Raises:
    UserError: The folder is of another classifier, or holds files that this
      program has not made.
  """
  folder, stored = workdir / FOLDER, formats.read_json(workdir / _SETTINGS)
  if stored is None and folder.exists() and any(folder.iterdir()):
    raise UserError(f'{folder} holds other files than generated pseudo-labels. '
                    'Name another folder with --workdir.')
  if stored:
    changed = [name for name, value in settings['classifier'].items()
               if stored['classifier'].get(name) != value]
    if changed:
      raise UserError(f'{workdir} holds a classifier of other settings or data '
                      f'(changed: {", ".join(changed)}). Name another '
                      '--workdir, or delete it.')
  if stored != settings:
    if stored:
      logging.info('Making the pseudo-labels in %s anew: the settings have '
                   'changed.', folder)
    for name in (_SUMMARY, _CALIBRATION):
      (workdir / name).unlink(missing_ok=True)
    if folder.exists():
      storage.remove_folder(folder)
    formats.write_json(workdir / _SETTINGS, settings)
  folder.mkdir(exist_ok=True)


def _calibrate(config, source, judge):
  """Returns what `labelling.calibrate` finds on a sample of the images."""
  total = source.num_examples('train')
  count = min(config.labels.calibration_images, total)
  sample = np.sort(
      np.random.default_rng(config.seed).permutation(total)[:count])
  chosen = np.isin(np.arange(total), sample)
  calibration = labelling.calibrate(
      judge(_examples(source, chosen=chosen, shared=True)),
      config.labels.to_dict(), config.refinement.to_dict(),
      num_classes=config.model.num_classes, seed=config.seed,
      places=hosts.share(range(count)),
      background_share=labelling.background_share(
          _examples(source, chosen=chosen)))
  return calibration | {'num_images': count}


def _write_labels(config, source, judge, calibration, folder):
  """Writes the pseudo-labels of this host's images that are not done yet."""
  done = _written(folder)
  progress = tqdm(
      _examples(source, shared=True), desc='Writing pseudo-labels',
      total=len(hosts.share(range(source.num_examples('train')))),
      unit='image', dynamic_ncols=True)
  missing = (example for example in progress if example['id'] not in done)
  thresholds = labelling.thresholds_of(calibration)
  for item in judge(missing):
    labelling.write_label(folder, item, labelling.make_label(
        item, _final(config), config.labels.to_dict(),
        config.refinement.to_dict(), thresholds))


def _panel_row(config, item, calibration):
  """Returns the pictures of one example, for `panels.draw_panels`."""
  labels, refinement = config.labels.to_dict(), config.refinement.to_dict()
  thresholds = labelling.thresholds_of(calibration)
  raw, refined = (
      labelling.make_label(item, stage, labels, refinement, thresholds)
      for stage in labelling.STAGES)
  scores = labelling.stage_scores(item, 'raw', labels, refinement)
  example = item.example
  return {'image': example['image'], 'scribble': example['scribble'],
          'heat_map': pictures.heat_map(
              example['image'], scores[..., 1:].max(-1, initial=0)),
          'raw_pseudo_label': raw, 'pseudo_label': refined,
          'ground_truth': example['ground_truth']}


def _summary(config, source, calibration, folder):
  """Returns what the pseudo-labels came to, ready for JSON."""
  return {
      'num_images': source.num_examples('train'),
      'calibration_images': calibration['num_images'],
      'labels': _final(config),
      'hidden_from_network': not network.learns_strokes(config),
      **{stage: labelling.figures(calibration[stage])
         for stage in labelling.STAGES},
      **labelling.examine(_examples(source), folder, source.class_names)}
