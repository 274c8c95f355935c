"""The demo data: reproducible, honest strokes, known pseudo-label errors."""

import numpy as np
from PIL import Image
import pytest
from scipy import ndimage

from scribble_jax.data import drawn_dataset
from scribble_jax.data import drawn_scenes
from scribble_jax.errors import UserError
from scribble_jax.files import atomic
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.weak_labels import simulation

NUM_CLASSES = len(drawn_scenes.CLASS_NAMES)
SCENES = 60


@pytest.fixture(scope='module')
def scenes():
  """SCENES tuples of image, ground truth and scribble."""
  drawn = []
  for index in range(SCENES):
    rng = np.random.default_rng([7, index])
    image, ground_truth = drawn_scenes.draw_scene(rng, 128)
    drawn.append((image, ground_truth,
                  simulation.simulate_scribble(rng, ground_truth, 2)))
  return drawn


def write(root, num_train=3, num_val=2, seed=5):
  """Writes a small data set; returns its files' bytes by relative path."""
  drawn_dataset.write_dataset(root, num_train=num_train, num_val=num_val,
                       image_size=64, seed=seed)
  return {str(path.relative_to(root)): path.read_bytes()
          for path in root.rglob('*') if path.is_file()}


def without_locks(folder):
  return {path.name for path in folder.iterdir() if path.suffix != '.lock'}


def confusion(labels, predictions, num_classes):
  cells = np.int64(labels).ravel() * num_classes + np.ravel(predictions)
  counts = np.bincount(cells, minlength=num_classes**2)
  return counts.reshape(num_classes, num_classes)


def mean_iou(counts):
  overlap = np.diag(counts)
  return np.mean(overlap / (counts.sum(0) + counts.sum(1) - overlap))


def test_same_arguments_write_the_same_bytes(tmp_path):
  first = write(tmp_path / 'first')
  assert write(tmp_path / 'second') == first
  other = write(tmp_path / 'other', seed=6)
  assert other.keys() == first.keys()
  for name in first:
    if name.endswith('.jpg'):
      assert other[name] != first[name]


def test_an_image_does_not_depend_on_how_many_there_are(tmp_path):
  few = write(tmp_path / 'few', num_train=1, num_val=1)
  many = write(tmp_path / 'many')
  for name in few:
    if name.endswith(('.jpg', '.png')):
      assert few[name] == many[name]


def test_the_folder_has_the_layout_of_voc(tmp_path):
  files = write(tmp_path / 'data')
  lists = {split: files[f'ImageSets/SegmentationAug/{split}.txt'].decode()
           for split in ('train', 'val')}
  train, val = lists['train'].splitlines(), lists['val'].splitlines()
  assert (len(train), len(val), len({*train, *val})) == (3, 2, 5)
  expected = {'classes.txt', 'drawn.json'}
  expected |= {f'ImageSets/SegmentationAug/{split}.txt' for split in lists}
  for name in train + val:
    expected |= {f'JPEGImages/{name}.jpg', f'SegmentationClassAug/{name}.png'}
  for name in train:
    expected.add(f'scribbles/{name}.png')
  assert files.keys() == expected
  masks = [np.asarray(Image.open(path))
           for path in (tmp_path / 'data/scribbles').iterdir()]
  assert all(mask.shape == (64, 64) for mask in masks)
  assert {0, 255} < set(np.unique(masks)) <= {*range(NUM_CLASSES), 255}


def test_listed_classes_are_the_classes_drawn(tmp_path, scenes):
  listed = write(tmp_path / 'data')['classes.txt'].decode().splitlines()
  assert listed[0] == 'background'
  drawn = np.unique([ground_truth for _, ground_truth, _ in scenes])
  np.testing.assert_array_equal(drawn, np.arange(len(listed)))


@pytest.mark.parametrize('error, expected', [
    (KeyboardInterrupt(), KeyboardInterrupt), (OSError(), UserError)])
def test_an_interruption_leaves_nothing(
    tmp_path, monkeypatch, error, expected):
  simulate, calls = simulation.simulate_scribble, []

  def simulate_or_die(*arguments, **options):
    calls.append(arguments)
    if len(calls) == 2:
      raise error
    return simulate(*arguments, **options)

  monkeypatch.setattr(simulation, 'simulate_scribble', simulate_or_die)
  with pytest.raises(expected):
    write(tmp_path / 'data')
  assert not without_locks(tmp_path)


