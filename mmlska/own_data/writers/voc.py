"""Pascal VOC: ``Annotations``, ``JPEGImages``, ``ImageSets/Main``, and ``SegmentationObject`` for objects with masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from ...colors import distinct_colors
from ...datasets.coco_labels import area_of, box_of, is_ignored, mask_of
from ..shapes import pixels_of
from .photo import PhotoToWrite, flat_names

_MOST_MASKS = 254  # numbers of 8 bits, less 0 and the border


def write_voc(photos: Sequence[PhotoToWrite], classes: Sequence[str], out: Path) -> list[str]:
    """Write boxes, and masks as pictures of numbered objects, small ones over large ones; ignored objects are ``difficult``."""
    lists: dict[str, list[str]] = {}
    without_masks = 0
    for photo, name in zip(photos, flat_names(photos)):
        stem = PurePosixPath(name).stem
        lists.setdefault(photo.split or 'trainval', []).append(stem)
        photo.copy_to(out / 'JPEGImages' / name)
        masked = [annotation for _, annotation in photo.objects if mask_of(annotation) is not None]
        drawn = 0 < len(masked) <= _MOST_MASKS
        without_masks += len(masked) > _MOST_MASKS
        _write_xml(out / 'Annotations' / f'{stem}.xml', photo, name, classes, drawn)
        if drawn:
            _write_objects(out / 'SegmentationObject' / f'{stem}.png', photo)
    for split, stems in lists.items():
        file = out / 'ImageSets/Main' / f'{split}.txt'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(''.join(f'{stem}\n' for stem in stems), encoding='utf-8')
    return (
        [f'{without_masks} photos have more than {_MOST_MASKS} masks: their boxes alone are written']
        if without_masks
        else []
    )


def _write_xml(file: Path, photo: PhotoToWrite, name: str, classes: Sequence[str], drawn: bool) -> None:
    def add(parent: ElementTree.Element, tag: str, text: object = None) -> ElementTree.Element:
        element = ElementTree.SubElement(parent, tag)
        element.text = None if text is None else str(text)
        return element

    root = ElementTree.Element('annotation')
    add(root, 'folder', 'JPEGImages')
    add(root, 'filename', name)
    size = add(root, 'size')
    for tag, value in zip(('width', 'height', 'depth'), (*photo.size, 3)):
        add(size, tag, value)
    add(root, 'segmented', int(drawn))
    for label, annotation in photo.objects:
        entry = add(root, 'object')
        add(entry, 'name', classes[label])
        add(entry, 'difficult', int(is_ignored(annotation)))
        x, y, width, height = box_of(annotation)
        box = add(entry, 'bndbox')
        for tag, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), (x, y, x + width, y + height)):
            add(box, tag, f'{value:.3f}'.rstrip('0').rstrip('.'))
    ElementTree.indent(root)
    file.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(file, encoding='utf-8', xml_declaration=True)


def _write_objects(file: Path, photo: PhotoToWrite) -> None:
    numbers = np.zeros(photo.size[::-1], np.uint8)
    masks = [annotation for _, annotation in photo.objects if mask_of(annotation) is not None]
    numbered = list(enumerate(masks, 1))
    for number, annotation in sorted(numbered, key=lambda entry: -area_of(entry[1], box_of(entry[1]))):
        numbers[pixels_of(mask_of(annotation), photo.size)] = number
    picture = Image.fromarray(numbers, 'P')
    picture.putpalette([0, 0, 0, *(value for color in distinct_colors(_MOST_MASKS) for value in color)])
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)
