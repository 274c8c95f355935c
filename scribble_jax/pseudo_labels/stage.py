"""Stage 1 as a whole: from scribbles to pseudo-labels on disk (METHOD 1)."""

import contextlib
import json
import pathlib
import shutil

from absl import logging
import jax
from jax.experimental import multihost_utils
import numpy as np
from tqdm import tqdm

from scribble_jax import atomic
from scribble_jax import config_check
from scribble_jax import loop
from scribble_jax import panels
from scribble_jax import results
from scribble_jax.data import embedded
from scribble_jax.data import input_pipeline
from scribble_jax.data import records
from scribble_jax.data import sources
from scribble_jax.errors import UserError
from scribble_jax.pseudo_labels import labelling
from scribble_jax.pseudo_labels import network
from scribble_jax.pseudo_labels import pictures

FOLDER = 'pseudo_labels'  # Below the workdir.
_CALIBRATION, _SETTINGS, _SUMMARY = (
    'calibration.json', 'settings.json', 'summary.json')


def stage1_config(config):
  """Returns stage 1's whole config out of stage 2's.

  Args:
    config: ConfigDict as in configs/scribblesup.py: its `stage1` and `data`.
  """
  stage1 = config.stage1.copy_and_resolve_references()
  with stage1.unlocked():
    stage1.data = config.data.copy_and_resolve_references()
  stage1.data.pseudo_labels = sources.NO_PSEUDO_LABELS
  stage1.data.records = f'{config.data.records}_stage1'
  return stage1


def with_pseudo_labels(config, needed):
  """Makes the pseudo-labels that stage 2's config wants generated.

  Args:
    config: ConfigDict as in configs/scribblesup.py.
    needed: Whether anything learns from them; if not, none are made.

  Returns:
    The config with `data.pseudo_labels` naming their folder; None if a signal
    stopped the work.

  Raises:
    UserError: Whatever a user can mend.
  """
  workdir = pathlib.Path(config.data.root, config.data.stage1)
  if needed:
    summary = generate(stage1_config(config), workdir)
    if summary is None:
      return None
    if not jax.process_index():
      truth = summary['ground_truth']
      print(f'Pseudo-labels of stage 1 are in {workdir}'
            + (f'; their mIoU is {100 * truth["miou"]:.2f}.' if truth else '.'))
  config = config.copy_and_resolve_references()
  config.data.pseudo_labels = str(pathlib.Path(config.data.stage1, FOLDER))
  return config


def generate(config, workdir):
  """Trains the classifier and writes the pseudo-labels, as far as missing.

  Args:
    config: ConfigDict as in configs/pseudo_labels.py.
    workdir: Folder for the classifier's run, `pseudo_labels/ID.png`,
      summary.json and pictures.

  Returns:
    The summary, a dict; None if a signal stopped the training.

  Raises:
    UserError: Whatever a user can mend.
  """
  config_check.check_stage1(config, jax.device_count())
  if config.data.embedded:  # Drawn, not downloaded.
    embedded.prepare_dataset(config.data.root, **config.data.embedded)
  workdir = loop.open_workdir(workdir)
  first_host = not jax.process_index()
  try:
    with (atomic.only_one_process(workdir / FOLDER) if first_host
          else contextlib.nullcontext()):
      summary = _generate(config, workdir, first_host)
  except OSError as error:
    raise UserError(f'Cannot write to {workdir}: {error}. Name another folder '
                    'with --workdir or --config.data.stage1.') from error
  _wait_for_all_hosts()  # What follows reads what the first one wrote.
  return summary


def _generate(config, workdir, first_host):
  source = records.prepare(config.data, False, splits=('train',))
  config = config_check.with_classes(config, source.class_names)
  settings = _settings(config, source)
  finished = _finished_summary(workdir, settings)
  if finished:
    return finished
  judge = network.make_judge(config, workdir, source)
  if judge is None:
    return None
  folder = workdir / FOLDER
  if first_host:
    _start_folder(workdir, settings)
  _wait_for_all_hosts()
  done = {path.stem for path in folder.glob('*.png')}
  calibration = _read(workdir / _CALIBRATION)
  _wait_for_all_hosts()  # All have seen the same files.
  if calibration is None:
    calibration = _calibrate(config, source, judge)
    if first_host:
      results.write_json(workdir / _CALIBRATION, calibration)
  _write_labels(config, source, judge, calibration, folder, done, first_host)
  rows = [_panel_row(config, item, calibration) for item in judge(
      _examples(source, limit=config.num_panels))]
  summary = _summary(config, source, calibration, folder) if first_host else {}
  if first_host:
    pictures.write_curve(
        workdir / 'thresholds.png', calibration, _final(config))
    results.write_png(workdir / 'panels.png',
                      panels.draw_panels(rows, source.class_names))
    results.write_json(workdir / _SUMMARY, summary)
  return summary


