"""Objects that one label file has twice: each counts once, as a detector finds it once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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
            kept: list[tuple[int, int]] = []  # place and class
            for place in places:
                one = annotations[place]
                name, label = names.get(one['image_id'], item.path.name), labels[one['category_id']]
                alike = [n for n, (other, _) in enumerate(kept) if _may_be_one(annotations[other], one)]
                same = next((n for n in alike if kept[n][1] == label), None)
                if same is None:
                    if alike:
                        rival = classes[kept[alike[0]][1]]
                        item.remarks.append((_TWO_CLASSES, f'{name}: {rival} and {classes[label]}'))
                    kept.append((place, label))
                    continue
                item.remarks.append((WRITTEN_TWICE, f'{name}: {classes[label]}'))
                other = kept[same][0]
                if mask_of(annotations[other]) is None and mask_of(one) is not None:
                    kept[same], place = (place, label), other
                gone.add(place)
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


def _may_be_one(one: dict, other: dict) -> bool:
    """Whether annotations of one box have no outlines that differ."""
    masks = mask_of(one), mask_of(other)
    return None in masks or masks[0] == masks[1]
