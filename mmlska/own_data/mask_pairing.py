"""Which mask belongs to which image, and what has none."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .data_folder import NOT_READ, DataFolder, is_unread
from .folder_names import IMAGE_ENDS, MASK_ENDS, is_of_photos
from .label_text import short
from .mask_files import MaskPair
from .report import first_of
from .split_lists import NOT_LISTED, SplitLists

# Masks of single objects, beside those of classes in Pascal VOC and Mapillary: neither photos nor masks that can be used.
_INSTANCE_FOLDER = re.compile(
    r'segmentationobject|instances?([ _-]?(masks?|ids?|labels?|annotations?))?', re.IGNORECASE
)
_NOT_ITS_MASK = 'image whose mask is that of another image, not used'
_TWO_PHOTOS = 'mask of several images that are equally near, used for each; remove those that are none'
_PURPOSES = ('segmentation', 'main', 'layout', '')  # of VOC's lists


@dataclass
class MaskPairing:
    """Pairs of image and mask, and what is left."""

    pairs: list[MaskPair] = field(default_factory=list)
    alone: list[Path] = field(default_factory=list)  # images without a mask
    remarks: list[tuple[str, str]] = field(default_factory=list)  # the kind of what is not used, and its place


def photos_and_masks(folder: DataFolder) -> tuple[list[Path], list[Path]]:
    """The files that look like photos, and those that look like masks."""
    root = folder.root
    images, masks = [], []
    files = [path for path in folder.images if not any(map(_INSTANCE_FOLDER.fullmatch, _folders(path, root)))]
    for path in files:
        (masks if folder.is_mask(path) else images).append(path)
    if not masks:  # x.jpg and x.png in one folder
        stems = Counter((path.parent, path.stem) for path in files)
        masks = [path for path in files if path.suffix.lower() == '.png' and stems[path.parent, path.stem] == 2]
        known = set(masks)
        images = [path for path in files if path not in known]
    return images, masks


def find_pairs(folder: DataFolder) -> MaskPairing:
    """Pair images with masks of the same name, in other folders or with endings such as ``_mask``.

    Raises:
        ValueError: If two masks fit an image equally well.
    """
    root, out = folder.root, MaskPairing()
    images, masks = photos_and_masks(folder)
    stems = {image.stem for image in images}
    by_key: dict[str, list[Path]] = {}
    for mask in masks:  # a photo may be called woman_mask.jpg, and its mask woman_mask.png
        by_key.setdefault(mask.stem if mask.stem in stems else MASK_ENDS.sub('', mask.stem), []).append(mask)
    lists, found = SplitLists(folder, purposes=_PURPOSES), {}
    for image in images:
        fitting = by_key.get(IMAGE_ENDS.sub('', image.stem)) or by_key.get(image.stem) or []
        if not fitting:
            out.alone.append(image)
            continue
        parts = set(_folders(image, root))
        shared = [len(parts.intersection(_folders(mask, root))) for mask in fitting]
        best, *others = [mask for mask, count in zip(fitting, shared) if count == max(shared)]
        if others:
            raise ValueError(f'{image} has two masks, {best} and {others[0]}; keep one of them in the folder')
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
            out.pairs.append(MaskPair(image, mask, split))
        else:
            out.remarks.append((NOT_LISTED, short(image, root)))
    if out.pairs:
        out.remarks += [*lists.left_out, *lists.remarks]
        unread = [path for path in folder.files if is_unread(path)]
        out.remarks += [
            (_TWO_PHOTOS, f'{short(mask, root)}: {first_of([short(image, root) for image in kept])}')
            for mask, kept in _of_several(out.pairs).items()
        ]
        rest = [mask for mask in masks if mask not in claims]
        out.remarks += [('mask without its image, not used', short(mask, root)) for mask in rest]
        out.remarks += [(NOT_READ, short(path, root)) for path in unread]
    return out


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
