"""Masks of classes taken for objects: each connected piece of a class is one, so that detectors train on masks (``--instances``).

Pixels that touch at a side or a corner are connected. Objects that touch each other are one piece: masks of classes can't tell them
apart. The class ``background`` and pixels without a label are no objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ..annotations import AnnotationFile
from ..data_folder import DataFolder
from ..label_builder import LabelBuilder
from ..label_drawing import BACKGROUND
from ..label_text import short
from ..mask_files import read_index
from ..palettes import spelling
from ..shapes import placed
from .instances import InstanceSource
from .masks import MaskLabels, MaskSource

SMALLEST = 9  # pixels: less is the fringe of another piece


class PieceSource(InstanceSource):
    """The connected pieces of masks."""

    name = MaskSource.name

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return MaskSource.fits(folder)

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> PieceSource | None:
        """The pieces in the masks of a folder.

        Raises:
            ValueError: If the masks make no sense, or all is background.
        """
        masks = MaskSource.find(folder, palette)
        if masks is None:
            return None
        try:
            return cls(folder.root, _read(masks.read()))
        except ValueError as error:
            raise ValueError(f'{error}; mmlska check without --instances lists all mistakes of the masks') from error


def _read(masks: MaskLabels) -> list[AnnotationFile]:
    names = [None if spelling(name) == BACKGROUND else name for name in masks.classes]
    builder = LabelBuilder(masks.root, masks.root, [name for name in names if name])
    if None not in names:
        builder.remarks.append(
            ('masks without a class called background; each class is one of objects', ', '.join(masks.classes))
        )
    builder.remarks += [('masks', note) for note in masks.notes]
    for split, pairs in masks.splits.items():
        for pair in pairs:
            size = pair.photo_size or pair.size
            photo, place = builder.photo(pair.image, split or None, size), short(pair.mask, masks.root)
            index = read_index(pair, masks.labels)
            for label in (label for label in np.unique(index).tolist() if label < len(names)):
                name = names[label]
                pieces, small = _pieces(index == label) if name else ([], 0)
                for runs in pieces:
                    photo.add(name, place, runs=runs)
                if small:
                    builder.remarks.append(
                        (
                            f'mask with pieces of less than {SMALLEST} pixels, which are left out',
                            f'{place}: {small} of {name}',
                        )
                    )
    return builder.files()


def _pieces(inside: np.ndarray) -> tuple[Sequence[dict], int]:
    """Run lengths of each connected piece of an (H, W) mask, and the number of those that are too small."""
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    size, out = inside.shape[::-1], []
    for number in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[number])
        if area >= SMALLEST:
            piece = numbers[top : top + height, left : left + width] == number
            out.append(placed(piece, left, top, size))
    return out, count - 1 - len(out)
