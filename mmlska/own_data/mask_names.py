"""What the names of masks say: which photo is meant, which of several masks of a photo counts, and which hold objects and no classes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .folder import SPLIT_WORDS
from .folder_names import IMAGE_ENDS, MASK_ENDS
from .label_text import short

#: The kind of remark on pictures that number objects, beside those of classes in Pascal VOC, Cityscapes, ADE20K and Mapillary.
OF_OBJECTS = 'picture of single objects and not of classes, not used'
_OBJECT_WORDS = {'instance', 'instances', 'instanceids', 'panoptic', 'segmentationobject'}
_KIND_WORDS = {
    *('mask', 'masks', 'id', 'ids', 'label', 'labels', 'ann', 'anns', 'annotation', 'annotations', 'gt', 'map', 'maps'),
    *('png', 'pngs'),
    *SPLIT_WORDS,
}
_OBJECT_FOLDER = re.compile('instance|segmentationobject', re.IGNORECASE)
_OBJECT_END = re.compile(r'[_-](instance(Train)?Ids|panoptic)$')
# Of several masks of one photo the first kind counts: what trains, before what has more classes, before pictures for people.
_ENDS = ('labelTrainIds', 'labelIds', 'color')
_FOLDERS = ('SegmentationClassAug', 'SegmentationClass', 'SegmentationClassRaw', 'gtFine', 'gtCoarse')


class Names(NamedTuple):
    """The names by which photos and masks are compared, and what to say of it."""

    photos: dict[Path, tuple[str, ...]]
    masks: dict[Path, str]
    remark: tuple[str, str]


def without_objects(paths: Sequence[Path], root: Path) -> tuple[list[Path], list[Path]]:
    """The pictures without those that number objects, and the latter; all of them where no other is there.

    Example:
        >>> without_objects([Path('d/annotations/1.png'), Path('d/annotations_instance/1.png')], Path('d'))[1]
        [PosixPath('d/annotations_instance/1.png')]
    """
    folders = {path.parent: any(map(_of_objects, path.parent.relative_to(root).parts)) for path in paths}
    found = [path for path in paths if folders[path.parent] or _OBJECT_END.search(path.stem)]
    left_out = set(found)
    rest = [path for path in paths if path not in left_out]
    return (rest, found) if rest else (list(paths), [])


def surely_of_objects(path: Path, root: Path) -> bool:
    """Whether a picture numbers objects by its name, or by that of a folder such as ``instances`` and ``instance_masks``."""
    return bool(_OBJECT_END.search(path.stem)) or any(map(_OBJECT_FOLDER.match, path.parent.relative_to(root).parts))


def _of_objects(folder: str) -> bool:
    words = set(re.findall('[a-z]+', folder.lower()))
    return bool(words & _OBJECT_WORDS) and words <= _OBJECT_WORDS | _KIND_WORDS


def names_by_ends(images: Iterable[Path], masks: Iterable[Path]) -> tuple[dict[Path, tuple[str, ...]], dict[Path, str]]:
    """The names of photos and masks without endings such as ``_leftImg8bit`` and ``_mask``."""
    photos = {image: (IMAGE_ENDS.sub('', image.stem), image.stem) for image in images}
    stems = {image.stem for image in photos}  # a photo may be called woman_mask.jpg, and its mask woman_mask.png
    return photos, {mask: mask.stem if mask.stem in stems else MASK_ENDS.sub('', mask.stem) for mask in masks}


def names_without_shared(images: Sequence[Path], masks: Sequence[Path]) -> Names | None:
    """The names without what all photos, and all masks, begin and end with; None if these do not make pairs of one and one.

    Example:
        >>> found = names_without_shared([Path('image_1.jpg'), Path('image_2.jpg')], [Path('mask_1.png'), Path('mask_2.png')])
        >>> list(found.masks.values()), found.remark[1]
        (['1', '2'], 'image_* and mask_*')
    """
    if not images or not masks:
        return None
    (photos, photo_pattern), (others, mask_pattern) = map(_without_shared, (images, masks))
    known = Counter(photos.values())
    fits = not Counter(others.values()) - known and max(known.values()) == 1 and 2 * len(others) >= len(photos)
    if not fits or '' in known:
        return None
    kind = 'pattern of names by which masks were paired with photos, as their names differ'
    return Names(
        {path: (name,) for path, name in photos.items()}, others, (kind, f'{photo_pattern} and {mask_pattern}')
    )


def _without_shared(paths: Sequence[Path]) -> tuple[dict[Path, str], str]:
    """Names without what all begin and end with, but for digits, and the pattern of the names."""
    stems = [path.stem for path in paths]
    start = os.path.commonprefix(stems).rstrip('0123456789')
    rest = [stem[len(start) :] for stem in stems]
    end = os.path.commonprefix([name[::-1] for name in rest])[::-1].lstrip('0123456789')
    cut = {path: name.removesuffix(end) for path, name in zip(paths, rest)}
    return cut, f'{start}*{end}'


def preferred(image: Path, masks: Sequence[Path], root: Path) -> tuple[Path, list[tuple[str, str]]]:
    """Which of several masks of a photo counts, and what to say of the others.

    Raises:
        ValueError: If two fit equally well.
    """
    ranked = sorted(masks, key=lambda mask: _rank(mask, root))
    best, *rest = ranked
    if rest and _rank(rest[0], root) == _rank(best, root):
        apart = rest[0].parent != best.parent
        what = 'move the folder of one of them out of the data folder' if apart else 'keep one of them in the folder'
        raise ValueError(f'{image} has two masks, {best} and {rest[0]}; {what}')
    return best, [
        (f'mask that is not used, as {_kind(best, root)} counts before it', short(mask, root)) for mask in rest
    ]


def _rank(mask: Path, root: Path) -> tuple[int, int]:
    parts = mask.parent.relative_to(root).parts
    folder = next((number for number, name in enumerate(_FOLDERS) if name in parts), len(_FOLDERS))
    end = next((number for number, name in enumerate(_ENDS) if mask.stem.endswith(name)), None)
    plain = _ENDS.index('color')  # pictures for people come after masks without a word
    return folder, plain - 0.5 if end is None else end


def _kind(mask: Path, root: Path) -> str:
    end = next((name for name in _ENDS if mask.stem.endswith(name)), None)
    folder = next((name for name in _FOLDERS if name in mask.parent.relative_to(root).parts), None)
    return f'_{end}' if end else folder or mask.parent.name


def refuse_several_numberings(masks: Iterable[Path], root: Path) -> None:
    """Make sure that all masks number their classes alike.

    Raises:
        ValueError: If some are of Cityscapes' ids and others of its ids for training.
    """
    first: dict[str, Path] = {}
    for mask in masks:
        for end in _ENDS[:2]:
            if mask.stem.endswith(end):
                first.setdefault(end, mask)
    if len(first) == 2:
        places = ' and '.join(short(mask, root) for mask in first.values())
        raise ValueError(
            f'masks number their classes in two ways ({places}): make {_ENDS[0]} for all photos, or take those files out of the data folder'
        )
