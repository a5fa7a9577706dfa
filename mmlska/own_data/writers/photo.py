"""A photo with its objects, as a writer gets it, and what writers share: copies of photos, outlines of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from ...datasets.coco_labels import box_of, decoded, mask_of
from ..image_copies import copy_image


@dataclass
class PhotoToWrite:
    """A photo of a data set."""

    path: Path
    name: str  # below the data folder, with '/'
    split: str  # 'train', 'val', 'test', or '' for none
    size: tuple[int, int]  # width and height in which its objects count
    as_stored: bool  # they count pixels as stored, whatever its EXIF data say
    objects: list[tuple[int, dict]] = field(default_factory=list)  # class and sound COCO annotation

    def copy_to(self, target: Path) -> None:
        """Copy the photo, without an EXIF orientation: as stored if the labels count pixels so, else as viewers show it."""
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_image(self.path, target, self.as_stored)


def flat_names(photos: Sequence[PhotoToWrite]) -> list[str]:
    """A file name without folders for each photo, of which no two differ by their suffix or by upper and lower case alone.

    Example:
        >>> photos = [PhotoToWrite(Path(), name, '', (1, 1), False) for name in ('a/1.jpg', 'b/1.png', 'c/1_2.jpg')]
        >>> flat_names(photos)
        ['1.jpg', '1_2.png', '1_2_2.jpg']
    """
    taken: set[str] = set()
    numbers: dict[str, int] = {}  # the next one behind a stem
    out = []
    for photo in photos:
        file = PurePosixPath(photo.name)
        stem = file.stem
        while stem.casefold() in taken:
            numbers[file.stem] = numbers.get(file.stem, 1) + 1
            stem = f'{file.stem}_{numbers[file.stem]}'
        taken.add(stem.casefold())
        out.append(stem + ('.jpg' if file.suffix.lower() in ('.jpe', '.jfif') else file.suffix))  # others know no .jfif
    return out


def outlines(annotation: dict) -> list[list[float]]:
    """The outlines of an object, (x, y, x, y, ...); none where it has a box alone.

    Of run lengths each piece has one, along the outer border of its pixels; holes are filled.
    """
    mask = mask_of(annotation)
    if mask is None or isinstance(mask, list):
        return mask or []
    left, top, width, height = (int(side) for side in box_of({'segmentation': mask}))
    pixels = decoded(mask)[top : top + height, left : left + width].astype(np.uint8)
    # Twice the size, so that the border runs along the outside of the pixels and not through their centres.
    large = np.pad(pixels.repeat(2, 0).repeat(2, 1), 1)
    found, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    pieces = [_border(contour[:, 0].astype(float), left, top) for contour in found]
    return [piece for piece in pieces if len(piece) >= 6]


def _border(corners: np.ndarray, left: int, top: int) -> list[float]:
    """Corners of pixels of half the size, in a frame of one, as points on the border of the whole pixels."""
    points = (corners - 1) / 2
    points = np.where(points % 1 == 0, points, points + 0.5) + (left, top)
    return [float(value) for value in points.ravel()]
