"""The commands of docs/troubleshooting.md are those of the commands: names, options, values."""

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

import mmlska_command

PAGE = Path(__file__).resolve().parents[1] / 'docs/troubleshooting.md'
TEXT = PAGE.read_text(encoding='utf-8')
LINES = re.findall(r'(?m)^    (mmlska .*)$', TEXT)


def test_it_answers_forty_questions_each_with_a_command():
    questions = re.split(r'(?m)^\*\*', TEXT)[1:]
    assert len(questions) >= 40
    with_command = [question for question in questions if re.search(r'(?m)^    \S', question)]
    alone = {question.split('**')[0] for question in questions} - {q.split('**')[0] for q in with_command}
    assert alone == {"`error: command 'g++' failed` or no compiler at all."}


@pytest.mark.parametrize('line', sorted(set(LINES)))
def test_a_command_is_taken(line, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    _, name, *words = shlex.split(line)
    assert name in mmlska_command.COMMANDS
    if name in mmlska_command.ALONE:
        assert words == []
        return
    monkeypatch.setattr(sys, 'argv', [f'mmlska {name}', *words])
    command = importlib.import_module(f'mmlska.commands.{name.replace("-", "_")}')
    command.make_parser().parse_args(words)


def test_its_links_lead_somewhere():
    links = re.findall(r'\]\(([\w./]+\.md)', TEXT)
    assert links
    assert [link for link in links if not (PAGE.parent / link).is_file()] == []
