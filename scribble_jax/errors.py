"""Errors that a user can correct; reported without a traceback."""

MAX_LISTED = 20
_MAX_LINE = 1_000  # Characters of a listed problem.


# Exit code that asks launchers to start the same command again; EX_TEMPFAIL of
# sysexits.h.
TRY_AGAIN = 75


class UserError(Exception):
  """An error whose text says what is wrong, where, and what to do.

  Attributes:
    problems: The listed problems, if the text is a list.
    exit_code: Exit code of the program.
  """
  problems = ()
  exit_code = 1


class PassingError(UserError):
  """A transient error: the same command may succeed later."""
  exit_code = TRY_AGAIN


class UnwritableError(UserError):
  """A disk or bucket is full or read-only: further writes would fail too."""


class Stopped(Exception):  # noqa: N818, it is no error.
  """A signal ended the run after its state was saved. Exits with TRY_AGAIN."""


def raise_problems(problems, remedy):
  """Raises one UserError that lists several problems.

  Args:
    problems: List of texts, each with a file or id and the wrong value. Each
      is printed as one line.
    remedy: One sentence that says what to do about all of them.

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
  """Returns a text as one line; the middle of a long one is left out."""
  line = ' '.join(text.splitlines())
  half = _MAX_LINE // 2
  return (line if len(line) <= _MAX_LINE
          else f'{line[:half]} ... {line[-half:]}')
