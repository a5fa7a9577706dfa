"""Labels of one photo that stand in several places: under two ids, in a file for each class, in a copy of a file, of a copied photo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..datasets.coco_labels import is_ignored, mask_of
from ..text import printable
from .annotations import AnnotationFile, categories_of, drop_annotations, said_size
from .data_folder import file_id
from .label_scale import box_said
from .photo_identity import photo_names

_SAME_BOX, _SAME_OBJECT = 0.9, 0.7  # IoU
_TWICE = 'photo that is listed twice; its labels are joined, equal ones count once'
_COPIES = 'photo that is there as several files of the same content; taken for one, its labels are joined, equal ones count once'
_FILES = (
    'label files name the same photos; their labels are joined, equal ones count once; move a file that is out of date out of the '
    'folder'
)
_DRAWN_TWICE = 'object that labels of one photo draw in two ways; the first counts'
_TWO_CLASSES = 'object with two classes in labels of one photo; both are kept'


@dataclass
class _Entry:
    """What a file says of a photo."""

    item: int
    image: dict
    named: bool  # whether by the name that the photo keeps
    annotations: list[int] = field(default_factory=list)  # their places in the file


@dataclass
class _Known:
    """Objects of a photo that were read."""

    boxes: list[list[float]] = field(default_factory=list)
    kinds: list[tuple[int, bool]] = field(default_factory=list)  # class, and whether it is a crowd or else ignored
    places: list[tuple[int, int]] = field(default_factory=list)  # file and place in it

    def alike(self, box: list[float]) -> dict[int, float]:
        """The IoU of those whose box may be this one, by their numbers, the most alike first."""
        if not self.boxes:
            return {}
        ours, theirs = np.array(box), np.array(self.boxes)
        low, high = np.maximum(ours[:2], theirs[:, :2]), np.minimum(ours[:2] + ours[2:], theirs[:, :2] + theirs[:, 2:])
        shared = (high - low).clip(0).prod(1)
        whole = ours[2:].prod() + theirs[:, 2:].prod(1) - shared
        shares = np.where((theirs == ours).all(1), 1.0, shared / np.maximum(whole, 1e-9))
        return {
            int(number): shares[number]
            for number in np.argsort(-shares, kind='stable')
            if shares[number] >= _SAME_OBJECT
        }


@dataclass
class _Shared:
    """What two files say of the same photos."""

    photos: set[int] = field(default_factory=set)  # the groups of entries that both have
    same: int = 0
    alone: list[int] = field(default_factory=lambda: [0, 0])  # annotations that only the first or the second file has


def join_labels(files: Sequence[AnnotationFile]) -> list[AnnotationFile]:
    """Make one entry of all that the files of one split say of a photo.

    Files that are links to each other or have the same content are one photo. An object that several entries have counts once; one that
    has another class there stays with both, which is a doubt.

    Args:
        files: Whose lists of images and annotations may be changed.
    """
    files = list(files)
    try:
        classes, mapping, _ = categories_of(files)
    except ValueError:  # check and training name it
        return files
    known = photo_names(path for item in files for path in item.images.values())
    joiner = _Joiner(files, classes, mapping)
    for group in _groups(files, known):
        joiner.join(group)
    joiner.finish()
    return files


def _groups(files: Sequence[AnnotationFile], known: dict[Path, Path]) -> Iterator[list[_Entry]]:
    """The entries of each photo that has several in a split."""
    groups: dict[tuple, list[_Entry]] = {}
    for number, item in enumerate(files):
        for image in item.content['images']:
            path = item.images.get(image.get('file_name'))
            if path is not None:
                entries = groups.setdefault((item.split, known[path]), [])
                entries.append(_Entry(number, image, path == known[path]))
    found = [sorted(group, key=lambda entry: not entry.named) for group in groups.values() if len(group) > 1]
    # Photos turned by EXIF data may be labelled in two ways, which training refuses.
    found = [group for group in found if len(_sizes(files, group)) == 1]
    by_id: dict[tuple, _Entry] = {}
    for entry in (entry for group in found for entry in group):
        by_id.setdefault((entry.item, entry.image['id']), entry)
    for number, item in enumerate(files) if found else ():
        for place, annotation in enumerate(item.content['annotations']):
            entry = by_id.get((number, annotation.get('image_id')))
            if entry:
                entry.annotations.append(place)
    yield from found


def _sizes(files: Sequence[AnnotationFile], group: Sequence[_Entry]) -> set[tuple[int, int] | None]:
    """The sizes that the labels of a photo count by: where they say none, that of the file; None where it was not looked at."""
    headers = (files[e.item].headers.get(files[e.item].images[e.image['file_name']]) for e in group)
    upright = next((header.upright for header in headers if header), None)
    return {said_size(entry.image) or upright for entry in group}


class _Joiner:
    def __init__(self, files: list[AnnotationFile], classes: list[str], mapping: dict[tuple[Path, int], int]) -> None:
        self._files, self._classes, self._mapping = files, classes, mapping
        self._gone: dict[int, set[int]] = {}  # of each file the places of annotations that are left out
        self._dropped: dict[int, list[dict]] = {}  # of each file the entries of images that are left out
        self._ids: dict[int, dict[int | None, int]] = {}  # of each file the id of each class
        self._last: dict[int, int] = {}  # of each file the last id of an annotation
        self._shared: dict[tuple[int, int], _Shared] = {}

    def join(self, group: list[_Entry]) -> None:
        """Make one entry of several, the first."""
        first, known = group[0], _Known()
        sized = next((entry.image for entry in group if said_size(entry.image)), None)
        if sized:
            first.image.update(width=sized['width'], height=sized['height'])
        self._remark(group)
        for entry in group:
            same = self._compare(entry, known)
            if entry.item != first.item:
                shared = self._shared.setdefault((first.item, entry.item), _Shared())
                shared.photos.add(id(first))
                shared.same += same
                shared.alone[0] += len(first.annotations) - same
                shared.alone[1] += len(entry.annotations) - same
        for entry in group[1:]:
            self._move(entry, first)

    def finish(self) -> None:
        """Take out of the files what was left out, and say what two files have in common."""
        for number, places in self._gone.items():
            drop_annotations(self._files[number], places)
        for number, images in self._dropped.items():
            item, left = self._files[number], set(map(id, images))
            item.content['images'] = [image for image in item.content['images'] if id(image) not in left]
            names = {image.get('file_name') for image in item.content['images']}
            item.images = {name: path for name, path in item.images.items() if name in names}
        for (one, two), shared in self._shared.items():
            names = [printable(self._files[number].path.name) for number in (one, two)]
            alone = [f'{count} in {name} alone' for count, name in zip(shared.alone, names)]
            counts = f'{len(shared.photos)} photos; annotations: {shared.same} in both, {", ".join(alone)}'
            self._files[two].remarks.append((_FILES, f'{names[0]} and {names[1]} ({counts})'))

    def _remark(self, group: list[_Entry]) -> None:
        paths = list(dict.fromkeys(self._path(entry) for entry in group))
        names = ' and '.join(printable(path.name) for path in paths)
        remarks = self._files[group[0].item].remarks
        if len({file_id(path) for path in paths}) > 1:
            remarks.append((_COPIES, names))
        elif len({entry.item for entry in group}) < len(group):
            remarks.append((_TWICE, names))

    def _path(self, entry: _Entry) -> Path:
        return self._files[entry.item].images[entry.image['file_name']]

    def _compare(self, entry: _Entry, known: _Known) -> int:
        """Leave out the objects that are known; how many these are."""
        item, fresh, taken = self._files[entry.item], [], set()
        for place in entry.annotations:
            annotation = item.content['annotations'][place]
            box, label = box_said(annotation), self._mapping.get((item.path, annotation.get('category_id')))
            if box is None or label is None:
                continue
            kind = label, is_ignored(annotation)
            near = known.alike(box)
            same = next((number for number in near if known.kinds[number] == kind and number not in taken), None)
            name = printable(self._path(entry).name)
            if same is None:
                fresh.append((box, kind, (entry.item, place)))
                rival = next((number for number, share in near.items() if share >= _SAME_BOX), None)
                if rival is not None and known.kinds[rival][0] != label:
                    classes = f'{self._classes[known.kinds[rival][0]]} and {self._classes[label]}'
                    item.doubts.append((_TWO_CLASSES, f'{name}: {classes}'))
                continue
            if near[same] < _SAME_BOX:
                item.remarks.append((_DRAWN_TWICE, f'{name}: {self._classes[label]}'))
            taken.add(same)
            drop = entry.item, place
            if mask_of(annotation) is not None and mask_of(self._annotation(known.places[same])) is None:
                drop, known.places[same] = known.places[same], drop
            self._gone.setdefault(drop[0], set()).add(drop[1])
        for box, kind, where in fresh:
            known.boxes.append(box)
            known.kinds.append(kind)
            known.places.append(where)
        return len(taken)

    def _annotation(self, where: tuple[int, int]) -> dict:
        return self._files[where[0]].content['annotations'][where[1]]

    def _move(self, entry: _Entry, first: _Entry) -> None:
        """Give what is left of the annotations of an entry to the first."""
        source, target = self._files[entry.item], self._files[first.item]
        self._dropped.setdefault(entry.item, []).append(entry.image)
        if entry.image['id'] in source.lost:
            target.lost.add(first.image['id'])
        gone = self._gone.setdefault(entry.item, set())
        for place in (place for place in entry.annotations if place not in gone):
            annotation = source.content['annotations'][place]
            moved = {**annotation, 'image_id': first.image['id']}
            if source is target:
                target.content['annotations'][place] = moved
                continue
            gone.add(place)
            label = self._mapping.get((source.path, annotation.get('category_id')))
            moved['category_id'] = None if label is None else self._category(first.item, label)
            moved['id'] = self._free_id(first.item)
            said = (
                f'{printable(str(entry.image["file_name"]))} (annotation {annotation.get("id")} in {source.path.name})'
            )
            target.places[len(target.content['annotations'])] = source.places.get(place) or said
            target.content['annotations'].append(moved)

    def _category(self, number: int, label: int) -> int:
        """The id of a class in a file, which gets the classes that it lacks."""
        item = self._files[number]
        if number not in self._ids:
            own = {self._mapping.get((item.path, c['id'])): c['id'] for c in reversed(item.content['categories'])}
            self._ids[number] = own
        own = self._ids[number]
        if label not in own:
            free = max(category['id'] for category in item.content['categories']) + 1
            lacking = [place for place in range(len(self._classes)) if place not in own]
            added = [{'id': free + step, 'name': self._classes[place]} for step, place in enumerate(lacking)]
            item.content['categories'] = [*item.content['categories'], *added]
            own.update({place: free + step for step, place in enumerate(lacking)})
        return own[label]

    def _free_id(self, number: int) -> int:
        if number not in self._last:
            ids = (annotation.get('id') for annotation in self._files[number].content['annotations'])
            self._last[number] = max((value for value in ids if type(value) is int), default=0)
        self._last[number] += 1
        return self._last[number]
