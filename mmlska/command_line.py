"""How this process was started, `mmlska train ...` or `python tools/train.py ...`: for its parser, messages and records of results."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from .foreign_options import foreign_option

# How much alike the names of options have to be, without their dashes, to name one instead of another.
_NEAR = 0.7


def program_name() -> str:
    """The name at the head of usage and error lines: 'train.py', or 'mmlska train'."""
    return Path(sys.argv[0]).name


def started_by() -> list[str]:
    """The words that start this program again, without its arguments."""
    # mmlska_command.main() writes both words of the command into the first argument.
    return sys.argv[0].split() if re.fullmatch('mmlska [a-z-]+', sys.argv[0]) else ['python', sys.argv[0]]


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


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_nothing = action.default is False or action.default in (None, [], '')
        return action.help if says_nothing else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """A wrong option is one line, without the usage of all the others."""

    def parse_known_args(self, args=None, namespace=None):
        """Refuse options of other tools first: argparse would take some for the beginning of one that is here, --conf for --config."""
        words = list(sys.argv[1:] if args is None else args)
        command = self.prog.split()[-1].removesuffix('.py').replace('_', '-')
        if found := foreign_option(command, words, self._option_string_actions):
            self.error(f'unrecognized arguments: {found[0]}; {found[1]}')
        return super().parse_known_args(self._with_values(words), namespace)

    def _with_values(self, words: list[str]) -> list[str]:
        """Give options that need no value theirs where the next word is none of their choices, and so for something else."""
        given = []
        for word, after in zip(words, [*words[1:], '-']):
            action = self._option_string_actions.get(word)
            alone = action and action.nargs == '?' and action.choices and not after.startswith('-')
            given.append(f'{word}={action.const}' if alone and after not in action.choices else word)
        return given

    def error(self, message: str) -> NoReturn:
        near = []
        if message.startswith('unrecognized arguments: ') and ';' not in message:
            options = {option.lstrip('-'): option for option in self._option_string_actions}
            near = get_close_matches(message.split()[2].split('=')[0].lstrip('-'), options, n=1, cutoff=_NEAR)
        hint = f'; did you mean {options[near[0]]}?' if near else ''
        self.exit(2, f'{self.prog}: error: {message}{hint} (--help lists the options)\n')


def tool_parser(description: str, *, formatter_class: type = _Help, **options) -> argparse.ArgumentParser:
    """The parser of a command, without options of its own; it is named as the user started it, on every Python.

    Args:
        description: What the command does.
        formatter_class: How ``--help`` is laid out, by default with the default of each option that has one.
        options: Others of ``argparse.ArgumentParser``.
    """
    # Without prog Python 3.14 names the module that `python -m` started.
    return _Parser(prog=program_name(), description=description, formatter_class=formatter_class, **options)
