"""Flags, start-up, one-line errors and exit codes of all commands."""

import argparse
import os
import pathlib
import signal
import sys

from absl import app
from absl import flags
from absl import logging
from flax.traverse_util import flatten_dict
import jax
from ml_collections import config_flags

from scribble_jax import config_files
from scribble_jax import messages
from scribble_jax.errors import TRY_AGAIN
from scribble_jax.errors import PassingError
from scribble_jax.errors import Stopped
from scribble_jax.errors import UnwritableError
from scribble_jax.errors import UserError
from scribble_jax.files import storage

flags.disclaim_key_flags()  # --help lists flags under the command, not here.


def define_config(*run_flags):
  """Adds --config and --config.KEY=VALUE to the command.

  Args:
    *run_flags: Names of flags whose value may be the workdir of a training run.
      Then the config is read from the workdir, and --config is refused: a
      network is evaluated with the settings it was trained with, unless flags
      change them. If there are no names, --config is required.
  """
  flag = config_flags.DEFINE_config_file('config', help_string=(
      'Name or file of the config, for a --checkpoint that is a file of '
      'weights. For a workdir the config of its run is used: flags such as '
      '--config.evaluation.flip=True change single values, and --config=FILE '
      'is refused.' if run_flags else
      'Name or file of the config, such as scribblesup or my_config.py.'))
  flags.FLAGS['config'].parser = _ReadConfig(run_flags)
  if not run_flags:
    flags.mark_flag_as_required('config')
  return flag


class _ReadConfig(flags.ArgumentParser):
  """Parser of --config; returns the config that `_read_config` has read.

  absl's own parser would replace some errors of a config file by others.

  Attributes:
    run_flags: See `define_config`.
    config: ConfigDict; None before it is read.
  """

  def __init__(self, run_flags):
    self.run_flags = run_flags
    self.config = None

  def parse(self, argument):
    """Returns the config."""
    del argument
    return self.config


def define_job():
  """Adds the flags of `join_job` to a command that runs on several hosts."""
  flags.DEFINE_string(
      'coordinator', None, 'HOST:PORT of process 0, for a job of several '
      'processes. Cloud TPU VMs and Slurm need none of these flags.')
  flags.DEFINE_integer(
      'num_processes', None, 'Number of processes of the job.')
  flags.DEFINE_integer(
      'process_id', None, 'Index of this process, from 0.')
  flags.DEFINE_integer(
      'peer_timeout', 100, 'Seconds without an answer of a process after which '
      'the job ends.')


def define_checkpoint(required=True):
  """Adds --checkpoint to a command that reads a trained network."""
  return flags.DEFINE_string(
      'checkpoint', None, "A workdir, or a file of weights named as the "
      "authors' are: .pth or .safetensors.", required=required)


def define_step():
  """Adds --step to a command that reads a workdir's checkpoints."""
  return flags.DEFINE_string(
      'step', 'latest', "Which checkpoint of a workdir: latest, best (by its "
      'validation), or a number of updates.')


def define_other_data():
  """Adds --resume_with_other_data to a command that trains."""
  return flags.DEFINE_bool(
      'resume_with_other_data', False, 'Resume the run in the workdir even if '
      'its data or its stage-1 settings have changed.')


class ArgumentParser(argparse.ArgumentParser):
  """argparse's parser, whose errors are UserErrors."""

  def error(self, message):
    """Raises UserError in place of argparse's exit."""
    raise UserError(f'{message} (try --help)')


def run(main, *, interrupted, takes_files=False, parser=None):
  """Runs `main(argv)` and exits with what it returns, 0 for None.

  A UserError ends the program with one line and exit code 1, Ctrl-C with 130,
  and an interruption from which the same command resumes with TRY_AGAIN.

  Args:
    main: Function of the arguments that follow the flags; the first one is the
      name of the program.
    interrupted: Sentence to print on Ctrl-C: what is lost and how to resume.
    takes_files: Whether arguments may follow the flags.
    parser: ArgumentParser of a command without absl flags; `main` gets its
      result instead of argv.
  """
  def start(argv):
    """Runs `main` after the flags are parsed."""
    if len(argv) > 1 and not takes_files:
      raise UserError(f'Unknown argument {argv[1]!r}. Options look like '
                      '--workdir=DIR or --config.batch_size=8.')
    if flags.FLAGS['verbosity'].present:
      messages.show_all()
    _keep_compiled_programs()
    return main(argv)

  messages.show()
  try:
    if parser is not None:
      flags.FLAGS.mark_as_parsed()  # Else absl warns of log messages.
      sys.exit(main(parser.parse_args()))
    app.run(start, flags_parser=_parse_flags)
  except UserError as error:
    if _in_job() or isinstance(error, UnwritableError):
      _leave_at_once(f'error: {error}', error.exit_code)
    print(f'error: {error}', file=sys.stderr)
    sys.exit(error.exit_code)
  except Stopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(TRY_AGAIN)
  except (jax.errors.JaxRuntimeError, TimeoutError) as error:
    if not _in_job() or 'RESOURCE_EXHAUSTED' in str(error):
      raise
    _leave_at_once(
        'error: another process of the job is gone or does not answer '
        f'({_first_line(error)}). Start the same command on all hosts again; '
        'it resumes from the last checkpoint.', TRY_AGAIN)
  except KeyboardInterrupt:
    print(f'Interrupted. {interrupted}', file=sys.stderr)
    sys.exit(130)


