"""What can't be written is one line, whoever raises it; the rest passes."""

import errno
import resource
import sys

from absl import logging
from clu import asynclib
import pytest
import tensorflow as tf

from scribble_jax import train
from scribble_jax.data import record_making
from scribble_jax.data import records
from scribble_jax.errors import UnwritableError
from scribble_jax.errors import UserError
from scribble_jax.files import write_errors
from scribble_jax.pseudo_labels import generation
from scribble_jax.pseudo_labels import settings
from scribble_jax.scribbles import outputs

TENSORSTORE = (
    'RESOURCE_EXHAUSTED: Error writing "params.bias/0" in OCDBT database at '
    'local file "{run}/6": Failed writing: "{run}/6/d": Failed to write 9 bytes'
    " to file 16: what the system says [os_error_code='{number}']")


def events_error(run):
  return tf.errors.OutOfRangeError(
      None, None, f'{{{{function_node FlushSummaryWriter}}}} {run}/events.v2; '
      f'what the system says\n\tFailed to flush 20 events to {run}/events.v2')


@pytest.fixture
def full(tmp_path):
  """A folder that takes small files alone, as one of a full disk may."""
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
  yield tmp_path
  resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def assert_named(error, run, reason):
  for raised in (error, in_background(error)):
    with (pytest.raises(UnwritableError, match=(
        f'write to {run}: {reason}. Make')), write_errors.named(run)):
      raise raised


def assert_passes(error, run):
  for raised in (error, in_background(error)):
    with (pytest.raises(type(raised)) as caught, write_errors.named(run)):
      raise raised
    assert caught.value is raised


def in_background(error):
  wrapped = asynclib.AsyncError(f"'{error}' occurred")
  wrapped.__cause__ = error
  return wrapped


@pytest.mark.parametrize('number, reason', [
    (errno.ENOSPC, 'No space left on device'), (errno.EFBIG, 'File too large'),
    (errno.EDQUOT, 'Disk quota exceeded'), (errno.EACCES, 'Permission denied'),
    (errno.EROFS, 'Read-only file system'), (errno.EIO, 'Input/output error')])
def test_number_and_path_decide(tmp_path, number, reason):
  run, elsewhere = tmp_path / 'run', tmp_path / 'run_of_others'
  run.mkdir()
  for make in (
      lambda folder: OSError(number, 'words', f'{folder}/config.json'),
      lambda folder: ValueError(TENSORSTORE.format(run=folder, number=number))):
    assert_named(make(run), run, reason)
    assert_passes(make(elsewhere), run)


def test_so_do_the_codes_of_tensorflow(tmp_path):
  for kind, reason in (
      (tf.errors.ResourceExhaustedError, 'No space left on device'),
      (tf.errors.PermissionDeniedError, 'Permission denied')):
    assert_named(kind(None, None, f'{tmp_path}/a; words'), tmp_path, reason)
    assert_passes(kind(None, None, 'words'), tmp_path)


@pytest.mark.parametrize('make', [
    events_error,  # Names the path, but no number.
    lambda run: OSError(errno.EIO, 'words'),  # A number, but no path.
    lambda run: OSError('encoder error -2 when writing image file'),  # Neither.
    lambda run: ValueError(TENSORSTORE.format(run=run, number=2)),
])
def test_where_they_do_not_the_disk_is_asked(full, make):
  assert_named(make(full), full, 'File too large')


@pytest.mark.parametrize('make', [
    events_error, lambda run: OSError(errno.EIO, 'words'),
    lambda run: ValueError(TENSORSTORE.format(run=run, number=2)),
    lambda run: FileNotFoundError(errno.ENOENT, 'words', f'{run}/6/d'),
    lambda run: TimeoutError('of a barrier'),
])
def test_errors_pass_where_the_disk_takes_files(tmp_path, make):
  assert_passes(make(tmp_path), tmp_path)
  assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize('error', [
    ValueError('Error writing, Failed to flush, events writer'),
    FileNotFoundError(errno.ENOENT, 'words', '/data/JPEGImages/a.jpg'),
    PermissionError(errno.EACCES, 'words', '/data/records/index.npz'),
    KeyError('mistake'), tf.errors.OutOfRangeError(None, None, 'of a dataset'),
])
def test_errors_of_other_things_pass_even_then(full, error):
  assert_passes(error, full)


@pytest.mark.parametrize('number, reason', [
    (errno.ENOSPC, 'No space left on device'), (errno.EFBIG, 'File too large'),
    (errno.EDQUOT, 'Disk quota exceeded')])
def test_a_full_disk_needs_no_path(tmp_path, number, reason):
  # Files that are open have none; what was half-written may be gone by now.
  assert_named(OSError(number, 'words'), tmp_path, reason)


