"""LabelMe: a JSON file for each photo, with a list of shapes in pixels; versions 3 to 6, and X-AnyLabeling's files.

A shape has a ``label``, ``points`` and a ``shape_type``: polygon (also where none is given), rectangle (two corners, or four), circle
(centre and a point of the rim), mask (a PNG in base64, with the corners of where it lies) or rotation (the corners of a turned box). Shapes
of one label and one ``group_id`` are pieces of one object. The photo is ``imagePath``, or else within, as ``imageData``. Source: LabelMe's
``label_file.py`` and examples, and X-AnyLabeling's user guide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...image_windows import header_of
from ...images import IMAGE_SUFFIXES
from ...text import shown
from ..annotations import AnnotationFile, labelled_size
from ..data_folder import DataFolder, SeveralPhotos, stem_key
from ..label_builder import LabelBuilder, extract_photo
from ..label_text import contains, read_each, read_json, short, unpacked
from ..photo_pairing import names_of, pair, unlabelled
from ..shapes import Polygon, box_around, ellipse, joined, outline, placed, read_mask
from .instances import InstanceSource

_OUTLINES = ('polygon', 'rotation', 'oriented_rectangle', 'quadrilateral')
_WITHOUT_AREA = ('point', 'points', 'line', 'linestrip')
_RESERVED = ('__ignore__', '_background_')
_YES = (True, 'true', 'True')
_LONGEST_STEM = 60  # characters of a name, so that it has less than 255 bytes


class LabelmeSource(InstanceSource):
    """Files of LabelMe, beside their photos or in folders of their own."""

    name = 'labelme'

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return any(map(_looks_right, folder.with_suffix('.json')))

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> LabelmeSource | None:
        return cls(folder.root, _read(folder)) if cls.fits(folder) else None


@dataclass
class _Piece:
    """A shape: a box alone, an outline or run lengths."""

    name: str
    count: int
    ignore: bool
    shape: dict  # ``box``, ``polygons`` or ``runs``


def _looks_right(path: Path) -> bool:
    return contains(path, b'"shapes"') and any(
        contains(path, word) for word in (b'"imagePath"', b'"imageData"', b'"imageHeight"', b'"shape_type"')
    )


def _read(folder: DataFolder) -> list[AnnotationFile]:
    builder = LabelBuilder(folder.root, folder.root)
    labels = [path for path in folder.with_suffix('.json') if contains(path, b'"shapes"')]  # cut off ones too
    contents = read_each(labels, _content, folder.root, builder.left_out)
    stems, named, within = {stem_key(path.stem) for path in contents}, {}, []
    for path, content in contents.items():
        said = content.get('imagePath')
        names = names_of(folder, path, said, stems) if isinstance(said, str) else [path.stem]
        if content['imageData'] and not _has_photo_near(folder, names, path):
            within.append(path)
        else:
            named[path] = names
    # A single folder of labels may have any name, and that of the photos another.
    pairing = pair(folder, named.items(), same_place=len({path.parent for path in contents}) > 1)
    rest = unlabelled(folder, labels, pairing.photos, '.json')
    builder.left_out += pairing.left_out + rest.left_out
    builder.remarks += pairing.remarks + rest.remarks
    photos = {**pairing.photos, **dict(_extracted(within, contents, folder, builder))}
    for path in (path for path in labels if path in photos):
        _add_photo(path, contents[path], photos[path], folder, builder)
    return builder.files()


def _has_photo_near(folder: DataFolder, names: list[str], path: Path) -> bool:
    """Whether the photo lies in a file, which is not that of another place."""
    try:
        found = next(filter(None, (folder.photo(name, path) for name in names)), None)
    except SeveralPhotos:
        return True
    return found is not None and not folder.in_other_places(found, path)


def _content(path: Path) -> dict:
    """What a file says; of the photo in it only whether there is one, as all of them together may be more than the memory."""
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get('shapes'), list):
        raise ValueError(f'{path} has no list "shapes"')
    content['imageData'] = bool(content.get('imageData'))
    return content


def _extracted(
    labels: list[Path], contents: dict[Path, dict], folder: DataFolder, builder: LabelBuilder
) -> Iterator[tuple[Path, Path]]:
    """Label files with the photos that they hold, each under a name that no other photo has."""
    taken = {short(photo, folder.root) for photo in folder.images}
    for path in labels:
        with builder.faults(
            short(path, folder.root), 'label file whose photo is missing and whose imageData is no image'
        ):
            suffix = PurePosixPath(str(contents[path].get('imagePath'))).suffix
            suffix = suffix if suffix.lower() in IMAGE_SUFFIXES else '.jpg'
            stem = '_'.join((*path.parent.relative_to(folder.root).parts, path.stem))
            stem = stem.encode('utf-8', 'replace')[-_LONGEST_STEM:].decode('utf-8', 'ignore')
            name, count = stem + suffix, 2
            while name in taken:
                name, count = f'{stem} ({count}){suffix}', count + 1
            photo = extract_photo(unpacked(read_json(path).get('imageData')), name)
            try:
                header_of(photo)
            except (OSError, ValueError):  # its message names a file that the user does not know
                raise ValueError('it is no image') from None
            taken.add(name)
            yield path, photo


def _add_photo(path: Path, content: dict, photo: Path, folder: DataFolder, builder: LabelBuilder) -> None:
    root = builder.root
    split = folder.split_of(photo) or folder.split_of(path)
    entry = builder.photo(photo, split, (content.get('imageWidth'), content.get('imageHeight')))
    try:
        header = header_of(photo)
    except (OSError, ValueError):  # check and training name it
        return
    size = labelled_size(entry.entry, header)
    place, objects = short(path, root), {}
    for count, shape in enumerate(content['shapes'], 1):
        where = f'{place} shape {count}'
        with builder.faults(where, photo=entry):
            left_out = _kind_left_out(shape)
            if left_out:
                builder.remarks.append((left_out, where))
                continue
            piece = _piece(shape, count, size)
            objects.setdefault((piece.name, _group(shape, count)), []).append(piece)
    for pieces in objects.values():
        where = f'{place} shape{"s" if len(pieces) > 1 else ""} {", ".join(str(piece.count) for piece in pieces)}'
        with builder.faults(where, photo=entry):
            shape = joined([piece.shape for piece in pieces], size)
            entry.add(pieces[0].name, where, **shape, ignore=any(piece.ignore for piece in pieces))


def _kind_left_out(shape: dict) -> str | None:
    kind, label = shape.get('shape_type'), shape.get('label')
    if kind in _WITHOUT_AREA:
        return f'shape without area: {kind}'
    return f'shape with the label {label}, which is no class in LabelMe' if label in _RESERVED else None


def _group(shape: dict, count: int) -> tuple:
    """What pieces of one object have in common."""
    group = shape.get('group_id')
    if not isinstance(group, (int, float, str, type(None))):
        raise ValueError(f'group_id {shown(group)} is no number')
    return ('alone', count) if group is None else ('group', group)


def _piece(shape: dict, count: int, size: tuple[int, int]) -> _Piece:
    label, kind = shape.get('label'), shape.get('shape_type') or 'polygon'
    if not (type(label) is int or isinstance(label, str) and label.strip()):
        raise ValueError(f'{shown(label)} is no label')
    flags = shape.get('flags')
    flags = flags if isinstance(flags, dict) else {}
    ignore = shape.get('difficult') in _YES or flags.get('difficult') in _YES
    points = outline(shape.get('points'))
    drawn: dict = {'polygons': [points]}
    if kind in _OUTLINES:
        if len(points) < 6:
            raise ValueError(f'{len(points) // 2} points, an outline has at least 3')
    elif kind == 'rectangle':
        _check_count(points, 2, 4)
        drawn = {'box': box_around([points])}
    elif kind == 'circle':
        _check_count(points, 2)
        radius = math.dist(points[:2], points[2:])
        drawn = {'polygons': [ellipse(points[0], points[1], radius, radius)]}
    elif kind == 'mask':
        _check_count(points, 2)
        drawn = {'runs': _mask(shape, points, size)}
    else:
        raise ValueError(f'{shown(kind)} is no kind of shape that is read')
    return _Piece(str(label).strip(), count, ignore, drawn)


def _check_count(points: Polygon, *counts: int) -> None:
    if len(points) // 2 not in counts:
        raise ValueError(f'{len(points) // 2} points instead of {" or ".join(map(str, counts))}')


def _mask(shape: dict, points: Polygon, size: tuple[int, int]) -> dict:
    """The pixels of a mask, whose two corners are the first and the last of them."""
    mask = read_mask(unpacked(shape.get('mask')), size)
    x, y, width, height = box_around([points])
    if max(abs(width + 1 - mask.shape[1]), abs(height + 1 - mask.shape[0])) > 1:
        raise ValueError(f'a mask of {mask.shape[1]}x{mask.shape[0]} pixels for {width + 1:g}x{height + 1:g}')
    return placed(mask, int(x), int(y), size)
