"""COCO: a json for each split, ``all.json`` for photos of none, which name the photos as they lie beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .photo import PhotoToWrite


def write_coco(photos: Sequence[PhotoToWrite], classes: Sequence[str], out: Path) -> list[str]:
    """Write all: boxes, outlines, run lengths, crowds."""
    categories = [{'id': number, 'name': name} for number, name in enumerate(classes, 1)]
    for split in dict.fromkeys(photo.split for photo in photos):
        images, annotations = [], []
        for photo in (photo for photo in photos if photo.split == split):
            photo.copy_to(out / photo.name)
            width, height = photo.size
            images.append({'id': len(images) + 1, 'file_name': photo.name, 'width': width, 'height': height})
            for label, annotation in photo.objects:
                numbers = {'id': len(annotations) + 1, 'image_id': len(images), 'category_id': label + 1}
                annotations.append({**annotation, **numbers})
        content = {'images': images, 'annotations': annotations, 'categories': categories}
        (out / f'{split or "all"}.json').write_text(json.dumps(content), encoding='utf-8')
    return []
