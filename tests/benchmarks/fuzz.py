"""Mutated files for every reader: no traceback, hang or leftover.

python tests/benchmarks/fuzz.py [--inputs 2000] [--seed 0] [--only masks ...]

Each input is a valid file with seeded mutations, so the same flags make the
same inputs. A reader must return what it promises, or refuse the file by one
line, within a limit of time and memory, without a warning, and leave nothing
beside the file. `--keep FOLDER` stores the inputs that found a fault.
"""

import collections
import dataclasses
import pathlib
import re
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import numpy as np

from tests import converted
from tests import fuzzed
from tests import fuzzed_commands
from tests.benchmarks import harness

READERS = fuzzed.READERS | fuzzed_commands.READERS | converted.READERS
SECONDS = 5.0  # For an input.
MEGABYTES = 400  # Of memory for an input, at its peak.
_ROOM = 4 * 2**30  # Bytes that all inputs may take in the end.
_STATUS = pathlib.Path('/proc/self/status')
_RESET_PEAK = pathlib.Path('/proc/self/clear_refs')


class Hang(BaseException):
  """An input took too long. No reader catches it."""


@dataclasses.dataclass
class Outcome:
  """What a reader made of its inputs.

  Attributes:
    inputs: How many there were.
    accepted: How many were read; the others were refused, or found a fault.
    faults: [(number of the input, its file's name, content, what is wrong)].
    seconds: For all of them.
    slowest: Seconds of the slowest one.
    megabytes: Memory of the one that took most.
  """
  inputs: int = 0
  accepted: int = 0
  faults: list = dataclasses.field(default_factory=list)
  seconds: float = 0.0
  slowest: float = 0.0
  megabytes: float = 0.0

  def row(self, name):
    """Returns the row of a table."""
    return {'reader': name, 'inputs': self.inputs, 'read': self.accepted,
            'refused': self.inputs - self.accepted - len(self.faults),
            'faults': len(self.faults), 'seconds': self.seconds,
            'slowest (s)': self.slowest, 'memory (MB)': self.megabytes}


def fuzz(name, inputs, seed, folder):
  """Feeds mutated files to a reader.

  Args:
    name: Of READERS.
    inputs: How many of a reader whose share is 1.
    seed: Of the mutations.
    folder: An empty one, which is left so but for what the reader needs.

  Returns:
    Outcome.
  """
  reader, outcome = READERS[name](folder), Outcome()
  start = time.perf_counter()
  for number in range(max(1, round(inputs * reader.share))):
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
    file, content = reader.files[number % len(reader.files)]
    content = reader.mutate(rng, content)
    began = time.perf_counter()
    try:
      accepted, megabytes = _feed(reader, folder / file, content)
    except (Exception, Hang) as error:
      outcome.faults.append((number, file, content, _described(error)))
      accepted, megabytes = False, 0.0
    outcome.slowest = max(outcome.slowest, time.perf_counter() - began)
    outcome.megabytes = max(outcome.megabytes, megabytes)
    outcome.accepted += accepted
    outcome.inputs += 1
  outcome.seconds = time.perf_counter() - start
  return outcome


def _feed(reader, path, content):
  """Lets a reader read one input.

  Returns:
    Whether it was accepted, and the megabytes of memory that this took.

  Raises:
    AssertionError: A promise is broken.
    Exception: The reader has a fault.
  """
  before = path.read_bytes() if path.exists() else None
  path.write_bytes(content)
  files = _listing(path.parent)
  try:
    with _limits() as taken, warnings.catch_warnings(record=True) as warned:
      try:
        reader.read(path)
        accepted = True
      except reader.refusals as error:
        fuzzed.assert_plain(error)
        accepted = False
    assert not warned, f'warns: {warned[0].message}'
    assert taken[0] < MEGABYTES, f'took {taken[0]:.0f} MB of memory'
    assert _listing(path.parent) == files, 'left files behind'
    assert path.read_bytes() == content, 'changed its input'
    return accepted, taken[0]
  finally:
    if before is None:
      path.unlink(missing_ok=True)
    else:
      path.write_bytes(before)


def _listing(folder):
  return sorted(folder.rglob('*'))


class _limits:  # noqa: N801, used as a function.
  """Ends the block after SECONDS; fills a list with the megabytes it took."""

  def __enter__(self):
    self._taken = []
    self._before = _memory('VmRSS')
    if _RESET_PEAK.exists():
      _RESET_PEAK.write_text('5')
    if threading.current_thread() is threading.main_thread():
      signal.signal(signal.SIGALRM, _raise_hang)
      signal.setitimer(signal.ITIMER_REAL, SECONDS)
    return self._taken

  def __exit__(self, *_):
    if threading.current_thread() is threading.main_thread():
      signal.setitimer(signal.ITIMER_REAL, 0)
    self._taken.append(_memory('VmHWM') - self._before)


def _raise_hang(*_):
  raise Hang(f'takes more than {SECONDS:g} s')


def _memory(key):
  """Returns an entry of this process's status in megabytes; 0 elsewhere."""
  if not _STATUS.exists():
    return 0.0
  line = next(line for line in _STATUS.read_text().splitlines()
              if line.startswith(f'{key}:'))
  return int(line.split()[1]) / 1024


def _described(error):
  """Returns an error and where the product, or a promise, raised it."""
  frames = [frame for frame in traceback.extract_tb(error.__traceback__)
            if 'site-packages' not in frame.filename]
  own = [frame for frame in frames if 'scribble_jax' in frame.filename]
  frame = (own or frames)[-1]
  text = ' '.join(str(error).split())[:200]
  place = f'{pathlib.Path(frame.filename).name}:{frame.lineno}'
  return f'{type(error).__name__} at {place}: {text}'


def _limit_memory():
  """Lets an input that takes all of the memory fail, not the machine."""
  used = int(_memory('VmData') * 2**20)
  _, hard = resource.getrlimit(resource.RLIMIT_DATA)
  resource.setrlimit(resource.RLIMIT_DATA, (used + _ROOM, hard))


def _report(name, outcome, keep):
  """Prints the faults of a reader, alike ones once, and stores their inputs."""
  alike = collections.defaultdict(list)
  for number, file, content, text in outcome.faults:
    kind = re.sub(r'\d+|/\S*', '', text.partition(': ')[2])[:20]
    alike[text.partition(': ')[0], kind].append((number, file, text))
    if keep:
      place = keep / name / f'{number}_{pathlib.PurePath(file).name}'
      place.parent.mkdir(parents=True, exist_ok=True)
      place.write_bytes(content)
  for found in alike.values():
    number, file, text = found[0]
    print(f'{name}, input {number} ({file}) and {len(found) - 1} more: {text}',
          flush=True)


def main():
  def add_arguments(parser):
    parser.add_argument('--inputs', type=int, default=2_000,
                        help='mutated files for each reader')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', nargs='+', choices=[*READERS],
                        default=[*READERS], metavar='READER')
    parser.add_argument('--keep', type=pathlib.Path,
                        help='folder for the inputs that found a fault')

  args = harness.parse_args('fuzz', __doc__, add_arguments)
  inputs = 20 if args.smoke else args.inputs
  _limit_memory()
  rows, num_faults = [], 0
  for name in args.only:
    with tempfile.TemporaryDirectory() as folder:
      outcome = fuzz(name, inputs, args.seed, pathlib.Path(folder))
    _report(name, outcome, args.keep)
    rows.append(outcome.row(name))
    num_faults += len(outcome.faults)
  harness.report(args, rows, seed=args.seed, faults=num_faults)
  sys.exit(num_faults > 0)


if __name__ == '__main__':
  main()
