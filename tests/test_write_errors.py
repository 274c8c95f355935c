"""What can't be written is one line, whoever raises it."""

from clu import asynclib
import pytest
import tensorflow as tf

from scribble_jax.errors import UnwritableError
from scribble_jax.files import write_errors

EVENTS = tf.errors.OutOfRangeError(
    None, None, '{{function_node FlushSummaryWriter}} /run/events.v2; File too '
    'large\n\tFailed to flush 20 events to /run/events.v2')
TENSORSTORE = (
    'OUT_OF_RANGE: Error writing "params.bias/0" in OCDBT database at local '
    'file "/run/6": Failed writing: "/run/6/d": File too large [source '
    "locations='file_util.cc:140']")


@pytest.mark.parametrize('error, reason', [
    (OSError(28, 'No space left on device', '/run/config.json'),
     'No space left on device'),
    (ValueError(TENSORSTORE), 'File too large'),
    (EVENTS, 'File too large'),
])
@pytest.mark.parametrize('in_background', [False, True])
def test_errors_of_all_libraries_are_named(error, reason, in_background):
  with (pytest.raises(UnwritableError, match=f'write to /run: {reason}. Make'),
        write_errors.named('/run')):
    if in_background:
      raise asynclib.AsyncError(f"'{error}' occurred") from error
    raise error


@pytest.mark.parametrize('error', [
    ValueError('not of a disk'),
    asynclib.AsyncError('not of a disk'),
    TimeoutError('of a barrier, not of a disk'),
])
def test_other_errors_pass(error):
  with (pytest.raises(type(error), match='not of a disk'),
        write_errors.named('/run')):
    raise error