def end_on_sigterm():
  """Makes SIGTERM, which schedulers send, end the process as Ctrl-C does."""
  signal.signal(signal.SIGTERM, signal.default_int_handler)


def join_job():
  """Connects the processes of the job, if there are several.

  Raises:
    UserError: The flags are incomplete.
    PassingError: A process did not connect in time.
  """
  address, *numbers = (
      flags.FLAGS[name].value
      for name in ('coordinator', 'num_processes', 'process_id'))
  given = [value is not None for value in (address, *numbers)]
  if any(given) and not all(given):
    raise UserError('--coordinator, --num_processes and --process_id belong '
                    'together: set all three, or none on Cloud TPU and Slurm.')
  try:
    jax.distributed.initialize(
        address, *numbers,
        heartbeat_timeout_seconds=flags.FLAGS.peer_timeout)
  except ValueError as error:
    if all(given):
      raise UserError(f'Cannot join the job: {error}') from error
    logging.debug('No cluster was found: a job of one process.')
  except RuntimeError as error:
    raise PassingError(
        f'Cannot join the job at {address or "its coordinator"}: '
        f'{_first_line(error)}. Start as many processes as --num_processes '
        'says, and let them reach the first one.') from error
  if _in_job():
    logging.info('Process %d of %d: %s', jax.process_index(),
                 jax.process_count(), jax.local_devices())


def _in_job():
  """Whether this process belongs to a job of several."""
  return jax.distributed.is_initialized() and jax.process_count() > 1


def _first_line(error):
  return str(error).strip().splitlines()[0]


def _leave_at_once(message, code):
  """Ends the process without the exit handlers of libraries, which may hang."""
  print(message, file=sys.stderr)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


# Errors that wrong flags raise in absl and, for unknown keys, in config_flags.
_MISTAKES = (flags.Error, LookupError, AttributeError, TypeError, ValueError)


def _parse_flags(argv):
  """Parses the flags; a mistake in them becomes a UserError.

  Errors in the code of a config file keep their traceback.
  """
  if 'config' not in flags.FLAGS:
    return _parse(flags.FLAGS, argv)
  parser = flags.FLAGS['config'].parser
  workdir = _read_config(argv, parser)
  if workdir is None:
    return _parse(flags.FLAGS, argv)
  before = flatten_dict(parser.config.to_dict(), sep='.')
  rest = _parse(flags.FLAGS, [argv[0], f'--config={workdir}', *argv[1:]])
  after = flatten_dict(parser.config.to_dict(), sep='.')
  changes = [f'{key}: {before.get(key)!r} -> {value!r}'
             for key, value in after.items() if value != before.get(key)]
  if changes:
    print(f"Of {workdir}'s config, changed by flags: {', '.join(changes)}.")
  return rest


def _read_config(argv, parser):
  """Reads the config that the flags name; returns its workdir, or None."""
  peeked = flags.FlagValues()
  peeked.set_gnu_getopt()  # Unknown flags may come before known ones.
  for name in ('config', *parser.run_flags):
    flags.DEFINE_string(name, None, '', flag_values=peeked)
  _parse(peeked, argv, known_only=True)
  runs = [peeked[name].value for name in parser.run_flags if peeked[name].value]
  if len(runs) == 1 and storage.path(runs[0]).is_dir():
    if peeked.config:
      raise UserError(
          f'--config={peeked.config}: {runs[0]} holds the config of its run. '
          'Leave --config out; change single values by flags such as '
          '--config.evaluation.flip=True.')
    parser.config = config_files.of_run(runs[0]).lock()
    return runs[0]
  if peeked.config:
    parser.config = config_files.load(peeked.config).lock()
  elif len(runs) == 1:  # The command reports other mistakes.
    _refuse_weights_alone(runs[0])
  return None


def _refuse_weights_alone(checkpoint):
  """Raises UserError for a file of weights without --config."""
  if not storage.path(checkpoint).exists():
    raise UserError(f'{checkpoint} does not exist. Name a workdir or a file of '
                    'weights.')
  raise UserError(
      f'{checkpoint} holds weights alone. Name the config of its network, such '
      'as --config=configs/scribblesup.py:deeplabv2_resnet50.')


def _parse(values, argv, **options):
  """Returns the arguments without flags; a mistake becomes a UserError."""
  try:
    return values(argv, **options)
  except _MISTAKES as error:
    text = ' '.join(str(error.args[0] if error.args else error).split())
    if isinstance(error, LookupError | AttributeError):
      text = f'A flag --config.KEY=VALUE names no key of the config: {text}'
    raise UserError(f'{text} (try --help)') from error


def _keep_compiled_programs():
  """Keeps compiled programs on disk, so that the next start reuses them."""
  if jax.config.jax_compilation_cache_dir is None:
    cache = pathlib.Path(
        os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache')
    jax.config.update(
        'jax_compilation_cache_dir', str(cache / 'scribble_jax'))
