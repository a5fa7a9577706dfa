"""How this process was started: `mmlska train ...` or `python tools/train.py ...`, for messages and for records of results."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def program_name() -> str:
    """The name at the head of usage and error lines, which argparse takes too: 'train.py', or 'mmlska train'."""
    return Path(sys.argv[0]).name


def started_by() -> list[str]:
    """The words that start this program again, without its arguments."""
    # mmlska_command.main() writes both words of the command into the first argument.
    return sys.argv[0].split() if sys.argv[0].startswith('mmlska ') else ['python', sys.argv[0]]


def sibling(name: str) -> list[str]:
    """The words that start another command the way this one was started; ``mmlska NAME`` where this is no tool of a checkout.

    Example:
        >>> sibling('browse-errors')
        ['mmlska', 'browse-errors']
    """
    tool = Path(sys.argv[0]).with_name(f'{name.replace("-", "_")}.py')
    return ['python', str(tool)] if tool.parent.name == 'tools' and tool.is_file() else ['mmlska', name]


def recorded_command() -> str:
    """This run's command for a results file; a tool is named without the folder of the checkout, which is another elsewhere."""
    *start, program = started_by()
    program = f'tools/{program_name()}' if start == ['python'] else program
    return shlex.join([*start, program, *sys.argv[1:]])
