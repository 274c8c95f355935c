"""Damaged checkpoints: passed over, named, kept; never restored wrongly."""

import functools
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import sharding
from scribble_jax.errors import UserError
from scribble_jax.training.train_state import TrainState
from scribble_jax.weights import checkpoint
from scribble_jax.weights import stored

STEPS = (2, 4, 6)
PARTS = ('params', 'batch_stats')


@functools.cache
def state_of(step):
  """A small state, other numbers for each step, split over the devices."""
  rng = np.random.default_rng(step)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
  # Above 1 KB Orbax's database keeps an array in a file without checksums.
  params = {'a': {'kernel': draw(64, 40)}, 'b': {'bias': draw(7)}}
  state = TrainState(
      step=np.int32(step), params=params, batch_stats={'mean': draw(5)},
      opt_state=({'trace': jax.tree.map(lambda x: 2 * x, params)}, ()))
  mesh = sharding.make_mesh({'data': 2, 'model': 2})
  return jax.device_put(state, sharding.of_state(mesh, state))


def manager(directory):
  return checkpoint.open_manager(directory, intervals=[2], keep=3, last_step=99)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """Three checkpoints, the middle one the best."""
  directory = tmp_path_factory.mktemp('whole') / 'checkpoints'
  with manager(directory) as saving:
    for step in STEPS:
      checkpoint.save(saving, step, state_of(step), {
          'miou': 0.5 - abs(step - 4) / 10, 'step': step})
  return directory


@pytest.fixture
def directory(whole, tmp_path):
  """A copy, to be damaged."""
  return pathlib.Path(shutil.copytree(whole, tmp_path / 'checkpoints'))


def assert_restored(state):
  """Checks against what was saved at that step, bit for bit."""
  jax.tree.map(np.testing.assert_array_equal, state, state_of(int(state.step)))
  for leaf, expected in zip(*map(
      jax.tree.leaves, (state, state_of(int(state.step)))), strict=True):
    assert leaf.sharding == expected.sharding and leaf.dtype == expected.dtype


def assert_variables(variables, step):
  expected = {part: getattr(state_of(step), part) for part in PARTS}
  jax.tree.map(np.testing.assert_array_equal, variables, expected)


def test_whole_ones_are_restored_without_a_word(directory, caplog):
  state = checkpoint.restore_latest(directory, state_of(9))
  assert_restored(state)
  assert state.step == 6
  for name, step in (('latest', 6), ('best', 4), ('2', 2)):
    variables, found = checkpoint.restore_variables(directory, name)
    assert found == step
    assert_variables(variables, step)
  assert not caplog.text
  assert checkpoint.restore_latest(
      directory / 'none', state_of(9)) is state_of(9)


