"""Label maps: ``images/``, ``masks/`` with the class of each pixel, and ``classes.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from ...datasets.coco_labels import mask_of
from ..label_drawing import draw_index, with_background
from .photo import PhotoToWrite, flat_names


def write_masks(photos: Sequence[PhotoToWrite], classes: Sequence[str], out: Path) -> list[str]:
    """Draw objects into label maps, as segmentors train on them; see :func:`mmlska.own_data.label_drawing.draw_index`."""
    names, indices = with_background(classes)
    bare = 0
    for photo, name in zip(photos, flat_names(photos)):
        photo.copy_to(out / 'images' / photo.split / name)
        bare += sum(mask_of(annotation) is None for _, annotation in photo.objects)
        file = out / 'masks' / photo.split / f'{PurePosixPath(name).stem}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_index(photo.objects, photo.size, indices)).save(file)
    text = json.dumps([{'name': name} for name in names], ensure_ascii=False, indent=1)
    (out / 'classes.json').write_text(f'{text}\n', encoding='utf-8')
    return [f'{bare} objects have a box alone: its pixels are no label'] if bare else []
