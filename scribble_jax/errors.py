"""What a user can mend: reported in plain lines, without a traceback."""

MAX_LISTED = 20
_MAX_LINE = 1_000  # Characters. Files may hold texts without an end.


# For launchers: the same command goes on. What sysexits.h calls EX_TEMPFAIL.
TRY_AGAIN = 75


class UserError(Exception):
  """Says what is wrong, where, and what to do. Ends the program.

  Attributes:
    problems: Every one of the problems that the text lists, if it is a list.
    exit_code: Of the program.
  """
  problems = ()
  exit_code = 1


class PassingError(UserError):
  """What may have mended itself when the same command starts again."""
  exit_code = TRY_AGAIN


class UnwritableError(UserError):
  """What else is waiting to be written would only fail again."""


class Stopped(Exception):  # noqa: N818, it is no error.
  """A signal ended the run, and it is saved: ends with TRY_AGAIN."""


def raise_problems(problems, remedy):
  """Raises one UserError that lists several problems.

  Args:
    problems: List of texts, each naming a file or id and the value. Each
      becomes one line, whatever the files hold.
    remedy: One line that says what to do about them.

  Raises:
    UserError: With the first MAX_LISTED problems, if there is any.
  """
  if not problems:
    return
  problems = [*map(_line, problems)]
  lines = problems[:MAX_LISTED]
  if len(problems) > MAX_LISTED:
    lines.append(f'... and {len(problems) - MAX_LISTED} more')
  if len(problems) == 1:
    raise UserError(f'{problems[0]}. {remedy}')
  error = UserError('\n  '.join(
      [f'{len(problems)} problems. {remedy}', *lines]))
  error.problems = tuple(problems)
  raise error


def _line(text):
  """Returns a text as one line, without the middle of a long one."""
  line = ' '.join(text.splitlines())
  half = _MAX_LINE // 2
  return (line if len(line) <= _MAX_LINE
          else f'{line[:half]} ... {line[-half:]}')
