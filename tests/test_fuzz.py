"""A short fuzz of every reader, and what long ones have found."""

import zipfile

import numpy as np
import pytest

from configs import demo
from scribble_jax import evaluate
from scribble_jax import predict
from scribble_jax.data import drawn_dataset
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import images
from scribble_jax.files import masks
from scribble_jax.weights import weight_files
from tests import fuzzed
from tests import mutations
from tests import test_images
from tests.benchmarks import fuzz

SLOW = {'records': 150, 'scribble commands': 150, 'XML': 15}


@pytest.mark.parametrize('name', fuzz.READERS)
def test_no_traceback_no_hang_and_nothing_left(name, tmp_path):
  outcome = fuzz.fuzz(name, SLOW.get(name, 60), 1, tmp_path)
  assert not outcome.faults, [
      (number, file, text) for number, file, _, text in outcome.faults]
  assert outcome.inputs


def test_a_fuzz_is_repeatable_and_its_checks_find_faults(
    tmp_path, monkeypatch):
  seen = []

  def read(path):
    seen.append(path.read_bytes())
    kind = len(seen) % 6
    if kind == 1:
      raise KeyError('a')
    if kind == 2:
      raise UserError('two\nlines')
    if kind == 3:
      (path.parent / 'left').touch()
    if kind == 4:
      (path.parent / 'left').unlink()
      path.write_bytes(b'')
    if kind == 5:
      np.float32(1e30) * np.float32(1e30)  # Warns.

  reader = fuzzed.Reader([('a', b'content' * 9)], mutations.of_bytes, read)
  monkeypatch.setitem(fuzz.READERS, 'new', lambda _: reader)
  outcome = fuzz.fuzz('new', 6, 0, tmp_path)
  assert [number for number, *_ in outcome.faults] == [0, 1, 2, 3, 4]
  assert outcome.accepted == 1 and len({*seen}) == 6
  first, seen[:] = [*seen], []
  fuzz.fuzz('new', 6, 0, tmp_path)
  assert seen == first


def test_a_hang_is_found(tmp_path, monkeypatch):
  monkeypatch.setattr(fuzz, 'SECONDS', 0.1)

  def read(path):
    while True:
      try:
        path.exists()
      except Exception:
        continue

  reader = fuzzed.Reader([('a', b'content')], mutations.of_bytes, read)
  monkeypatch.setitem(fuzz.READERS, 'new', lambda _: reader)
  ((_, _, _, text),) = fuzz.fuzz('new', 1, 0, tmp_path).faults
  assert text.startswith('Hang')


@pytest.fixture(scope='module')
def network(tmp_path_factory):
  """(config, file of weights) of a tiny network."""
  state_dict, _, model = fuzzed.tiny_network()
  path = tmp_path_factory.mktemp('network') / 'a.safetensors'
  weight_files.write_state_dict(path, state_dict)
  config = demo.get_config()
  config.model = model
  config.model.num_classes = len(fuzzed.CLASSES)
  config.data.update({'crop_size': 33, 'max_megapixels': 1.0})
  config.evaluation.scales = (1.0,)
  return config, path


def test_prediction_skips_damaged_pictures_and_predicts_the_others(
    network, tmp_path, capsys):
  config, weights = network
  (tmp_path / 'in').mkdir()
  whole = []
  for number in range(48):
    name, content, pixels = test_images.CASES[number % len(test_images.CASES)]
    path = tmp_path / f'in/{number}_{name}'
    if number % 4:
      content = mutations.of_picture(np.random.default_rng(number), content)
    else:
      whole.append((path, pixels))
    path.write_bytes(content)
  done, skipped = predict.predict(
      config, weights, 'latest', [str(tmp_path / 'in')], tmp_path / 'out',
      False)
  lines = [line for line in capsys.readouterr().err.splitlines()
           if 'skipped' in line]
  assert done + skipped == 48 and len(lines) == skipped > 0
  assert len([*(tmp_path / 'out').iterdir()]) == 2 * done
  for path, pixels in whole:
    mask = masks.read_mask(tmp_path / f'out/{path.stem}.png')
    assert mask.shape == pixels.shape[:2] and mask.max() < len(fuzzed.CLASSES)


def test_evaluation_of_damaged_files_leaves_nothing(network, tmp_path):
  config, weights = network
  root = tmp_path / 'data'
  drawn_dataset.write_dataset(
      root, num_train=1, num_val=2, image_size=24, seed=0)
  (root / 'classes.txt').write_text('\n'.join(fuzzed.CLASSES))
  config = config.copy_and_resolve_references()
  config.data.update({'root': str(root), 'embedded': {}})
  files = [*sorted(root.glob('*/val_*')), root / config.data.val_list, weights]
  for number, path in enumerate(files * 4):
    content = path.read_bytes()
    path.write_bytes(mutations.of_bytes(
        np.random.default_rng(number), content[:len(content) // 2]))
    with pytest.raises(UserError) as error:
      evaluate.evaluate(config, weights, 'latest', tmp_path / 'out')
    fuzzed.assert_plain(error.value)
    path.write_bytes(content)
    assert not (tmp_path / 'out').exists()


# What long fuzzes have found


@pytest.mark.parametrize('text', ['a\nb', 'x' * 10_000, 'a\u2028b'])
def test_a_problem_is_one_line_whatever_a_file_holds(text):
  with pytest.raises(UserError) as error:
    raise_problems([f'a.xml: unknown {text}'], 'Mend it.')
  message = str(error.value)
  assert len(message.splitlines()) == 1 and len(message) < 1_100
  assert message.startswith('a.xml: unknown') and message.endswith('. Mend it.')


def zip_of(path, entries):
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, content in entries:
      archive.writestr(name, content)
  return path


def test_png_files_that_tensorflow_refuses_are_stored_anew():
  from scribble_jax.data import encoding
  content = test_images.saved(test_images.RGB, 'PNG')
  header = content[8:33]
  twice = content[:8] + header * 2 + content[33:]  # Pillow forgives this.
  picture = images.read(twice, images.READING)
  assert picture.is_plain
  stored = encoding.encode_image(twice, picture.pixels)
  assert stored != twice
  np.testing.assert_array_equal(
      encoding.decode_image(stored), test_images.RGB)
  assert encoding.encode_image(content, picture.pixels) == content


