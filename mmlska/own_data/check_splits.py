"""Check what training can't see: photos on both sides of a split, sides that are swapped or show other things, names of one class."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median

from .annotations import AnnotationFile
from .palettes import spelling
from .photo_identity import ALIKE, alike_on_sides, photo_names
from .report import ERROR, WARNING, Report

_MOST_NAMES = 500  # pairs grow with the square
_FEWEST_BOXES, _MOST_TIMES = 20, 3
_SHORTEST_NAME, _LONGEST_NAME = 5, 60  # 'cat' and 'car' are two animals


def check_splits(report: Report, files: Sequence[AnnotationFile], sides: Mapping[str | None, list[float]]) -> None:
    """Compare the photos of the splits by content, their numbers, and the sizes of what is on them.

    Args:
        sides: Of each split, the square root of the share of its image that each box has.
    """
    counts = Counter(item.split for item in files for _ in item.images)
    if 0 < counts['train'] < counts['val']:
        report.add(
            WARNING,
            'fewer images to train on than to validate with; are they swapped?',
            f'{counts["train"]} and {counts["val"]}',
        )
    _compare_sizes(report, *(sides.get(split, []) for split in ('train', 'val')))
    check_contents(report, ((item.split, path) for item in files for path in dict.fromkeys(item.images.values())))


def check_contents(report: Report, photos: Iterable[tuple[str | None, Path]]) -> None:
    """Name the photos that are in two splits, as files of the same content.

    Args:
        photos: The split and the file of each.
    """
    sides: dict[str, list[Path]] = {}
    for split, path in photos:
        if split:
            sides.setdefault(split, []).append(path)
    if len(sides) < 2:
        return
    known = photo_names(path for paths in sides.values() for path in paths)
    first: dict[Path, tuple[str, Path]] = {}
    for split, path in ((split, path) for split, paths in sides.items() for path in paths):
        other_split, other = first.setdefault(known[path], (split, path))
        if other_split != split and other != path:
            places = f'{_short(other)} ({other_split}) and {_short(path)} ({split})'
            report.add(ERROR, 'one photo in two splits, as two files of the same content', places)
    if alike := alike_on_sides(sides):
        report.add(WARNING, ALIKE, alike)


def _compare_sizes(report: Report, train: list[float], val: list[float]) -> None:
    """Warn where the objects of training and validation differ much in size, as those of other photos do."""
    if min(len(train), len(val)) < _FEWEST_BOXES:
        return
    small, large = sorted((median(train), median(val)))
    if large > _MOST_TIMES * small:
        names = ('train', 'val') if median(train) > median(val) else ('val', 'train')
        text = (
            f'those of {names[0]} are {large / small:.1f} times as large, beside their photos, as those of {names[1]}'
        )
        report.add(WARNING, 'objects of other sizes in train and val; do both show the same?', text)


def _short(path: Path) -> str:
    return '/'.join(path.parts[-3:])


def alike(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of class names that may be one class, misspelt.

    Example:
        >>> list(alike(['Octohedrons', 'Octahedron', 'cat', 'car', 'level 1', 'level 2', 'healthy leaf', 'unhealthy leaf']))
        [('Octohedrons', 'Octahedron')]
    """
    if len(names) > _MOST_NAMES:
        return
    spelled = [(name, spelling(name)) for name in names if len(name) <= _LONGEST_NAME]
    for (one, first), (two, second) in combinations(spelled, 2):
        a, b = sorted((first, second), key=len)
        digits = [[c for c in name if c.isdigit()] for name in (a, b)]
        if f'{a}s' == b:
            yield one, two
            continue
        if len(a) < _SHORTEST_NAME or digits[0] != digits[1] or len(b) - len(a) > 2 or b.endswith(a):
            continue
        if difflib.SequenceMatcher(None, a, b, autojunk=False).ratio() >= 0.85:
            yield one, two