def test_relative_paths_are_those_of_the_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name, folder in ((f'{tmp_path}/run/a', 'run'),
                       ('run/a', f'{tmp_path}/run'), ('run/a', 'run')):
    error = OSError(errno.ENOSPC, 'words', name)
    assert write_errors.reason(error, folder) == 'No space left on device'
  assert write_errors.reason(OSError(errno.ENOSPC, '', 'run/a'), 'ru') is None


def log(error):
  try:
    raise error
  except type(error):
    logging.exception('Of %s', error.args[0])


@pytest.fixture
def logged(monkeypatch):
  """Messages that absl's handler writes."""
  messages = []
  monkeypatch.setattr(logging.get_absl_handler().python_handler, 'emit',
                      lambda record: messages.append(record.getMessage()))
  handler = logging.get_absl_handler()
  logger = logging.get_absl_logger()
  logger.addHandler(handler)
  yield messages
  logger.removeHandler(handler)


def test_only_the_echo_of_the_error_that_ends_the_run_is_dropped(
    tmp_path, logged):
  full = ValueError(TENSORSTORE.format(run=tmp_path, number=errno.ENOSPC))
  with pytest.raises(UnwritableError), write_errors.named(tmp_path):
    log(KeyError('a handled one'))
    assert logged == ['Of a handled one']  # At once.
    log(full)
    raise full
  assert logged == ['Of a handled one']
  logged.clear()
  with write_errors.named(tmp_path):
    log(OSError(errno.ENOSPC, '', str(tmp_path / 'a')))
    assert not logged
  assert len(logged) == 1
  logged.clear()
  with pytest.raises(KeyError), write_errors.named(tmp_path):
    log(full)
    raise KeyError('mistake')
  assert len(logged) == 1


# Where other folders are written


ELSEWHERE = PermissionError(errno.EACCES, 'words', '/data/JPEGImages/a.jpg')


def raises(error):
  def function(*args, **kwargs):
    raise error
  return function


def test_records(root, config, monkeypatch):
  monkeypatch.setattr(record_making, 'build', raises(ELSEWHERE))
  with pytest.raises(PermissionError):
    records.prepare(config.data)
  monkeypatch.setattr(record_making, 'build', raises(tf.errors.DataLossError(
      None, None, 'of /data/JPEGImages/a.jpg')))
  with pytest.raises(tf.errors.DataLossError):
    records.prepare(config.data)
  monkeypatch.setattr(record_making, 'build', raises(OSError(
      errno.ENOSPC, 'words', f'{root}/records/.0.partial/index.npz')))
  with pytest.raises(UserError, match=(
      r'Cannot write .*/records/[0-9a-f]+: No space left on device\. Set')):
    records.prepare(config.data)


def test_stage1(tmp_path, monkeypatch):
  made_from = settings.Stage1(None, None)
  monkeypatch.setattr(settings.Stage1, 'settings', raises(ELSEWHERE))
  with pytest.raises(PermissionError):
    generation._generate_at(tmp_path / 'run', made_from)
  monkeypatch.setattr(settings.Stage1, 'settings', raises(OSError(
      errno.EDQUOT, 'words', f'{tmp_path}/run/pseudo_labels/a.png')))
  with pytest.raises(UnwritableError, match='Disk quota exceeded. Make room'):
    generation._generate_at(tmp_path / 'run', made_from)


def test_training(tmp_path, config, monkeypatch):
  run = tmp_path / 'run'
  for error, expected in (
      (ELSEWHERE, PermissionError), (KeyError('mistake'), KeyError),
      (OSError(errno.ENOSPC, 'words', f'{run}/metrics.json'), UnwritableError)):
    monkeypatch.setattr(train, '_train', raises(error))
    with pytest.raises(expected):
      train.train(config, str(run))


def test_scribbles(tmp_path):
  for error, expected in (
      (ELSEWHERE, PermissionError),
      (OSError(errno.ENOSPC, 'words', f'{tmp_path}/.out.partial/a'),
       UserError)):
    with (pytest.raises(expected),
          outputs.whole_output(tmp_path / 'out', False, {})):
      raise error


def test_what_threads_raise_unseen_is_left_out_of_that_line_alone(
    tmp_path, monkeypatch):
  seen = []
  monkeypatch.setattr(sys, 'unraisablehook', seen.append)

  def collide():
    class Loop:
      def __del__(self):
        raise RuntimeError('Event loop is closed')
    Loop()

  with pytest.raises(UnwritableError), write_errors.named(tmp_path):
    collide()
    raise OSError(errno.ENOSPC, 'words', f'{tmp_path}/a')
  assert not seen
  with pytest.raises(KeyError), write_errors.named(tmp_path):
    collide()
    raise KeyError('mistake')
  assert len(seen) == 1
