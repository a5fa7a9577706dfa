"""CVAT's own XML, "CVAT for images 1.1" and "CVAT for video 1.1": one annotations.xml for each task, project or job.

For images, each ``<image name width height>`` holds its shapes: ``<box>``, ``<polygon>``, ``<ellipse>`` and ``<mask>``, each with a label.
For video, each ``<track label>`` holds its shapes with the number of their frame; CVAT exports every frame of a track, and a frame is a
photo such as frame_000012.png. Shapes of one label with one ``group_id`` in one photo are the pieces of one object. Of a video only frames
with an object are used, as it does not say which of the others were looked at. Source: CVAT's page "XML annotation format".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

from ...image_windows import header_of
from ...text import printable
from ..annotations import labelled_size
from ..data_folder import DataFolder
from ..folder import split_of
from ..label_builder import LabelBuilder, LabelledPhoto
from ..label_text import contains, read_each, read_xml, short
from ..photo_pairing import PhotoEntry, frame_photos, not_used, one_entry_each
from ..shapes import joined
from .cvat_shapes import read_shape, whole
from .instances import InstanceSource

_NO_AREA = ('polyline', 'points', 'skeleton', 'cuboid', 'tag')
_NO_FRAME = 'frame without its photo; export the task with its images'


class CvatSource(InstanceSource):
    """annotations.xml, one or several, each with its photos."""

    name = 'cvat'

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return any(True for _ in _label_files(folder))

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> CvatSource | None:
        files = list(_label_files(folder))
        left_out: list[tuple[str, str]] = []
        read = read_each(files, read_xml, folder.root, left_out)
        roots = {path: root for path, root in read.items() if root.tag == 'annotations'}
        if not roots:
            return None
        builder = LabelBuilder(folder.root, next(iter(roots)), left_out=left_out)
        _read(folder, roots, builder)
        return cls(folder.root, builder.files())


@dataclass
class _Shape:
    label: str | None
    group: str | None
    element: Element
    place: str


@dataclass
class _Content:
    """What is said of one photo."""

    subset: str | None
    size: tuple[object, object]  # width and height
    shapes: list[_Shape] = field(default_factory=list)


def _label_files(folder: DataFolder) -> Iterator[Path]:
    parts = (b'<meta', b'<image', b'<track')
    files = (path for path in folder.with_suffix('.xml') if contains(path, b'<annotations'))
    return (path for path in files if any(contains(path, part) for part in parts))


def _read(folder: DataFolder, roots: dict[Path, Element], builder: LabelBuilder) -> None:
    entries, videos = [], {path: _video_name(root) for path, root in roots.items() if root.find('track') is not None}
    for path, root in roots.items():
        for label in root.iterfind('meta//labels/label'):
            if not label.findtext('parent'):  # else it is a part of a skeleton
                builder.category(label.findtext('name') or '')
        found = [*_images(folder, path, root, builder), *_frames(folder, path, root, videos, builder)]
        if not found:
            builder.left_out.append(('label file that names no photo', short(path, folder.root)))
        entries += found
    kept, left_out, _ = one_entry_each(folder, entries)
    builder.left_out += left_out
    for entry in kept:
        _add_photo(entry, folder, roots, builder)
    builder.remarks += not_used(folder, (entry.photo for entry in entries))


def _images(folder: DataFolder, path: Path, root: Element, builder: LabelBuilder) -> Iterator[PhotoEntry]:
    subset = _task_subset(root)
    for count, image in enumerate(root.iterfind('image'), 1):
        name = image.get('name') or ''
        place = f'{short(path, folder.root)}, {printable(name) or f"image {count}"}'
        content = _Content(image.get('subset') or subset, (image.get('width'), image.get('height')))
        content.shapes = [
            _Shape(shape.get('label'), shape.get('group_id'), shape, f'{place}, {printable(shape.tag)} {number}')
            for number, shape in enumerate(image, 1)
        ]
        entry = None
        with builder.faults(place, 'image entry that fits no photo, or two'):
            if not name.strip():
                raise ValueError('it has no name')
            entry = PhotoEntry(path, name, content, folder.photo(name, path))
        if entry:
            yield entry


def _frames(
    folder: DataFolder, path: Path, root: Element, videos: dict[Path, str], builder: LabelBuilder
) -> Iterator[PhotoEntry]:
    """The frames that have an object."""
    tracks, file = root.findall('track'), short(path, folder.root)
    if len({track.get('task_id') for track in tracks}) > 1:
        builder.left_out.append(('tracks of several videos in one file; export each task by itself', file))
        return
    size = root.findtext('.//original_size/width'), root.findtext('.//original_size/height')
    frames: dict[int, _Content] = {}
    for count, track in enumerate(tracks, 1):
        place = f'{file}, track {printable(track.get("id") or str(count))}'
        subset = track.get('subset') or _task_subset(root)
        for number, shape in _seen(track, place, _step(root), builder):
            content = frames.setdefault(number, _Content(subset, size))
            where = f'{place}, {printable(shape.tag)} in frame {number}'
            content.shapes.append(_Shape(track.get('label'), track.get('group_id'), shape, where))
    photos = frame_photos(folder, path, videos) if tracks else {}
    for number, content in sorted(frames.items()):
        fitting = photos.get(number, [])
        if len(fitting) == 1:
            yield PhotoEntry(path, f'frame {number}', content, fitting[0])
        elif fitting:
            names = ' or '.join(short(photo, folder.root) for photo in fitting[:2])
            builder.left_out.append(('frame that fits two photos', f'{file}, frame {number} ({names})'))
        else:
            builder.left_out.append((_NO_FRAME, f'{file}, frame {number}'))


def _seen(track: Element, place: str, step: int, builder: LabelBuilder) -> list[tuple[int, Element]]:
    """The shapes of a track with their frames, without those in which the object is outside."""
    every = []
    for shape in (shape for shape in track if shape.tag != 'attribute'):
        with builder.faults(place):
            every.append((whole(shape, 'frame'), shape))
    every.sort(key=lambda entry: entry[0])
    outside = [shape.get('outside', '').lower() in ('1', 'true') for _, shape in every]
    gaps = [
        (before, after)
        for (before, _), (after, _), out in zip(every, every[1:], outside)
        if after - before > step and not out
    ]
    if gaps and all(shape.get('keyframe') == '1' for _, shape in every):
        kind = 'track of keyframes only, read without the frames between them; export it with all frames'
        builder.remarks.append((kind, f'{place}, frames {gaps[0][0]} to {gaps[0][1]}'))
    return [entry for entry, out in zip(every, outside) if not out]


def _step(root: Element) -> int:
    """How far the frames of a video are apart, where the task takes not every one."""
    found = re.search(r'step=([0-9]{1,9})', root.findtext('.//frame_filter') or '')
    return max(int(found[1]), 1) if found else 1


def _video_name(root: Element) -> str:
    return PurePosixPath((root.findtext('meta//source') or '').strip().replace('\\', '/')).stem


def _task_subset(root: Element) -> str | None:
    found = {subset.text for subset in root.iterfind('meta//subset')}
    return found.pop() if len(found) == 1 else None


def _add_photo(entry: PhotoEntry, folder: DataFolder, files: Collection[Path], builder: LabelBuilder) -> None:
    content, photo = entry.content, entry.photo
    split = split_of(Path(content.subset)) if content.subset else None
    if split is None and photo:
        split = folder.split_of(photo)
    split = split or folder.split_of_file(entry.file, files)
    added = builder.photo(photo or entry.name, split, content.size)
    try:
        header = header_of(photo) if photo else None
    except (OSError, ValueError):  # check and training name it
        header = None
    if header:
        _add_shapes(added, content.shapes, labelled_size(added.entry, header))


def _add_shapes(added: LabelledPhoto, shapes: list[_Shape], size: tuple[int, int]) -> None:
    builder, objects = added.builder, {}
    for count, shape in enumerate(shapes):
        with builder.faults(shape.place, photo=added):
            if shape.element.tag in _NO_AREA:
                kind = f'shape without area: {shape.element.tag}'
                if shape.element.tag == 'tag':  # of the whole photo
                    builder.remarks.append((kind, shape.place))
                else:
                    builder.pass_over(kind, shape.place, added)
                continue
            if not (shape.label or '').strip():
                raise ValueError('it has no label')
            piece = read_shape(shape.element, size)
            alone = shape.group in (None, '', '0')
            key = count if alone else (shape.label, shape.group)
            objects.setdefault(key, (shape, []))[1].append(piece)
    for shape, pieces in objects.values():
        with builder.faults(shape.place, photo=added):
            added.add(shape.label, shape.place, **joined(pieces, size))
