"""The files below a user's folder, none of which may lie elsewhere, and the split that their names speak of."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

from ..engine.work_dir import was_trained_in
from ..images import is_image

#: The words that name a split, with the split that each means.
SPLIT_WORDS = {
    **dict.fromkeys(('train', 'training', 'trainset'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'validate', 'valset', 'dev', 'eval', 'evaluation'), 'val'),
    **dict.fromkeys(('test', 'testing', 'testset'), 'test'),
}
_TEST_DEV = re.compile('test[^a-z]*dev')  # a part of the test photos in COCO, DOTA and VisDrone
_SKIPPED = {'work_dirs', '__MACOSX'}
LABEL_SUFFIXES = ('.json', '.txt', '.csv', '.xml', '.yaml', '.yml')
LEADS_OUT = 'file that leads out of the data folder'
STAY_INSIDE = 'copy the files in, or give the folder that holds both'


class _Kind(Enum):
    """What is found below a folder."""

    FILE = auto()
    ELSEWHERE = auto()  # a link that leads out
    TRAINING = auto()  # the work directory of a training


def walk(root: Path) -> Iterator[Path]:
    """The regular files below ``root`` in a fixed order, without hidden ones and old trainings.

    What leads out of ``root`` by a link is left out, see :func:`leading_out`; a folder that links lead to is visited once, so that
    circles of links end.
    """
    return (path for path, kind in _entries(root) if kind is _Kind.FILE)


def trainings(root: Path) -> list[Path]:
    """The work directories of trainings below ``root``: what they hold is no data."""
    return [path for path, kind in _entries(root) if kind is _Kind.TRAINING]


def leading_out(root: Path) -> list[Path]:
    """The links below ``root`` to folders, images and label files elsewhere, which are never read."""
    return [
        path
        for path, kind in _entries(root)
        if kind is _Kind.ELSEWHERE and (path.is_dir() or is_image(path) or path.suffix.lower() in LABEL_SUFFIXES)
    ]


def refuse_leading_out(root: Path) -> None:
    """Raise ValueError if something below ``root`` leads out of it."""
    found = leading_out(root)
    if found:
        raise ValueError(
            f'{found[0]} is a link that leads out of the data folder, one of {len(found)}, and what is elsewhere is not read; '
            f'{STAY_INSIDE}'
        )


def _entries(root: Path) -> Iterator[tuple[Path, _Kind]]:
    """The regular files below a folder, the links that lead out of it, and the work directories, into which it does not look."""
    home = root.resolve()
    seen, pending = {home}, [(home, _listing(root))]
    while pending:  # no recursion: folders may be nested deeper than Python's stack
        real, listing = pending[-1]
        entry = next(listing, None)
        if entry is None:
            pending.pop()
            continue
        path, target = Path(entry.path), real / entry.name
        if entry.is_symlink():
            if not os.path.exists(path):  # it leads nowhere, or in a circle
                continue
            target = path.resolve()
            if not target.is_relative_to(home):
                yield path, _Kind.ELSEWHERE
                continue
        if entry.is_dir():
            if target not in seen and was_trained_in(path):
                seen.add(target)
                yield path, _Kind.TRAINING
            elif target not in seen:
                seen.add(target)
                pending.append((target, _listing(path)))
        elif entry.is_file():
            yield path, _Kind.FILE


def _listing(folder: Path) -> Iterator[os.DirEntry]:
    with os.scandir(folder) as entries:
        kept = [entry for entry in entries if not entry.name.startswith('.') and entry.name not in _SKIPPED]
    return iter(sorted(kept, key=lambda entry: entry.name))


def is_file(path: Path) -> bool:
    """Whether there is a regular file; a name that no file can have, as data may hold it, is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def name_hash(name: str) -> bytes:
    """What images are chosen by, so that the same names give the same choice."""
    return hashlib.sha1(name.encode('utf-8', 'surrogatepass')).digest()


def split_of(path: Path) -> str | None:
    """The split that the name of a file, or else of a folder above it, speaks of; None for no or several splits.

    Example:
        >>> split_of(Path('annotations/instances_val2017.json')), split_of(Path('train/_annotations.coco.json'))
        ('val', 'train')
        >>> split_of(Path('trainval.json'))
    """
    for part in (path.stem, *reversed(path.parent.parts)):
        found = splits_in(part)
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def splits_in(name: str) -> set[str]:
    """The splits of which a name has a word.

    Example:
        >>> splits_in('val2017'), splits_in('trainval'), splits_in('test-dev2017')
        ({'val'}, set(), {'test'})
    """
    words = re.findall('[a-z]+', _TEST_DEV.sub('test', name.lower()))
    return {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}


def find_folder(name: str) -> Path | None:
    """The folder of a name, resolved; None where there is none."""
    try:
        root = Path(name).expanduser().resolve()
        return root if root.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long a name, a circle of links
        return None
