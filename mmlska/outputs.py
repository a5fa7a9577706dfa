"""Files that a tool may write: none that it did not write itself, and never an input.

A folder that a tool wrote into has a record, ``.mmlska-outputs``: a line with SHA-256 and name for each file. A file that still has a
content of the record is replaced without a question; any other is the user's, a file of ours that was edited too. Labels that a model
made, and copies of their photos, have a third word there: they may be data to train on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from .files import check_replaceable, file_sha256
from .text import printable

RECORD = '.mmlska-outputs'

#: What a user can give, in messages of functions that commands and Python share.
INSIST = '--overwrite (overwrite=True in Python)'

AnyPath = str | os.PathLike

_LABEL = 'label'


def check_outputs(
    paths: Iterable[AnyPath | None],
    *,
    inputs: Iterable[AnyPath | None] = (),
    overwrite: bool = False,
    insist: str = '--overwrite',
) -> None:
    """Make sure that these files may be written.

    Args:
        paths: The files; None is none.
        inputs: Files that are read, or folders whose files may be; None, and what is no path of a file, is none.
        overwrite: Allow to replace files of others, but not inputs.
        insist: What the user can give for that.

    Raises:
        FileExistsError: If a file is an input, is no regular file, or was not written by mmlska as it is.

    Example:
        >>> check_outputs(['not_there.json'])
        >>> check_outputs(['README.md'], inputs=['README.md'], overwrite=True)
        Traceback (most recent call last):
        FileExistsError: README.md is an input, which is never overwritten; write to another place
    """
    there = []
    for path in (Path(path) for path in paths if path is not None):
        check_replaceable(path)
        if path.exists():
            there.append(path)
    if not there:
        return
    given = [Path(path) for path in inputs if path is not None]
    read = set(filter(None, map(_identity, given)))
    folders = [path.resolve() for path in given if path.is_dir()]
    records: dict[Path, dict[str, Written]] = {}
    others = []
    for path in there:
        own = _is_own(path, records)
        if _identity(path) in read or not own and any(path.resolve().is_relative_to(folder) for folder in folders):
            raise FileExistsError(
                f'{printable(str(path))} is an input, which is never overwritten; write to another place'
            )
        if not own:
            others.append(path)
    if others and not overwrite:
        more = f' (one of {len(others)} such files)' if len(others) > 1 else ''
        raise FileExistsError(
            f'{printable(str(others[0]))} is there and mmlska did not write it, or it was changed since{more}; write to another place, '
            f'or replace it with {insist}'
        )


class Written(NamedTuple):
    """What a record says of a name."""

    digests: set[str]  # SHA-256 of the contents that were written
    is_label: bool  # whether it is a label file of predictions, or a copy of their photo


class Record:
    """The record of a folder, to which names of files are added as soon as they are written."""

    def __init__(self, root: AnyPath) -> None:
        self._root = Path(root)
        self._known: set[str] | None = None

    def add(self, path: AnyPath, *, is_label: bool = False) -> None:
        """Note that mmlska wrote a file, in the folder or in one below it.

        Where the record cannot be written nothing is lost: later runs then take the file for the user's.

        Args:
            path: The file.
            is_label: Whether it is one that a person may correct and train on; see :class:`Written`.
        """
        line = json.dumps([file_sha256(path), _relative(path, self._root), *([_LABEL] if is_label else [])])
        if self._known is None:
            self._known = _lines(self._root)
        if line in self._known:
            return
        self._known.add(line)
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0)
            descriptor = os.open(self._root / RECORD, flags, 0o666)
            try:
                os.write(descriptor, f'{line}\n'.encode())
            finally:
                os.close(descriptor)


@contextmanager
def writing(
    *paths: AnyPath | None,
    inputs: Iterable[AnyPath | None] = (),
    overwrite: bool = False,
    insist: str = '--overwrite',
) -> Iterator[None]:
    """Check files as :func:`check_outputs` does, and at the end note those that were written, also where an error ends it.

    Raises:
        FileExistsError: See :func:`check_outputs`.
    """
    check_outputs(paths, inputs=inputs, overwrite=overwrite, insist=insist)
    before = {Path(path): state(path) for path in paths if path is not None}
    try:
        yield
    finally:
        for path, old in before.items():
            if path.is_file() and state(path) != old:
                Record(path.parent).add(path)


def state(path: AnyPath) -> tuple[int, int, int] | None:
    """What changes when a file is written; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is, whatever its name."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _is_own(path: Path, records: dict[Path, dict[str, Written]]) -> bool:
    """Whether the record beside a file, or one folder above, has its content; ``records`` are those that were read."""
    digest = None
    for folder in Path(os.path.abspath(path)).parents[:2]:
        if folder not in records:
            records[folder] = recorded(folder)
        if written := records[folder].get(_relative(path, folder)):
            digest = digest or file_sha256(path)
            if digest in written.digests:
                return True
    return False


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _lines(folder: Path) -> set[str]:
    if not (folder / RECORD).is_file():  # a pipe would be waited for
        return set()
    try:
        return set((folder / RECORD).read_text(encoding='utf-8', errors='replace').splitlines())
    except OSError:
        return set()


def recorded(folder: Path) -> dict[str, Written]:
    """What the record of a folder says of each name; nothing where there is none."""
    found: dict[str, Written] = {}
    for line in _lines(folder):
        with suppress(ValueError, TypeError):  # a line that was cut off, or that somebody else wrote
            digest, name, *kind = json.loads(line)
            if not (isinstance(digest, str) and isinstance(name, str)):
                continue
            known = found.get(name, Written(set(), False))
            found[name] = Written({*known.digests, digest}, known.is_label or kind == [_LABEL])
    return found
