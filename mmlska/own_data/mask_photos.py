"""Masks whose photos are there twice or were resized after they were labelled, and those that training reads a copy of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from shutil import copyfile

from PIL import Image

from ..files import write_atomically
from ..images import Header
from ..text import printable
from .label_scale import factor_text, same_size
from .mask_files import MaskPair, ones_of, open_mask
from .photo_identity import digest, photo_names
from .turned_photos import TurnedPhotos

Entries = list[tuple[str, str]]  # kinds of what was found, with their places

_COPIES = 'photo that is there as several files of the same content, with the same mask; taken once'
_TWO_MASKS = (
    'photo that is there as several files of the same content, with masks that differ; all are kept on one side'
)


def join_pairs(pairs: Sequence[MaskPair]) -> tuple[list[MaskPair], Entries, Entries]:
    """Take a photo once that a split has as several files with the same mask.

    Returns:
        The pairs, what is odd about them, and what can't be right.
    """
    known = photo_names(pair.image for pair in pairs)
    groups: dict[tuple, list[MaskPair]] = {}
    for pair in pairs:
        groups.setdefault((pair.split, known[pair.image]), []).append(pair)
    left: set[int] = set()
    remarks, doubts = [], []
    for group in (group for group in groups.values() if len(group) > 1):
        first, *rest = sorted(group, key=lambda pair: pair.image != known[pair.image])
        wanted = _mask(first)
        same, differing = ([p for p in rest if (_mask(p) == wanted) == alike] for alike in (True, False))
        left.update(map(id, same))
        for kind, others, found in ((_COPIES, same, remarks), (_TWO_MASKS, differing, doubts)):
            if others:
                found.append((kind, ' and '.join(printable(pair.image.name) for pair in (first, *others))))
    return [pair for pair in pairs if id(pair) not in left], remarks, doubts


def _mask(pair: MaskPair) -> object:
    try:
        return digest(pair.mask)
    except OSError:  # check and training name it
        return pair.mask


def fit_masks(pairs: Sequence[tuple[MaskPair, Header]]) -> Entries:
    """Mark the masks that are resized to their photos, where these were resized by one factor after they were labelled."""
    resized = []
    for pair, header in pairs:
        size = same_size(header, pair.size)
        pair.photo_size = None if size in (None, pair.size) else size
        if pair.photo_size:
            resized.append((pair, pair.photo_size))
    if not resized:
        return []
    kind = (
        f'photo resized after it was labelled; its mask is rescaled by {factor_text((p.size, s) for p, s in resized)}'
    )
    return [
        (kind, f'{printable(pair.mask.name)} ({pair.size[0]}x{pair.size[1]}, the photo {size[0]}x{size[1]})')
        for pair, size in resized
    ]


def no_fit(wrong: Sequence[tuple[MaskPair, Header]], total: int, root: Path) -> str:
    """What to say of masks of another size than their photos, by no one factor, and the next step.

    Args:
        wrong: These, one at least.
        total: How many masks there are.
        root: The data folder.
    """
    pair, header = wrong[0]
    sizes = f'{pair.size[0]}x{pair.size[1]} and its image {header.upright[0]}x{header.upright[1]}'
    said = f'mask {pair.mask} is {sizes}, like {len(wrong)} of {total}'
    if len(wrong) < total:
        return f'{said}; write a corrected copy: mmlska check {quote(str(root))} --fix NEW_DIR'
    if all(one.size == photo.upright[::-1] for one, photo in wrong):
        return f'{said}: width and height are exchanged; turn the masks back by 90 degrees, or turn the photos'
    return f'{said}; save the masks in the sizes of their photos (nearest neighbour), or put back the photos of these masks'


def fits(pair: MaskPair, header: Header) -> bool:
    """Whether a mask has the size of its photo, as stored or as viewers show it."""
    return (pair.photo_size or pair.size) in (header.upright, header.stored)


def is_as_stored(pair: MaskPair, header: Header) -> bool:
    """Whether the mask of a photo that EXIF data turn has its size as stored."""
    return (pair.photo_size or pair.size) == header.stored != header.upright


def turned_photos(headers: Sequence[tuple[MaskPair, Header]]) -> TurnedPhotos:
    """The photos that EXIF data turn, by what the sizes of their masks tell."""
    found = TurnedPhotos()
    for pair, header in headers:
        found.add(pair.image.name, header, pair.photo_size or pair.size)
    return found


def are_as_stored(headers: Sequence[tuple[MaskPair, Header]], turned: TurnedPhotos, root: Path) -> bool | None:
    """Whether the masks of photos that EXIF data turn have their size as stored.

    Raises:
        ValueError: If only some have, or a mask has another size than its image.
    """
    wrong = [(pair, header) for pair, header in headers if not fits(pair, header)]
    if wrong:
        raise ValueError(no_fit(wrong, len(headers), root))
    if turned.mixed:
        stored = next(pair for pair, header in headers if is_as_stored(pair, header))
        raise ValueError(
            f'mask {stored.mask} fits its photo as stored, others fit theirs turned as EXIF data say; '
            f'save the photos without EXIF orientation: mmlska check {quote(str(root))} --fix NEW_DIR'
        )
    return turned.as_stored


def with_fitting_mask(pair: MaskPair, folder: Path, root: Path) -> MaskPair:
    """The pair whose mask has name and size of its photo, 1 for the object of masks of one, and 8 bits: others are written into a folder.

    Args:
        pair: Marked by :func:`fit_masks` if its mask is to be resized.
        folder: The folder for those.
        root: The data folder.
    """
    if not (pair.photo_size or pair.white or pair.wide or pair.renamed):
        return pair
    place = pair.mask.relative_to(root) if pair.mask.is_relative_to(root) else Path(pair.mask.name)
    if pair.renamed:
        place = place.with_name(pair.image.stem + place.suffix)
    if not (pair.photo_size or pair.white or pair.wide):
        write_atomically(folder / place, partial(copyfile, pair.mask))
        return MaskPair(pair.image, folder / place, pair.split, pair.size)
    file = folder / place.with_suffix('.png')
    with open_mask(pair.mask) as mask:
        fitting = Image.fromarray(ones_of(mask)) if pair.white else mask.convert('L') if pair.wide else mask
        if pair.photo_size:
            fitting = fitting.resize(pair.photo_size, Image.Resampling.NEAREST)
        fitting.load()
    write_atomically(file, partial(fitting.save, format='PNG'))
    return MaskPair(pair.image, file, pair.split, fitting.size)
