"""docs/ideas.md: its changes apply, and a run with all of them trains."""

import pathlib
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from scipy import ndimage

from scribble_jax.files import masks
from scribble_jax.report import events
from scribble_jax.weights import checkpoint

ROOT = pathlib.Path(__file__).parents[1]
CHANGES = dict(re.findall(
    r'^## (A new [^\n]+)\n(.*?)(?=^##|\Z)',
    (ROOT / 'docs/ideas.md').read_text(), re.DOTALL | re.MULTILINE))


def blocks(kind, text):
  return re.findall(rf'^```{kind}\n(.*?)^```', text, re.DOTALL | re.MULTILINE)


def new_files(text):
  """{path: content} of the blocks that are headed by their file's name."""
  return {code.splitlines()[0].removeprefix('# '): code
          for code in blocks('python', text)}


@pytest.mark.parametrize('title', CHANGES)
def test_a_change_touches_at_most_two_files(title):
  (diff,) = blocks('diff', CHANGES[title])
  touched = re.findall(r'^\+\+\+ b/(.+)$', diff, re.MULTILINE)
  assert 1 <= len(touched) <= 2
  assert all((ROOT / path).is_file() for path in touched)
  assert not any((ROOT / path).exists() for path in new_files(CHANGES[title]))


@pytest.fixture(scope='module')
def run(drawn_root, tmp_path_factory):
  """Training with all changes, in a copy of the program."""
  copy = tmp_path_factory.mktemp('changed')
  for folder in ('scribble_jax', 'configs'):
    shutil.copytree(ROOT / folder, copy / folder, symlinks=True)
  for text in CHANGES.values():
    for path, code in new_files(text).items():
      (copy / path).write_text(code)
    (diff,) = blocks('diff', text)
    subprocess.run(['git', 'apply', '-'], input=diff, text=True, cwd=copy,
                   check=True)
  data = shutil.copytree(drawn_root, copy / 'data')
  for split in ('train', 'val'):
    names = (data / f'ImageSets/SegmentationAug/{split}.txt').read_text()
    lines = ['id,image,scribble,pseudo_label,ground_truth']
    for name in names.split()[::2]:  # The tables list half of them.
      scribble = f'scribbles/{name}.png' if split == 'train' else ''
      lines.append(f'{name},JPEGImages/{name}.jpg,{scribble},,'
                   f'SegmentationClassAug/{name}.png')
    (data / f'{split}.csv').write_text('\n'.join(lines))
  subprocess.run(
      [sys.executable, '-m', 'scribble_jax.main', '--config=configs/demo.py',
       f'--workdir={copy}/run', '--config.data.embedded.num_train=10',
       '--config.data.embedded.num_val=3',
       '--config.data.embedded.image_size=48', f'--config.data.root={data}',
       '--config.data.train_list=train.csv', '--config.data.val_list=val.csv',
       '--config.data.crop_size=33',
       '--config.model.backbone=tiny', '--config.model.head_width=8',
       '--config.stage1.labels.source=nearest',
       '--config.stage1.labels.refine=False',
       '--config.stage1.labels.undecided=0.0',
       '--config.loss_weights.focal=0.5', '--config.batch_size=4',
       '--config.num_steps=4', '--config.optim.warmup_steps=1',
       '--config.log_every=1', '--config.eval_every=4',
       '--config.checkpoint_every=4'],
      cwd=copy, check=True)
  return copy


def test_four_changes_are_shown():
  assert len(CHANGES) == 4


def test_the_backbone_is_trained(run):
  variables, step = checkpoint.restore_variables(
      run / 'run/checkpoints', 'latest')
  assert step == 4
  shapes = jax.tree.map(np.shape, variables['params']['backbone'])
  assert shapes == {
      'conv0': {'kernel': (5, 5, 3, 8)}, 'conv1': {'kernel': (5, 5, 8, 32)},
      'bn0': {'scale': (8,), 'bias': (8,)},
      'bn1': {'scale': (32,), 'bias': (32,)}}


def test_the_loss_counts_with_its_weight(run):
  found = {tag: dict(points)
           for tag, points in events.read_scalars(run / 'run').items()}
  weights = {'scribble': 1.0, 'pseudo_label': 1.0, 'lorm': 1.0, 'focal': 0.5,
             'distance_entropy_scribble': 0.1,
             'distance_entropy_pseudo_label': 0.1}
  for step in (1, 2, 3, 4):
    assert found['loss/focal'][step] > 0
    assert found['loss/focal'][step] < found['loss/scribble'][step]
    assert found['loss/total'][step] == pytest.approx(sum(
        weight * found[f'loss/{term}'][step]
        for term, weight in weights.items()), rel=1e-5)


def test_pseudo_labels_are_of_the_tables_images_and_the_nearest_strokes(run):
  listed = [line.split(',')[0]
            for line in (run / 'data/train.csv').read_text().splitlines()[1:]]
  (folder,) = run.glob('data/stage1/*/pseudo_labels')
  assert sorted(path.stem for path in folder.iterdir()) == sorted(listed)
  for name in listed:
    scribble = masks.read_mask(run / f'data/scribbles/{name}.png')
    label = masks.read_mask(folder / f'{name}.png')
    distances = {  # To the strokes of each class.
        value: ndimage.distance_transform_edt(scribble != value)
        for value in np.unique(scribble[scribble != 255])}
    own = np.choose(
        np.searchsorted(list(distances), label), list(distances.values()))
    np.testing.assert_array_equal(own, np.min([*distances.values()], axis=0))
