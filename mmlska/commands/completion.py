"""Print a script that completes commands, options and names of configs in a shell: mmlska completion bash."""

import argparse
import importlib

from mmlska_command import COMMANDS

from ..cli.completion import SHELLS, script
from ..command_line import tool_parser


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(
        'Print a script that completes commands, options and names of configs in a shell.',
        epilog='where it goes:\n  ' + '\n  '.join(SHELLS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('shell', choices=list(SHELLS))
    return parser


def main() -> None:
    shell = make_parser().parse_args().shell
    print(script(shell, COMMANDS, {name: options_of(name) for name in COMMANDS}))


def options_of(name: str) -> list[str]:
    """The long options of a command; none but ``--help`` where what its module imports is not installed.

    Example:
        >>> options_of('configs')
        ['--help', '--names']
    """
    try:
        parser = importlib.import_module(f'mmlska.commands.{name.replace("-", "_")}').make_parser()
    except ImportError:
        return ['--help']
    shown = (action for action in parser._actions if action.help is not argparse.SUPPRESS)
    return [option for action in shown for option in action.option_strings if option.startswith('--')]
