"""All settings and data that pseudo-labels depend on, stored beside them."""

import dataclasses
import hashlib
import json

from absl import logging
from flax.traverse_util import flatten_dict
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from scribble_jax import config_check
from scribble_jax import config_keys
from scribble_jax.data import dataset_files
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.files import formats
from scribble_jax.files import listings
from scribble_jax.files import storage
from scribble_jax.pseudo_labels.scores import SOURCES
from scribble_jax.training import provenance

FOLDER = 'pseudo_labels'  # In the workdir.
CALIBRATION, SUMMARY = 'calibration.json', 'summary.json'
_SETTINGS = dataset_files.STAGE1_SETTINGS


@dataclasses.dataclass(frozen=True)
class Stage1:
  """Inputs of stage 1.

  Attributes:
    config: ConfigDict as in configs/pseudo_labels.py, with the classes.
    dataset: `records.Records`.
  """
  config: ConfigDict
  dataset: records.Records

  def settings(self):
    """Returns all that the pseudo-labels depend on, ready for JSON.

    Returns:
      'classifier': settings and data of the training; 'labels': settings of
      the labels; 'ground_truth': a digest of the masks they are compared with.
    """
    labels = ('labels', 'refinement', 'evaluation')
    without_effect = ('log_every', 'checkpoint_every', 'keep_checkpoints',
                      'num_panels', 'mesh', 'profile')
    everything = config_keys.without_added(json.loads(self.config.to_json()))
    read = self.dataset.learned_from(pseudo_labels=False)
    del read['pseudo-labels']  # They are the result.
    data = everything.pop('data')  # Files are compared by their contents.
    contents = self.dataset.builder.info.metadata['contents']['train']
    # These affect memory, not labels.
    del everything['model']['remat'], everything['evaluation']['batch_size']
    classifier = {key: value for key, value in everything.items()
                  if key not in (*labels, *without_effect)}
    return {
        'labels': {key: everything[key] for key in labels} | {
            'version': SOURCES[self.config.labels.source].version},
        'classifier': classifier | {
            'crop_size': data['crop_size'],
            'augmentation': data['augmentation'],
            'shuffle_buffer': data['shuffle_buffer'],
            'data': read},
        'ground_truth': contents['ground_truths']}

  def learned_from(self):
    """Returns {part: value}, as of `provenance.check`, for stage 2."""
    settings = self.settings()
    data = settings['classifier'].pop('data')
    classifier = config_keys.with_added(
        flatten_dict(settings['classifier'], sep='.'))
    return data | {
        'config.stage1': unflatten_dict(classifier, sep='.')
                         | settings['labels']}


def place(config, stage1):
  """Returns the workdir of stage 1 for stage 2's config.

  Args:
    config: ConfigDict as in configs/scribblesup.py.
    stage1: Its Stage1.

  Returns:
    Path relative to `data.root` or absolute, a different one for each
    combination of settings and data.
  """
  text = json.dumps(_without_truth(stage1.settings()), sort_keys=True)
  return storage.path(
      config.data.stage1, hashlib.sha256(text.encode()).hexdigest()[:8])


def with_generated(config, workdir):
  """Returns stage 2's config with the pseudo-labels of a workdir of stage 1.

  Args:
    config: ConfigDict as in configs/scribblesup.py.
    workdir: From `place`.
  """
  return config_check.with_pseudo_labels(config, str(workdir / FOLDER))


def is_finished(workdir, settings):
  """Whether the workdir has all pseudo-labels of these settings."""
  summary = formats.read_json(workdir / SUMMARY)
  return (bool(summary)
          and formats.read_json(workdir / _SETTINGS) == settings
          and len(written(workdir / FOLDER)) == summary['num_images'])


def written(folder):
  """Returns the ids of the pseudo-labels in a folder."""
  return set(listings.files_by_id(folder, ('.png',))
             if folder.is_dir() else ())


def start_folder(workdir, settings, other_data):
  """Keeps pseudo-labels of the same settings and deletes others.

  Args:
    workdir: Workdir of stage 1.
    settings: From `Stage1.settings`.
    other_data: Whether the classifier may have learned from other data.

  Raises:
    UserError: The workdir has another classifier, or files that this program
      has not made.
  """
  folder, stored = workdir / FOLDER, formats.read_json(workdir / _SETTINGS)
  if stored is None and folder.exists() and any(folder.iterdir()):
    raise UserError(f'{folder} holds other files than generated pseudo-labels. '
                    'Name another folder with --workdir.')
  if stored:
    _check_classifier(
        workdir, stored['classifier'], settings['classifier'], other_data)
  if stored != settings:
    other_labels = _without_truth(stored) != _without_truth(settings)
    if stored and other_labels:
      logging.info('Making the pseudo-labels in %s again: the settings have '
                   'changed.', folder)
    for name in (SUMMARY, CALIBRATION):
      (workdir / name).unlink(missing_ok=True)
    if folder.exists() and other_labels:
      storage.remove_folder(folder)
    formats.write_json(workdir / _SETTINGS, settings)
  folder.mkdir(exist_ok=True)


def _without_truth(settings):
  """Returns settings without the ground truth, on which no label depends."""
  return {key: value for key, value in (settings or {}).items()
          if key != 'ground_truth'}


def _check_classifier(workdir, stored, wanted, other_data):
  """Checks that the classifier in a workdir has the wanted settings.

  Args:
    workdir: Workdir of stage 1.
    stored: Settings of the stored classifier.
    wanted: The wanted settings.
    other_data: Whether it may have learned from other data.

  Raises:
    UserError: The settings differ.
  """
  changed = [name for name, value in wanted.items()
             if name != 'data' and stored.get(name) != value]
  if changed:
    raise UserError(f'{workdir} holds a classifier of other settings '
                    f'(changed: {", ".join(changed)}). Name another '
                    '--workdir, or delete it.')
  if wanted['data'].keys() != stored['data'].keys():
    logging.warning('%s does not say what its classifier learned from: an '
                    'older version made it. Going on; nothing is compared.',
                    workdir)
    return
  changed = provenance.differences(stored['data'], wanted['data'])
  if changed and not other_data:
    raise UserError(provenance.refusal(workdir, changed))
  if changed:
    logging.warning('Going on with other data: %s.', ', '.join(changed))
