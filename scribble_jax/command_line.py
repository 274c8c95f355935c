"""What every command shares: flags, start-up, one-line errors, exit codes."""

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

flags.disclaim_key_flags()  # They are those of the command: --help shows them.


def define_config(*run_flags):
  """Adds --config and --config.KEY=VALUE to the command.

  Args:
    *run_flags: Names of flags that may name the workdir of a training run. The
      config is then the one that the workdir holds, and --config is refused:
      so nothing is evaluated otherwise than it was trained unless a flag says
      it. Without names, --config is required.
  """
  flag = config_flags.DEFINE_config_file('config', help_string=(
      'Config file, for a --checkpoint that is a file of weights. A workdir '
      'has the config of its run; flags such as --config.evaluation.flip=True '
      'change single values of it, and --config=FILE is refused.'
      if run_flags else 'Config file, such as configs/scribblesup.py.'))
  flags.FLAGS['config'].parser = _ReadConfig(run_flags)
  if not run_flags:
    flags.mark_flag_as_required('config')
  return flag


class _ReadConfig(flags.ArgumentParser):
  """Returns the config that `_read_config` has read, whatever --config is.

  absl would turn some of the errors of a config file into its own.

  Attributes:
    run_flags: As of `define_config`.
    config: ConfigDict, None before it is read.
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
      'coordinator', None, 'HOST:PORT of the first process of a job of '
      'several. Cloud TPU VMs and Slurm need none of these flags.')
  flags.DEFINE_integer(
      'num_processes', None, 'How many processes the job has.')
  flags.DEFINE_integer(
      'process_id', None, 'Which of them this is, from 0.')
  flags.DEFINE_integer(
      'peer_timeout', 100, 'Seconds after which a process that does not answer '
      'is given up, and the job with it.')


def define_checkpoint(required=True):
  """Adds --checkpoint to a command that reads a trained network."""
  return flags.DEFINE_string(
      'checkpoint', None, "A workdir, one of the authors' .pth, or "
      '.safetensors in their naming.', required=required)


def define_step():
  """Adds --step to a command that reads a workdir's checkpoints."""
  return flags.DEFINE_string(
      'step', 'latest', "Which of a workdir's checkpoints: latest, best (in "
      'validation), or the number of its step.')


def define_other_data():
  """Adds --resume_with_other_data to a command that trains."""
  return flags.DEFINE_bool(
      'resume_with_other_data', False, 'Go on with the run in the workdir even '
      'if the data or the stage-1 settings that it learned from have changed.')


class ArgumentParser(argparse.ArgumentParser):
  """For `run`, where a typo becomes a UserError."""

  def error(self, message):
    """Raises UserError in place of argparse's exit."""
    raise UserError(f'{message} (try --help)')


def run(main, *, interrupted, takes_files=False, parser=None):
  """Runs `main(argv)` and exits with what it returns, 0 for None.

  What a user can mend ends as one line and exit code 1, Ctrl-C as 130, what
  the same command may go on from as TRY_AGAIN.

  Args:
    main: Function of the arguments behind the flags; the first one is the
      program's name.
    interrupted: What to say on Ctrl-C: what is lost and how to go on.
    takes_files: Whether arguments may follow the flags.
    parser: ArgumentParser for a command without flags; `main` gets what it
      parsed instead of argv.
  """
  def start(argv):
    """Runs `main` once the flags are read."""
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
      flags.FLAGS.mark_as_parsed()  # Or absl complains of what is logged.
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
        'it goes on from the last checkpoint.', TRY_AGAIN)
  except KeyboardInterrupt:
    print(f'Interrupted. {interrupted}', file=sys.stderr)
    sys.exit(130)


def end_on_sigterm():
  """Lets SIGTERM, which schedulers send, end this process as Ctrl-C does."""
  signal.signal(signal.SIGTERM, signal.default_int_handler)


def join_job():
  """Connects the processes, if there are several.

  Raises:
    UserError: The flags are incomplete.
    PassingError: A process does not come.
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
    logging.debug('No cluster: this host works alone.')
  except RuntimeError as error:
    raise PassingError(
        f'Cannot join the job at {address or "its coordinator"}: '
        f'{_first_line(error)}. Start as many processes as --num_processes '
        'says, and let them reach the first one.') from error
  if _in_job():
    logging.info('Process %d of %d: %s', jax.process_index(),
                 jax.process_count(), jax.local_devices())


def _in_job():
  """Whether this process has joined others."""
  return jax.distributed.is_initialized() and jax.process_count() > 1


def _first_line(error):
  return str(error).strip().splitlines()[0]


def _leave_at_once(message, code):
  """Ends the process; what libraries still wait for at exit will not come."""
  print(message, file=sys.stderr)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


# What flags of no meaning raise: absl, and config_flags for unknown keys.
_MISTAKES = (flags.Error, LookupError, AttributeError, TypeError, ValueError)


def _parse_flags(argv):
  """Parses the flags; a mistake in them becomes a UserError.

  What the code of a config file raises passes, with its traceback.
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
  """Reads the config that the flags name; returns its workdir if it has one."""
  peeked = flags.FlagValues()
  peeked.set_gnu_getopt()  # Looks behind the values of unknown flags too.
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
  elif len(runs) == 1:  # Others are for the command to refuse.
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
  """Returns what `flags.FlagValues` leave; a mistake becomes a UserError."""
  try:
    return values(argv, **options)
  except _MISTAKES as error:
    text = ' '.join(str(error.args[0] if error.args else error).split())
    if isinstance(error, LookupError | AttributeError):
      text = f'A flag --config.KEY=VALUE names no key of the config: {text}'
    raise UserError(f'{text} (try --help)') from error


def _keep_compiled_programs():
  """Lets the next start of the same program skip its compilation."""
  if jax.config.jax_compilation_cache_dir is None:
    cache = pathlib.Path(
        os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache')
    jax.config.update(
        'jax_compilation_cache_dir', str(cache / 'scribble_jax'))
