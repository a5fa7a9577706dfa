"""Pascal VOC: an XML file for each photo, with a box for each object; lists of names may give the splits, pictures the masks.

The root is ``annotation``. An ``object`` has a ``name`` and a ``bndbox`` of ``xmin``, ``ymin``, ``xmax`` and ``ymax``, which is read as it
stands, as mmdet does. What others put into it is read too: Roboflow's and LabelMe's ``polygon``, and roLabelImg's ``robndbox``, which has
a centre, two sides and an angle in radians, clockwise. ``ImageSets/Main/train.txt`` and its like name the photos of the splits, and
``SegmentationObject`` has a picture for each photo with a value or a colour for each object. Source: the development kit of the PASCAL
VOC Challenge 2012, the README of roLabelImg and the export page of Roboflow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

from ..annotations import AnnotationFile
from ..data_folder import DataFolder, part_of, stem_key
from ..label_builder import LabelBuilder, LabelledPhoto
from ..label_text import UNREADABLE, number, read_each, read_xml, short, xml_root
from ..photo_pairing import names_of, pair, unlabelled
from ..shapes import Polygon, turned_box
from ..split_lists import SplitLists
from .instances import InstanceSource
from .voc_masks import give_masks

_PICTURES = re.compile('segmentation(class|object).*')  # folders of masks
_TRUE = ('1', 'true', 'yes')


class VocSource(InstanceSource):
    """Folders of PASCAL's, and of programs that write the same XML beside the photos."""

    name = 'voc'

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return any(xml_root(path) == 'annotation' for path in folder.with_suffix('.xml'))

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> VocSource | None:
        return cls(folder.root, _read(folder)) if cls.fits(folder) else None


def _read(folder: DataFolder) -> list[AnnotationFile]:
    photos = part_of(folder, lambda path: not _below(folder, path, _PICTURES))
    masks = part_of(
        folder, lambda path: path.suffix.lower() == '.png' and _below(folder, path, re.compile('segmentationobject'))
    )
    builder = LabelBuilder(folder.root, folder.root)
    every = list(folder.with_suffix('.xml'))
    said = read_each(every, _photo_name, folder.root, builder.left_out)
    named = {label: name for label, name in said.items() if name is not None}
    stems = {stem_key(label.stem) for label in named}
    # A single folder of labels may have any name, and that of the photos another.
    several = len({label.parent for label in named}) > 1
    pairing = pair(
        photos, ((label, _names(photos, label, name, stems)) for label, name in named.items()), same_place=several
    )
    rest = unlabelled(photos, (label for label in every if said.get(label, '') is not None), pairing.photos, '.xml')
    builder.left_out += pairing.left_out + rest.left_out
    builder.remarks += pairing.remarks + rest.remarks
    lists = SplitLists(photos, named)
    builder.left_out += lists.left_out
    builder.remarks += lists.remarks
    for label, photo in pairing.photos.items():
        used, split = lists.split_of(photo, label)
        if used:
            _add(label, photo, split, masks, builder)
        else:
            builder.remarks.append(('xml that no list of ImageSets names', short(label, folder.root)))
    return builder.files()


def _add(label: Path, photo: Path, split: str | None, masks: DataFolder, builder: LabelBuilder) -> None:
    place = short(label, builder.root)
    content = None
    with builder.faults(place, UNREADABLE):  # read anew: all of them may be more than the memory
        content = read_xml(label)
    if content is None:
        return
    entry = builder.photo(photo, split, _size(content))
    objects = list(_objects(content, place, builder, entry))
    if masks.files:
        give_masks(objects, entry, label, photo, masks)
    for thing in objects:
        with builder.faults(thing['place'], photo=entry):
            entry.add(**thing)


def _below(folder: DataFolder, path: Path, name: re.Pattern[str]) -> bool:
    """Whether a file is in a folder of such a name, in upper or lower case."""
    return any(name.fullmatch(part.lower()) for part in path.relative_to(folder.root).parts[:-1])


