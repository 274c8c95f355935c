"""Stage 1 as a whole on a tiny data set: files, figures, resume, mistakes."""

import contextlib
import copy
import json
import pathlib
import shutil
import subprocess
import sys

from flax.traverse_util import flatten_dict
import jax
import numpy as np
from PIL import Image
import pytest

from configs import pseudo_labels
from scribble_jax import sharding
from scribble_jax import train
from scribble_jax.errors import Stopped
from scribble_jax.errors import UserError
from scribble_jax.files import masks
from scribble_jax.pseudo_labels import config_rules
from scribble_jax.pseudo_labels import generation
from scribble_jax.pseudo_labels import label_quality
from scribble_jax.pseudo_labels import network
from scribble_jax.training import loop


@pytest.fixture
def config(config):
  """Stage 2's tiny config with a tiny stage 1."""
  stage1 = config.stage1
  stage1.num_steps, stage1.optim.warmup_steps = 2, 1
  stage1.batch_size, stage1.num_panels, stage1.log_every = 4, 2, 1
  stage1.model.width, stage1.model.head_width = 4, 8
  stage1.evaluation.scales, stage1.evaluation.flip = (1.0,), False
  stage1.refinement.strides = (2, 1)
  stage1.refinement.dilations, stage1.refinement.iterations = (1, 2), 3
  # The demo's own leave pixels open.
  stage1.labels.undecided, stage1.labels.unnamed = 0.0, 'background'
  return config


@pytest.fixture
def diffusion(config):
  """Stage 1's config without a network, in a second or two."""
  config.stage1.labels.source = 'diffusion'
  return config_rules.stage1_config(config)


def changed(config, changes):
  config = copy.deepcopy(config)
  config.update_from_flattened_dict(changes)
  return config


def generated(config):
  return generation.with_pseudo_labels(config, generation.prepare(config))


def read(folder):
  return {path.name: path.read_bytes() for path in folder.glob('*.png')}


def test_a_run_leaves_labels_figures_and_pictures(
    config, root, tmp_path, monkeypatch):
  config = config_rules.stage1_config(config)
  summary = generation.generate(config, tmp_path / 'run')
  files = sorted((tmp_path / 'run/pseudo_labels').iterdir())
  ids = (root / 'ImageSets/SegmentationAug/train.txt').read_text().split()
  assert [path.stem for path in files] == sorted(ids)

  confusion = np.zeros([4, 4])
  for path in files:
    with Image.open(path) as mask:
      assert mask.mode == 'P'
    labels = masks.read_mask(path)
    truth = masks.read_mask(root / 'SegmentationClassAug' / path.name)
    scribble = masks.read_mask(root / 'scribbles' / path.name)
    stroke = scribble != 255
    np.testing.assert_array_equal(labels[stroke], scribble[stroke])
    assert set(np.unique(labels)) <= {0, *np.unique(scribble)}
    np.add.at(confusion, (truth, labels), 1)
  overlap = np.diag(confusion)
  iou = overlap / (confusion.sum(0) + confusion.sum(1) - overlap)
  truth = summary['ground_truth']
  assert truth['miou'] == pytest.approx(iou.mean())
  # The sample for the thresholds was the whole set here.
  assert summary['refined']['miou'] == pytest.approx(iou.mean(), abs=0.01)
  np.testing.assert_allclose(
      list(truth['precision'].values()), overlap / confusion.sum(0))
  np.testing.assert_allclose(
      list(truth['recall'].values()), overlap / confusion.sum(1))
  assert json.loads((tmp_path / 'run/summary.json').read_text()) == summary
  for name in ('panels.png', 'thresholds.png'):
    with Image.open(tmp_path / 'run' / name) as picture:
      assert min(picture.size) > 300
  assert f'{100 * truth["miou"]:.2f}' in label_quality.report(summary)

  # Started again, it has nothing to do.
  monkeypatch.setattr(network, 'make_labeller', None)
  assert generation.generate(config, tmp_path / 'run') == summary


