"""VGG Image Annotator 1 and 2: a JSON or CSV file with all photos, which lie beside it.

A project has the photos under ``_via_img_metadata``, an export of the annotations has them alone: ``{key: {filename, size, regions,
file_attributes}}``. A region has a shape under ``shape_attributes`` and its class under one key of ``region_attributes``. The CSV file has
a row for each region, with JSON in its cells. A polyline whose ends meet, within a tenth of its size, counts as a polygon; an open one has
no area. A photo that is listed without regions has no objects. Source: VIA's user guide and the ``CodeDoc.md`` of its repository.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from ...text import printable, shown
from ..data_folder import DataFolder
from ..label_builder import UNNAMED, LabelBuilder, LabelledPhoto
from ..label_tables import read_csv
from ..label_text import contains, number, read_each, read_json, short
from ..photo_pairing import PhotoEntry, not_used, one_entry_each
from ..shapes import Polygon, ellipse
from .instances import InstanceSource

_CLASS_KEYS = ('class', 'label', 'name', 'type', 'category', 'object')
_COLUMNS = ('filename', 'region_shape_attributes', 'region_attributes')
_CLOSED = 0.1  # how far the ends of a closed polyline may be apart, as a part of its longer side


class ViaSource(InstanceSource):
    """via_region_data.json, projects and CSV files, one or several, each with its photos."""

    name = 'via'

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return any(True for _ in _label_files(folder))

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> ViaSource | None:
        left_out: list[tuple[str, str]] = []
        read = read_each(_label_files(folder), _photos_of, folder.root, left_out)
        read = {path: photos for path, photos in read.items() if photos is not None}
        if not read:
            return None
        builder = LabelBuilder(folder.root, next(iter(read)), left_out=left_out)
        _read(folder, read, builder)
        return cls(folder.root, builder.files())


def _label_files(folder: DataFolder) -> Iterator[Path]:
    for path in folder.with_suffix('.json', '.csv'):
        if path.suffix.lower() == '.csv':
            if contains(path, b'region_shape_attributes'):
                yield path
        elif contains(path, b'"_via_img_metadata"') or (
            contains(path, b'"filename"', b'"regions"')
            and (contains(path, b'"shape_attributes"') or contains(path, b'"file_attributes"'))
        ):
            yield path


def _photos_of(path: Path) -> list | None:
    """What a file says of each photo; None if it is no file of VIA's."""
    if path.suffix.lower() == '.csv':
        return _photos_of_table(path)
    content = read_json(path)
    is_project = isinstance(content, dict) and '_via_img_metadata' in content
    photos = content['_via_img_metadata'] if is_project else content
    if isinstance(photos, dict) and (is_project or any(map(_is_photo, photos.values()))):
        return list(photos.values())
    if is_project:
        raise ValueError(f'{path} has no photos under "_via_img_metadata", but {shown(photos)}')
    return None


def _is_photo(value: object) -> bool:
    return isinstance(value, dict) and {'filename', 'regions'} <= value.keys()


def _photos_of_table(path: Path) -> list[dict]:
    """The rows of a CSV file as the JSON file has them."""
    head, *rows = read_csv(path)
    names = [name.strip().lstrip('#').lower() for name in head]
    lacking = [name for name in _COLUMNS if name not in names]
    if lacking:
        raise ValueError(f'{path} has no column {", ".join(lacking)}')
    photos: dict[tuple, dict] = {}
    for row in filter(any, rows):
        cells = dict(zip(names, row))
        key = cells.get('filename', ''), cells.get('file_size')
        photo = photos.setdefault(key, {'filename': key[0], 'regions': [], 'count': cells.get('region_count')})
        region = {name.removeprefix('region_'): _from_json(cells.get(name, '')) for name in _COLUMNS[1:]}
        region['region_attributes'] = region.pop('attributes')
        if region['shape_attributes'] != {}:  # a photo without regions has a row too
            photo['regions'].append(region)
    return list(photos.values())


def _from_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # it is said later that this is no shape
        return text


def _read(folder: DataFolder, files: dict[Path, list], builder: LabelBuilder) -> None:
    entries = []
    for path, photos in files.items():
        if not photos:
            builder.left_out.append(('label file that names no photo', short(path, folder.root)))
        for count, photo in enumerate(photos, 1):
            with builder.faults(f'{short(path, folder.root)}, photo {count}', 'photo that can not be read'):
                entries.append(_entry(folder, path, photo, builder))
    kept, left_out, repeated = one_entry_each(folder, entries)
    builder.left_out += left_out
    builder.remarks += repeated
    regions: dict[Path, list] = {path: [] for path in files}
    for entry in kept:
        regions[entry.file] += entry.content
    keys = {path: _class_key(found) for path, found in regions.items()}
    for entry in kept:
        _add_photo(entry, keys[entry.file], folder, files, builder)
    builder.remarks += not_used(folder, (entry.photo for entry in entries))


