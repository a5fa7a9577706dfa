"""DOTA's turned boxes in photos from above: a text file for each photo, with a line for each object.

A line is ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult``, four corners in pixels; the last word may be missing. Two lines may stand above,
``imagesource:...`` and ``gsd:...``. The files lie in ``labelTxt`` beside ``images``, or beside the photos. mmrotate's cut up photos and
Roboflow's export for oriented boxes have the same lines. Source: the page of the DOTA data set.

YOLO's lines are told from these by their numbers: they begin with the class, and fractions of the photo follow. See :func:`_is_object`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from ...text import shown
from ..annotations import AnnotationFile
from ..data_folder import DataFolder, has_photo
from ..label_builder import LabelBuilder
from ..label_text import UNREADABLE, number, read_each, read_text, short
from ..photo_pairing import pair, unlabelled
from .instances import InstanceSource

_LABEL_FOLDER = re.compile('label_?txt.*|labels?|annfiles', re.IGNORECASE)
_OWN_FOLDER = re.compile('label_?txt.*', re.IGNORECASE)  # nobody else's
_HEAD = re.compile('[A-Za-z][A-Za-z _]*:.*')
_NUMBER = re.compile(r'[-+]?[0-9]*\.?[0-9]+(e[-+]?[0-9]+)?', re.IGNORECASE)
_WHOLE = re.compile(r'-?[0-9]{1,9}(\.0*)?')
_FARTHEST = 2  # fractions of a photo may be a little larger than 1
_MOST_FILES = 1000  # that are looked into

# What a file holds.
_OBJECTS, _NOTHING, _OTHER = 'objects', 'nothing', 'something else'


class DotaSource(InstanceSource):
    """Folders of DOTA's, and of programs that write the same lines."""

    name = 'dota'

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return any(_looks_right(path, folder) for path in islice(_candidates(folder), _MOST_FILES))

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> DotaSource | None:
        return cls(folder.root, _read(folder)) if cls.fits(folder) else None


def _read(folder: DataFolder) -> list[AnnotationFile]:
    builder = LabelBuilder(folder.root, folder.root)
    every = list(_candidates(folder))
    kinds = read_each(every, partial(_kind, folder=folder), folder.root, builder.left_out)
    pairing, empty = (
        pair(folder, ((path, [path.stem]) for path, kind in kinds.items() if kind == wanted))
        for wanted in (_OBJECTS, _NOTHING)
    )
    # Beside a file with objects, an empty one is not the label file of the photo, however near it is.
    labelled = set(pairing.photos.values())
    photos = {**pairing.photos, **{path: photo for path, photo in empty.photos.items() if photo not in labelled}}
    known = [path for path in every if kinds.get(path) != _OTHER]
    rest = unlabelled(folder, known, photos, '.txt')
    builder.left_out += pairing.left_out + empty.left_out + rest.left_out
    builder.remarks += pairing.remarks + empty.remarks + rest.remarks
    for label, photo in photos.items():
        split = folder.split_of(photo) or folder.split_of(label)
        _add(label, photo, split, builder)
    return builder.files()


def _add(label: Path, photo: Path, split: str | None, builder: LabelBuilder) -> None:
    lines = None
    with builder.faults(short(label, builder.root), UNREADABLE):  # read anew: all of them may be more than the memory
        lines = _lines(read_text(label))
    if lines is None:
        return
    entry = builder.photo(photo, split)
    for count, words in lines:
        place = f'{short(label, builder.root)} line {count}'
        with builder.faults(place, photo=entry):
            corners = [number(word) for word in words[:8]]
            if len(words) < 9:
                raise ValueError(f'{len(words)} words; 8 numbers and a class are needed')
            name, difficult = _class(words[8:])
            entry.add(name, place, polygons=[corners], ignore=difficult >= 1)


def _class(words: list[str]) -> tuple[str, float]:
    """The class and how difficult it is, which may lack."""
    difficult = float(words[-1]) if len(words) > 1 and _WHOLE.fullmatch(words[-1]) else 0
    name = ' '.join(words[:-1] if len(words) > 1 and _WHOLE.fullmatch(words[-1]) else words)
    if _NUMBER.fullmatch(name) and not _WHOLE.fullmatch(name):
        raise ValueError(f'{shown(name)} is no class')
    return name, difficult


def _candidates(folder: DataFolder) -> Iterator[Path]:
    """Text files in folders of labels, whose photos may be missing, and those that have the name of a photo."""
    for path in folder.with_suffix('.txt'):
        if _is_in(_LABEL_FOLDER, path, folder) or has_photo(folder, [path.stem], path):
            yield path


def _is_in(pattern: re.Pattern, path: Path, folder: DataFolder) -> bool:
    return any(map(pattern.fullmatch, path.relative_to(folder.root).parts[:-1]))


def _looks_right(path: Path, folder: DataFolder) -> bool:
    try:
        return _kind(path, folder) == _OBJECTS
    except (OSError, ValueError):
        return False


def _kind(path: Path, folder: DataFolder) -> str:
    text = read_text(path)
    lines = _lines(text)
    own = _is_in(_OWN_FOLDER, path, folder) or text.startswith(('imagesource:', 'gsd:'))
    if any(_is_object(words, own) for _, words in lines):
        return _OBJECTS
    return _OTHER if lines else _NOTHING


def _lines(text: str) -> list[tuple[int, list[str]]]:
    """The words of the lines that are not empty, without those that stand above the objects, each with its number."""
    lines = [(count, line.strip()) for count, line in enumerate(text.splitlines(), 1) if line.strip()]
    first = next((place for place, (_, line) in enumerate(lines) if not _HEAD.fullmatch(line)), len(lines))
    return [(count, line.split()) for count, line in lines[first:]]


def _is_object(words: list[str], own: bool) -> bool:
    """Whether a line is DOTA's.

    A class may be a number. YOLO's outline of four corners has nine numbers too, the class first; ten it never has.

    Args:
        own: Whether the file can't be YOLO's.

    Example:
        >>> [_is_object(line.split(), False) for line in ('9 9 50 9 50 40 9 40 plane', '9 9 50 9 50 40 9 40 7 0', '7 0 0 1 0 1 1 0 1')]
        [True, True, False]
    """
    try:
        corners, rest = [number(word) for word in words[:8]], words[8:]
    except ValueError:
        return False
    if not rest or max(corners) <= _FARTHEST:
        return False
    if all(map(_NUMBER.fullmatch, rest)):
        return all(map(_WHOLE.fullmatch, rest)) and len(rest) in ((1, 2) if own else (2,))
    return True
