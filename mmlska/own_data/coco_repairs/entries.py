"""A COCO file while it is repaired: its annotations with their places, and what was done to each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from ...datasets.coco_labels import area_of, box_of, has_size, mask_fault, mask_of, polygon_area
from ...image_windows import MOST_PIXELS
from ...text import shown
from ..annotations import AnnotationFile, labelled_size, photo_header, place_of
from .outlines import BLOCK, Measured, is_plain, measure


@dataclass
class CocoEntries:
    """The entries of a file, which repairs change in place."""

    item: AnnotationFile
    as_is: bool = False  # mmdet reads the file without repairs
    fractions: bool = False  # the boxes were fractions of their images
    _dropped: set[int] = field(default_factory=set)  # places in the list
    # Of annotations: their mask, and what it measures or None.
    _measured: dict[int, tuple[object, Measured | None]] | None = None
    _sizes: dict = field(default_factory=dict)  # image id -> width and height, or None

    @cached_property
    def images(self) -> dict:
        """The images by their ids; call it after the ids are read."""
        images = self.item.content['images']
        return {image['id']: image for image in images if isinstance(image.get('id'), (int, float, str))}

    def kept(self) -> Iterator[tuple[int, dict]]:
        """The annotations that are not dropped, each with its place in the list."""
        every = enumerate(self.item.content['annotations'])
        return (
            every
            if not self._dropped
            else ((position, annotation) for position, annotation in every if position not in self._dropped)
        )

    def place(self, position: int) -> str:
        """Where an annotation stands, for messages."""
        return place_of(self.item, position, self.image(self.item.content['annotations'][position]))

    def image(self, annotation: dict) -> dict | None:
        """The image of an annotation; None where there is none of that id."""
        number = annotation.get('image_id')
        return self.images.get(number) if isinstance(number, (int, float, str)) else None

    def repaired(self, fault: str, remedy: str, position: int) -> None:
        """Note that an annotation is used, other than it is written."""
        self.item.repaired.append((fault, remedy, self.place(position)))

    def drop(self, reason: str, position: int, value: object) -> None:
        """Leave an annotation out."""
        self.item.dropped.append((reason, f'{self.place(position)}: {shown(value)}'))
        self._dropped.add(position)
        image = self.image(self.item.content['annotations'][position])
        if image is not None:
            self.item.lost.add(image['id'])

    def close(self) -> None:
        """Take what is dropped out of the file; what has no id keeps its place in messages."""
        if not self._dropped:
            return
        kept, places = [], {}
        for position, annotation in self.kept():
            if annotation.get('id') is None or position in self.item.places:
                places[len(kept)] = self.place(position)
            kept.append(annotation)
        self.item.content['annotations'], self.item.places = kept, places

    def size(self, annotation: dict) -> tuple[int, int] | None:
        """Width and height of the image of an annotation: those of its file, or those that its labels count in."""
        try:
            return self._sizes[annotation.get('image_id')]
        except (KeyError, TypeError):  # not yet there, or no id
            image = self.image(annotation)
        if image is None:
            return None
        size = self._sizes[image['id']] = self._size(image)
        return size

    def _size(self, image: dict) -> tuple[int, int] | None:
        name = image.get('file_name')
        path = self.item.images.get(name) if isinstance(name, str) else None
        header = None if path is None else photo_header(self.item, path)
        if header is not None:
            return labelled_size(image, header)
        return (image['width'], image['height']) if has_size(image, MOST_PIXELS) else None

    def boxes(self) -> list[tuple[int, dict, tuple[int, int]]]:
        """The annotations with four finite numbers on a known image, their places and the sizes of their images."""
        every = ((position, annotation) for position, annotation in self.kept() if is_box(annotation.get('bbox')))
        return [(position, a, size) for position, a in every if (size := self.size(a)) is not None]

    def extent(self, annotation: dict) -> list[float] | None:
        """The box around the mask of an annotation, within its image; None where there is no sound one."""
        measured = self._measure(annotation)
        return None if measured is None else measured.box

    def areas(self, annotation: dict) -> tuple[float, float] | None:
        """The least and the most area that a mask can mean, since outlines may be holes in others; None without a sound mask."""
        measured = self._measure(annotation)
        return None if measured is None else (measured.least, measured.most)

    def _measure(self, annotation: dict) -> Measured | None:
        written = annotation.get('segmentation')
        if not written:
            return None
        if self._measured is None:
            self._measured = self._measure_outlines()
        known, measured = self._measured.get(id(annotation), (None, None))
        if known is not written:  # a repair changed it, or it is no plain outline
            measured = self._measure_one(annotation)
            self._measured[id(annotation)] = written, measured
        return measured

    def _measure_outlines(self) -> dict[int, tuple[object, Measured | None]]:
        plain = [annotation for _, annotation in self.kept() if is_plain(annotation.get('segmentation'))]
        plain = [annotation for annotation in plain if self.size(annotation) is not None]
        found = {}
        for start in range(0, len(plain), BLOCK):
            block = plain[start : start + BLOCK]
            masks = [annotation['segmentation'] for annotation in block]
            for annotation, mask, measured in zip(block, masks, measure(masks, list(map(self.size, block)))):
                if measured is not None:
                    found[id(annotation)] = mask, measured
        return found

    def _measure_one(self, annotation: dict) -> Measured | None:
        mask, size = mask_of(annotation), self.size(annotation)
        if not mask or size is None or mask_fault(mask, *size):
            return None
        box = within(box_of({'segmentation': mask}), size)
        most = area_of({'segmentation': mask}, box)
        if isinstance(mask, dict):
            return Measured(box, most, most)
        rings = [polygon_area(ring) for ring in mask]
        return Measured(box, max(2 * max(rings) - sum(rings), 0), most)


def is_box(box: object) -> bool:
    """Whether it is a list of four finite numbers, none of them huge."""
    if not isinstance(box, list) or len(box) != 4 or not set(map(type, box)) <= {int, float}:
        return False
    low, high = -1e9, 1e9  # between which NaN is not either
    return low < box[0] < high and low < box[1] < high and low < box[2] < high and low < box[3] < high


def within(box: list[float], size: tuple[int, int]) -> list[float]:
    """The part of a box (x, y, width, height) in an image; its sides are 0 or less where there is none.

    Example:
        >>> within([70, -5, 20, 15], (80, 60))
        [70, 0, 10, 10]
    """
    x, y, width, height = box
    left, top = max(x, 0), max(y, 0)
    return [left, top, min(x + width, size[0]) - left, min(y + height, size[1]) - top]


def agrees(box: list[float], other: list[float], slack: float = 2, share: float = 0.05) -> bool:
    """Whether each side of a box lies where that of another does, but for some pixels and a share of the other's size."""
    x, y, width, height = box
    left, top, across, down = other
    slack += max(across, down) * share
    return (
        abs(x - left) <= slack
        and abs(y - top) <= slack
        and abs(x + width - left - across) <= slack
        and abs(y + height - top - down) <= slack
    )


def clear_winner(matches: dict[str, int], total: int) -> str | None:
    """The reading that nine of ten annotations agree with, if less than half agree with each other one; None where there is none.

    Example:
        >>> clear_winner({'columns': 10, 'rows': 2}, 10), clear_winner({'columns': 10, 'rows': 9}, 10)
        ('columns', None)
    """
    best = max(matches, key=matches.__getitem__)
    clear = all(2 * count < total for name, count in matches.items() if name != best)
    return best if total and 10 * matches[best] >= 9 * total and clear else None
