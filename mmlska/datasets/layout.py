"""What the readers of COCO files and of mask folders share: image files, splits by name, headers of images."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
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


def walk(root: Path) -> Iterator[Path]:
    """The files below ``root`` in a fixed order, without hidden ones and old trainings."""
    for path in sorted(root.iterdir()):
        if path.name.startswith('.') or path.name in _SKIPPED:
            continue
        if path.is_dir():
            yield from walk(path)
        elif path.is_file():
            yield path


def is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


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


@dataclass(frozen=True)
class Header:
    """Size of an image file; ``upright`` is the size after its EXIF orientation, which viewers and OpenCV apply."""

    stored: tuple[int, int]  # width, height
    upright: tuple[int, int]
    turned: bool  # whether its EXIF data ask for any turn or flip


def read_header(path: Path) -> Header:
    """Read the size of an image without its pixels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not an image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(0x0112, 1)
            width, height = image.size
    except UnidentifiedImageError as error:
        raise ValueError(f'{path} is not an image') from error
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'{path} is not a readable image: {error}') from error
    upright = (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    return Header((width, height), upright, orientation not in (0, 1))


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
    order = sorted(range(len(names)), key=lambda i: hashlib.sha1(names[i].encode()).digest())
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