def test_a_killed_runs_leftover_does_not_stay(tmp_path, monkeypatch):
  with monkeypatch.context() as patch:
    # SIGKILL runs no cleanup.
    patch.setattr(atomic.shutil, 'rmtree', lambda *_, **__: None)
    patch.setattr(simulation, 'simulate_scribble', None)
    with pytest.raises(TypeError):
      write(tmp_path / 'data')
  assert len(without_locks(tmp_path)) == 1
  assert write(tmp_path / 'data') == write(tmp_path / 'clean')
  assert without_locks(tmp_path) == {'data', 'clean'}


def test_files_in_the_way_are_kept(tmp_path):
  (tmp_path / 'mine.txt').write_text('precious')
  with pytest.raises(UserError, match='holds something else'):
    write(tmp_path)
  assert without_locks(tmp_path) == {'mine.txt'}


def test_foreground_covers_what_it_covers_in_voc(scenes):
  share = [np.mean(ground_truth > 0) for _, ground_truth, _ in scenes]
  assert 0.25 < np.mean(share) < 0.36
  assert np.min(share) > 0


def test_strokes_never_leave_their_region(scenes):
  for _, ground_truth, scribble in scenes:
    drawn = scribble != IGNORE_LABEL
    np.testing.assert_array_equal(scribble[drawn], ground_truth[drawn])


@pytest.mark.parametrize('seed', range(12))
def test_strokes_of_any_mask_stay_inside(seed):
  # Ragged, tiny, thin and split regions, with pixels of no class.
  rng = np.random.default_rng(seed)
  noise = ndimage.gaussian_filter(
      rng.standard_normal([45, 70]), rng.uniform(0, 6))
  levels = np.quantile(noise, [0.3, 0.6, 0.8, 0.97])
  mask = np.array([0, 3, 255, 1, 2], np.uint8)[np.digitize(noise, levels)]
  scribble = simulation.simulate_scribble(rng, mask, width=3)
  drawn = scribble != IGNORE_LABEL
  np.testing.assert_array_equal(scribble[drawn], mask[drawn])
  np.testing.assert_array_equal(np.unique(scribble), [0, 1, 2, 3, 255])


def test_a_region_too_small_for_a_stroke_gets_a_dot():
  mask = np.zeros([20, 20], np.uint8)
  mask[4, 4], mask[10:13, 10:13] = 1, 2
  scribble = simulation.simulate_scribble(np.random.default_rng(0), mask)
  assert scribble[4, 4] == 1
  np.testing.assert_array_equal(scribble == 2, mask == 2)


def test_each_object_has_one_stroke_in_its_middle(scenes):
  for _, ground_truth, scribble in scenes:
    for label in np.unique(ground_truth)[1:]:
      parts, count = ndimage.label(ground_truth == label, np.ones([3, 3]))
      areas = ndimage.sum_labels(parts > 0, parts, range(1, count + 1))
      depth = ndimage.distance_transform_edt(np.pad(parts > 0, 1))
      for part in 1 + np.flatnonzero(areas >= 0.3 * max(areas)):
        stroke = (scribble == label) & (parts == part)
        assert ndimage.label(stroke, np.ones([3, 3]))[1] == 1
        # Of a region's pixels more than half are less deep than this.
        inner = depth[1:-1, 1:-1][parts == part]
        assert depth[1:-1, 1:-1][stroke].mean() > np.median(inner)


def test_background_may_go_without_a_stroke(scenes):
  drawn = [0 in simulation.simulate_scribble(
      np.random.default_rng(i), ground_truth, 2, background_probability=0.5)
           for i, (_, ground_truth, _) in enumerate(scenes)]
  assert 0.3 < np.mean(drawn) < 0.7  # Of 100.


def test_strokes_cover_about_three_percent(scenes):
  cover = [np.mean(scribble != IGNORE_LABEL)
           for _, _, scribble in scenes]
  assert 0.02 < np.mean(cover) < 0.04
  strokes = [ndimage.label(scribble == 0, np.ones([3, 3]))[1]
             for _, _, scribble in scenes]
  assert set(strokes) == {1, 2}


def test_colour_does_not_tell_the_classes_apart(scenes):
  colours = [[] for _ in range(NUM_CLASSES)]
  for image, ground_truth, _ in scenes:
    for label in np.unique(ground_truth):
      colours[label].append(image[ground_truth == label].mean(0))
  centroids = np.array([np.mean(colour[::2], 0) for colour in colours])
  recalls = []
  for label, colour in enumerate(colours):
    offset = np.array(colour[1::2])[:, None] - centroids
    nearest = np.argmin(np.linalg.norm(offset, axis=-1), 1)
    recalls.append(np.mean(nearest == label))
  # Chance is 1 / 4; some 80 held-out regions give it a deviation of 0.04.
  assert np.mean(recalls) < 0.4