def _wait_for_all_hosts():
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices('pseudo-labels')


def _final(config):
  """Returns which of `labelling.STAGES` the pseudo-labels are."""
  return 'refined' if config.labels.refine else 'raw'


def _examples(source, limit=-1):
  return input_pipeline.whole_examples(source, 'train', limit=limit)


def _settings(config, source):
  """Returns all that the pseudo-labels depend on, ready for JSON."""
  everything = json.loads(config.to_json())
  parts = ('seed', 'num_steps', 'supervision', 'evaluation', 'labels',
           'refinement')
  return {name: everything[name] for name in parts} | {
      'records': json.loads(json.dumps(dict(source.builder.info.metadata)))}


def _read(path):
  """Returns the JSON in a file, None without one."""
  try:
    return json.loads(path.read_text())
  except (FileNotFoundError, ValueError):
    return None


def _start_folder(workdir, settings):
  """Keeps finished pseudo-labels of the same settings, and no others.

  Raises:
    UserError: The folder holds files that this program has not made.
  """
  folder, stored = workdir / FOLDER, _read(workdir / _SETTINGS)
  if stored is None and folder.exists() and any(folder.iterdir()):
    raise UserError(f'{folder} holds other files than generated pseudo-labels. '
                    'Name another folder with --workdir.')
  if stored != settings:
    if stored:
      changed = [name for name in settings
                 if stored.get(name) != settings[name]]
      logging.warning('Making the pseudo-labels anew: changed since last time: '
                      '%s.', ', '.join(changed))
    for name in (_SETTINGS, _CALIBRATION, _SUMMARY):
      (workdir / name).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    results.write_json(workdir / _SETTINGS, settings)
  folder.mkdir(exist_ok=True)


def _finished_summary(workdir, settings):
  """Returns the summary of complete pseudo-labels of these settings."""
  summary = _read(workdir / _SUMMARY)
  complete = summary and _read(workdir / _SETTINGS) == settings and (
      len([*(workdir / FOLDER).glob('*.png')]) == summary['num_images'])
  return summary if complete else None


def _calibrate(config, source, judge):
  """Returns what `labelling.calibrate` finds on a sample of the images."""
  total = source.num_examples('train')
  count = min(config.labels.calibration_images, total)
  chosen = set(np.random.default_rng(config.seed).permutation(total)[:count])
  sample = lambda: (example for index, example in enumerate(_examples(source))
                    if index in chosen)
  calibration = labelling.calibrate(
      judge(sample()), config.labels.to_dict(), config.refinement.to_dict(),
      num_classes=config.model.num_classes, seed=config.seed, total=count,
      background_share=labelling.background_share(sample()))
  return calibration | {'num_images': count}


def _write_labels(config, source, judge, calibration, folder, done, writing):
  """Writes the pseudo-labels that are not done yet."""
  missing = (example for example in _examples(source)
             if example['id'] not in done)
  thresholds = labelling.thresholds_of(calibration)
  for item in tqdm(judge(missing), desc='Writing pseudo-labels',
                   initial=len(done), total=source.num_examples('train'),
                   unit='image', dynamic_ncols=True):
    if writing:  # The first host writes for all.
      _, both = labelling.make_labels(
          item, config.labels.to_dict(), config.refinement.to_dict(),
          thresholds)
      labelling.write_label(folder, item, both[_final(config)])


def _panel_row(config, item, calibration):
  """Returns the pictures of one example, for `panels.draw_panels`."""
  raw, both = labelling.make_labels(
      item, config.labels.to_dict(), config.refinement.to_dict(),
      labelling.thresholds_of(calibration))
  example = item.example
  return {'image': example['image'], 'scribble': example['scribble'],
          'heat_map': pictures.heat_map(
              example['image'], raw[..., 1:].max(-1, initial=0)),
          'raw_pseudo_label': both['raw'], 'pseudo_label': both['refined'],
          'ground_truth': example['ground_truth']}


def _summary(config, source, calibration, folder):
  """Returns what the pseudo-labels came to, ready for JSON."""
  return {
      'num_images': source.num_examples('train'),
      'calibration_images': calibration['num_images'],
      'labels': _final(config),
      **{stage: labelling.figures(calibration[stage])
         for stage in labelling.STAGES},
      'ground_truth': labelling.quality(
          _examples(source), folder, source.class_names)}
