"""Log messages of a command on stderr, between its progress bars."""

import logging as python_logging
import os
import sys

from absl import logging
from tqdm.contrib import DummyTqdmFile


class _PlainLines(python_logging.Formatter):
  """Formats status lines without a prefix; others begin with their level."""

  def format(self, record):
    """Returns the line, followed by the traceback if there is one."""
    text = super().format(record)
    return (text if record.levelno == python_logging.INFO
            else f'{record.levelname.lower()}: {text}')


def show():
  """Shows this program's status lines, but only warnings of libraries."""
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  handler = logging.get_absl_handler()
  # Writes above the progress bars.
  handler.python_handler.setStream(DummyTqdmFile(sys.stderr))
  handler.setFormatter(_PlainLines())
  handler.addFilter(is_shown)


def show_all():
  """Shows all messages at the level of --verbosity, those of libraries too."""
  logging.get_absl_handler().removeFilter(is_shown)


def is_shown(record):
  """Whether a log record is this program's, or at least a warning."""
  return (record.levelno > python_logging.INFO
          or record.pathname.startswith(os.path.dirname(__file__)))
