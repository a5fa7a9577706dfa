"""Print a script that completes commands, options and names of configs in a shell: mmlska completion bash."""

import argparse
import importlib
import re

from mmlska_command import COMMANDS

# The options stand in the script; names of configs are asked for when they are wanted, which takes a tenth of a second.
_BASH = """\
_mmlska() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} known=''
    if [[ $COMP_CWORD -eq 1 ]]; then
        known='{commands}'
    elif [[ $word == -* ]]; then
        case ${{COMP_WORDS[1]}} in
{options}
        esac
    else
        known=$(mmlska configs --names 2>/dev/null)
    fi
    COMPREPLY=($(compgen -W "$known" -- "$word"))
}}
complete -o default -F _mmlska mmlska
"""
_ZSH = """\
#compdef mmlska
_mmlska() {{
    local known=''
    if (( CURRENT == 2 )); then
        known='{commands}'
    elif [[ ${{words[CURRENT]}} == -* ]]; then
        case ${{words[2]}} in
{options}
        esac
    else
        known=$(mmlska configs --names 2>/dev/null)
        _files
    fi
    compadd -- ${{=known}}
}}
if [[ ${{funcstack[1]}} == _mmlska ]]; then _mmlska "$@"; else compdef _mmlska mmlska; fi
"""
_WHERE = {
    'bash': 'mmlska completion bash > ~/.local/share/bash-completion/completions/mmlska',
    'zsh': 'mmlska completion zsh > ~/.zfunc/_mmlska    # a folder of $fpath',
    'fish': 'mmlska completion fish > ~/.config/fish/completions/mmlska.fish',
}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Print a script that completes commands, options and names of configs in a shell.',
        epilog='where it goes:\n  ' + '\n  '.join(_WHERE.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('shell', choices=list(_WHERE))
    return parser


def main() -> None:
    shell = make_parser().parse_args().shell
    print(script(shell, {name: options_of(name) for name in COMMANDS}))


def script(shell: str, options: dict[str, list[str]]) -> str:
    """The script for ``shell``; ``options`` are those of each command."""
    return _fish(options) if shell == 'fish' else _cases({'bash': _BASH, 'zsh': _ZSH}[shell], options)


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
    # One long line: argparse may break an option at its hyphen.
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=100_000)
    return list(dict.fromkeys(['--help', *re.findall(r'--[a-z0-9][a-z0-9_-]*', parser.format_usage())]))


def _cases(template: str, options: dict[str, list[str]]) -> str:
    cases = (f"            {name}) known='{' '.join(words)}' ;;" for name, words in options.items())
    return template.format(commands=' '.join(options), options='\n'.join(cases)).rstrip()


def _fish(options: dict[str, list[str]]) -> str:
    lines = ["complete -c mmlska -n 'not __fish_use_subcommand' -a '(mmlska configs --names 2>/dev/null)'"]
    for name, words in options.items():
        text = COMMANDS[name].replace("'", "\\'")
        lines.append(f"complete -c mmlska -n __fish_use_subcommand -f -a {name} -d '{text}'")
        lines += [f"complete -c mmlska -n '__fish_seen_subcommand_from {name}' -l {word[2:]}" for word in words]
    return '\n'.join(lines)