@pytest.mark.parametrize('source', ['network', 'diffusion'])
def test_one_two_and_four_devices_write_the_same_files(
    config, root, tmp_path, monkeypatch, source):
  for number, path in enumerate(sorted((root / 'JPEGImages').iterdir())):
    size = ((48, 48), (150, 40))[number % 2]  # Two shapes are compiled.
    for folder, suffix in (('JPEGImages', path.suffix), ('scribbles', '.png'),
                           ('SegmentationClassAug', '.png')):
      file = root / folder / f'{path.stem}{suffix}'
      if file.exists():
        with Image.open(file) as picture:
          picture.resize(size, Image.Resampling.NEAREST).save(file)
  config.stage1.labels.source = source
  config = config_rules.stage1_config(config)
  results = []
  for count in (1, 2, 4):
    mesh = sharding.make_mesh(devices=jax.devices()[:count])
    monkeypatch.setattr(sharding, 'local_mesh', lambda mesh=mesh: mesh)
    workdir = tmp_path / f'run_{count}'
    if results:  # The classifier stays the same.
      shutil.copytree(tmp_path / 'run_1', workdir)
      for name in ('summary.json', 'calibration.json', 'pseudo_labels'):
        path = workdir / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    generation.generate(config, workdir)
    results.append({
        str(path.relative_to(workdir)): path.read_bytes() for path in (
            *workdir.glob('*.png'), *workdir.glob('pseudo_labels/*.png'),
            workdir / 'summary.json', workdir / 'calibration.json')})
  assert len(results[0]) == 14
  assert results[0] == results[1] == results[2]


def test_interrupted_and_continued_equals_a_straight_run(
    diffusion, tmp_path, monkeypatch):
  generation.generate(diffusion, tmp_path / 'straight')
  write, written = label_quality.write_label, []

  def write_or_die(folder, name, *args):
    if len(written) == 4:
      raise KeyboardInterrupt
    write(folder, name, *args)
    written.append(name)

  monkeypatch.setattr(label_quality, 'write_label', write_or_die)
  folder = tmp_path / 'resumed/pseudo_labels'
  with pytest.raises(KeyboardInterrupt):
    generation.generate(diffusion, tmp_path / 'resumed')
  assert sorted(path.stem for path in folder.iterdir()) == sorted(written)
  kept = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
  monkeypatch.setattr(label_quality, 'write_label', write)
  generation.generate(diffusion, tmp_path / 'resumed')
  assert kept == {path: path.stat().st_mtime_ns for path in kept}
  assert read(folder) == read(tmp_path / 'straight/pseudo_labels')
  assert ((tmp_path / 'resumed/summary.json').read_text()
          == (tmp_path / 'straight/summary.json').read_text())


def test_other_settings_make_the_labels_anew_and_say_why(
    diffusion, tmp_path, caplog):
  generation.generate(diffusion, tmp_path / 'run')
  before = read(tmp_path / 'run/pseudo_labels')
  caplog.clear()
  diffusion.labels.calibration, diffusion.labels.threshold = 'none', 0.9
  summary = generation.generate(diffusion, tmp_path / 'run')
  assert 'again: the settings have changed' in caplog.text
  assert summary['refined']['thresholds'] == [0.9] * 3
  assert read(tmp_path / 'run/pseudo_labels') != before


@pytest.mark.parametrize('change', [
    lambda config: config.optim.update(lr=0.7),
    lambda config: config.model.update(width=8),
])
def test_a_classifier_of_other_settings_is_refused(
    diffusion, tmp_path, change):
  generation.generate(diffusion, tmp_path / 'run')
  before = read(tmp_path / 'run/pseudo_labels')
  change(diffusion)
  for other_data in (False, True):
    with pytest.raises(UserError, match='holds a classifier of other settings'):
      generation.generate(diffusion, tmp_path / 'run', other_data)
  assert read(tmp_path / 'run/pseudo_labels') == before


