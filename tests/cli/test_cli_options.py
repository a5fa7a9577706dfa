"""The options that tools share, and that tools and scripts take them from here."""

import argparse
import ast
from pathlib import Path

import pytest
from tool_help import TOOLS, options_of

from mmlska.cli.options import add_cfg_options, out_file, out_folder

COMMANDS = sorted((TOOLS.parent / 'mmlska/commands').glob('*.py'))
PROGRAMS = sorted([*COMMANDS, *(TOOLS.parent / 'scripts').glob('*.py')])
NAMES = [path.name for path in sorted(TOOLS.glob('*.py'))]


def test_settings_by_dotted_key(capsys):
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    args = parser.parse_args(['--cfg-options', 'a.b=3', 'c=[1,2]', 'd=text'])
    assert args.cfg_options == {'a.b': 3, 'c': [1, 2], 'd': 'text'}
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'a.b'])
    assert '--cfg-options: a.b is no setting; write KEY=VALUE' in capsys.readouterr().err


def test_where_to_write_is_refused_before_the_work(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--file', type=out_file)
    parser.add_argument('--folder', type=out_folder)
    (tmp_path / 'a').touch()
    args = parser.parse_args(['--file', f'{tmp_path}/a', '--folder', str(tmp_path)])
    assert (args.file, args.folder) == (tmp_path / 'a', tmp_path)
    args = parser.parse_args(['--file', f'{tmp_path}/new/b', '--folder', f'{tmp_path}/new'])
    assert (args.file, args.folder) == (tmp_path / 'new/b', tmp_path / 'new')
    for words, line in (
        (('--file', tmp_path), f'--file: {tmp_path} is a folder, which is not replaced; name another file'),
        (('--folder', tmp_path / 'a'), f'--folder: {tmp_path / "a"} is a file; name a folder'),
        (('--file', 'x' * 5000), "xxx' cannot be written: File name too long; name another path"),
        (('--folder', 'x' * 5000), "xxx' cannot be written: File name too long; name another path"),
        (('--file', 'a\0b'), "'a\\x00b' cannot be written: embedded null byte; name another path"),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args(list(map(str, words)))
        assert line in capsys.readouterr().err


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))) if isinstance(node, ast.Call)]


def test_each_is_spelled_once():
    shared = {'--debug', '--trust-checkpoint', '--cfg-options'}
    spelled = {
        (path.name, argument.value)
        for path in PROGRAMS
        for call in calls(path)
        if getattr(call.func, 'attr', getattr(call.func, 'id', '')) in ('add_argument', 'add')
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    assert ('erf.py', '--k-sizes') in spelled
    assert [(name, option) for name, option in spelled if option in shared] == []


def test_choices_of_words_come_from_the_package():
    lists = [
        (path.name, ast.unparse(keyword.value))
        for path in COMMANDS
        for call in calls(path)
        for keyword in call.keywords
        if keyword.arg == 'choices' and any(isinstance(getattr(e, 'value', 0), str) for e in ast.walk(keyword.value))
    ]
    assert lists == []


@pytest.mark.parametrize('tool', NAMES)
def test_every_tool_has_help_and_debug(tool, monkeypatch, capsys):
    """Also where what it needs for its work, as Gradio or Ultralytics, is not installed."""
    options = options_of(tool, monkeypatch, capsys)
    assert '--help' in options
    assert ('--debug' in options) is (tool != 'doctor.py')


@pytest.mark.parametrize('path', COMMANDS, ids=lambda path: path.stem)
def test_a_command_is_short_and_writes_nothing_into_docs(path):
    text = path.read_text(encoding='utf-8')
    assert len(text.splitlines()) < 60
    assert 'docs/results' not in text
