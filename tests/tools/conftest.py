"""What the tests of the tools share."""

from __future__ import annotations

import logging
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def refused(monkeypatch, capsys) -> Callable[..., str]:
    """Run a tool where it must refuse its arguments; return the one line that it ends with.

    In this process: a new one takes seconds to import everything, and there are many arguments to refuse.
    """
    monkeypatch.delenv('MMLSKA_DATA', raising=False)
    # Loggers of earlier runs in this process have closed streams.
    monkeypatch.setattr(logging, 'raiseExceptions', False)

    def run(tool: str, *args, cwd: Path) -> str:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
        assert end.value.code == 2
        errors = capsys.readouterr().err
        assert 'Traceback' not in errors
        last = errors.strip().splitlines()[-1]
        assert last.startswith(f'{tool}: error: ')
        return last

    return run
