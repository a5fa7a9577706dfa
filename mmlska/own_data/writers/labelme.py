"""LabelMe: a json beside each photo, in a folder for each split, with polygons, or rectangles of objects that have a box alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...datasets.coco_labels import box_of, is_ignored
from .photo import PhotoToWrite, flat_names, outlines


def write_labelme(photos: Sequence[PhotoToWrite], classes: Sequence[str], out: Path) -> list[str]:
    """Write outlines, of which several pieces have a group, and boxes; ignored objects have the flag ``difficult``."""
    for photo, name in zip(photos, flat_names(photos)):
        target = out / photo.split / name
        photo.copy_to(target)
        content = {
            'version': '5.5.0',
            'flags': {},
            'shapes': list(_shapes(photo, classes)),
            'imagePath': target.name,
            'imageData': None,
            'imageHeight': photo.size[1],
            'imageWidth': photo.size[0],
        }
        target.with_suffix('.json').write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding='utf-8')
    return []


def _shapes(photo: PhotoToWrite, classes: Sequence[str]) -> Iterator[dict]:
    groups = 0
    for label, annotation in photo.objects:
        pieces = outlines(annotation)
        groups += len(pieces) > 1
        shape = {
            'label': classes[label],
            'group_id': groups if len(pieces) > 1 else None,
            'flags': {'difficult': True} if is_ignored(annotation) else {},
        }
        if not pieces:
            x, y, width, height = box_of(annotation)
            yield {**shape, 'shape_type': 'rectangle', 'points': [[x, y], [x + width, y + height]]}
        for piece in pieces:
            yield {**shape, 'shape_type': 'polygon', 'points': [list(point) for point in zip(piece[::2], piece[1::2])]}