def test_settings_of_before_new_keys_are_the_same(diffusion):
  """Or finished pseudo-labels would be made anew, in another folder."""
  stage1 = generation._prepare(diffusion, 'config.')
  before = stage1.settings()
  assert before['classifier']['optim'].keys() == {
      'lr', 'warmup_steps', 'momentum', 'weight_decay'}
  assert 'freeze_backbone' not in before['classifier']['model']
  learned_from = flatten_dict(stage1.learned_from(), sep='.')
  assert learned_from['config.stage1.optim.name'] == 'sgd'
  diffusion.optim.ema_decay = 0.5
  after = generation._prepare(diffusion, 'config.').settings()
  assert after['classifier']['optim']['ema_decay'] == 0.5


def test_a_classifier_of_other_data_is_refused_unless_asked_for(
    diffusion, root, tmp_path, caplog):
  generation.generate(diffusion, tmp_path / 'run')
  before = read(tmp_path / 'run/pseudo_labels')
  for path in (root / 'scribbles').iterdir():  # Written again, unchanged.
    path.write_bytes(path.read_bytes())
  generation.generate(diffusion, tmp_path / 'run')
  name = (root / 'ImageSets/SegmentationAug/train.txt').read_text().split()[0]
  masks.write_mask(root / f'scribbles/{name}.png',
                   np.zeros([48, 48], np.uint8))
  with pytest.raises(UserError, match=(
      r'learned from other data\. Changed: scribbles\. '
      '.*--resume_with_other_data')):
    generation.generate(diffusion, tmp_path / 'run')
  assert read(tmp_path / 'run/pseudo_labels') == before
  generation.generate(diffusion, tmp_path / 'run', True)
  assert 'Going on with other data: scribbles.' in caplog.text
  assert not masks.read_mask(tmp_path / f'run/pseudo_labels/{name}.png').any()


def test_a_classifier_of_an_older_version_goes_on_with_a_warning(
    diffusion, tmp_path, caplog):
  generation.generate(diffusion, tmp_path / 'run')
  path = tmp_path / 'run/settings.json'
  stored = json.loads(path.read_text())
  stored['classifier']['data'] = {'version': 2, 'images': '123'}
  path.write_text(json.dumps(stored))
  generation.generate(diffusion, tmp_path / 'run')
  assert 'does not say what its classifier learned from' in caplog.text


def test_undecided_pixels_become_255(diffusion, tmp_path):
  diffusion.labels.calibration, diffusion.labels.threshold = 'none', 0.5
  diffusion.labels.undecided = 0.2
  generation.generate(diffusion, tmp_path / 'run')
  assert any((masks.read_mask(path) == 255).any()
             for path in (tmp_path / 'run/pseudo_labels').iterdir())


def test_classes_without_a_stroke_may_be_left_open(config, root, tmp_path):
  config = config_rules.stage1_config(config)
  generation.generate(config, tmp_path / 'run')
  labels = lambda: {
      path.stem: masks.read_mask(path)
      for path in (tmp_path / 'run/pseudo_labels').iterdir()}
  before = labels()
  config.labels.unnamed = 'undecided'
  generation.generate(config, tmp_path / 'run')
  opened = 0
  for name, after in labels().items():
    changed_pixels = after != before[name]
    opened += changed_pixels.sum()
    assert not before[name][changed_pixels].any()
    assert np.all(after[changed_pixels] == 255)
    stroke = masks.read_mask(root / f'scribbles/{name}.png') != 255
    assert not np.any(changed_pixels & stroke)
  assert opened


