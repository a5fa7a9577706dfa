"""Supervisely: project folders with meta.json, the classes, and data sets with ``ann/photo.jpg.json`` beside ``img/photo.jpg``.

An annotation has the ``size`` of the photo and ``objects``, each with ``classTitle``, ``geometryType`` and its pixels: polygon (an exterior
and holes), multipolygon, rectangle (two corners) or bitmap (a PNG, packed by zlib, in base64, and its upper left pixel). Older exports have
``ann/photo.json``; those of Dataset Ninja have the splits as data sets. Source: Supervisely's developer portal, annotation format.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path

from ...image_windows import header_of
from ...text import shown
from ..annotations import AnnotationFile, labelled_size
from ..data_folder import DataFolder
from ..folder import split_of
from ..label_builder import LabelBuilder, LabelledPhoto
from ..label_text import contains, number, read_each, read_json, short, unpacked
from ..photo_pairing import pair, unlabelled
from ..shapes import Polygon, box_around, filled, merged, outline, placed, read_mask, runs_of
from .instances import InstanceSource

_WITHOUT_AREA = ('point', 'line', 'polyline', 'graph', 'cuboid', 'point_3d', 'cuboid_3d')


class SuperviselySource(InstanceSource):
    """Projects of Supervisely, and data sets from Dataset Ninja."""

    name = 'supervisely'

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return any(
            contains(path, b'"objects"')
            and (contains(path, b'"classTitle"') or _in_ann(path) and contains(path, b'"size"'))
            for path in folder.with_suffix('.json')
        )

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> SuperviselySource | None:
        return cls(folder.root, _read(folder)) if cls.fits(folder) else None


@dataclass
class _Meta:
    """The classes of meta.json in their order, with the kind of shape that they have."""

    shapes: dict[str, object] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def _in_ann(path: Path) -> bool:
    return path.parent.name.lower() == 'ann'


def _is_meta(path: Path) -> bool:
    return path.name.lower() == 'meta.json' and not _in_ann(path)


def _read(folder: DataFolder) -> list[AnnotationFile]:
    files = list(folder.with_suffix('.json'))
    meta = _read_meta([path for path in files if _is_meta(path)], folder.root)
    builder = LabelBuilder(folder.root, next(filter(_is_meta, files), folder.root), meta.shapes)
    builder.left_out += meta.left_out
    labels = [
        path
        for path in files
        if not _is_meta(path) and (_in_ann(path) or contains(path, b'"objects"', b'"classTitle"'))
    ]
    contents = read_each(labels, _content, folder.root, builder.left_out)
    pairing = pair(folder, ((path, [path.stem]) for path in contents), same_place=True)
    rest = unlabelled(folder, labels, pairing.photos, '.json')
    builder.left_out += pairing.left_out + rest.left_out
    builder.remarks += pairing.remarks + rest.remarks
    for path in (path for path in labels if path in pairing.photos):
        _add_photo(path, contents[path], pairing.photos[path], folder, builder, meta)
    return builder.files()


def _content(path: Path) -> dict:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get('objects'), list):
        raise ValueError(f'{path} has no list "objects"')
    return content


def _read_meta(paths: list[Path], root: Path) -> _Meta:
    meta, faults = _Meta(), LabelBuilder(root, root)
    for path in paths:
        place = short(path, root)
        with faults.faults(place, 'list of classes that can not be read'):
            content = read_json(path)
            if not isinstance(content, dict) or not isinstance(content.get('classes'), list):
                raise ValueError('no list "classes"')
            for count, entry in enumerate(content['classes'], 1):
                with faults.faults(f'{place} class {count}', 'class that can not be read'):
                    meta.shapes.setdefault(_title(entry.get('title')), entry.get('shape'))
    meta.left_out = faults.left_out
    return meta


def _title(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'{shown(value)} is no name of a class')
    return value.strip()


def _add_photo(path: Path, content: dict, photo: Path, folder: DataFolder, builder: LabelBuilder, meta: _Meta) -> None:
    said = content.get('size')
    said = said if isinstance(said, dict) else {}
    split = _split(path, photo, content.get('tags'), folder)
    entry = builder.photo(photo, split, (said.get('width'), said.get('height')))
    try:
        header = header_of(photo)
    except (OSError, ValueError):  # check and training name it
        return
    size = labelled_size(entry.entry, header)
    for count, item in enumerate(content['objects'], 1):
        place = f'{short(path, builder.root)} object {count}'
        with builder.faults(place, photo=entry):
            kind = _kind(item, meta)
            if kind in _WITHOUT_AREA:
                builder.remarks.append((f'shape without area: {kind}', place))
            else:
                _add(entry, item, kind, place, size)


def _split(path: Path, photo: Path, tags: object, folder: DataFolder) -> str | None:
    """The split that the folders speak of, or else a tag of the photo."""
    by_folder = folder.split_of(photo) or folder.split_of(path)
    texts = [tag.get('name') if isinstance(tag, dict) else tag for tag in tags or ()] if isinstance(tags, list) else []
    tagged = {split_of(Path(text)) for text in texts if isinstance(text, str) and text.isalpha()} - {None}
    by_tag = tagged.pop() if len(tagged) == 1 else None
    return by_folder or by_tag


def _kind(item: dict, meta: _Meta) -> object:
    """The kind of shape; in older exports meta.json alone says it."""
    kind = item.get('geometryType') or item.get('shape') or meta.shapes.get(_title(item.get('classTitle')))
    if kind in (None, '', 'any'):
        return 'bitmap' if item.get('bitmap') else 'polygon'
    return kind


def _add(entry: LabelledPhoto, item: dict, kind: object, place: str, size: tuple[int, int]) -> None:
    name = _title(item.get('classTitle'))
    if kind == 'rectangle':
        points = outline(item['points']['exterior'])
        if len(points) != 4:
            raise ValueError(f'{len(points) // 2} points, a rectangle has 2')
        entry.add(name, place, box=box_around([points]))
    elif kind in ('polygon', 'multipolygon'):
        _add_polygons(entry, name, [item['points']] if kind == 'polygon' else item['parts'], place, size)
    elif kind == 'bitmap':
        x, y = (int(number(value)) for value in item['bitmap']['origin'])
        content = _inflated(unpacked(item['bitmap']['data']), 5 * (size[0] + 1) * (size[1] + 1) + (1 << 16))
        entry.add(name, place, runs=placed(read_mask(content, size), x, y, size))
    else:
        raise ValueError(f'{shown(kind)} is no kind of shape that is read')


def _add_polygons(entry: LabelledPhoto, name: str, parts: list, place: str, size: tuple[int, int]) -> None:
    pieces = [_part(part) for part in parts]
    exteriors = [exterior for exterior, _ in pieces]
    if not any(holes for _, holes in pieces):
        entry.add(name, place, polygons=exteriors)
        return
    runs = [runs_of(filled([exterior], size, holes)) for exterior, holes in pieces]
    entry.add(name, place, box=box_around(exteriors), runs=merged(runs))


def _part(part: dict) -> tuple[Polygon, list[Polygon]]:
    """An outline and its holes; a hole of less than three points is none."""
    exterior = outline(part['exterior'])
    if len(exterior) < 6:
        raise ValueError(f'{len(exterior) // 2} points, an outline has at least 3')
    holes = [outline(hole) for hole in part.get('interior') or ()]
    return exterior, [hole for hole in holes if len(hole) >= 6]


def _inflated(content: bytes, most: int) -> bytes:
    """What zlib packed, of so many bytes at most: few of them can become many."""
    packed = zlib.decompressobj()
    try:
        out = packed.decompress(content, most)
    except zlib.error as error:
        raise ValueError(f'a mask that zlib can not unpack ({error})') from None
    if not packed.eof:
        raise ValueError('a mask that is cut off, or larger than its photo')
    return out
