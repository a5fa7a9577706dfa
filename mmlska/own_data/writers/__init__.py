"""Label formats that are written, one file each: for annotation tools and for other packages; :mod:`.photo` is what they get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .coco import write_coco
from .cvat import write_cvat
from .labelme import write_labelme
from .masks import write_masks
from .photo import PhotoToWrite
from .voc import write_voc
from .yolo import write_yolo

#: Each takes the photos, the class names and a new folder, and returns what could not be written, in lines.
WRITERS: dict[str, Callable[[Sequence[PhotoToWrite], Sequence[str], Path], list[str]]] = {
    'coco': write_coco,
    'yolo': write_yolo,
    'voc': write_voc,
    'labelme': write_labelme,
    'cvat': write_cvat,
    'masks': write_masks,
}
