"""Command line: parses flags, joins the job, hands over to train.py."""

import os
import re
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # Before TensorFlow loads.

from absl import app
from absl import flags
from absl import logging
import jax
from ml_collections import config_flags
import tensorflow as tf

from scribble_jax import train
from scribble_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    'config', help_string='Config file, such as configs/scribblesup.py.',
    lock_config=True)
_WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Folder for checkpoints, event files and results.')
flags.mark_flags_as_required(['config', 'workdir'])


def join_job():
  """Connects the hosts, if there are several."""
  try:
    jax.distributed.initialize()  # Cloud TPU and Slurm describe themselves.
  except ValueError:
    logging.info('No cluster: this host works alone.')


def main(argv):
  """Runs the job that the flags describe."""
  if len(argv) > 1:
    raise UserError(f'Unknown argument {argv[1]!r}. Options look like '
                    '--config.batch_size=8.')
  if not flags.FLAGS['verbosity'].present:  # Libraries chat at INFO.
    logging.set_verbosity(logging.WARNING)
  tf.config.set_visible_devices([], 'GPU')  # Leave accelerator memory to JAX.
  join_job()
  logging.info('Process %d of %d: %s', jax.process_index(), jax.process_count(),
               jax.local_devices())
  train.train(_CONFIG.value, _WORKDIR.value)


def parse_flags(argv):
  """Parses the flags; a typo becomes a UserError."""
  try:
    rest = flags.FLAGS(argv)
    if _CONFIG.value is not None:
      _CONFIG.value.keys()  # Only now is a file that is missing missed.
    return rest
  except SyntaxError as error:
    raise UserError(f'{error.filename}, line {error.lineno}: {error.msg}. '
                    'Mend the config file.') from error
  except Exception as error:  # Whatever a config file may raise.
    # config_flags wraps it in the text of a whole traceback.
    text = ' '.join(str(error.args[0] if error.args else error).split())
    raise UserError(f'{re.split("[A-Za-z]+Error: ", text)[-1]} '
                    '(try --help)') from error


def run():
  """Runs `main`; what a user can mend ends as one line and exit code 1."""
  try:
    app.run(main, flags_parser=parse_flags)
  except UserError as error:
    sys.exit(f'error: {error}')
  except KeyboardInterrupt:
    print('Interrupted. The same command goes on from the last checkpoint.',
          file=sys.stderr)
    sys.exit(130)


if __name__ == '__main__':
  run()
