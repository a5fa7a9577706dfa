"""The masks of VOC's SegmentationObject, a picture for each photo in which each object has a value or a colour."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...colors import pack_rgb
from ...images import open_image, read_header
from ..annotations import labelled_size
from ..data_folder import DataFolder, SeveralPhotos
from ..label_builder import LabelledPhoto
from ..label_text import short
from ..shapes import runs_of

_VOID = {False: 255, True: 0xE0E0C0}  # the border of objects, as a value and as a colour
_MOST_OBJECTS = 5000  # a picture of more is a photo
_LEAST_OVERLAP = 0.5


@dataclass
class _Mask:
    value: int
    pixels: np.ndarray  # their places, line by line
    box: list[float]  # left, top, right, bottom


def give_masks(
    objects: list[dict[str, Any]], entry: LabelledPhoto, label: Path, photo: Path, folder: DataFolder
) -> None:
    """Add ``runs`` to the objects, as :meth:`LabelledPhoto.add` takes them, whose boxes are those of masks.

    Args:
        folder: The pictures of masks.
    """
    builder = entry.builder
    try:
        path = folder.photo(photo.name, label) or folder.photo(label.stem, label)
    except SeveralPhotos as error:
        builder.left_out.append(('several pictures of masks for one photo', f'{short(photo, builder.root)}: {error}'))
        return
    try:
        header = read_header(photo) if path else None
    except (OSError, ValueError):  # check and training name it
        return
    if path is None or header is None:
        return
    size = labelled_size(entry.entry, header)
    place = short(path, builder.root)
    with builder.faults(place, 'masks of objects that can not be read'):
        boxed = [thing for thing in objects if 'box' in thing]
        masks = _masks(path, size)
        found = _matched(np.array([thing['box'] for thing in boxed], float).reshape(-1, 4), masks)
        for thing, number in found.items():
            inside = np.zeros(size[0] * size[1], bool)
            inside[masks[number].pixels] = True
            boxed[thing]['runs'] = runs_of(inside.reshape(size[1], size[0]))
        rest = [mask for number, mask in enumerate(masks) if number not in found.values()]
        builder.left_out += [('mask of no object in the xml', f'{place} value {mask.value}') for mask in rest]


def _masks(path: Path, size: tuple[int, int]) -> list[_Mask]:
    """The masks in a picture, which has to be as large as its photo."""
    with open_image(path) as picture:
        if picture.size != size:
            raise ValueError(f'{picture.width}x{picture.height} pixels, the photo has {size[0]}x{size[1]}')
        colored = picture.mode not in ('1', 'L', 'P', 'I', 'I;16', 'I;16B')
        values = (pack_rgb(picture.convert('RGB')) if colored else np.asarray(picture)).astype(np.int32).ravel()
    pixels = np.flatnonzero((values != 0) & (values != _VOID[colored]))
    if not len(pixels):
        return []
    pixels = pixels[np.argsort(values[pixels], kind='stable')]
    ends = np.flatnonzero(np.diff(values[pixels])) + 1
    if len(ends) >= _MOST_OBJECTS:
        raise ValueError(f'{len(ends) + 1} values; this is a photo, not a picture of masks')
    masks = []
    for part in np.split(pixels, ends):
        y, x = np.divmod(part, size[0])
        box = [float(v) for v in (x.min(), y.min(), x.max() + 1, y.max() + 1)]
        masks.append(_Mask(int(values[part[0]]), part, box))
    return masks


def _matched(boxes: np.ndarray, masks: list[_Mask]) -> dict[int, int]:
    """The number of the mask of each box that has one: those that overlap best, each mask once.

    Args:
        boxes: (N, 4) left, top, width and height.
    """
    ours = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)[:, None]
    theirs = np.array([mask.box for mask in masks], float).reshape(1, -1, 4)
    with np.errstate(all='ignore'):  # numbers may be absurd
        shared = np.minimum(ours[..., 2:], theirs[..., 2:]) - np.maximum(ours[..., :2], theirs[..., :2])
        overlap = shared.clip(0).prod(-1)
        areas = [(sides[..., 2:] - sides[..., :2]).prod(-1) for sides in (ours, theirs)]
        share = overlap / (areas[0] + areas[1] - overlap)
    pairs = np.argwhere(share >= _LEAST_OVERLAP)
    order = np.argsort(-share[tuple(pairs.T)], kind='stable')
    out: dict[int, int] = {}
    taken = set()
    for box, mask in pairs[order].tolist():
        if box not in out and mask not in taken:
            out[box] = mask
            taken.add(mask)
    return out
