"""A COCO file while it is repaired: its annotations with their places, and what was done to each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from ...datasets.coco_labels import box_of, has_size, mask_fault, mask_of
from ...image_windows import MOST_PIXELS, header_of
from ...text import shown
from ..annotations import AnnotationFile, is_resized, labelled_size, place_of, said_size


@dataclass
class CocoEntries:
    """The entries of a file, which repairs change in place."""

    item: AnnotationFile
    as_is: bool = False  # mmdet reads the file without repairs
    fractions: bool = False  # the boxes were fractions of their images
    _dropped: set[int] = field(default_factory=set)  # places in the list
    _extents: dict[int, tuple] = field(default_factory=dict)  # of annotations: their mask, and the box around it
    _sizes: dict = field(default_factory=dict)  # image id -> width and height, or None

    @cached_property
    def images(self) -> dict:
        """The images by their ids; call it after the ids are read."""
        images = self.item.content['images']
        return {image['id']: image for image in images if isinstance(image.get('id'), (int, float, str))}

    def kept(self) -> Iterator[tuple[int, dict]]:
        """The annotations that are not dropped, each with its place in the list."""
        every = enumerate(self.item.content['annotations'])
        return ((position, annotation) for position, annotation in every if position not in self._dropped)

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
        image = self.image(annotation)
        if image is None:
            return None
        if image['id'] not in self._sizes:
            self._sizes[image['id']] = self._size(image)
        return self._sizes[image['id']]

    def _size(self, image: dict) -> tuple[int, int] | None:
        name = image.get('file_name')
        path = self.item.images.get(name) if isinstance(name, str) else None
        try:
            if path is not None:
                header, said = header_of(path), said_size(image)
                resized = said is not None and any(is_resized(said, size) for size in (header.upright, header.stored))
                return said if resized else labelled_size(image, header)
        except (OSError, ValueError):
            pass
        return (image['width'], image['height']) if has_size(image, MOST_PIXELS) else None

    def boxes(self) -> list[tuple[int, dict, tuple[int, int]]]:
        """The annotations with four finite numbers on a known image, their places and the sizes of their images."""
        every = ((position, a, self.size(a)) for position, a in self.kept() if is_box(a.get('bbox')))
        return [(position, annotation, size) for position, annotation, size in every if size is not None]

    def extent(self, annotation: dict) -> list[float] | None:
        """The box around the mask of an annotation, within its image; None where there is no sound one."""
        written = annotation.get('segmentation')
        if not written:
            return None
        key = id(annotation)
        known, extent = self._extents.get(key, (None, None))
        if known is not written:  # a repair changed it
            extent = self._extent(annotation)
            self._extents[key] = written, extent
        return extent

    def _extent(self, annotation: dict) -> list[float] | None:
        mask, size = mask_of(annotation), self.size(annotation)
        if not mask or size is None or mask_fault(mask, *size):
            return None
        return within(box_of({'segmentation': mask}), size)


def is_box(box: object) -> bool:
    """Whether it is a list of four finite numbers, none of them huge."""
    numbers = isinstance(box, list) and len(box) == 4 and set(map(type, box)) <= {int, float}
    return numbers and all(abs(value) < 1e9 for value in box)  # which NaN is not either


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
    slack += max(other[2:]) * share
    ends = [(b[0], b[1], b[0] + b[2], b[1] + b[3]) for b in (box, other)]
    return all(abs(one - two) <= slack for one, two in zip(*ends))


def clear_winner(matches: dict[str, int], total: int) -> str | None:
    """The reading that nine of ten annotations agree with, if less than half agree with each other one; None where there is none.

    Example:
        >>> clear_winner({'columns': 10, 'rows': 2}, 10), clear_winner({'columns': 10, 'rows': 9}, 10)
        ('columns', None)
    """
    best = max(matches, key=matches.__getitem__)
    clear = all(2 * count < total for name, count in matches.items() if name != best)
    return best if total and 10 * matches[best] >= 9 * total and clear else None
