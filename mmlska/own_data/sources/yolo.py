"""YOLO labels: a text file for each photo, with a line for each object in fractions of the photo, and the class names in data.yaml.

A line is ``class x y width height`` (centre and size; a confidence may follow) or ``class x1 y1 x2 y2 x3 y3 ...`` (an outline, or the
corners of a turned box); keypoints behind a box are passed over where data.yaml has ``kpt_shape`` or each line has some. A photo without
a label file has no objects. Source: Ultralytics' pages on data sets for detection, segmentation and oriented boxes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ...image_windows import header_of
from ...text import printable, shown
from ..annotations import AnnotationFile
from ..class_values import whole
from ..coco_repairs.boxes import CENTRES, CORNERS, READINGS, other_reading
from ..data_folder import DataFolder, has_photo, name_key
from ..label_builder import LabelBuilder, LabelledPhoto
from ..label_text import UNREADABLE, encoding_remarks, number, read_text, short
from ..photo_pairing import pair
from ..split_lists import NOT_LISTED, SplitLists
from .instances import InstanceSource
from .yolo_declaration import (
    NAME_FILES,
    NAMES_UNUSED,
    NAMES_USED,
    Declaration,
    check_commas,
    class_id,
    photos_of,
    read_declaration,
)

_OUTSIDE = (
    'label file outside of the folders called labels, not used; a photo that has no other label file is left out too; move it into labels/ '
    'if it counts'
)
_KEYPOINTS = 'line of a box and keypoints, which are passed over'
_CONFIDENT = 5  # numbers of a box with a confidence
_FARTHEST = 2  # an outline may leave the photo a little; larger numbers count pixels


class YoloSource(InstanceSource):
    """Folders of Ultralytics' and of Darknet's, with and without data.yaml."""

    name = 'yolo'

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return any(map(_looks_right, _label_files(folder)))

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> YoloSource | None:
        return cls(folder.root, _read(folder)) if cls.fits(folder) else None


@dataclass
class _Line:
    place: str
    label: int
    values: list[float]


def _read(folder: DataFolder) -> list[AnnotationFile]:
    declared = read_declaration(folder)
    builder = LabelBuilder(folder.root, declared.file)
    builder.remarks += declared.remarks
    # A photo without label file has no objects: it must not get those of another photo of its name.
    # A single folder of labels may have any name, though, and that of the photos another.
    files = _label_files(folder)
    outside = _outside(folder, files)
    builder.remarks += [(_OUTSIDE, short(path, folder.root)) for path in outside]
    several = len({path.parent for path in files}) > 1
    pairing = pair(folder, ((path, [path.stem]) for path in files), same_place=several)
    builder.left_out += pairing.left_out
    builder.remarks += pairing.remarks
    files = (path for path in (declared.file, declared.names_file) if path and path != folder.root)
    builder.remarks += encoding_remarks(dict.fromkeys(files), folder.root)
    if declared.names and not declared.vague and declared.count not in ('', str(len(declared.names))):
        place = f'{short(declared.file, folder.root)}: nc {printable(declared.count)[:20]}, {len(declared.names)} names'
        builder.remarks.append(('number of classes unlike the names, which count', place))
    labels = {photo: label for label, photo in pairing.photos.items()}
    splits = _splits(folder, declared, labels, builder)
    unused: dict[str, list[Path]] = {}
    for path in (*pairing.unused, *outside):
        unused.setdefault(name_key(path.stem), []).append(path)
    lines: dict[Path, list[_Line] | None] = {}
    for photo in splits:
        own = [path for path in unused.get(name_key(photo.stem), ()) if not folder.in_other_places(photo, path)]
        # One whose label file fits other photos too, or is unreadable, is not one without objects.
        lines[photo] = _lines(labels[photo], builder) if photo in labels else None if own else []
    names = _names(declared, {line.label for found in lines.values() for line in found or ()}, builder)
    sized: list[tuple[LabelledPhoto, list[_Line], tuple[int, int]]] = []
    for photo, split in splits.items():
        found = lines[photo]
        if found is None:  # nobody knows what is on it
            continue
        strange = next((line for line in found if line.label not in names), None)
        if strange:  # what is an object must not be learned as background
            reason = (
                f'{strange.place}: class {strange.label} has no name; names are given for {min(names)} to {max(names)}'
            )
            builder.left_out.append(('photo with an object of a class without name', reason))
            continue
        entry = builder.photo(photo, split)
        try:
            size = header_of(photo).upright
        except (OSError, ValueError):  # check and training name it
            continue
        sized.append((entry, found, size))
    reading = _reading_of([(line.values, size) for _, found, size in sized for line in found])
    every = [line for _, found, _ in sized for line in found]
    keypoints = declared.keypoints or _have_keypoints([line.values for line in every])
    if keypoints and not declared.keypoints:
        builder.remarks += [(_KEYPOINTS, line.place) for line in every if len(line.values) > _CONFIDENT]
    for entry, found, size in sized:
        for line in found:
            with builder.faults(line.place, photo=entry):
                _add(entry, line, names, size, keypoints, reading)
    return builder.files()


def _reading_of(lines: list[tuple[list[float], tuple[int, int]]]) -> str:
    """What the four numbers of boxes are: corners, if as centre and size many leave their photos and as corners none does."""
    boxes = [
        ([value * size[place % 2] for place, value in enumerate(values[:4])], size)
        for values, size in lines
        if len(values) in (4, 5)
    ]
    return other_reading(boxes, CENTRES, [CORNERS])[0] or CENTRES


def _have_keypoints(lines: list[list[float]]) -> bool:
    """Whether each long line is a box and as many keypoints: x, y and whether it is seen, as 0, 1 or 2.

    Example:
        >>> box, seen = [0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 2, 0.4, 0.6, 1]
        >>> _have_keypoints([box + seen]), _have_keypoints([box + seen, box + [0.4, 0.4]])
        (True, False)
    """
    long = [values for values in lines if len(values) > _CONFIDENT]
    return (
        len({len(values) for values in long}) == 1
        and len(long[0]) % 3 == 1
        and all(value in (0, 1, 2) for values in long for value in values[6::3])
    )


def _lines(label: Path, builder: LabelBuilder) -> list[_Line] | None:
    """What the lines of a label file say; None where it can't be read."""
    found, name, lines = [], short(label, builder.root), 0
    with builder.faults(name, UNREADABLE):
        for count, text in enumerate(read_text(label).splitlines(), 1):
            words = text.replace(',', ' ').split()
            lines += bool(words)
            with builder.faults(f'{name} line {count}'):
                if words:
                    values = [number(word) for word in words[1:]]
                    found.append(_Line(f'{name} line {count}', class_id(words[0]), values))
        return found if found or not lines else None
    return None