def test_images_with_background_strokes_alone_and_with_none(
    diffusion, root, tmp_path, caplog):
  diffusion.labels.calibration, diffusion.labels.threshold = 'none', 0.1
  diffusion.labels.undecided = 0.2
  names = (root / 'ImageSets/SegmentationAug/train.txt').read_text().split()
  scribble = np.full([48, 48], 255, np.uint8)
  masks.write_mask(root / f'scribbles/{names[1]}.png', scribble)
  scribble[3, 4:20] = 0
  masks.write_mask(root / f'scribbles/{names[0]}.png', scribble)
  summary = generation.generate(diffusion, tmp_path / 'run')
  background, empty = (
      masks.read_mask(tmp_path / f'run/pseudo_labels/{name}.png')
      for name in names[:2])
  assert not background.any()  # No other class is in that image.
  assert np.all(empty == 255)  # Nothing tells what is in this one.
  assert summary['num_unlabelled'] == 1
  assert ('1 of 10 pseudo-labels are empty (255): those images have no stroke.'
          in label_quality.report(summary))
  # Nor does it say anything of the thresholds.
  with_nothing = {
      'record': 0, 'image': np.zeros([48, 48, 3], np.uint8), 'scribble': empty,
      'ground_truth': np.zeros_like(empty)}
  truth = label_quality.calibrate(
      network.make_labeller(diffusion, None, None), [with_nothing],
      diffusion.labels.to_dict(), num_classes=4, seed=0, sample=np.array([0]),
      background_share=1.0)
  assert truth['refined']['ground_truth_miou'] is None


@pytest.mark.parametrize('ignore, warned', [
    ('official', True), ('corrected', False)])
def test_empty_pseudo_labels_that_count_as_background_are_told(
    config, monkeypatch, caplog, ignore, warned):
  monkeypatch.setattr(generation, '_generate_at', lambda *args: {
      'num_unlabelled': 3, 'ground_truth': None})
  config.method.pseudo_ignore = ignore
  generation.with_pseudo_labels(config, generation.prepare(config))
  assert ('3 images without a stroke have empty pseudo-labels' in caplog.text
          ) == warned


@pytest.mark.parametrize('changes, hidden', [
    ({}, False), ({'labels.source': 'fusion'}, False),
    ({'labels.source': 'features'}, False),
    ({'labels.source': 'diffusion'}, True), ({'supervision': 'classes'}, True)])
def test_strokes_are_hidden_from_a_network_that_does_not_learn_them(
    config, changes, hidden):
  config = config_rules.stage1_config(config)
  config.update_from_flattened_dict(changes)
  assert network.learns_strokes(config) != hidden
  stages = {'thresholds': [0.3], 'hidden_strokes_miou': 0.5, 'miou': None}
  lines = label_quality.report({
      'ground_truth': None, 'num_unlabelled': 0, 'raw': stages,
      'hidden_from_network': not network.learns_strokes(config),
      'refined': stages})
  expected = ('hidden strokes' if hidden else
              'strokes hidden from the walk alone')
  assert lines.splitlines()[-1] == (
      f'refined: threshold 0.30, mIoU 50.00 on {expected}')


def test_neither_ground_truth_nor_a_val_list_is_needed(
    diffusion, root, tmp_path, caplog):
  shutil.rmtree(root / 'SegmentationClassAug')
  (root / 'ImageSets/SegmentationAug/val.txt').unlink()
  summary = generation.generate(diffusion, tmp_path / 'run')
  assert ('SegmentationClassAug does not exist: nothing is compared with a '
          'ground truth' in caplog.text)
  assert summary['ground_truth'] is None
  assert summary['refined']['miou'] is None
  assert 'refined: threshold 0.' in label_quality.report(summary)


def test_stage_2_makes_its_pseudo_labels_first(config, root, tmp_path):
  config.stage1.labels.source = 'diffusion'
  config.data.pseudo_labels = 'generate'
  config.num_steps, config.optim.warmup_steps = 2, 0
  for path in (root / 'pseudo_labels').iterdir():
    path.unlink()
  state = train.train(config.lock(), str(tmp_path / 'run'))  # As flags do.
  assert state.step == 2
  kept = json.loads((tmp_path / 'run/config.json').read_text())
  made = root / kept['data']['pseudo_labels']
  assert made.parent.parent == root / 'stage1' and len(read(made)) == 10
  # Another stage 1 is refused before it begins.
  other = changed(config, {'stage1.refinement.contrast': 0.9})
  with pytest.raises(UserError, match=(
      r'Changed: config\.stage1\.refinement\.contrast \(was 0\.\d+, is 0')):
    train.train(other, str(tmp_path / 'run'))
  assert [*(root / 'stage1').iterdir()] == [made.parent]
  # A lambda has nothing to do with stage 1, another contrast has.
  again = generated(changed(config, {'data.lambda_c': 5.0}))
  assert root / again.data.pseudo_labels == made
  other = generated(other)
  assert root / other.data.pseudo_labels != made
  assert len(read(made)) == 10


