"""Masks from strokes: against stage 1's own parts, by hand, and properties."""

import concurrent.futures

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax.annotate import cell_classifier
from scribble_jax.annotate import feature_cache
from scribble_jax.annotate import feature_network
from scribble_jax.annotate import suggest
from scribble_jax.annotate import suggestion_worker
from scribble_jax.annotate.photographs import UnreadableError
from scribble_jax.errors import UserError
from scribble_jax.files import masks
from scribble_jax.models.backbones import resnet
from scribble_jax.pseudo_labels import picture_features
from tests import annotated
from tests.annotated import document

SIZE = (40, 60)
EMPTY = cell_classifier.Samples(np.zeros([0, 3], np.float32), np.zeros(0, int))


def test_fit_is_that_of_stage_1():
  rng = np.random.default_rng(0)
  x = np.float32(rng.normal(size=(120, 8)))
  labels = np.argmax(x[:, :3], 1)
  y = np.eye(4, dtype='f')[labels]  # The last class has no sample.
  weights, offsets = map(np.asarray, cell_classifier._fit(x, y))
  expected, expected_offsets = map(
      np.asarray, picture_features.fit(x, y, 1.0))
  np.testing.assert_allclose(
      np.asarray(cell_classifier.probabilities(x, weights, offsets)),
      np.asarray(jax.nn.softmax(x @ expected + expected_offsets[None])),
      atol=2e-3)
  assert offsets[3] == -np.inf


def test_samples_are_the_cells_that_strokes_meet():
  features = np.arange(11 * 16 * 2, dtype=np.float32).reshape(11, 16, 2)
  labels = np.full(SIZE, 255, np.uint8)
  labels[9, 20] = 3  # Cell (2, 5): its corner is at pixel (8, 20).
  labels[10, 21] = 3  # (3, 5), as 10 is nearer to 12 than to 8.
  labels[0, 0] = 1
  found = cell_classifier.samples_of(features, labels, 100)
  assert sorted(zip(found.labels, found.x[:, 0], strict=True)) == [
      (1, features[0, 0, 0]), (3, features[2, 5, 0]), (3, features[3, 5, 0])]
  labels[:] = 2
  assert len(cell_classifier.samples_of(features, labels, 7).labels) == 7
  labels[:, :30] = 1
  labels[0, 0] = 0
  few = cell_classifier.samples_of(features, labels, 100, per_class=4)
  assert {label: sum(few.labels == label) for label in (0, 1, 2)} == {
      0: 1, 1: 4, 2: 4}


def test_pooled_samples_are_as_many_of_each_class():
  rng = np.random.default_rng(0)
  pictures = [cell_classifier.Samples(
      np.float32(np.stack([labels, np.full(len(labels), number)], 1)), labels)
      for number, labels in enumerate(
          rng.choice(3, [40, 50], p=[0.8, 0.19, 0.01]))]
  found = cell_classifier.pooled(pictures)
  np.testing.assert_array_equal(found.x[:, 0], found.labels)
  counts = np.bincount(found.labels)
  rare = sum((one.labels == 2).sum() for one in pictures)
  assert [*counts] == [128, 128, min(rare, 128)]
  assert len({*found.x[:, 1]}) > 30  # Of nearly all pictures.
  assert cell_classifier.pooled([]) is None


def weights_of(own, others, classes):
  return cell_classifier.fit_classes(own, others, np.array(classes))


def test_own_strokes_outweigh_those_of_others():
  own = cell_classifier.Samples(
      np.float32([[1, 0, 0], [0, 1, 0]]), np.array([0, 1]))
  # Others call the same features by the other name.
  others = cell_classifier.Samples(own.x, np.array([1, 0]))
  found = np.asarray(cell_classifier.probabilities(
      own.x, *weights_of(own, others, [0, 1])))
  assert found[0, 0] > 0.5 and found[1, 1] > 0.5
  alone = np.asarray(cell_classifier.probabilities(
      own.x, *weights_of(EMPTY, others, [0, 1])))
  assert alone[0, 1] > 0.5 and alone[1, 0] > 0.5


