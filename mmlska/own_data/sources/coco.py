"""COCO files and their images, in the places where people have them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ...files import is_inside
from ..annotations import AnnotationFile, check_entries, check_objects
from ..coco_repairs import repair_annotations
from ..data_folder import DataFolder, is_mask
from ..folder import is_file, split_of
from ..label_text import matches, read_json, short
from .instances import InstanceSource

# Of COCO's own files only these hold boxes and masks of all classes.
_OTHER_COCO = ('captions_', 'person_keypoints_', 'stuff_', 'panoptic_', 'image_info_')
_MOST_FOREIGN_PARTS = 40  # leading folders of a file_name that are not here
_LONGEST_NAME = 4096


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
                found.append(AnnotationFile(path, split_of(path.relative_to(root)), content))
        above = {place for parent in {path.parent for path in folder.images} for place in (parent, *parent.parents)}
        folders = sorted({place for place in above if place.is_relative_to(root)} | {root})
        known = set(folder.files)
        for item in found:
            _locate([image.get('file_name') for image in item.content['images']], folders, item, root, known)
            repair_annotations(item)
            check_entries(item.path, item.content)
        if found:
            named = {path for item in found for path in item.images.values()}
            unused = (short(path, root) for path in folder.photos_beside(named))
            found[0].remarks += [('photo that no annotation file names, not used', place) for place in unused]
        return cls(root, found) if found else None


def _candidates(folder: DataFolder) -> Iterator[Path]:
    """The json files that are COCO's, or broken ones of it."""
    files = (path for path in folder.with_suffix('.json') if not path.name.startswith(_OTHER_COCO))
    return (path for path in files if matches(path, rb'"(images|annotations)"\s*:'))


def _locate(names: list, folders: list[Path], item: AnnotationFile, root: Path, known: set[Path]) -> None:
    """Find the images named, in the one folder that has most of them; leading parts of the names may be foreign."""
    names = [name for name in names if isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME]
    names = list(dict.fromkeys(names))
    sample = names[:: max(len(names) // 40, 1)]
    depth = min(max((len(_parts(name)) for name in sample), default=1), _MOST_FOREIGN_PARTS)
    above = [parent for parent in item.path.parents if any(parent in (f, *f.parents) for f in folders)]
    places = list(dict.fromkeys([*folders, *above]))

    def find(folder: Path, skipped: int, name: str) -> tuple[Path | None, bool]:
        """The file inside the data folder, if there is one, and whether there is one elsewhere."""
        path = folder.joinpath(*_parts(name)[skipped:])
        plain = Path(os.path.normpath(path))
        if plain in known:
            return plain, False
        if not is_file(path):
            return None, False
        return (path.resolve(), False) if is_inside(path, root) else (None, True)

    def rank(place: tuple[Path, int]):
        folder, skipped = place
        found = [find(folder, skipped, name) for name in sample]
        # Photos of one name in several folders are not one photo.
        hits, elsewhere = len({path for path, _ in found} - {None}), sum(out for _, out in found)
        inside = [path.relative_to(root) for path, _ in found if path is not None and path.is_relative_to(root)]
        photos = -sum(map(is_mask, inside))  # label maps may have the names of their photos
        near = folder == item.path.parent, split_of(folder / 'x') == item.split
        return hits, elsewhere, photos, -skipped, *near, -len(folder.parts)

    folder, skipped = max(((place, n) for place in places for n in range(depth)), key=rank)
    for name in names:
        path, elsewhere = find(folder, skipped, name)
        if path is not None:
            item.images[name] = path
        elif elsewhere:
            item.outside.add(name)


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(name.replace('\\', '/')).parts if part not in ('/', '.'))
