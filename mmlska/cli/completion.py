"""Scripts that complete commands, options and names of configs in a shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

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
complete -o default -F _mmlska mmlska"""
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
if [[ ${{funcstack[1]}} == _mmlska ]]; then _mmlska "$@"; else compdef _mmlska mmlska; fi"""
#: Each shell, and the command that puts its script where it is found.
SHELLS = {
    'bash': 'mmlska completion bash > ~/.local/share/bash-completion/completions/mmlska',
    'zsh': 'mmlska completion zsh > ~/.zfunc/_mmlska    # a folder of $fpath',
    'fish': 'mmlska completion fish > ~/.config/fish/completions/mmlska.fish',
}


def script(shell: str, commands: Mapping[str, str], options: Mapping[str, Sequence[str]]) -> str:
    """The script for one of ``SHELLS``: ``commands`` with what each does, and the long ``options`` of each.

    Example:
        >>> print(script('fish', {'train': 'train a model'}, {'train': ['--help']}).splitlines()[-1])
        complete -c mmlska -n '__fish_seen_subcommand_from train' -l help
    """
    if shell == 'fish':
        return _fish(commands, options)
    cases = (f"            {name}) known='{' '.join(options[name])}' ;;" for name in commands)
    return {'bash': _BASH, 'zsh': _ZSH}[shell].format(commands=' '.join(commands), options='\n'.join(cases))


def _fish(commands: Mapping[str, str], options: Mapping[str, Sequence[str]]) -> str:
    lines = ["complete -c mmlska -n 'not __fish_use_subcommand' -a '(mmlska configs --names 2>/dev/null)'"]
    for name, text in commands.items():
        lines.append(f'complete -c mmlska -n __fish_use_subcommand -f -a {name} -d {shlex.quote(text)}')
        lines += [f"complete -c mmlska -n '__fish_seen_subcommand_from {name}' -l {word[2:]}" for word in options[name]]
    return '\n'.join(lines)
