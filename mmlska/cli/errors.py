"""Wrong settings as one line instead of a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..command_line import program_name
from ..environment import import_advice
from ..text import counted, printable
from .library_errors import described

_SETTING_ERRORS = (
    OSError,  # no such file, no permission, a name that is too long, a full disk
    KeyError,
    TypeError,
    ValueError,
)

_PATH_ERRORS = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)

_MOST_LINES = 20


@contextmanager
def user_errors(*, debug: bool = False, kinds: tuple[type[Exception], ...] = _SETTING_ERRORS) -> Iterator[None]:
    """Print a wrong setting as one line and exit with status 2 instead of a traceback.

    The default kinds are for the preparation of a run; what goes wrong later is not the user's mistake and keeps its traceback,
    but for wrong weights, which are read late.

    Args:
        debug: Show the traceback all the same: ``--debug``.
        kinds: The errors that are the user's; of an ImportError the line says what to install, whatever the kinds.
    """
    try:
        yield
    except ImportError as error:
        if debug:
            raise
        print(f'{program_name()}: error: {import_advice(error)}', file=sys.stderr)
        sys.exit(2)
    except kinds as error:
        if debug or isinstance(error, BrokenPipeError):  # whoever read the output has enough of it: no setting is wrong
            raise
        message = described(error)
        if isinstance(error, _PATH_ERRORS) and error.filename:  # Python's words: '[Errno 2] No such file ...'
            message = f'{printable(os.fsdecode(error.filename))}: {error.strerror}; correct this path, or name another'
        if 'unexpected keyword argument' in str(message):  # Python's words for a setting that a class does not have
            message = f'{message}; correct the name of this setting or leave it out'
        print(f'{program_name()}: error: {message}', file=sys.stderr)
        sys.exit(2)


def end_where_unread(errors: Sequence[Exception]) -> None:
    """Say which inputs could not be read, where the others were used, and exit with status 1; nothing where all were read."""
    if not errors:
        return
    for error in errors[:_MOST_LINES]:
        print(f'not read: {described(error)}', file=sys.stderr)
    more = f', {_MOST_LINES} of them above' if len(errors) > _MOST_LINES else ''
    counts = counted(len(errors), 'input')
    print(f'{program_name()}: error: {counts} could not be read{more}; the others are predicted', file=sys.stderr)
    sys.exit(1)