def _photo_name(path: Path) -> str | None:
    """The name of the photo that an XML file says, or ''; None for one of another format."""
    content = read_xml(path)
    if content.tag != 'annotation':
        return None
    if all(content.find(tag) is None for tag in ('filename', 'size', 'object')):
        raise ValueError('it has no filename, size or object')
    return _text(content, 'filename')


def _names(folder: DataFolder, label: Path, said: str, stems: set[str]) -> list[str]:
    """What the photo may be called, the best first; a name with a point may lack its suffix."""
    return [*names_of(folder, label, said, stems), PurePosixPath(said.replace('\\', '/')).stem]


def _text(node: Element, tag: str) -> str:
    return (node.findtext(tag) or '').strip()


def _number(node: Element, tag: str) -> float:
    text = node.findtext(tag)
    if text is None:
        raise ValueError(f'its {node.tag} has no {tag}')
    return number(text)


def _size(content: Element) -> tuple[object, object] | None:
    for tag, names in (('size', ('width', 'height')), ('imagesize', ('ncols', 'nrows'))):  # the latter is LabelMe's
        node = content.find(tag)
        if node is not None:
            return _text(node, names[0]), _text(node, names[1])
    return None


def _objects(content: Element, name: str, builder: LabelBuilder, entry: LabelledPhoto) -> Iterator[dict[str, Any]]:
    """What :meth:`LabelledPhoto.add` takes of each object."""
    for count, node in enumerate(content.findall('object'), 1):
        place = f'{name} object {count}'
        if _text(node, 'deleted') == '1':  # LabelMe keeps those
            continue
        if not _text(node, 'name'):
            builder.left_out.append(('object without a name', place))
            continue
        with builder.faults(place, photo=entry):
            ignore = _text(node, 'difficult').lower() in _TRUE
            yield {
                'name': _text(node, 'name'),
                'place': place,
                'ignore': ignore,
                **_shape(node, place, builder),
            }


def _shape(node: Element, place: str, builder: LabelBuilder) -> dict[str, Any]:
    boxes, turned = ([child for child in node.findall(tag) if len(child)] for tag in ('bndbox', 'robndbox'))
    if max(len(boxes), len(turned)) > 1:
        raise ValueError('it has two boxes; write an object for each')
    if turned and not (boxes and _text(node, 'type') == 'bndbox'):
        x, y, width, height, angle = (_number(turned[0], tag) for tag in ('cx', 'cy', 'w', 'h', 'angle'))
        return {'polygons': [turned_box(x, y, width, height, angle)]}
    polygons = [_polygon(child) for child in node.findall('polygon') if len(child)]
    if not boxes and not polygons:
        raise ValueError('it has no bndbox, robndbox or polygon with numbers')
    shape: dict[str, Any] = {'polygons': polygons} if polygons else {}
    if boxes:
        shape['box'] = _box(boxes[0], place, builder)
    return shape


def _box(node: Element, place: str, builder: LabelBuilder) -> list[float]:
    left, top, right, bottom = (_number(node, tag) for tag in ('xmin', 'ymin', 'xmax', 'ymax'))
    if left > right or top > bottom:
        builder.remarks.append(('box with its corners swapped; put right', place))
        left, right, top, bottom = *sorted((left, right)), *sorted((top, bottom))
    if 0 in (left, top):
        builder.remarks.append(('box from 0 in a format that counts from 1; read as it stands', place))
    return [left, top, right - left, bottom - top]


def _polygon(node: Element) -> Polygon:
    """Roboflow's x1, y1, x2, y2, ... or LabelMe's points."""
    points = node.findall('pt')
    if points:
        return [_number(point, tag) for point in points for tag in ('x', 'y')]
    places = sorted(int(child.tag[1:]) for child in node if re.fullmatch('[xy][0-9]{1,9}', child.tag))
    if not places or places != sorted([*range(1, len(places) // 2 + 1)] * 2):
        raise ValueError('its polygon is not x1, y1, x2, y2 and so on')
    return [_number(node, f'{axis}{place}') for place in range(1, len(places) // 2 + 1) for axis in 'xy']
