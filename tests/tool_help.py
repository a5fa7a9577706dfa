"""The options of the tools, as the tools themselves list them."""

import re
import runpy
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def options_of(tool: str, monkeypatch, capsys) -> set[str]:
    """The options in the ``--help`` of a tool, run in this process."""
    monkeypatch.setattr(sys, 'argv', [tool, '--help'])
    monkeypatch.setenv('COLUMNS', '1000')  # no option is split over two lines
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOLS / tool), run_name='__main__')
    assert end.value.code == 0
    return set(re.findall(r'--[a-z0-9_-]+', capsys.readouterr().out))
