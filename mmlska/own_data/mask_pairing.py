"""Which mask belongs to which image, and what has none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ..text import counted
from .data_folder import NOT_READ, DataFolder, is_unread
from .folder_names import MASK_BEGINS, is_of_photos
from .label_text import short
from .mask_files import MaskPair
from .mask_names import (
    OF_OBJECTS,
    names_by_ends,
    names_without_shared,
    preferred,
    refuse_several_numberings,
    surely_of_objects,
    without_objects,
)
from .report import first_of
from .split_lists import NOT_LISTED, SplitLists

_NOT_ITS_MASK = 'image whose mask is that of another image, not used'
_TWO_PHOTOS = (
    'mask of several images that are equally near, used for each; remove the images that it does not belong to'
)
_PREDICTED = 'mask that a model predicted, not used, as one made by hand counts before it'
_PURPOSES = ('segmentation', 'main', 'layout', '')  # of VOC's lists


@dataclass
class MaskPairing:
    """Pairs of image and mask, and what is left."""

    pairs: list[MaskPair] = field(default_factory=list)
    alone: list[Path] = field(default_factory=list)  # images without a mask
    remarks: list[tuple[str, str]] = field(default_factory=list)  # the kind of what is not used, and its place


def photos_and_masks(folder: DataFolder, objects: bool = False) -> tuple[list[Path], list[Path]]:
    """The files that look like photos, and those that look like masks.

    Args:
        folder: The folder.
        objects: Single objects are wanted: all pictures that number these are masks where there are no others.
    """
    images, masks = [], []
    files, of_objects = without_objects(folder.images, folder.root)
    for path in files:
        (masks if folder.is_mask(path) else images).append(path)
    if not masks:  # x.jpg and x.png in one folder
        stems = Counter((path.parent, path.stem) for path in files)
        masks = [path for path in files if path.suffix.lower() == '.png' and stems[path.parent, path.stem] == 2]
        known = set(masks)
        images = [path for path in files if path not in known]
    if not masks:  # image_1.jpg and mask_1.png in one folder
        marked = [path for path in files if MASK_BEGINS.match(path.stem)]
        known = set(marked)
        photos = [path for path in files if path not in known]
        if names_without_shared(photos, marked):
            images, masks = photos, marked
    if not masks:  # a folder such as panoptic_masks may hold classes
        masks = [
            path for path in of_objects if objects or folder.is_mask(path) and not surely_of_objects(path, folder.root)
        ]
    return images, masks


def find_pairs(folder: DataFolder, objects: bool = False) -> MaskPairing:
    """Pair images with masks of the same name, in other folders or with endings such as ``_mask``; see :mod:`.mask_names`.

    Args:
        folder: The folder.
        objects: See :func:`photos_and_masks`.

    Raises:
        ValueError: If two masks fit an image equally well, or masks number their classes in several ways.
    """
    root, out = folder.root, MaskPairing()
    images, masks = photos_and_masks(folder, objects)
    wanted, names = names_by_ends(images, masks)
    shared = None
    if not {name for own in wanted.values() for name in own} & set(names.values()):
        shared = names_without_shared(images, masks)
        wanted, names = (shared.photos, shared.masks) if shared else (wanted, names)
    by_name: dict[str, list[Path]] = {}
    for mask in masks:
        by_name.setdefault(names[mask], []).append(mask)
    predicted, unchanged = folder.sorted_files.masks, set(folder.sorted_files.unchanged)

    def by_hand(mask: Path) -> int:
        return (mask in predicted) + (mask in unchanged)

    lists, used, found = SplitLists(folder, purposes=_PURPOSES), set(), {}
    for image in images:
        fitting = next((by_name[name] for name in wanted[image] if name in by_name), [])
        if not fitting:
            out.alone.append(image)
            continue
        own = min(map(by_hand, fitting))
        later = [mask for mask in fitting if by_hand(mask) > own]
        out.remarks += [(_PREDICTED, short(mask, root)) for mask in later]
        used.update(later)
        fitting = [mask for mask in fitting if mask not in later]
        parts = set(_folders(image, root))
        common = [len(parts.intersection(_folders(mask, root))) for mask in fitting]
        best, left_out = preferred(image, [mask for mask, count in zip(fitting, common) if count == max(common)], root)
        out.remarks += left_out
        used.update((best, *(root / place for _, place in left_out)))
        found[image] = best
    claims: dict[Path, list[Path]] = {}
    for image, mask in found.items():
        claims.setdefault(mask, []).append(image)
    for image, mask in found.items():
        rivals = _nearer(folder, mask, image, claims[mask])
        if rivals:
            out.remarks.append((_NOT_ITS_MASK, f'{short(image, root)}, where {short(rivals[0], root)} is nearer'))
            continue
        listed, split = lists.split_of(image)
        if listed:
            out.pairs.append(MaskPair(image, mask, split, renamed=shared is not None))
        else:
            out.remarks.append((NOT_LISTED, short(image, root)))
    refuse_several_numberings([pair.mask for pair in out.pairs], root)
    if out.pairs:
        _add_remarks(out, folder, lists, masks, used)
        out.remarks += [shared.remark] if shared else []
    return out


def _add_remarks(out: MaskPairing, folder: DataFolder, lists: SplitLists, masks: list[Path], used: set[Path]) -> None:
    """Say what is there and not used: masks of no image, pictures of single objects, files that are not read."""
    root = folder.root
    unread = [path for path in folder.files if is_unread(path)]
    known = set(masks)
    of_objects = [path for path in pictures_of_objects(folder) if path not in known]
    out.remarks += [*lists.left_out, *lists.remarks]
    out.remarks += [
        (_TWO_PHOTOS, f'{short(mask, root)}: {first_of([short(image, root) for image in kept])}')
        for mask, kept in _of_several(out.pairs).items()
    ]
    out.remarks += [('mask without its image, not used', short(mask, root)) for mask in masks if mask not in used]
    out.remarks += [(OF_OBJECTS, short(path, root)) for path in of_objects]
    out.remarks += [(NOT_READ, short(path, root)) for path in unread]


def pictures_of_objects(folder: DataFolder) -> list[Path]:
    """The pictures that number single objects, beside others."""
    return without_objects(folder.images, folder.root)[1]


def unpaired_masks(folder: DataFolder, objects: bool = False) -> str | None:
    """What to say of masks that all have other names than the photos; None where there are no masks or no photos.

    Args:
        folder: The folder.
        objects: See :func:`photos_and_masks`.
    """
    images, masks = photos_and_masks(folder, objects)
    if not images or not masks:
        return None
    mask, image = short(masks[0], folder.root), short(images[0], folder.root)
    advice = 'give each mask the name of its photo'
    if len(masks) > len(images):
        advice = 'if each is of one object, which is not read, join those of a photo into one label map with the name of the photo'
    return (
        f'{counted(len(masks), "mask")}, such as {mask}, {"has" if len(masks) == 1 else "have"} the name of none of '
        f'{counted(len(images), "photo")}, such as {image}; {advice}'
    )


def _nearer(folder: DataFolder, mask: Path, image: Path, images: list[Path]) -> list[Path]:
    """Those of the images of a mask that lie nearer to it than one of them, or as near in a folder that is called one of photos."""

    def rank(path: Path) -> tuple:
        return *folder.nearness(path, mask), any(map(is_of_photos, _folders(path, folder.root)))

    return [other for other in images if rank(other) > rank(image)] if len(images) > 1 else []


def _of_several(pairs: list[MaskPair]) -> dict[Path, list[Path]]:
    """The masks of several images, with these."""
    found: dict[Path, list[Path]] = {}
    for pair in pairs:
        found.setdefault(pair.mask, []).append(pair.image)
    return {mask: images for mask, images in found.items() if len(images) > 1}


def _folders(path: Path, root: Path) -> tuple[str, ...]:
    return path.parent.relative_to(root).parts