def test_the_least_sure_is_where_classes_are_close():
  own = cell_classifier.Samples(
      np.float32([[3, 0, 0], [0, 3, 0]]), np.array([0, 1]))
  fitted = weights_of(own, None, [0, 1])
  glances = np.zeros([300, 4, 3], np.float32)
  glances[:, :, 0] = 3
  glances[123] = [1.5, 1.5, 0]
  sure = cell_classifier.confidence(glances, *fitted)
  assert np.argmin(sure) == 123 and len(sure) == 300


# The whole, with features that are the colours of cells


def prepared(image):
  sides = [suggest.WALK.padded(side) for side in image.shape[:2]]
  padded = np.zeros([*sides, 3])
  padded[:image.shape[0], :image.shape[1]] = image / 255
  cells = np.zeros([side // 4 + 1 for side in sides] + [3])
  cells[:-1, :-1] = padded[::4, ::4]
  return suggest.prepare(image, cells)


@pytest.fixture(scope='module')
def disc(tmp_path_factory):
  path = annotated.write_picture(tmp_path_factory.mktemp('disc') / 'p.png')
  from PIL import Image
  return prepared(np.asarray(Image.open(path)))


def strokes_on_disc():
  labels = np.full(SIZE, 255, np.uint8)
  labels[18:22, 26:34] = 5  # On the disc.
  labels[3:5, 5:50] = 0
  return labels


def truth():
  y, x = np.mgrid[:40, :60]
  return np.where(np.hypot(x - 30, y - 20) < 10, 5, 0)


def test_a_mask_is_that_of_the_object(disc):
  scores = suggest.suggest(disc, strokes_on_disc(), None, [0, 5])
  mask = suggest.to_mask(scores, SIZE)
  assert np.mean(mask.labels == truth()) > 0.97
  drawn = strokes_on_disc()
  np.testing.assert_array_equal(
      mask.labels[drawn != 255], drawn[drawn != 255])
  assert mask.probability[20, 30] > 250 and mask.certainty[20, 30] > 250
  middle = mask.certainty[truth() == 5].mean()
  assert mask.certainty[20, 39:42].min() < middle  # Less on the border.


def test_a_mask_depends_on_nothing_but_what_is_given(disc):
  first, second = (suggest.suggest(disc, strokes_on_disc(), None, [0, 5])
                   for _ in range(2))
  np.testing.assert_array_equal(first.values, second.values)


def test_other_pictures_teach_classes(disc):
  nothing = np.full(SIZE, 255, np.uint8)
  assert suggest.suggest(disc, nothing, None, [0, 5, 9]) is None
  others = cell_classifier.samples_of(disc.features, strokes_on_disc(), 99)
  mask = suggest.to_mask(
      suggest.suggest(disc, nothing, others, [0, 5, 9]), SIZE)
  assert np.mean(mask.labels == truth()) > 0.95


def test_strokes_keep_their_class_whatever_others_say(disc):
  others = cell_classifier.samples_of(disc.features, strokes_on_disc(), 99)
  labels = np.full(SIZE, 255, np.uint8)
  labels[18:22, 26:34], labels[3:5, 5:50] = 0, 5  # The other way round.
  mask = suggest.to_mask(suggest.suggest(disc, labels, others, [0, 5]), SIZE)
  np.testing.assert_array_equal(
      mask.labels[labels != 255], labels[labels != 255])


def test_a_prediction_is_corrected_by_strokes(disc):
  predicted = np.uint8(np.where(truth() == 5, 9, 0))
  labels = strokes_on_disc()
  mask = suggest.to_mask(suggest.suggest(
      disc, labels, None, [0, 5, 9], predicted), SIZE)
  assert (mask.labels[labels == 5] == 5).all()
  one = np.full(SIZE, 255, np.uint8)
  one[20, 30] = 9
  mask = suggest.to_mask(suggest.suggest(
      disc, one, None, [0, 5, 9], predicted), SIZE)
  assert np.mean((mask.labels == 9) == (truth() == 5)) > 0.9


def test_many_classes_take_no_more_places(disc):
  labels = np.full(SIZE, 255, np.uint8)
  for label in range(20):
    labels[2 * label, 3 * label:3 * label + 3] = label
  scores = suggest.suggest(disc, labels, None, range(20))
  assert len(scores.labels) == suggest.MAX_WALKED
  assert scores.values.shape == (suggest.MAX_WALKED, *SIZE)


def test_mask_by_hand():
  scores = suggest.Scores(np.float32([[[0.6, 0.0]], [[0.2, 0.0]]]),
                          np.array([3, 7]))
  mask = suggest.to_mask(scores, (1, 2))
  assert mask.labels[0, 0] == 3
  assert mask.probability[0, 0] == int(255 * 0.75)
  assert mask.certainty[0, 0] == int(255 * 0.5)
  assert mask.probability[0, 1] == 0


@pytest.mark.parametrize('size, working, shown', [
    ((3000, 4000), (384, 512), (768, 1024)), ((40, 60), (40, 60), (160, 240)),
    ((1, 9000), (1, 512), (1, 1024)), ((213, 320), (213, 320), (682, 1024))])
def test_sizes(size, working, shown):
  assert suggest.working_size(size) == working
  assert suggest.shown_size(size) == shown
  image = np.zeros([*size, 3], np.uint8)
  assert suggest.scaled(image, working).shape[:2] == working


def test_features_and_glances_of_a_backbone():
  backbone = resnet.VARIANTS['resnet18'](4, output_stride=16)
  variables = backbone.init(
      jax.random.key(0), jnp.zeros([1, 65, 65, 3]), train=False)
  image = np.random.default_rng(0).integers(0, 256, [40, 60, 3], np.uint8)
  features = suggest.features_of(backbone, variables, image)
  assert features.shape[:2] == (33, 33)  # Of 128 pixels.
  glance = suggest.glance(backbone, variables, image)
  assert glance.shape == (25, features.shape[-1])
  np.testing.assert_array_equal(glance[0], np.float16(features[1, 1]))
  np.testing.assert_array_equal(glance[24], np.float16(features[9, 13]))


# The worker


@pytest.fixture
def worker(tmp_path, monkeypatch):
  """A Suggester whose features are colours, on three pictures."""
  loads = []

  def features_of(backbone, variables, image):
    loads.append(image.shape)
    return prepared(image).features

  monkeypatch.setattr(feature_network, 'load', lambda *_: (None, None, 'x'))
  monkeypatch.setattr(suggest, 'features_of', features_of)
  monkeypatch.setattr(suggest, 'glance', lambda backbone, variables, image: (
      np.float16(np.full([25, 3], image.mean() / 255))))
  store = annotated.open_store(
      annotated.write_pictures(tmp_path / 'pictures'), tmp_path / 'work',
      ('background', 'disc', 'ring'))
  (tmp_path / 'pictures/cut.png').write_bytes(b'\x89PNG')
  store._photographs.__init__(tmp_path / 'pictures', tmp_path / 'work/cache')
  made = suggestion_worker.Suggester(store, store._photographs, 'fake')
  made.loads, made.store = loads, store
  yield made
  made.close()


DISC = (1, 4, [(26, 20), (34, 20)]), (0, 3, [(5, 4), (50, 4)])


def test_worker_answers(worker):
  with pytest.raises(suggestion_worker.NoMaskError, match='second class'):
    worker.ask('p0').result(60)
  worker.store.write('p0', document(*DISC))
  answer = worker.ask('p0').result(60)
  assert answer.version == 1 and answer.mask.labels.shape == (160, 240)
  assert np.mean(suggest.to_mask(answer.scores, SIZE).labels
                 == (truth() == 5)) > 0.95
  # Another picture, without strokes, learns from this one.
  other = worker.ask('p1').result(60)
  assert other.version == 0 and other.mask.labels[80, 120] == 1
  with pytest.raises(UnreadableError):
    worker.ask('cut').result(60)
  before = len(worker.loads)
  worker.ask('p0').result(60)
  assert len(worker.loads) == before  # Features are kept.


def test_worker_knows_what_is_least_sure(worker):
  assert worker.learner.least_sure() == 'cut'  # Nothing is known yet.
  worker.store.write('p0', document(*DISC))
  worker.ask('p0').result(60)
  annotated.wait_until(lambda: worker.status()['glances'] == 3)
  assert worker.learner.least_sure() in ('p1', 'p2')
  worker.store.write('p1', document(nothing=True))
  assert worker.learner.least_sure() == 'p2'


def test_worker_shows_predictions_until_strokes_are_drawn(worker):
  predicted = np.zeros(SIZE, np.uint8)
  predicted[:20] = 2
  worker.store.files.start_predictions([0, 1, 2])
  masks.write_mask(worker.store.files.path('predictions', 'p2'), predicted)
  answer = worker.ask('p2').result(60)
  assert answer.is_prediction and answer.scores is None
  assert (answer.mask.labels[:80] == 2).all()
  assert not worker.store.listed  # It is no stroke.
  worker.store.write('p2', document(*DISC))
  answer = worker.ask('p2').result(60)
  assert not answer.is_prediction and answer.mask.labels[80, 120] == 1


def test_worker_forgets_strokes_that_are_gone(worker):
  worker.store.write('p0', document(*DISC))
  worker.ask('p0').result(60)
  assert worker.learner.others() is not None
  worker.store.write('p0', document(version=1))
  worker.learner.forget('p0')
  assert worker.learner.others() is None


def test_worker_without_a_network_says_so(tmp_path, monkeypatch):
  def fail(*_):
    raise UserError('The weights are missing.')

  monkeypatch.setattr(feature_network, 'load', fail)
  store = annotated.open_store(
      annotated.write_pictures(tmp_path / 'pictures'), tmp_path / 'work')
  worker = suggestion_worker.Suggester(store, store._photographs, 'fake')
  with pytest.raises(
      suggestion_worker.NoMaskError, match='weights are missing'):
    worker.ask('p0').result(60)
  assert worker.status()['state'] == 'unavailable'
  worker.close()


def test_worker_computes_one_at_a_time(worker):
  worker.store.write('p0', document(*DISC))
  futures = [worker.ask(name) for name in ('p0', 'p1', 'p2') * 3]
  done, _ = concurrent.futures.wait(futures, 120)
  assert len(done) == 9


def test_worker_gets_ready_for_the_next_picture(worker, tmp_path):
  annotated.wait_until(lambda: worker.status()['state'] == 'ready')
  worker.learner.ahead = 'p2'
  annotated.wait_until(lambda: [
      *(tmp_path / 'work/cache/x/features').glob('p2.*.npy')])
  before = len(worker.loads)
  worker.store.write('p2', document(*DISC))
  worker.ask('p2').result(60)
  assert len(worker.loads) == before


def test_features_on_the_disk_have_a_bound(worker, monkeypatch, tmp_path):
  cache = feature_cache.FeatureCache(
      tmp_path / 'features', worker.store._photographs, None, None, 'x')
  monkeypatch.setattr(feature_cache, '_MAX_BYTES', 10_000)  # Of 33 x 33 x 3.
  for name in ('p0', 'p1', 'p2'):
    cache.features(name)
  kept = [*(tmp_path / 'features').rglob('*.npy')]
  assert len(kept) == 1 and kept[0].name.startswith('p2')


def test_a_network_is_a_backbone_or_a_run(tmp_path):
  with pytest.raises(UserError, match='backbone'):
    feature_network.load('no_such')
  with pytest.raises(UserError):
    feature_network.load('resnet18', str(tmp_path))
