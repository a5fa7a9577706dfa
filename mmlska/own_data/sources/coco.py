"""COCO files and their images, in the places where people have them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from ...files import is_inside
from ...text import printable
from ..annotations import AnnotationFile, check_entries, check_objects
from ..coco_repairs import repair_annotations
from ..data_folder import DataFolder, is_unread, name_key, spellings, stem_key
from ..folder import is_file, splits_in
from ..folder_names import splits_of_names
from ..label_text import matches, read_json, short
from .instances import InstanceSource

# COCO gives the same images to these files and to those of instances_, which have the boxes and masks of all classes.
_BESIDE_INSTANCES = re.compile(r'(person_keypoints|captions|stuff|panoptic|image_info)_(.+)')
_MOST_FOREIGN_PARTS = 40  # leading folders of a file_name that are not here
_LONGEST_NAME = 4096
_OTHER_SPELLING = 'photo whose name the annotation file writes as an address or behind the number of an upload'
_NO_OBJECTS = 'json file without the images and objects of a COCO file'


class CocoSource(InstanceSource):
    """COCO files and the folders of their images.

    Understood are ``annotations/*.json`` beside image folders, a json in the folder of its images (Roboflow), one json and
    ``images/``, with sub-folders in ``file_name`` or not: the folder is taken that has the images named. Nothing is read that lies
    elsewhere once ``..`` and links are resolved.
    """

    name = 'coco'

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return any(True for _ in _candidates(folder))

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> CocoSource | None:
        """The COCO files in a folder.

        Raises:
            ValueError: If a json file is broken, or an image or annotation in it is no object or has an impossible id, or an image has
                none.
        """
        root, found = folder.root, []
        for path in _candidates(folder):
            content = read_json(path)
            if isinstance(content, dict) and all(isinstance(content.get(k), list) for k in ('images', 'annotations')):
                check_objects(path, content)
                found.append(AnnotationFile(path, folder.split_of_file(path), content))
        above = {place for parent in {path.parent for path in folder.images} for place in (parent, *parent.parents)}
        folders = sorted({place for place in above if place.is_relative_to(root)} | {root})
        known = {path for path in folder.files if not is_unread(path)}
        _set_splits(folder, found)
        named: set[Path] = set()
        for item in found:
            _locate(folder, folders, item, known)
            named.update(item.images.values())  # also of entries that a repair leaves out
            repair_annotations(item)
            check_entries(item.path, item.content)
        _merge_classes(folder, found)
        if found:
            unused = (short(path, root) for path in folder.photos_beside(named))
            found[0].remarks += [('photo that no annotation file names, not used', place) for place in unused]
            found[0].remarks += _unused_files(folder, {item.path for item in found})
        return cls(root, found) if found else None


def _candidates(folder: DataFolder) -> Iterator[Path]:
    """The json files that are COCO's, or broken ones of it."""
    files = (path for path in folder.with_suffix('.json') if _instances_of(path, folder) is None)
    return (path for path in files if matches(path, rb'"(images|annotations)"\s*:') and not _is_other(path))


def _is_other(path: Path) -> bool:
    """Whether a file has captions or panoptic segments alone, no boxes or masks of objects."""
    if matches(path, rb'"segments_info"\s*:'):
        return True
    return matches(path, rb'"caption"\s*:') and not matches(path, rb'"(bbox|segmentation)"\s*:')


def _instances_of(path: Path, folder: DataFolder) -> Path | None:
    """COCO's own file of boxes and masks of the same images; None where there is none."""
    found = _BESIDE_INSTANCES.fullmatch(path.name)
    beside = path.with_name(f'instances_{found[2]}') if found else None
    return beside if beside in folder.file_set else None


def _unused_files(folder: DataFolder, used: set[Path]) -> list[tuple[str, str]]:
    """What to say of the json files that are not read: the kind of remark and the place of each."""
    remarks = []
    for path in folder.with_suffix('.json'):
        if path not in used:
            instances = _instances_of(path, folder)
            kind = f'json file of the images of {instances.name}, which counts' if instances else _NO_OBJECTS
            remarks.append((f'{kind}, not used', short(path, folder.root)))
    return remarks


def _set_splits(folder: DataFolder, found: Sequence[AnnotationFile]) -> None:
    """Note which split each file speaks of. Names say nothing where there is one file for each photo, called like it."""
    own = len(found) > 1 and all(_names_itself(item) for item in found)
    for item in found:
        item.split = folder.split_of(item.path) if own else folder.split_of_file(item.path)


def _names_itself(item: AnnotationFile) -> bool:
    return {_stem(image.get('file_name')) for image in item.content['images']} == {item.path.stem}


def _stem(name: object) -> str:
    return PurePosixPath(str(name).replace('\\', '/')).stem


def _merge_classes(folder: DataFolder, found: Sequence[AnnotationFile]) -> None:
    """Take back the split of a file train.json that is one of a class, beside bus.json and car.json with other photos."""
    splits = splits_of_names([item.path for item in found])
    files_of = Counter(path for item in found for path in set(item.images.values()))
    for item in found:
        by_name = item.split == 'train' and splits_in(item.path.stem) == {'train'}
        if by_name and splits[item.path] is None and all(files_of[path] == 1 for path in item.images.values()):
            item.split = folder.split_of(item.path)
            if item.split is None:
                folder.note_class(item.path)


def _locate(data: DataFolder, folders: list[Path], item: AnnotationFile, known: set[Path]) -> None:
    """Find the images named, in the one folder that has most of them; leading parts of the names may be foreign."""
    root = data.root
    names = [image.get('file_name') for image in item.content['images']]
    names = [name for name in names if isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME]
    names = list(dict.fromkeys(names))
    meant = _meant(data, names)
    parts = {name: _parts(meant.get(name, name)) for name in names}
    sample = names[:: max(len(names) // 40, 1)]
    depth = min(max((len(parts[name]) for name in sample), default=1), _MOST_FOREIGN_PARTS)
    above = [parent for parent in item.path.parents if any(parent in (f, *f.parents) for f in folders)]
    places = list(dict.fromkeys([*folders, *above]))

    def find(folder: Path, skipped: int, name: str) -> tuple[Path | None, bool]:
        """The file inside the data folder, if there is one, and whether there is one elsewhere."""
        path = folder.joinpath(*parts[name][skipped:])
        plain = Path(os.path.normpath(path))
        if plain in known:
            return plain, False
        if not is_file(path) or is_unread(path):
            return None, False
        return (path.resolve(), False) if is_inside(path, root) else (None, True)

    def find_otherwise(folder: Path, skipped: int, name: str) -> Path | None:
        """The photo of that name with another ending."""
        path = Path(os.path.normpath(folder.joinpath(*parts[name][skipped:])))
        fitting = data.by_folder_and_stem.get((path.parent, name_key(path.stem)), [])
        return fitting[0] if len(fitting) == 1 else None

    def rank(place: tuple[Path, int]):
        folder, skipped = place
        found = [find(folder, skipped, name) for name in sample]
        # Photos of one name in several folders are not one photo.
        hits, elsewhere = len({path for path, _ in found} - {None}), sum(out for _, out in found)
        inside = [path for path, _ in found if path is not None and path.is_relative_to(root)]
        # Label maps may have the names of their photos.
        photos = -sum(map(data.is_mask, inside))
        otherwise = 0 if hits else len({find_otherwise(folder, skipped, name) for name in sample} - {None})
        near = folder == item.path.parent, data.split_of(folder / 'x') == item.split
        return hits, elsewhere, photos, otherwise, -skipped, *near, -len(folder.parts)

    folder, skipped = max(((place, n) for place in places for n in range(depth)), key=rank)
    missing = []
    for name in names:
        path, elsewhere = find(folder, skipped, name)
        if path is not None:
            item.images[name] = path
            if name in meant:
                item.remarks.append((_OTHER_SPELLING, f'{short(path, root)} for {printable(name)[:200]}'))
        elif elsewhere:
            item.outside.add(name)
        else:
            missing.append(name)
    taken = set(item.images.values())  # a photo that is named itself is no other one
    otherwise: dict[Path, list[str]] = {}
    for name in missing:
        path = find_otherwise(folder, skipped, name)
        if path is not None and path not in taken:
            otherwise.setdefault(path, []).append(name)
    for path, said in otherwise.items():
        if len({parts[name] for name in said}) > 1:  # nobody knows which of them it is
            continue
        for name in said:
            item.images[name] = path
            place = f'{short(path, root)} for {printable(name)[:200]}'
            item.remarks.append(('photo with another ending than the annotation file says', place))


def _meant(data: DataFolder, names: Sequence[str]) -> dict[str, str]:
    """What names mean that no photo has; none where more names than photos are alike."""
    meant = {}
    for name in (name for name in names if not data.has_name(name)):
        other = next(filter(data.has_name, spellings(name)), None)
        if other is not None:
            meant[name] = other
    if not meant:
        return meant
    every = [meant.get(name, name) for name in names]
    alike, same, photos = Counter(map(stem_key, every)), Counter(every), Counter(s for _, s in data.by_folder_and_stem)
    return {
        name: other
        for name, other in meant.items()
        if same[other] == 1 and alike[stem_key(other)] <= max(photos[stem_key(other)], 1)
    }


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(name.replace('\\', '/')).parts if part not in ('/', '.'))
