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
from ..folder import split_of_folders
from ..label_builder import LabelBuilder, LabelledPhoto
from ..label_text import UNREADABLE, number, read_each, read_text, read_xml, short, xml_root
from ..photo_pairing import pair, unlabelled
from ..shapes import Polygon, turned_box
from .instances import InstanceSource
from .voc_masks import give_masks

_LISTS = ('train', 'val', 'test', 'trainval')
_PURPOSES = ('main', 'segmentation', 'layout', '')  # of lists, the first counts; '' lies in ImageSets itself
_FLAG = re.compile(r'(.*\S)\s+[-+]?\d+')
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
    photos = part_of(folder, lambda path: not _below(folder, path, 'segmentation'))
    masks = part_of(
        folder, lambda path: path.suffix.lower() == '.png' and _below(folder, path, 'segmentationobject', True)
    )
    builder = LabelBuilder(folder.root, folder.root)
    every = list(folder.with_suffix('.xml'))
    said = read_each(every, _photo_name, folder.root, builder.left_out)
    named = {label: name for label, name in said.items() if name is not None}
    stems = {stem_key(label.stem) for label in named}
    # A single folder of labels may have any name, and that of the photos another.
    several = len({label.parent for label in named}) > 1
    pairing = pair(photos, ((label, _names(label, name, stems)) for label, name in named.items()), same_place=several)
    rest = unlabelled(photos, (label for label in every if said.get(label, '') is not None), pairing.photos, '.xml')
    builder.left_out += pairing.left_out + rest.left_out
    builder.remarks += rest.remarks
    lists = _lists(folder, stems | {stem_key(photo.name) for photo in photos.images}, builder)
    for label, photo in pairing.photos.items():
        home = next((place for place in label.parents if place in lists), None)
        keys = [key for key in (stem_key(label.stem), stem_key(photo.name)) if home and key in lists[home]]
        if home and not keys:
            builder.remarks.append(('xml that no list of ImageSets names', short(label, folder.root)))
            continue
        by_name = split_of_folders(photo.relative_to(folder.root)) or split_of_folders(label.relative_to(folder.root))
        _add(label, photo, lists[home][keys[0]] if home else by_name, masks, builder)
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


def _below(folder: DataFolder, path: Path, name: str, whole: bool = False) -> bool:
    """Whether a file is in a folder whose name begins with this one, or is this one, in upper or lower case."""
    parts = (part.lower() for part in path.relative_to(folder.root).parts[:-1])
    return any(part == name if whole else part.startswith(name) for part in parts)


def _photo_name(path: Path) -> str | None:
    """The name of the photo that an XML file says, or ''; None for one of another format."""
    content = read_xml(path)
    if content.tag != 'annotation':
        return None
    if all(content.find(tag) is None for tag in ('filename', 'size', 'object')):
        raise ValueError('it has no filename, size or object')
    return _text(content, 'filename')


def _names(label: Path, name: str, stems: set[str]) -> list[str]:
    """What the photo may be called: as the XML file says, or as it is called itself.

    The latter comes first where another XML file has the name that this one says: copied files all say the name of the first.
    """
    bare = PurePosixPath(name.replace('\\', '/')).stem
    others = stem_key(name) != stem_key(label.stem) and stem_key(name) in stems
    return [label.stem, name] if others else [name, label.stem, bare]


def _lists(folder: DataFolder, known: set[str], builder: LabelBuilder) -> dict[Path, dict[str, str | None]]:
    """What ImageSets says: by the folder that holds it, the split of each name in its lists."""
    files: dict[Path, dict[str, dict[str, Path]]] = {}
    for path in folder.with_suffix('.txt'):
        parts = [part.lower() for part in path.relative_to(folder.root).parts[:-1]]
        if 'imagesets' in parts and path.stem.lower() in _LISTS:
            place = parts.index('imagesets')
            home = folder.root.joinpath(*path.relative_to(folder.root).parts[:place])
            files.setdefault(home, {}).setdefault('/'.join(parts[place + 1 :]), {})[path.stem.lower()] = path
    out = {}
    for home, purposes in files.items():
        chosen = next((purposes[purpose] for purpose in _PURPOSES if purpose in purposes), {})
        names = {split: _listed(chosen[split], known, builder) for split in _LISTS if split in chosen}
        if any(names.values()):
            out[home] = _splits({split: found for split, found in names.items() if found}, chosen, builder)
    return out


def _listed(path: Path, known: set[str], builder: LabelBuilder) -> list[str]:
    """The names in a list, as they are compared; a number behind one says whether or how often a class is there, and is passed over."""
    found = []
    for line in filter(None, map(str.strip, read_text(path).splitlines())):
        flagged = _FLAG.fullmatch(line)
        name = flagged[1] if flagged and stem_key(line) not in known else line
        if stem_key(name) not in known:
            place = f'{short(path, builder.root)}: {name[:100]!r}'
            builder.left_out.append(('name in a list of ImageSets of which there is neither xml nor photo', place))
        found.append(stem_key(name))
    return found


def _splits(names: dict[str, list[str]], files: dict[str, Path], builder: LabelBuilder) -> dict[str, str | None]:
    """The split of each name. Those in trainval alone belong to whichever of train and val has no list, or to no split."""
    out: dict[str, str | None] = {}
    rest = {('train',): 'val', ('val',): 'train'}.get(tuple(name for name in ('train', 'val') if name in names))
    for split, found in names.items():
        for key in dict.fromkeys(found):
            if split != 'trainval' and key in out:
                kind = f'name in two lists of ImageSets; it stays in {out[key]}'
                builder.remarks.append((kind, f'{short(files[split], builder.root)}: {key[:100]!r}'))
            out.setdefault(key, rest if split == 'trainval' else split)
    return out


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
