"""What the tests of public trouble reports share: one test module for each kind of trouble, through the command line."""

from __future__ import annotations

import io
import logging
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from mmengine.logging import MMLogger
from two_class_set import write_two_class_set

import mmlska_command


class Ended(NamedTuple):
    """What a command left: its exit status and what it printed."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line of stderr, where errors are said."""
        return (self.err.strip().splitlines() or [''])[-1]


@pytest.fixture
def command(monkeypatch, capsys) -> Callable[..., Ended]:
    """Run ``mmlska NAME ...`` in this process, where a new one would import everything again; no traceback may be printed."""
    monkeypatch.delenv('MMLSKA_DATA', raising=False)
    # Loggers of earlier runs in this process have closed streams, and levels of their own.
    monkeypatch.setattr(logging, 'raiseExceptions', False)
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())

    def run(*args, cwd: Path | None = None) -> Ended:
        if cwd is not None:
            monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, 'argv', ['mmlska', *map(str, args)])
        capsys.readouterr()
        code = 0
        try:
            mmlska_command.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        for logger in MMLogger._instance_dict.values():  # whose streams close with this test
            for handler in logger.handlers:
                if type(handler) is logging.StreamHandler and isinstance(handler.stream, io.TextIOBase):
                    handler.stream = sys.__stdout__
        printed = capsys.readouterr()
        assert 'Traceback' not in printed.err
        return Ended(code, printed.out, printed.err)

    return run


@pytest.fixture
def refused(command) -> Callable[..., str]:
    """Run a command that must refuse its arguments; return the one line that it ends with."""

    def run(*args, cwd: Path | None = None) -> str:
        ended = command(*args, cwd=cwd)
        assert ended.code == 2, ended
        assert f'mmlska {args[0]}: error: ' in ended.last
        return ended.last

    return run


@pytest.fixture
def folder(tmp_path, scenes) -> Path:
    """A folder with a set of two classes, and a config of a tiny detector and of a tiny segmentor."""
    write_two_class_set(tmp_path, scenes)
    return tmp_path


@pytest.fixture
def refuses(refused, folder):
    """The line with which a training of a config with more settings is refused; it leaves no work directory."""

    def run(config: str, text: str = '', *options) -> str:
        with open(folder / config, 'a') as file:
            file.write(text)
        before = sorted(path for path in folder.rglob('*') if '__pycache__' not in path.parts)
        line = refused('train', config, *options, cwd=folder)
        assert sorted(path for path in folder.rglob('*') if '__pycache__' not in path.parts) == before
        return line

    return run