def _add(
    entry: LabelledPhoto, line: _Line, names: dict[int, str], size: tuple[int, int], keypoints: bool, reading: str
) -> None:
    values, count = line.values, len(line.values)
    is_box = count in (4, _CONFIDENT) or keypoints and count > _CONFIDENT
    if not is_box and (count < 6 or count % 2):
        raise ValueError(f'{count} numbers behind the class; a box has 4, an outline an even number from 6 on')
    values = values[:4] if is_box else values
    worst = max(values, key=abs)
    if not 1 - _FARTHEST <= min(values) <= max(values) <= _FARTHEST:
        raise ValueError(
            f'{worst:g} is no fraction of the photo; divide pixels by its width and height, percent by 100'
        )
    pixels = [value * size[place % 2] for place, value in enumerate(values)]
    if is_box:
        entry.add(names[line.label], line.place, box=READINGS[reading](*pixels))
        if reading != CENTRES:
            entry.builder.remarks.append((f'box that is no {CENTRES}, read as {reading}', line.place))
    else:
        entry.add(names[line.label], line.place, polygons=[pixels])


def _names(declared: Declaration, used: set[int], builder: LabelBuilder) -> dict[int, str]:
    """The name of each class id. Ids from 1 are recognised where each name has one; where there is one name alone, all ids mean it."""
    names = declared.names
    if declared.vague:
        fits = used <= names.keys() or used == {label + 1 for label in names}
        builder.remarks.append((NAMES_USED if fits else NAMES_UNUSED, short(declared.names_file, builder.root)))
        names = names if fits else {}
    if names and _counts_lines(declared, used):
        place = short(declared.names_file, builder.root)
        builder.remarks.append(('class names are numbered from 1, class ids from 0, and are read so', place))
        names = {label - 1: name for label, name in names.items()}
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    builder.remarks += [('class ids of the same name, taken for one class', printable(name)) for name in twice]
    if not names:
        names = {label: f'class_{label}' for label in sorted(used)}
        builder.remarks.append(
            ('labels without class names; put a data.yaml or classes.txt there', ', '.join(names.values()))
        )
    elif used == {label + 1 for label in names}:
        builder.remarks.append(
            ('class ids count from 1, not from 0, and are read so', short(declared.file, builder.root))
        )
        names = {label + 1: name for label, name in names.items()}
    elif len(names) == 1 and used - names.keys():
        if declared.count != '1':
            check_commas(declared.names_file, names, max(used) + 1)
        if declared.count not in ('', '1'):
            raise ValueError(
                f'{declared.file} names one class, {shown(next(iter(names.values())))}, and nc is {printable(declared.count)[:20]}; '
                f'write the name of each class'
            )
        name = next(iter(names.values()))
        kind = f'class ids beside that of the one class that {short(declared.file, builder.root)} names; all are taken for it'
        builder.remarks += [(kind, f'{label}: {name}') for label in sorted(used - names.keys())]
        names = dict.fromkeys(used, name)
    elif whole(declared.count) == max(used, default=-1) + 1:
        check_commas(declared.file, names, whole(declared.count))
    for name in names.values():
        builder.category(name)
    return names


