"""What a command tells on stderr, beside its progress bars."""

import logging as python_logging
import os
import sys

from absl import logging
from tqdm.contrib import DummyTqdmFile


class _PlainLines(python_logging.Formatter):
  """Status as a plain line; anything else begins with its level."""

  def format(self, record):
    """Returns the line, and the traceback behind it if there is one."""
    text = super().format(record)
    return (text if record.levelno == python_logging.INFO
            else f'{record.levelname.lower()}: {text}')


def show():
  """Shows this program's status lines, and of libraries warnings alone."""
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  handler = logging.get_absl_handler()
  # Between the progress bars, not behind one of them.
  handler.python_handler.setStream(DummyTqdmFile(sys.stderr))
  handler.setFormatter(_PlainLines())
  handler.addFilter(is_shown)


def show_all():
  """Shows what --verbosity asks for, of libraries too."""
  logging.get_absl_handler().removeFilter(is_shown)


def is_shown(record):
  """Whether a log record is this program's, or more than status."""
  return (record.levelno > python_logging.INFO
          or record.pathname.startswith(os.path.dirname(__file__)))
