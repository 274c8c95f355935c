"""What pseudo-labels depend on: kept beside them, and told by their folder."""

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

FOLDER = 'pseudo_labels'  # Below the workdir.
CALIBRATION, SUMMARY = 'calibration.json', 'summary.json'
_SETTINGS = dataset_files.STAGE1_SETTINGS


@dataclasses.dataclass(frozen=True)
class Stage1:
  """What pseudo-labels are made of.

  Attributes:
    config: ConfigDict as in configs/pseudo_labels.py, with its classes.
    dataset: `records.Records`.
  """
  config: ConfigDict
  dataset: records.Records

  def settings(self):
    """Returns all that the pseudo-labels depend on, ready for JSON.

    Returns:
      'classifier': what it learns, and from what; 'labels': what is made of it;
      'ground_truth': a digest of what they are compared with.
    """
    labels = ('labels', 'refinement', 'evaluation')
    without_effect = ('log_every', 'checkpoint_every', 'keep_checkpoints',
                      'num_panels', 'mesh', 'profile')
    everything = config_keys.without_added(json.loads(self.config.to_json()))
    read = self.dataset.learned_from(pseudo_labels=False)
    del read['pseudo-labels']  # They come of this.
    data = everything.pop('data')  # Files count by what they hold.
    contents = self.dataset.builder.info.metadata['contents']['train']
    # Memory, not labels, depends on these.
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
    """{part: value}, as of `provenance.check`, of a stage 2 that uses them."""
    settings = self.settings()
    data = settings['classifier'].pop('data')
    classifier = config_keys.with_added(
        flatten_dict(settings['classifier'], sep='.'))
    return data | {
        'config.stage1': unflatten_dict(classifier, sep='.')
                         | settings['labels']}


def place(config, stage1):
  """Returns where stage 2's config keeps pseudo-labels that are generated.

  Args:
    config: ConfigDict as in configs/scribblesup.py.
    stage1: Stage1 of it.

  Returns:
    Path of the workdir of stage 1, below `data.root` or absolute, one for each
    variety of settings and data.
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
  """Whether the pseudo-labels of these settings are complete."""
  summary = formats.read_json(workdir / SUMMARY)
  return (bool(summary)
          and formats.read_json(workdir / _SETTINGS) == settings
          and len(written(workdir / FOLDER)) == summary['num_images'])


def written(folder):
  """Returns the ids of the pseudo-labels in a folder."""
  return ({*listings.files_by_id(folder, ('.png',))} if folder.is_dir()
          else set())


def start_folder(workdir, settings, other_data):
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
    _check_classifier(
        workdir, stored['classifier'], settings['classifier'], other_data)
  if stored != settings:
    other_labels = _without_truth(stored) != _without_truth(settings)
    if stored and other_labels:
      logging.info('Making the pseudo-labels in %s anew: the settings have '
                   'changed.', folder)
    for name in (SUMMARY, CALIBRATION):
      (workdir / name).unlink(missing_ok=True)
    if folder.exists() and other_labels:
      storage.remove_folder(folder)
    formats.write_json(workdir / _SETTINGS, settings)
  folder.mkdir(exist_ok=True)


def _without_truth(settings):
  """Returns what the labels depend on, of all that the figures depend on."""
  return {key: value for key, value in (settings or {}).items()
          if key != 'ground_truth'}


def _check_classifier(workdir, stored, wanted, other_data):
  """Checks that a folder's classifier is the wanted one.

  Args:
    workdir: Its folder.
    stored: Its settings.
    wanted: Those that it should have.
    other_data: Whether it may have learned from other data.

  Raises:
    UserError: It is another one.
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
