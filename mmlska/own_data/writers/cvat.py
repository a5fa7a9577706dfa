"""CVAT for images 1.1: ``annotations.xml`` and ``images/``, as CVAT's import takes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from ...datasets.coco_labels import box_of, is_ignored
from .photo import PhotoToWrite, outlines

_SUBSETS = {'train': 'Train', 'val': 'Validation', 'test': 'Test'}


def write_cvat(photos: Sequence[PhotoToWrite], classes: Sequence[str], out: Path) -> list[str]:
    """Write boxes and outlines, of which several pieces have a group."""
    root = ElementTree.Element('annotations')
    ElementTree.SubElement(root, 'version').text = '1.1'
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(root, 'meta'), 'task'), 'labels')
    for name in classes:
        ElementTree.SubElement(ElementTree.SubElement(labels, 'label'), 'name').text = name
    ignored = 0
    for number, photo in enumerate(photos):
        photo.copy_to(out / 'images' / photo.name)
        width, height = map(str, photo.size)
        attributes = {'id': str(number), 'name': photo.name, 'width': width, 'height': height}
        if photo.split:
            attributes['subset'] = _SUBSETS[photo.split]
        image, groups = ElementTree.SubElement(root, 'image', attributes), 0
        for label, annotation in photo.objects:
            if is_ignored(annotation):
                ignored += 1
                continue
            pieces = outlines(annotation)
            groups += len(pieces) > 1
            shared = {'label': classes[label], 'source': 'manual', 'occluded': '0', 'z_order': '0'}
            if len(pieces) > 1:
                shared['group_id'] = str(groups)
            if not pieces:
                x, y, w, h = box_of(annotation)
                corners = zip(('xtl', 'ytl', 'xbr', 'ybr'), (x, y, x + w, y + h))
                ElementTree.SubElement(image, 'box', {**shared, **{key: f'{value:.2f}' for key, value in corners}})
            for piece in pieces:
                points = ';'.join(f'{x:.2f},{y:.2f}' for x, y in zip(piece[::2], piece[1::2]))
                ElementTree.SubElement(image, 'polygon', {**shared, 'points': points})
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(out / 'annotations.xml', encoding='utf-8', xml_declaration=True)
    return [f'{ignored} ignored objects are left out: CVAT has none'] if ignored else []
