"""Objects that one label file has twice: each counts once, as a detector finds it once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence

from ..datasets.coco_labels import is_ignored, mask_of
from ..text import printable
from .annotations import WRITTEN_TWICE, AnnotationFile, categories_of, drop_annotations
from .label_scale import box_said

_TWO_CLASSES = 'box that has two classes; both are learned'
_DIGITS = 2  # of a pixel, up to which boxes are the same


def count_once(files: Sequence[AnnotationFile], *, leave_out: bool = True) -> None:
    """Leave out the objects that a file has twice, and remark these and the boxes of two classes.

    Objects of one box that have other outlines are two.

    Args:
        files: Whose lists of annotations may be changed.
        leave_out: False to remark them only, where something else reads the files.
    """
    try:
        classes, mapping, _ = categories_of(files)
    except ValueError:  # check and training name it
        return
    of_file: dict[object, dict[int, int]] = {}
    for (path, number), label in mapping.items():
        of_file.setdefault(path, {})[number] = label
    for item in files:
        labels, annotations = of_file.get(item.path, {}), item.content['annotations']
        names = {image.get('id'): printable(str(image.get('file_name')))[:200] for image in item.content['images']}
        gone = set()
        for places in _of_one_box(annotations, labels):
            kept = _Kept()
            for place in places:
                one = annotations[place]
                name, label = names.get(one['image_id'], item.path.name), labels[one['category_id']]
                again, rival = kept.add(place, label, _hashable(mask_of(one)))
                if again is not None:
                    item.remarks.append((WRITTEN_TWICE, f'{name}: {classes[label]}'))
                    gone.add(again)
                elif rival is not None:
                    item.remarks.append((_TWO_CLASSES, f'{name}: {classes[rival]} and {classes[label]}'))
        if leave_out:
            drop_annotations(item, gone)


def _of_one_box(annotations: Sequence[dict], labels: Mapping[int, int]) -> Iterator[list[int]]:
    """The places of the annotations that have one box in one photo, where there are several; in the order of the first of them."""

    def key(annotation: dict) -> tuple | None:
        box = box_said(annotation) if annotation.get('category_id') in labels else None
        if box is None:
            return None
        return (annotation.get('image_id'), is_ignored(annotation), *(round(value, _DIGITS) for value in box))

    seen, again = set(), set()  # of numbers alone, as there may be millions
    for annotation in annotations:
        if (what := key(annotation)) is not None:
            (again if hash(what) in seen else seen).add(hash(what))
    found: dict[tuple, list[int]] = {}
    for place, annotation in enumerate(annotations) if again else ():
        if (what := key(annotation)) is not None and hash(what) in again:
            found.setdefault(what, []).append(place)
    yield from (places for places in found.values() if len(places) > 1)


class _Kept:
    """The different objects of one box, of which there may be thousands; one without an outline may be any of its class."""

    def __init__(self) -> None:
        self._order: dict[int, tuple[int, int]] = {}  # of each place that is kept, its number in order and its class
        self._first: dict[int, int] = {}  # the first place of each class
        self._bare: dict[int, int] = {}  # the place of each class that has no outline
        self._of_class: dict[tuple[int, Hashable], int] = {}  # the place of each class and outline
        self._outlined: dict[Hashable, int] = {}  # the first place of each outline

    def add(self, place: int, label: int, outline: Hashable | None) -> tuple[int | None, int | None]:
        """Keep an object if it is new.

        Returns:
            The place to leave out, of two that are one; and the class of another object that may be the same.
        """
        if outline is None:
            same, alike = self._first.get(label), list(self._first.values())
        else:
            same = self._of_class.get((label, outline), self._bare.get(label))
            alike = [*self._bare.values(), *([self._outlined[outline]] if outline in self._outlined else [])]
        if same is None:
            rival = self._order[min(alike, key=self._order.__getitem__)][1] if alike else None
            self._keep(place, label, outline, len(self._order))
            return None, rival
        if outline is None or self._bare.get(label) != same:
            return place, None
        del self._bare[label]
        self._keep(place, label, outline, self._order[same][0])
        self._first[label] = place
        return same, None

    def _keep(self, place: int, label: int, outline: Hashable | None, number: int) -> None:
        self._order[place] = number, label
        self._first.setdefault(label, place)
        if outline is None:
            self._bare[label] = place
            return
        self._of_class[label, outline] = place
        other = self._outlined.setdefault(outline, place)
        if number < self._order[other][0]:
            self._outlined[outline] = place


def _hashable(value: object) -> Hashable | None:
    """The same for values that are equal, of those that JSON has."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_hashable, value))
    if isinstance(value, dict):
        return tuple((key, _hashable(one)) for key, one in value.items())
    return value