def _counts_lines(declared: Declaration, used: set[int]) -> bool:
    """Whether names that are numbered from 1 are those of ids from 0: most of three signs must say so."""
    names = declared.names
    fits = all(label + 1 in names for label in used)
    return min(names, default=0) == 1 and sum((declared.listed, fits, 0 in used)) > 1


def _label_files(folder: DataFolder) -> list[Path]:
    """Text files below ``labels``, whose photos may be missing; if there are none, those that have the name of a photo."""
    texts = [path for path in folder.with_suffix('.txt') if path.name not in NAME_FILES]
    below = [path for path in texts if 'labels' in (part.lower() for part in path.relative_to(folder.root).parts[:-1])]
    return below or [path for path in texts if has_photo(folder, [path.stem], path)]


def _outside(folder: DataFolder, used: list[Path]) -> list[Path]:
    """Files that look like labels of photos and lie in other folders than those that are used."""
    known = set(used)
    texts = (path for path in folder.with_suffix('.txt') if path.name not in NAME_FILES and path not in known)
    return [path for path in texts if has_photo(folder, [path.stem], path) and _looks_right(path)]


def _looks_right(path: Path) -> bool:
    """Whether a text file begins with a line of a class and at least four numbers, and not with one of DOTA's, in pixels."""
    try:
        words = next(filter(None, (line.replace(',', ' ').split() for line in read_text(path).splitlines())), [])
        values = [class_id(words[0]), *map(number, words[1:])]
        return len(values) >= 5 and not (len(values) in (9, 10) and max(values[1:]) > _FARTHEST)
    except (OSError, ValueError, IndexError):
        return False


def _splits(
    folder: DataFolder, declared: Declaration, labels: dict[Path, Path], builder: LabelBuilder
) -> dict[Path, str | None]:
    """The photos with their splits: as declared, else all in the folders of labelled ones, by the names of these folders."""
    file, splits = short(declared.file, folder.root), {}
    for split, entries in declared.splits.items():
        every = [(entry, photos_of(folder, declared, entry)) for entry in entries]
        photos = list(dict.fromkeys(chain.from_iterable(found for _, found in every)))
        for entry in (entry for entry, found in every if not found):
            by_name = [photo for photo in folder.images if folder.split_of(photo) == split]
            photos += [photo for photo in by_name if photo not in splits]
            instead = f'{short(by_name[0].parent, folder.root)} is taken' if by_name else f'there are no {split} photos'
            builder.remarks.append((f'{file} names a place without photos', f'{shown(entry)}, {instead}'))
        both = [photo for photo in photos if photo in splits]
        kind = f'photo that {file} puts into {split} and another split, where it stays'
        builder.remarks += [(kind, short(photo, folder.root)) for photo in both]
        splits.update(dict.fromkeys((photo for photo in photos if photo not in splits), split))
    if splits:
        builder.remarks += [
            (f'photo that {file} puts into no split, not used', short(photo, folder.root))
            for photo in labels
            if photo not in splits
        ]
        return splits
    places = {photo.parent for photo in labels}
    lists = SplitLists(folder)
    builder.left_out += lists.left_out
    builder.remarks += lists.remarks
    for photo in (photo for photo in folder.images if photo.parent in places):
        used, split = lists.split_of(photo)
        if used:
            splits[photo] = split
        else:
            builder.remarks.append((NOT_LISTED, short(photo, folder.root)))
    return splits