def cut(data):
  return data[:len(data) // 2]


def flipped(place):
  def flip(data):
    data = bytearray(data)
    data[int(place * (len(data) - 1))] ^= 1
    return bytes(data)
  return flip


def tail_of_zeros(data):  # Of the right size: what a power cut leaves.
  return cut(data) + bytes(len(data) - len(cut(data)))


DAMAGES = {
    'cut': cut, 'empty': lambda data: b'', 'missing': None,
    'a tail of zeros': tail_of_zeros, 'a byte more': lambda data: data + b'x',
    **{f'a bit flipped at {place}': flipped(place)
       for place in (0.1, 0.5, 1.0)}}


@pytest.mark.parametrize('damage', DAMAGES)
def test_any_damaged_file_is_no_matter_or_passed_over(
    directory, caplog, damage):
  """File by file of the newest checkpoint."""
  passed_over = []
  for file in sorted((directory / '6').rglob('*')):
    if file.is_dir():
      continue
    content = file.read_bytes()
    file.unlink()
    if DAMAGES[damage]:
      file.write_bytes(DAMAGES[damage](content))

    caplog.clear()
    variables, step = checkpoint.restore_variables(directory, 'latest')
    assert_variables(variables, step)
    assert step in (6, 4)
    assert (f'{directory}/6 is damaged: ' in caplog.text
            and f'Taking {directory}/4 instead.' in caplog.text) == (step == 4)
    assert (directory / '6').exists()  # Nobody who only reads changes names.

    caplog.clear()
    state = checkpoint.restore_latest(directory, state_of(9))
    assert_restored(state)
    assert (f'{directory}/6 is damaged: ' in caplog.text
            and 'It is now called 6.DAMAGED; training goes on from '
            f'{directory}/4.' in caplog.text) == (state.step == 4)
    if state.step != 6:
      assert state.step == 4
      (directory / '6.DAMAGED').rename(directory / '6')
      passed_over.append(file.name)
    file.write_bytes(content)
  assert 'manifest.ocdbt' in passed_over or damage == 'a byte more'
  assert len(passed_over) >= 3 or damage == 'a byte more'


def test_training_saves_the_damaged_step_again(directory):
  (directory / '6/default/manifest.ocdbt').unlink()
  damaged = {path.relative_to(directory / '6')
             for path in (directory / '6').rglob('*')}
  assert checkpoint.restore_latest(directory, state_of(9)).step == 4
  with manager(directory) as saving:
    assert saving.latest_step() == 4
    for step in (6, 8, 10, 12):
      assert saving.should_save(step)
      assert checkpoint.save(saving, step, state_of(step), {})
  # What was set aside is whole as it was, and no checkpoint.
  assert {path.relative_to(directory / '6.DAMAGED') for path in (
      directory / '6.DAMAGED').rglob('*')} == damaged
  assert stored.steps(directory) == [4, 8, 10, 12]  # The best, three newest.
  assert_restored(checkpoint.restore_latest(directory, state_of(9)))
  # The same again.
  shutil.copytree(directory / '12', directory / '6')
  shutil.rmtree(directory / '12')
  (directory / '12').mkdir()
  (directory / '10').rename(directory / '12.DAMAGED')
  checkpoint.restore_latest(directory, state_of(9))
  assert (directory / '12.DAMAGED.again').is_dir()


def remove_metadata(folder):
  (folder / '_CHECKPOINT_METADATA').unlink()
  (folder / 'default/_METADATA').unlink()


WRECKS = {
    'empty': lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    'without arrays': lambda folder: shutil.rmtree(folder / 'default'),
    'without data': lambda folder: shutil.rmtree(
        folder / 'default/ocdbt.process_0'),
    'without metadata': remove_metadata,
    'half a list of arrays': lambda folder: (
        folder / 'default/_METADATA').write_text('{"tree_metadata": {}}'),
    'no dict': lambda folder: (folder / 'default/_METADATA').write_text('[]'),
    'another form': lambda folder: (folder / 'default/_METADATA').write_text(
        '{"tree_metadata": {"step": 1}}'),
    'a file': lambda folder: (
        shutil.rmtree(folder / 'default'),
        (folder / 'default').write_text('')),
}


@pytest.mark.parametrize('wreck', WRECKS)
def test_half_copied_ones_are_passed_over(directory, caplog, wreck):
  for step in (6, 4):
    WRECKS[wreck](directory / str(step))
  variables, step = checkpoint.restore_variables(directory, 'latest')
  assert step == 2
  assert_variables(variables, 2)
  for damaged in (6, 4):
    assert f'{directory}/{damaged} is damaged: ' in caplog.text
  assert caplog.text.count(f'Taking {directory}/2 instead.') == 2
  assert checkpoint.restore_variables(directory, 'best')[1] == 2
  assert checkpoint.restore_latest(directory, state_of(9)).step == 2


def test_the_next_best_is_taken(directory, caplog):
  (directory / '4/default/manifest.ocdbt').unlink()
  (directory / '2/metrics/metrics').write_text('{"miou": 0.45}')
  assert checkpoint.restore_variables(directory, 'best')[1] == 2
  assert f'{directory}/4 is damaged: a file is missing. Taking' in caplog.text


def test_figures_of_an_older_one_do_not_stop_the_training(directory):
  (directory / '4/metrics/metrics').write_text('{"miou": 0.')
  assert checkpoint.restore_latest(directory, state_of(9)).step == 6
  assert (directory / '4.DAMAGED').is_dir()
  with manager(directory) as saving:
    assert saving.best_step() in (2, 6)


def test_a_step_that_was_named_is_taken_or_refused(directory):
  WRECKS['empty'](directory / '6')
  with pytest.raises(UserError, match=(
      f'^{directory}/6 is damaged: _METADATA is missing\\. Copy it')) as error:
    checkpoint.restore_variables(directory, '6')
  assert '\n' not in str(error.value)


def test_none_that_is_whole_is_one_line(directory):
  for step in STEPS:
    WRECKS['without data'](directory / str(step))
  for restore in (lambda: checkpoint.restore_latest(directory, state_of(9)),
                  lambda: checkpoint.restore_variables(directory, 'latest')):
    with pytest.raises(UserError, match=(
        f'^{directory}/6 is damaged: a file is missing or has changed; 2 older '
        'ones are damaged too\\. .*--workdir')) as error:
      restore()
    assert '\n' not in str(error.value)
  assert stored.steps(directory) == list(STEPS)  # As they were.


def test_another_network_is_no_damage(directory):
  state = state_of(9)
  state = state.replace(params=state.params | {'b': {'bias': jnp.ones(8)}})
  with pytest.raises(UserError, match=(
      r'belongs to another network: params\.b\.bias has shape \(7,\) there and '
      r'\(8,\)')):
    checkpoint.restore_latest(directory, state)
  assert stored.steps(directory) == list(STEPS)


def test_what_cannot_be_read_now_is_no_damage(directory, monkeypatch):
  class Unavailable:
    def result(self):
      raise ValueError('UNAVAILABLE: CURL error[6] Could not resolve host')

  monkeypatch.setattr(stored, '_open_arrays', lambda *args: [Unavailable()])
  with pytest.raises(UserError, match='Cannot read .*/6: UNAVAILABLE'):
    checkpoint.restore_latest(directory, state_of(9))
  assert stored.steps(directory) == list(STEPS)


def test_a_mistake_of_ours_is_no_damage(directory, monkeypatch):
  def refuse(spec, **kwargs):
    raise ValueError('Invalid spec')

  monkeypatch.setattr(stored.tensorstore, 'open', refuse)
  with pytest.raises(ValueError, match='Invalid spec'):
    checkpoint.restore_latest(directory, state_of(9))
  assert stored.steps(directory) == list(STEPS)


def test_checkpoints_of_before_the_sums_are_restored(directory):
  path = directory / '6/_CHECKPOINT_METADATA'
  path.write_text(json.dumps(
      json.loads(path.read_text()) | {'custom_metadata': {}}))
  assert checkpoint.restore_latest(directory, state_of(9)).step == 6


def test_sums_count_each_word_once():
  """However the state is spread, against NumPy."""
  host = jax.device_get(state_of(2))
  words = host.params['a']['kernel'].view(np.uint32).astype(object).sum()
  for state in (state_of(2), jax.device_put(host)):
    sums = stored.sums(state)
    assert sums['params.a.kernel'] == words % 2**32
    assert sums['step'] == 2
    assert sums.keys() == {
        'step', 'params.a.kernel', 'params.b.bias', 'batch_stats.mean',
        'opt_state.0.trace.a.kernel', 'opt_state.0.trace.b.bias'}


@pytest.mark.parametrize('name, content', [
    ('metrics/metrics', {'miou': 'high'}), ('metrics/metrics', {'miou': [1]}),
    ('metrics/metrics', {'miou': 10**400}), ('metrics/metrics', {'miou': -1}),
    ('_CHECKPOINT_METADATA', {'custom_metadata': {'sums': True}}),
    ('_CHECKPOINT_METADATA', {'custom_metadata': [3]}),
    ('_CHECKPOINT_METADATA', {'custom_metadata': {'sums': ['a']}}),
    *((name, None) for name in ('metrics/metrics', '_CHECKPOINT_METADATA',
                                'default/_METADATA'))])
@pytest.mark.parametrize('step', ['latest', 'best'])
def test_json_of_another_form_is_damage(directory, caplog, name, content, step):
  for number in (4, 6):
    (directory / f'{number}/{name}').write_text(
        json.dumps(content) if content else '[' * 100_000)
  assert checkpoint.restore_variables(directory, step)[1] == 2
  # Without figures one is never the best, damaged or not.
  assert ('is damaged: ' in caplog.text) != (
      step == 'best' and name == 'metrics/metrics')
