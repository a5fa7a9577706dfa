"""Find pairs of image and mask in a folder as people have them, and what the values or colours of the masks mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...images import ImageError, ImageTooLarge, is_image, open_image
from ..layout import distinct_colors, split_of, walk
from ..palettes import NamedClass

if TYPE_CHECKING:
    from PIL.Image import Image

_MASK_WORDS = {
    *(
        'mask',
        'masks',
        'ann',
        'anns',
        'annotation',
        'annotations',
        'label',
        'labels',
        'gt',
        'gtfine',
        'seg',
        'segmentation',
    ),
    *('segmentations', 'segmentationclass', 'labelids', 'groundtruth'),
}
# Masks of single objects, beside those of classes in Pascal VOC and Mapillary: neither photos nor masks that can be used.
_INSTANCE_FOLDER = re.compile(
    r'segmentationobject|instances?([ _-]?(masks?|ids?|labels?|annotations?))?', re.IGNORECASE
)
_MASK_ENDS = re.compile(r'[_-]((gtFine_)?(labelIds|labelTrainIds|color)|masks?|labels?|gt|seg|segmentation|L|ann)$')
_IMAGE_ENDS = re.compile(r'[_-](leftImg8bit|image|img|rgb|sat)$')
IGNORE = 255
# A colour with less than this share of all pixels, and of those of every mask, is a slip or an edge blurred by a resize.
_RARE, _RARE_IN_MASK = 1e-3, 5e-3
_BAND = 4_000_000  # pixels that are counted at once
_MOST_VALUES = 1 << 18  # of one mask; what has more is a photo


@dataclass
class MaskPair:
    """An image and its mask; filled by :func:`scan`."""

    image: Path
    mask: Path
    split: str | None
    size: tuple[int, int] = (0, 0)  # of the mask, width and height
    indexed: bool = True  # one channel
    deep: bool = False  # more than 8 bits
    values: dict[int, int] = field(default_factory=dict)  # index, or RGB packed into one number, -> pixels
    shown: dict[int, int] = field(default_factory=dict)  # index -> packed RGB that the file shows for it


@dataclass
class Labels:
    """What the masks of a set mean.

    ``values`` are the indices or packed colours of the classes, in order. Where ``plain`` is True an index is the class itself
    (less one if ``reduce_zero``); otherwise masks are read by their colours.
    """

    classes: list[str]
    values: list[int]
    palette: list[list[int]]  # for pictures
    plain: bool
    reduce_zero: bool = False
    colors: list[list[int]] = field(default_factory=list)  # in the masks, where not plain
    notes: list[str] = field(default_factory=list)


def find_pairs(root: Path) -> tuple[list[MaskPair], list[Path]]:
    """Pair images with masks of the same name, in other folders or with endings such as ``_mask``.

    Folders of instance masks, such as Pascal VOC's ``SegmentationObject``, are skipped.

    Returns:
        The pairs, and the images without a mask.

    Raises:
        ValueError: If two masks fit an image equally well.
    """
    images, masks = [], []
    files = [
        path for path in walk(root) if is_image(path) and not any(map(_INSTANCE_FOLDER.fullmatch, _folders(path, root)))
    ]
    for path in files:
        (masks if _is_mask(path.relative_to(root)) else images).append(path)
    if not masks:  # x.jpg and x.png in one folder
        stems = Counter((path.parent, path.stem) for path in files)
        masks = [path for path in files if path.suffix.lower() == '.png' and stems[path.parent, path.stem] == 2]
        images = [path for path in files if path not in set(masks)]
    by_key: dict[str, list[Path]] = {}
    for mask in masks:
        by_key.setdefault(_key(mask, _MASK_ENDS), []).append(mask)
    pairs, alone = [], []
    for image in images:
        fitting = by_key.get(_key(image, _IMAGE_ENDS)) or by_key.get(image.stem) or []
        if not fitting:
            alone.append(image)
            continue
        parts = _folders(image, root)
        ranked = sorted(fitting, key=lambda mask: -_shared(parts, _folders(mask, root)))
        if len(ranked) > 1 and _shared(parts, _folders(ranked[0], root)) == _shared(parts, _folders(ranked[1], root)):
            raise ValueError(f'{image} has two masks, {ranked[0]} and {ranked[1]}; keep one of them in the folder')
        pairs.append(MaskPair(image, ranked[0], split_of(image.relative_to(root))))
    return pairs, alone


def _is_mask(path: Path) -> bool:
    words = {word for part in path.parent.parts for word in re.findall('[a-z]+', part.lower())}
    return bool(words & _MASK_WORDS) or bool(_MASK_ENDS.search(path.stem))


def _key(path: Path, ends: re.Pattern) -> str:
    return ends.sub('', path.stem)


def _folders(path: Path, root: Path) -> tuple[str, ...]:
    return path.parent.relative_to(root).parts


def _shared(a: Sequence[str], b: Sequence[str]) -> int:
    return len(set(a) & set(b))


def scan(pairs: Iterable[MaskPair]) -> None:
    """Read every mask: its size, its kind and how many pixels each value has.

    Raises:
        ValueError: If a mask can't be read or is a photo; the message names it.
    """
    for pair in pairs:
        scan_one(pair)


def scan_one(pair: MaskPair) -> None:
    """Read one mask; see :func:`scan`.

    Raises:
        ValueError: If it can't be read or is a photo.
    """
    values: Counter = Counter()
    pair.shown = {}
    try:
        with open_image(pair.mask) as file:
            pair.size = file.size
            pair.deep = file.mode.startswith('I')
            pair.indexed = pair.deep or file.mode in ('1', 'L', 'P')
            for band in _bands(file):
                codes = np.asarray(band) if pair.indexed else _packed(band)
                found = _count(codes)
                values.update(found)
                if file.mode == 'P':
                    for value in found.keys() - pair.shown.keys():
                        y, x = np.unravel_index(np.argmax(codes == value), codes.shape)
                        pair.shown[value] = int(_packed(band.crop((x, y, x + 1, y + 1)))[0, 0])
                if len(values) > _MOST_VALUES:
                    break
            full = 255 if file.mode == '1' else 1
    except ImageTooLarge as error:
        raise ValueError(f'mask {error}') from error
    except (ImageError, FileNotFoundError) as error:
        raise ValueError(f'mask {pair.mask} is not an image that can be read; save it as PNG') from error
    if len(values) > _MOST_VALUES:
        raise ValueError(f'mask {pair.mask} has more than {_MOST_VALUES} colours, so it is a photo; give the masks')
    pair.values = dict(sorted(values.items()))
    if pair.indexed and not pair.shown:
        pair.shown = {value: min(value * full, 255) * 0x010101 for value in pair.values}


def _bands(file: Image) -> Iterator[Image]:
    """An image in strips, as arrays of all pixels at once would take many times its size."""
    width, height = file.size
    step = max(_BAND // width, 1)
    for top in range(0, height, step):
        yield file.crop((0, top, width, min(top + step, height)))


def _packed(band: Image) -> np.ndarray:
    """The colours of a strip, each packed into one number."""
    red, green, blue = np.moveaxis(np.asarray(band.convert('RGB')).astype(np.uint32), 2, 0)
    return red << 16 | green << 8 | blue


def _count(array: np.ndarray) -> dict[int, int]:
    if array.dtype in (np.uint8, bool):  # much faster than sorting
        counts = np.bincount(array.ravel().view(np.uint8))
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(array, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist()))


def read_index(pair: MaskPair, labels: Labels) -> np.ndarray:
    """The mask of a pair as class indices, uint8 (H, W), 255 where there is no label.

    Raises:
        ImageError: If the mask can't be read.
    """
    with open_image(pair.mask) as file:
        index = np.full(file.size[::-1], IGNORE, np.uint8)
        top = 0
        for band in _bands(file):
            values = np.asarray(band) if labels.plain and pair.indexed else _packed(band)
            part = index[top : top + len(values)]
            for number, value in enumerate(labels.values):
                part[values == value] = number
            top += len(values)
    return index


def understand(pairs: Sequence[MaskPair], named: Sequence[NamedClass] | None, *, asked: bool) -> Labels:
    """Find out which classes the masks hold.

    Args:
        pairs: Pairs that went through :func:`scan`.
        named: Classes of a palette or of ``classes.json``; None to go by the masks alone.
        asked: Whether the user named that palette: then colours that are not in it are left unlabelled.

    Raises:
        ValueError: If masks and names do not fit or the masks are photos.
    """
    indexed = all(pair.indexed for pair in pairs)
    values, colors, largest = Counter(), Counter(), Counter()
    for pair in pairs:
        if indexed:
            values.update(pair.values)
        pixels = sum(pair.values.values())
        for value, count in pair.values.items():
            color = pair.shown[value] if pair.indexed else value
            colors[color] += count
            largest[color] = max(largest[color], count / pixels)
    floor = _RARE * sum(colors.values())
    common = [c for c, n in colors.items() if len(colors) == 2 or n >= floor or largest[c] >= _RARE_IN_MASK]
    by_color = bool(named) and named[0].color is not None
    if indexed and not (by_color and _share(colors, named) > _share_of_indices(values, named)):
        labels = _by_index(pairs, values, [c.name for c in named] if named else None)
        if labels is not None:
            return _without_unlabeled(labels, pairs, named)
    if any(pair.deep for pair in pairs):
        raise ValueError(
            f'masks of 16 bits such as {pairs[0].mask} must hold classes 0, 1, 2, ...; save them with 8 bits'
        )
    return _by_color(colors, common, named or None, asked)


def _share(colors: Counter, named: Sequence[NamedClass]) -> float:
    return sum(colors[pack(c.color)] for c in named) / max(sum(colors.values()), 1)


def _share_of_indices(values: Counter, named: Sequence[NamedClass]) -> float:
    return sum(n for v, n in values.items() if v < len(named)) / max(sum(values.values()), 1)


def pack(color: Sequence[int]) -> int:
    """One number for an RGB colour."""
    return color[0] * 65536 + color[1] * 256 + color[2]


def unpack(value: int) -> list[int]:
    """The RGB colour of a packed number."""
    return [value >> 16, value >> 8 & 255, value & 255]


def _by_index(pairs: Sequence[MaskPair], values: Counter, names: list[str] | None) -> Labels | None:
    """Read the values as class indices; None where they have gaps too large for that, such as 0 and 255."""
    found = sorted(v for v in values if v != IGNORE)
    odd = [value for value in found if not 0 <= value <= IGNORE]
    if odd:
        worst = next(pair for pair in pairs if odd[-1] in pair.values)
        raise ValueError(f'mask {worst.mask} holds the value {odd[-1]}; masks are read in 8 bits: use classes 0 to 254')
    if not found or (found == [0] and IGNORE in values):
        return None
    top = found[-1]
    reduce_zero = names is None and found[0] == 1 or names is not None and top == len(names)
    count = len(names) if names else top + (not reduce_zero)
    if names and top >= count + reduce_zero:
        worst = next(pair for pair in pairs if top in pair.values)
        raise ValueError(
            f'mask {worst.mask} holds the value {top} but there are {count} class names, for 0 to {count - 1} ({IGNORE} is '
            f'unlabelled); add the missing names or see tools/check_dataset.py'
        )
    if top >= IGNORE or (names is None and count > max(2 * len(found), 8)):
        return None
    names = names or (
        ['background', 'foreground'] if count == 2 else [f'class_{i + reduce_zero}' for i in range(count)]
    )
    shown = {v: c for pair in pairs for v, c in pair.shown.items()}
    palette = [unpack(shown[i + reduce_zero]) if i + reduce_zero in shown else None for i in range(count)]
    gray = all(c is None or c == [i + reduce_zero] * 3 for i, c in enumerate(palette))
    fill = distinct_colors(count)
    palette = [fill[i] if gray or c is None else c for i, c in enumerate(palette)]
    notes = ['0 in the masks is unlabelled and class 1 the first one'] if reduce_zero else []
    return _enough(Labels(names, [i + reduce_zero for i in range(count)], palette, True, reduce_zero, notes=notes))


def _without_unlabeled(labels: Labels, pairs: Sequence[MaskPair], named: Sequence[NamedClass] | None) -> Labels:
    """Leave out the classes that are called 'unlabeled' or the like, by reading the masks by their colours."""
    kept = [i for i, c in enumerate(named or ()) if not c.ignored]
    if not named or len(kept) == len(named):
        return labels
    shown: dict[int, set[int]] = {}
    for pair in pairs:
        for value, color in pair.shown.items():
            shown.setdefault(value, set()).add(color)
    colors = [next(iter(shown.get(labels.values[i], {labels.values[i] * 0x010101}))) for i in kept]
    if len(set(colors)) < len(colors) or any(len(c) > 1 for c in shown.values()):
        return labels
    names, palette = [labels.classes[i] for i in kept], [labels.palette[i] for i in kept]
    return _enough(Labels(names, colors, palette, False, colors=[unpack(c) for c in colors], notes=labels.notes))


def _by_color(colors: Counter, common: list[int], named: Sequence[NamedClass] | None, asked: bool) -> Labels:
    total = sum(colors.values())
    known = {pack(c.color): c for c in named} if named and named[0].color else {}
    notes = []
    if named and not known:
        if len(common) != len(named):
            raise ValueError(
                f'the masks hold {len(common)} colours and {len(named)} class names come without colours; '
                f'give --palette a file with {{"name": [r, g, b], ...}}'
            )
        known = dict(zip(sorted(common), named))
    covered = sum(colors[value] for value in known) / total
    if asked and not covered:
        seen = ', '.join(f'{unpack(c)}' for c, _ in colors.most_common(4))
        raise ValueError(f'no pixel of the masks has a colour of the palette; they hold {seen}; write these into it')
    strangers = sorted(c for c in common if c not in known)
    if not asked and sum(colors[c] for c in {*common, *known}) < 0.9 * total:
        raise ValueError(
            f'the masks hold {len(colors)} colours: they are photos, or saved as JPEG; save them as PNG, or give --palette'
        )
    classes = [(c.name, value) for value, c in known.items() if not c.ignored and (asked or colors[value])]
    if not asked and strangers:
        if known:
            notes.append(
                f'the class file names the colours of {covered:.0%} of the mask pixels only: the other colours are classes '
                f'named by their code; give them names with --palette'
            )
        classes += [(f'#{value:06x}', value) for value in strangers]
    elif strangers and len(classes) == 1:
        value = max(strangers, key=colors.__getitem__)
        classes.insert(0, ('background', value))
        notes.append(f'the colour {unpack(value)} is taken for background')
    elif covered < 1:
        notes.append(f'{1 - covered:.2%} of the mask pixels have a colour that is not in the palette: unlabelled')
    if not known and len(classes) == 2 and classes[0][1] == 0:  # black and something else
        classes = [('background', 0), ('foreground', classes[1][1])]
    palette = [unpack(value) for _, value in classes]
    return _enough(
        Labels([name for name, _ in classes], [v for _, v in classes], palette, False, False, palette, notes)
    )


def _enough(labels: Labels) -> Labels:
    if len(labels.classes) < 2:
        raise ValueError(
            f'the masks hold one class, {labels.classes}, and no other: segmentation needs two, such as background and object'
        )
    return labels


def classes_in(pair: MaskPair, labels: Labels) -> Counter:
    """The pixels of each class, by index, in a mask; -1 counts those without a label."""
    place = {value: i for i, value in enumerate(labels.values)}
    found: Counter = Counter()
    for value, count in pair.values.items():
        if not labels.plain and pair.indexed:
            value = pair.shown[value]
        found[place.get(value, -1)] += count
    return found
