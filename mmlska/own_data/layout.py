"""What the readers of COCO files and of mask folders share: the files of a folder, splits by name, colours."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..images import is_image

SPLITS = ('train', 'val', 'test')
_SPLIT_WORDS = {
    'train': 'train',
    'training': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'test': 'test',
}
_SKIPPED = {'work_dirs', '__MACOSX'}
_LABEL_SUFFIXES = ('.json', '.txt', '.csv')  # COCO files and the names of classes
LEADS_OUT = 'file that leads out of the data folder'
STAY_INSIDE = 'copy the files in, or give the folder that holds both'


def walk(root: Path) -> Iterator[Path]:
    """The regular files below ``root`` in a fixed order, without hidden ones and old trainings.

    What leads out of ``root`` by a link is left out, see :func:`leading_out`; a folder that links lead to is visited once, so that
    circles of links end.
    """
    return (path for path, inside in _entries(root) if inside)


def leading_out(root: Path) -> list[Path]:
    """The links below ``root`` to folders, images and label files elsewhere, which are never read."""
    return [
        path
        for path, inside in _entries(root)
        if not inside and (path.is_dir() or is_image(path) or path.suffix.lower() in _LABEL_SUFFIXES)
    ]


def refuse_leading_out(root: Path) -> None:
    """Raise ValueError if something below ``root`` leads out of it."""
    found = leading_out(root)
    if found:
        raise ValueError(
            f'{found[0]} is a link that leads out of the data folder, one of {len(found)}, and what is elsewhere is not read; '
            f'{STAY_INSIDE}'
        )


def _entries(root: Path) -> Iterator[tuple[Path, bool]]:
    """The regular files below a folder and the links that lead out of it, each with whether it lies inside."""
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
                yield path, False
                continue
        if entry.is_dir():
            if target not in seen:
                seen.add(target)
                pending.append((target, _listing(path)))
        elif entry.is_file():
            yield path, True


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


def split_of(path: Path) -> str | None:
    """The split that the name of a file, or else of a folder above it, speaks of; None for no or several splits.

    Example:
        >>> split_of(Path('annotations/instances_val2017.json')), split_of(Path('train/_annotations.coco.json'))
        ('val', 'train')
        >>> split_of(Path('trainval.json'))
    """
    for part in (path.stem, *reversed(path.parent.parts)):
        found = {_SPLIT_WORDS[word] for word in re.findall('[a-z]+', part.lower()) if word in _SPLIT_WORDS}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def spelling(name: str) -> str:
    """What two spellings of one class name have in common.

    Example:
        >>> spelling('Traffic_Light ') == spelling('traffic light')
        True
    """
    return re.sub(r'[\s_-]+', ' ', unicodedata.normalize('NFKC', str(name))).strip().casefold()


def choose_val(classes: Sequence[set[int]], names: Sequence[str], fraction: float) -> set[int]:
    """Choose the images for validation, the same ones for the same names, with every class on both sides where that can be.

    Args:
        classes: The classes in each image.
        names: A name of each image; its hash decides.
        fraction: Share of the images.

    Returns:
        Indices into ``names``.

    Raises:
        ValueError: If the fraction is not between 0 and 1 or there are less than two images.

    Example:
        >>> sorted(choose_val([{0}, {0}, {1}, {1}, {0}], 'abcde', 0.4))
        [3, 4]
    """
    if not 0 < fraction < 1:
        raise ValueError(f'--val-fraction {fraction} is impossible; use a share between 0 and 1, such as 0.2')
    if len(names) < 2:
        raise ValueError(
            f'{len(names)} labelled image is too few to split into training and validation; use at least 2'
        )
    count = min(max(round(len(names) * fraction), 1), len(names) - 1)
    order = sorted(range(len(names)), key=lambda i: hashlib.sha1(names[i].encode('utf-8', 'surrogatepass')).digest())
    left: dict[int, int] = {}
    for found in classes:
        for item in found:
            left[item] = left.get(item, 0) + 1
    chosen: dict[int, None] = {}
    missing = {item for item, images in left.items() if images > 1}

    def take(index: int) -> None:
        chosen[index] = None
        missing.difference_update(classes[index])
        for item in classes[index]:
            left[item] -= 1

    while missing and len(chosen) < count:
        spare = [i for i in order if i not in chosen and all(left[item] > 1 for item in classes[i])]
        best = max(spare, key=lambda i: len(missing & classes[i]), default=None)
        if best is None or not missing & classes[best]:
            break
        take(best)
    # A class with a single image stays in training as long as there is another image to take.
    for keep_last in (True, False):
        for i in order:
            if len(chosen) < count and i not in chosen and not (keep_last and any(left[k] < 2 for k in classes[i])):
                take(i)
    return set(chosen)


def distinct_colors(count: int) -> list[list[int]]:
    """RGB colours that are easy to tell apart, the same ones every time.

    Example:
        >>> distinct_colors(2)
        [[230, 57, 57], [57, 108, 230]]
    """
    import colorsys

    colors = []
    for i in range(count):
        # Golden-ratio steps of the hue keep neighbours apart however many there are.
        value = (0.9, 0.65, 1.0)[i // 8 % 3]
        colors.append([round(255 * c) for c in colorsys.hsv_to_rgb(i * 0.618 % 1, 0.75, value)])
    return colors
