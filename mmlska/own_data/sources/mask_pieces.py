"""Masks of classes taken for objects: each connected piece of a class is one, so that detectors train on masks (``--instances``).

Pixels that touch at a side or a corner are connected. Objects that touch each other are one piece: masks of classes can't tell them
apart. The class ``background`` and pixels without a label are no objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from ..annotations import AnnotationFile
from ..data_folder import DataFolder
from ..label_builder import UNNAMED, LabelBuilder
from ..label_drawing import BACKGROUND
from ..label_text import short
from ..mask_files import Labels, MaskPair, read_index
from ..mask_objects import SMALLEST, objects_of
from ..mask_pairing import photos_and_masks
from ..palettes import spelling
from ..shapes import placed
from .instances import InstanceSource
from .masks import MaskLabels, MaskSource


class PieceSource(InstanceSource):
    """The connected pieces of masks."""

    name = MaskSource.name

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return bool(photos_and_masks(folder, objects=True)[1])

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> PieceSource | None:
        """The pieces in the masks of a folder.

        Raises:
            ValueError: If the masks make no sense, or all is background.
        """
        masks = MaskSource.find(folder, palette, objects=True)
        if masks is None:
            return None
        try:
            return cls(folder.root, _read(masks.read(objects=True)))
        except ValueError as error:
            raise ValueError(f'{error}; mmlska check without --instances lists all mistakes of the masks') from error


def _read(masks: MaskLabels) -> list[AnnotationFile]:
    names = [None if spelling(name) == BACKGROUND else name for name in masks.classes]
    builder = LabelBuilder(masks.root, masks.root, [name for name in names if name])
    if None not in names and not masks.labels.ids:
        builder.remarks.append(
            ('masks without a class called background; each class is one of objects', ', '.join(masks.classes))
        )
    builder.remarks += [('masks', note) for note in masks.notes]
    every = [pair for pairs in masks.splits.values() for pair in pairs]
    for split, pairs in masks.splits.items():
        for pair in pairs:
            size = pair.photo_size or pair.size
            photo, place = builder.photo(pair.image, split or None, size), short(pair.mask, masks.root)
            found = _objects(pair, every, size) if masks.labels.ids else _pieces_of(pair, masks.labels, names)
            small: Counter = Counter()
            for name, runs in found:
                if runs is None:
                    small[name] += 1
                else:
                    photo.add(name, place, runs=runs)
            kind = f'mask with pieces of less than {SMALLEST} pixels, which are left out'
            builder.remarks += [(kind, f'{place}: {count} of {name}') for name, count in small.items()]
    return builder.files()


_Found = Iterator[
    tuple[str, dict | None]
]  # the class and the run lengths of each object; None for one that is too small


def _objects(pair: MaskPair, pairs: Sequence[MaskPair], size: tuple[int, int]) -> _Found:
    for left, top, inside in objects_of(pair, pairs):
        yield UNNAMED, placed(inside, left, top, size) if inside.sum() >= SMALLEST else None


def _pieces_of(pair: MaskPair, labels: Labels, names: Sequence[str | None]) -> _Found:
    index = read_index(pair, labels)
    for label in (label for label in np.unique(index).tolist() if label < len(names)):
        for runs in _pieces(index == label) if names[label] else ():
            yield names[label], runs


def _pieces(inside: np.ndarray) -> Iterator[dict | None]:
    """Run lengths of each connected piece of an (H, W) mask."""
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    for number in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[number])
        piece = numbers[top : top + height, left : left + width] == number
        yield placed(piece, left, top, inside.shape[::-1]) if area >= SMALLEST else None