def test_a_baseline_without_pseudo_labels_makes_none(config, root, tmp_path):
  config.data.pseudo_labels = 'generate'
  for term in config.loss_weights:
    config.loss_weights[term] = float(term == 'scribble')
  config.num_steps, config.optim.warmup_steps = 1, 0
  train.train(config.lock(), str(tmp_path / 'run'))
  assert not (root / 'stage1').exists()


def test_a_signal_in_stage_1_ends_the_whole_run(
    config, tmp_path, monkeypatch):
  config.data.pseudo_labels = 'generate'
  monkeypatch.setattr(  # In the first step.
      loop.preemption, 'watch',
      lambda manager: contextlib.nullcontext(lambda updates: True))
  with pytest.raises(Stopped, match='step 1 is saved'):
    train.train(config, str(tmp_path / 'run'))
  assert not (tmp_path / 'run/config.json').exists()


def test_files_of_others_are_kept(diffusion, tmp_path):
  theirs = tmp_path / 'run/pseudo_labels/mine.png'
  theirs.parent.mkdir(parents=True)
  theirs.write_text('mask')
  with pytest.raises(UserError, match='holds other files than generated'):
    generation.generate(diffusion, tmp_path / 'run')
  assert theirs.read_text() == 'mask'


@pytest.mark.parametrize('changes, message', [
    ({'labels.source': 'magic'},
     r"labels\.source is 'magic'; it must be one of: network, features, "),
    ({'supervision': 'classes', 'labels.source': 'network'},
     r"labels\.branch is 'both'; it must be 'cam' if config\.supervision"),
    ({'supervision': 'classes', 'labels.branch': 'cam',
      'labels.unnamed': 'undecided'},
     r"labels\.unnamed is 'undecided'; it must be 'background'"),
    ({'refinement.strides': (3, 2, 1)}, r'refinement\.strides is \(3, 2, 1\)'),
    ({'refinement.contrast': 0.0}, r'refinement\.contrast is 0'),
    ({'labels.threshold': 1.5}, r'labels\.threshold is 1\.5'),
    ({'model.output_stride': 4}, r'output_stride is 4\. Choose one of: 8, 16'),
    ({'num_steps': 0}, r'num_steps is 0'),
])
def test_mistake_in_the_config(diffusion, tmp_path, changes, message):
  diffusion.labels.branch = 'both'
  diffusion.update_from_flattened_dict(changes)
  with pytest.raises(UserError, match=message):
    generation.generate(diffusion, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_configs_of_the_data_sets():
  assert pseudo_labels.get_config().model.backbone == 'resnet50'
  own = pseudo_labels.get_config('own_data')
  assert own.data.classes == 'classes.txt' and own.model.num_classes is None
  assert pseudo_labels.get_config('demo').data.embedded.num_train == 1000
  with pytest.raises(UserError, match='Choose from: scribblesup'):
    pseudo_labels.get_config('voc')


def test_the_command_ends_with_one_line(tmp_path):
  process = subprocess.run(
      [sys.executable, '-m', 'scribble_jax.pseudo_labels',
       '--config=configs/pseudo_labels.py:own_data',
       f'--workdir={tmp_path / "run"}', f'--config.data.root={tmp_path}/no'],
      cwd=pathlib.Path(__file__).parent.parent, text=True, capture_output=True,
      check=False)
  assert process.returncode == 1 and not process.stdout
  last = process.stderr.strip().splitlines()[-1]
  assert last.startswith('error: ') and 'no does not exist' in last
  assert 'Traceback' not in process.stderr
