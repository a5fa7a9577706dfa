"""What other packages print at the console although nobody can use it: it is left out, and warnings are one line each.

Nothing of mmlska is imported here, as this file is loaded alone, before the packages that print.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

#: How the lines begin that are left out: pycocotools' at each set of labels and each evaluation, mmdet's when it is imported.
LINES = (
    'loading annotations into memory...',
    'Done (t=',
    'creating index...',
    'index created!',
    'Loading and preparing results...',
    'DONE (t=',
    'Running per image evaluation...',
    'Evaluate annotation type *',
    ' Average Precision  (AP) @[',
    ' Average Recall     (AR) @[',
    'Accumulating evaluation results...',
    'Could not import OneDL',
)
#: How the warnings begin that are left out: OpenMMLab's packages warn of what every recipe means so, or of their own code.
WARNINGS = (
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'Default ``avg_non_ignore`` is False',
    'The draw is False',
    'The prefix is not set in metric class',
    'Warning: The bbox is out of bounds',
    'Warning: The polygon is out of bounds',
    '`reduce_zero_label` will be deprecated',
    'faster_coco_eval is not installed',
)


class WithoutChatter:
    """A stream that leaves whole lines out; all else about it is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._hidden = stream, False

    def write(self, text: str) -> int:
        """Write a text, unless it begins a line of :data:`LINES`; print() writes the end of that line by itself."""
        if text == '\n' and self._hidden:
            self._hidden = False
            return 1
        self._hidden = text.startswith(LINES) and not text.endswith('\n')
        return len(text) if text.startswith(LINES) else self._stream.write(text)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


@contextmanager
def without_stderr() -> Iterator[None]:
    """Leave out what this process and those that it starts write to standard error."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed: nothing is written there
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def without_known_chatter() -> Iterator[None]:
    """Leave :data:`LINES` out of sys.stdout, and :data:`WARNINGS`; other warnings stay as the program has them.

    Example:
        >>> with without_known_chatter():
        ...     print('creating index...')
        ...     print('made an index')
        made an index
    """
    stdout = sys.stdout
    sys.stdout = WithoutChatter(stdout)
    with warnings.catch_warnings():
        for message in WARNINGS:
            warnings.filterwarnings('ignore', re.escape(message))
        try:
            yield
        finally:
            sys.stdout = stdout


@contextmanager
def without_chatter() -> Iterator[None]:
    """Leave out what :func:`without_known_chatter` does, and show each other warning once, as one line."""
    show = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.simplefilter('once', UserWarning)
        warnings.formatwarning = lambda message, *_, **__: 'warning: ' + ' '.join(str(message).split()) + '\n'
        try:
            with without_known_chatter():
                yield
        finally:
            warnings.formatwarning = show
