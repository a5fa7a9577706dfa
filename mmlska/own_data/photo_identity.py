"""Which files are one photo: links to one file, copies of the same bytes, and Roboflow's versions of one original."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..files import file_sha256
from ..text import counted
from .data_folder import file_id, name_key
from .report import first_of

_PART = 1 << 12  # bytes at the start, middle and end, which tell most files of one size apart
_VERSION = re.compile(r'(.+)\.rf\.[0-9A-Za-z_-]{6,}')
# Where more of the files are one picture, they stand in for photos, as in the set of a test: each is then a photo of its own.
_MOST_ALIKE = 0.5
#: What to say where they are on several sides of a split.
ALIKE = 'one picture is most of the images, on several sides of the split; each file counts as a photo of its own'
_SIDES = {'train': 'training', '': 'training', 'val': 'validation', 'test': 'test'}


def photo_names(paths: Iterable[Path]) -> dict[Path, Path]:
    """For each file the one that stands for all that are the same photo: by links, or by the same bytes."""
    photos, _ = _photos(paths)
    return {name: best for names in photos for best in [shortest(names)] for name in names}


def alike_on_sides(sides: Mapping[str, Sequence[Path]]) -> str | None:
    """The files that stand in for photos, as :func:`photo_names` takes them, where several sides have them; None where none do."""
    every = [path for paths in sides.values() for path in paths]
    alike = set(_photos(every)[1])
    if sum(any(path in alike for path in paths) for paths in sides.values()) < 2:
        return None
    return f'{len(alike)} of {len(every)}: {first_of(sorted(path.name for path in alike))}'


def _photos(paths: Iterable[Path]) -> tuple[list[list[Path]], list[Path]]:
    """The names of each photo, and the files of one picture that stand in for photos."""
    by_file: dict[object, list[Path]] = {}
    for path in dict.fromkeys(paths):
        by_file.setdefault(file_id(path) or path, []).append(path)
    files = list(by_file.values())
    photos, alike = [], []
    for group in _same_bytes([names[0] for names in files]):
        every = [files[place] for place in group]
        if len(every) > 1 and (len(every) == len(files) or len(every) > max(_MOST_ALIKE * len(files), 2)):
            photos += every
            alike = [names[0] for names in every]
        else:
            photos.append([name for names in every for name in names])
    return photos, alike


def shortest(paths: Iterable[Path]) -> Path:
    """The file of the shortest name: a copy has a longer one."""
    return min(paths, key=lambda path: (len(path.name), path.name))


def original_name(path: Path) -> str:
    """What versions of one photo have in common: the name that it had before Roboflow augmented it.

    Example:
        >>> original_name(Path('train/a_jpg.rf.5ec1e7.jpg')), original_name(Path('train/a.jpg'))
        ('a_jpg', 'train/a.jpg')
    """
    match = _VERSION.fullmatch(path.stem)
    return name_key(match[1]) if match else path.as_posix()


def separate(
    splits: dict[str, list], learned: str, path_of: Callable[[Any], Path]
) -> tuple[dict[str, list], list[str]]:
    """Keep each photo on one side of a split: training gives way to validation and test, validation to test.

    Where that would leave nothing of a side, as in a set whose test images are those of validation, the other side gives way; two
    sides that are the same stay so, but for training, where validation is then held out anew.

    Args:
        splits: The images of each split.
        learned: The split that is trained on.
        path_of: The file of an image.

    Returns:
        The splits and lines on what was left out.
    """
    sides = {name: list(images) for name, images in splits.items()}
    ordered = [name for name in dict.fromkeys((learned, 'val', 'test')) if name in sides]
    if len(ordered) < 2:
        return sides, []
    known = photo_names(path_of(image) for name in ordered for image in sides[name])
    lines = []
    for first, second in ((a, b) for i, a in enumerate(ordered) for b in ordered[i + 1 :]):
        if first not in sides or second not in sides:
            continue
        kept = [_apart(sides[one], sides[other], known, path_of) for one, other in ((first, second), (second, first))]
        if len(kept[0]) == len(sides[first]):
            continue
        names = (_SIDES[first], _SIDES[second])
        if not any(kept):
            if first != learned:
                continue
            lines.append(f'the {names[1]} images are those of {names[0]}, by file or content, and are not used')
            del sides[second]
            continue
        place, loser, winner = (0, first, names[1]) if kept[0] else (1, second, names[0])
        left = set(map(id, sides[loser])) - set(map(id, kept[place]))
        shown = [path_of(image).name for image in sides[loser] if id(image) in left]
        lines.append(
            f'{len(shown)} of {len(sides[loser])} {_SIDES[loser]} images are {winner} images too, by file or content, and are left '
            f'out of {_SIDES[loser]}: {first_of(shown)}'
        )
        sides[loser] = kept[place]
    alike = alike_on_sides({name: [path_of(image) for image in sides[name]] for name in ordered if name in sides})
    if alike:
        lines.append(f'{ALIKE}: {alike}')
    return sides, [*lines, *_versions_apart(sides, ordered, path_of)]


def _apart(images: Sequence, others: Sequence, known: dict[Path, Path], path_of: Callable[[Any], Path]) -> list:
    taken = {known[path_of(image)] for image in others}
    return [image for image in images if known[path_of(image)] not in taken]


def _versions_apart(sides: dict[str, list], ordered: Sequence[str], path_of: Callable[[Any], Path]) -> list[str]:
    """A line on versions of one original in training and elsewhere, where the folders say so."""
    first, *rest = [{original_name(path_of(image)) for image in sides.get(name, ())} for name in ordered]
    both = sorted(first & set().union(*rest))
    some = counted(len(both), 'photo has', 'photos have')
    text = f'{some} versions (.rf.) in training and in validation or test: {first_of(both)}'
    return [f'{text}; results are better than they will be on new photos'] if both else []


def _same_bytes(paths: Sequence[Path]) -> list[list[int]]:
    """The places of the files in groups of the same bytes. Only files of one size and the same parts are read whole."""
    groups = [list(range(len(paths)))] if paths else []
    for read in (_size, _parts, digest):
        finer: list[list[int]] = []
        for group in groups:
            parts: dict[object, list[int]] = {}
            for place in group if len(group) > 1 else ():
                parts.setdefault(_read(read, paths[place]), []).append(place)
            finer += parts.values() if parts else [group]
        groups = finer
    return groups


def _read(read: Callable[[Path], object], path: Path) -> object:
    try:
        return read(path)
    except OSError:  # check and training name it
        return path


def _size(path: Path) -> int:
    return path.stat().st_size


def _parts(path: Path) -> bytes:
    """What tells some parts of a file, which costs the same however large it is."""
    status = path.stat()
    return _parts_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 18)  # a set larger than that would find none of its files again
def _parts_of(path: Path, size: int, changed: int) -> bytes:
    found = hashlib.sha256()
    with path.open('rb') as file:
        # Uncompressed photos of one camera begin, and with a black border end, with the same bytes.
        for start in sorted({0, max(size // 2 - _PART // 2, 0), max(size - _PART, 0)}):
            file.seek(start)
            found.update(file.read(_PART))
    return found.digest()


def digest(path: Path) -> str:
    """What tells the content of a file; it is read anew when it has changed."""
    status = path.stat()
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 16)
def _digest_of(path: Path, size: int, changed: int) -> str:
    return file_sha256(path)
