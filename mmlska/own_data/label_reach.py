"""Labels that pass the borders of their photos, or stay in one corner: of photos that were resized after they were labelled.

:mod:`.label_scale` rescales labels that say the size which the photos had. Here they say none, or one that was changed with the photos.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..text import printable
from .annotations import AnnotationFile, labelled_size, photo_header, said_size
from .label_scale import box_said

#: The doubt that training stops at.
PASSES_BORDERS = (
    'labels that pass the right and lower borders of their photos, as where these were resized after they were labelled'
)
#: What helps then.
LABELLED_SIZE = (
    'put back the photos that were labelled, or write into the labels the width and height that the photos had then, '
    'which rescales these'
)
_MAY_PASS = (
    'boxes that pass the right and lower borders of their photos alone, which are cut there; if the photos were resized after they were '
    'labelled, ' + LABELLED_SIZE
)
_IN_A_CORNER = (
    'labels in the upper left quarter of their photos alone, as where these were enlarged after they were labelled'
)
_OTHER_READINGS = 'file of boxes that may be '  # how coco_repairs.boxes begins a remark
_SHARE = 0.25  # of the boxes, that pass a border
_EACH, _BACK = 0.1, 0.1  # of the boxes, that pass each of the two; and beside these, those that pass the others
_FEWEST, _FEWEST_PHOTOS = 4, 3
_FEWEST_IN_A_CORNER, _PHOTOS_IN_A_CORNER = 30, 10


def note_reach(files: Sequence[AnnotationFile]) -> None:
    """Note, in the doubts of the files, labels that can't be those of photos of this size, and in the remarks those that may not.

    Objects that a border hides in part may be labelled whole, but such labels pass the left and upper borders too.
    """
    splits: dict[str | None, list[tuple[AnnotationFile, list[str], np.ndarray]]] = {}
    found = False
    for item in files:
        if not any(kind.startswith(_OTHER_READINGS) for kind, _ in item.remarks):
            names, boxes = _boxes(item)
            splits.setdefault(item.split, []).append((item, names, boxes))
            found |= _note(item, names, boxes)
    for group in splits.values():  # as with a file for each photo
        if not found and len(group) > 1:
            every = [name for _, names, _ in group for name in names]
            _note(group[0][0], every, np.concatenate([boxes for *_, boxes in group]))


def _boxes(item: AnnotationFile) -> tuple[list[str], np.ndarray]:
    """The photo of each box, and its left, top, right and bottom end, the width and height of the photo, and whether labels say these."""
    sizes = {}
    for image in item.content['images']:
        path = item.images.get(image.get('file_name'))
        header = None if path is None else photo_header(item, path)
        if header is None or said_size(image) not in (None, header.upright, header.stored):
            continue  # which check and training name
        size = *labelled_size(image, header), said_size(image) is not None
        sizes[image.get('id')] = str(image.get('file_name')), size
    names, rows = [], []
    for annotation in item.content['annotations']:
        name, size = sizes.get(annotation.get('image_id'), (None, None))
        box = None if size is None else box_said(annotation)
        if box is not None:
            x, y, width, height = box
            names.append(name)
            rows.append((x, y, x + width, y + height, *size))
    return names, np.array(rows, float).reshape(-1, 7)


def _note(item: AnnotationFile, names: Sequence[str], boxes: np.ndarray) -> bool:
    """Note what the boxes of a file, or of all files of a split, say of the lower right borders; whether they say anything.

    Where the labels say the size that the photos have, training stops only if boxes begin beyond a border too: tiles of a large photo may
    have the whole of each object whose upper left corner is theirs.
    """
    if len(boxes) < _FEWEST:
        return False
    left, top, right, bottom, width, height, said = boxes.T
    slack = 2 + np.maximum(width, height) / 100
    across, down = right > width + slack, bottom > height + slack
    passing, back = across | down, (left < -slack) | (top < -slack)
    many = passing.sum() >= max(_FEWEST, _SHARE * len(boxes))
    both = min(across.sum(), down.sum()) >= _EACH * len(boxes) and back.sum() <= _BACK * passing.sum()
    if many and both and len({name for name, out in zip(names, passing) if out}) >= _FEWEST_PHOTOS:
        farthest = int(np.argmax(np.maximum(right / width, bottom / height)))
        reach = f'{right[farthest]:g}x{bottom[farthest]:g} in {width[farthest]:g}x{height[farthest]:g} pixels'
        place = f'{passing.sum()} of {len(boxes)} boxes, such as in {printable(names[farthest])[:200]}: up to {reach}'
        begin_beyond = (left >= width) | (top >= height)
        if said[passing].all() and begin_beyond.sum() < _EACH * passing.sum():
            item.remarks.append((_MAY_PASS, place))
        else:
            item.doubts.append((PASSES_BORDERS, place))
        return True
    inside = (right <= width / 2 + slack) & (bottom <= height / 2 + slack)
    if inside.all() and len(boxes) >= _FEWEST_IN_A_CORNER and len(set(names)) >= _PHOTOS_IN_A_CORNER:
        item.remarks.append((_IN_A_CORNER, f'all {len(boxes)} boxes of {len(set(names))} photos'))
    return False