def _entry(folder: DataFolder, path: Path, photo: object, builder: LabelBuilder) -> PhotoEntry:
    if not isinstance(photo, dict) or not isinstance(photo.get('filename'), str) or not photo['filename'].strip():
        raise ValueError(f'{shown(photo)} has no "filename"')
    name, regions = photo['filename'], photo.get('regions')
    regions = list(regions.values()) if isinstance(regions, dict) else regions
    if not isinstance(regions, list):
        raise ValueError(f'{shown(name)} has the "regions" {shown(regions)}')
    declared = photo.get('count')
    if declared and declared.strip().isdecimal() and int(declared[:9]) > len(regions):
        place = f'{short(path, folder.root)}, {printable(name)}'
        builder.remarks.append(('fewer regions than region_count says', f'{place}: {len(regions)} of {declared[:9]}'))
    return PhotoEntry(path, name, regions, folder.photo(name, path))


def _add_photo(
    entry: PhotoEntry, key: str | None, folder: DataFolder, files: Collection[Path], builder: LabelBuilder
) -> None:
    file, photo = short(entry.file, builder.root), entry.photo
    split = folder.split_of(photo) if photo else None
    added = builder.photo(photo or entry.name, split or folder.split_of_file(entry.file, files))
    for count, region in enumerate(entry.content, 1):
        place = f'{file}, {printable(entry.name)}, region {count}'
        with builder.faults(place, photo=added):
            _add_region(added, region, key, place)


def _add_region(added: LabelledPhoto, region: dict, key: str | None, place: str) -> None:
    builder, shape = added.builder, region['shape_attributes']
    if not isinstance(shape, dict):
        raise ValueError(f'{shown(shape)} is no shape')
    kind = shape.get('name')
    if kind == 'point':
        builder.pass_over('shape without area: point', place, added)
        return
    if kind == 'rect':
        drawn: dict = {'box': [_number(shape, side) for side in ('x', 'y', 'width', 'height')]}
    elif kind in ('circle', 'ellipse'):
        x, y = _number(shape, 'cx'), _number(shape, 'cy')
        radii = [_number(shape, side) for side in (('r', 'r') if kind == 'circle' else ('rx', 'ry'))]
        drawn = {'polygons': [ellipse(x, y, *radii, number(shape.get('theta') or 0) % (2 * math.pi))]}
    elif kind in ('polygon', 'polyline'):
        outline = _outline(shape)
        if kind == 'polyline' and not _is_closed(outline):
            builder.pass_over('shape without area: open polyline', place, added)
            return
        drawn = {'polygons': [outline]}
    else:
        raise ValueError(f'{shown(kind)} is no shape of VIA')
    names = _names(region.get('region_attributes'), key)
    if not names:
        builder.remarks.append((f'region without a class, read as {UNNAMED}', place))
    elif len(names) > 1:
        builder.remarks.append(('region of several classes, of which the first counts', place))
    added.add(names[0] if names else UNNAMED, place, **drawn)


def _outline(shape: dict) -> Polygon:
    x, y = shape.get('all_points_x'), shape.get('all_points_y')
    if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y) or len(x) < 3:
        raise ValueError(f'the points {shown(x)} and {shown(y)} are no three or more')
    return [number(value) for point in zip(x, y) for value in point]


def _is_closed(outline: Polygon) -> bool:
    longer = max(max(outline[side::2]) - min(outline[side::2]) for side in (0, 1))
    return math.dist(outline[:2], outline[-2:]) <= _CLOSED * longer


def _number(shape: dict, key: str) -> float:
    if shape.get(key) is None:
        raise ValueError(f'it has no {key}')
    return number(shape[key])


def _class_key(regions: list) -> str | None:
    """The key that the classes of a file are under: one of the usual ones, else the one that most regions have."""
    counts = Counter(
        key
        for region in regions
        if isinstance(region, dict) and isinstance(region.get('region_attributes'), dict)
        for key in region['region_attributes']
        if _names(region['region_attributes'], key)
    )
    for wanted in _CLASS_KEYS:
        for key in counts:
            if key.strip().lower() == wanted:
                return key
    return max(counts, key=counts.__getitem__, default=None)


def _names(attributes: object, key: str | None) -> list[str]:
    """The class names under a key: a text, a number or the options that are chosen."""
    value = attributes.get(key) if isinstance(attributes, dict) else None
    if isinstance(value, dict):
        return [name for name, chosen in value.items() if name.strip() and chosen in (True, 'true', 'on')]
    if isinstance(value, (str, int, float)) and not isinstance(value, bool) and str(value).strip():
        return [str(value)]
    return []
