"""Find the COCO files and images in a folder as people have them, and turn them into clean ones for training."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from shlex import quote

from ...datasets.coco_labels import area_of, box_of, mask_of, problem
from ...files import is_inside
from ...images import Header, is_image, read_header
from ...text import printable, shown
from ..layout import STAY_INSIDE, is_file, spelling, split_of, walk

# Of COCO's own files only these hold boxes and masks of all classes.
_OTHER_COCO = ('captions_', 'person_keypoints_', 'stuff_', 'panoptic_', 'image_info_')
# What entries refer to each other by.
_KEYS = {'images': ('id', 'file_name'), 'annotations': ('id', 'image_id', 'category_id')}
_MOST_FOREIGN_PARTS = 40  # leading folders of a file_name that are not here
_LONGEST_NAME = 4096


@dataclass
class CocoFile:
    """One annotation file and where its images are."""

    path: Path
    split: str | None
    content: dict
    images: dict = field(default_factory=dict)  # file_name -> Path, of the files that exist
    outside: set[str] = field(default_factory=set)  # file names that lead out of the data folder


@dataclass
class CocoSet:
    """The clean form of several annotation files: one COCO dict for each split, all with the same categories."""

    classes: list[str]
    splits: dict[str, dict]
    notes: list[str]
    left_out: Counter
    ignore_orientation: bool  # photos are labelled as stored, whatever their EXIF data say


def find_coco(root: Path) -> list[CocoFile]:
    """Find the COCO files below a folder and their images.

    Understood are ``annotations/*.json`` beside image folders, a json in the folder of its images (Roboflow), one json and
    ``images/``, with sub-folders in ``file_name`` or not: the folder is taken that has the images named. Nothing is read that lies
    elsewhere once ``..`` and links are resolved.

    Raises:
        ValueError: If a json file is broken, or an image or annotation in it is no object or has an impossible id, or an image has none.
    """
    files = list(walk(root))
    found = []
    for path in files:
        if path.suffix.lower() != '.json' or path.name.startswith(_OTHER_COCO):
            continue
        content = read_json(path)
        if isinstance(content, dict) and all(isinstance(content.get(k), list) for k in ('images', 'annotations')):
            check_entries(path, content)
            found.append(CocoFile(path, split_of(path.relative_to(root)), content))
    folders = sorted({path.parent for path in files if is_image(path)} | {root})
    known = set(files)
    for item in found:
        _locate([image.get('file_name') for image in item.content['images']], folders, item, root, known)
    return found


def read_json(path: Path):
    """Read a JSON file in UTF-8.

    Raises:
        ValueError: If it is broken, or no regular file.
    """
    if os.path.exists(path) and not is_file(path):  # a pipe would be waited for
        raise ValueError(f'{path} is no regular file; give one in COCO format')
    try:
        return json.loads(path.read_text(encoding='utf-8-sig'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from error


def check_entries(path: Path, content) -> None:
    """Make sure that the content of a JSON file has a list of images and one of annotations, each an object with ids to compare.

    An annotation may have no id of its own, an image may not.

    Raises:
        ValueError: If not; the message names the file and the entry.
    """
    for key, example in (('images', '"file_name": "a.jpg"'), ('annotations', '"image_id": 1')):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise ValueError(f'{path} has no list "{key}"; write it as a COCO file has it')
        for place, entry in enumerate(entries):
            fault = _entry_fault(entry, _KEYS[key], example)
            if key == 'images' and fault is None and entry.get('id') is None:
                fault = 'has no "id": it must be a whole number'
            if fault:
                raise ValueError(f'entry {place} of "{key}" in {path} {fault}')


def _entry_fault(entry, keys: tuple[str, ...], example: str) -> str | None:
    if not isinstance(entry, dict):
        return f'is {shown(entry)}: it must be an object such as {{"id": 1, {example}, ...}}'
    for name in keys:
        value = entry.get(name)
        if value is not None and type(value) not in (int, str) and not _whole(value):
            return f'has the "{name}" {shown(value)}: it must be {"text" if name == "file_name" else "a whole number"}'
        # Larger ones can be chosen to fall into one place of a dict, which is then slow.
        if isinstance(value, int) and abs(value) >= 1 << 63:
            return f'has the "{name}" {shown(value)}: it must have 63 bits at most'
    return None


def _whole(value) -> bool:
    return isinstance(value, float) and value.is_integer()


def _locate(names: list, folders: list[Path], item: CocoFile, root: Path, known: set[Path]) -> None:
    """Find the images named, in the one folder that has most of them; leading parts of the names may be foreign."""
    names = [name for name in dict.fromkeys(names) if isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME]
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
        hits, elsewhere = sum(path is not None for path, _ in found), sum(out for _, out in found)
        near = folder == item.path.parent, split_of(folder / 'x') == item.split
        return hits, elsewhere, -skipped, *near, -len(folder.parts)

    folder, skipped = max(((place, n) for place in places for n in range(depth)), key=rank)
    for name in names:
        path, elsewhere = find(folder, skipped, name)
        if path is not None:
            item.images[name] = path
        elif elsewhere:
            item.outside.add(name)


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(name.replace('\\', '/')).parts if part not in ('/', '.'))


def categories_of(files: Iterable[CocoFile]) -> tuple[list[str], dict[tuple[Path, int], int], list[str]]:
    """Merge the categories of several files by name.

    Returns:
        The class names, the class of each (file, category id), and notes on what was merged or left out.
    """
    used, spellings = Counter(), {}
    groups: dict[str, list[tuple[Path, dict]]] = {}
    for item in files:
        counts = Counter(a.get('category_id') for a in item.content['annotations'])
        for category in sorted(_categories(item), key=lambda c: c['id']):
            key = spelling(category['name'])
            groups.setdefault(key, []).append((item.path, category))
            used[key] += counts[category['id']]
            spellings.setdefault(key, Counter())[str(category['name'])] += counts[category['id']]
    notes = []
    # Roboflow lists the project itself as a category without annotations, above all others.
    supers = [c.get('supercategory') for group in groups.values() for _, c in group]
    parents = {spelling(name) for name in supers if isinstance(name, str)}
    roots = [key for key in groups if not used[key] and key in parents and len(groups) > 1]
    for key in roots:
        del groups[key]
    classes, mapping = [], {}
    for key, group in groups.items():
        best = spellings[key].most_common(1)[0][0]
        others = [name for name in spellings[key] if name != best]
        if others:
            notes.append(f'{", ".join(map(repr, others))} and {best!r} are taken for one class')
        for path, category in group:
            mapping[path, category['id']] = len(classes)
        classes.append(best.strip())
    return classes, mapping, notes


def _categories(item: CocoFile) -> list[dict]:
    categories = item.content.get('categories')
    if not isinstance(categories, list) or not categories:
        raise ValueError(
            f'{item.path} has no "categories"; each class needs an entry such as {{"id": 1, "name": "cat"}}'
        )
    for category in categories:
        if not isinstance(category, dict) or type(category.get('id')) is not int or not _is_name(category.get('name')):
            raise ValueError(
                f'{item.path} has the category {shown(category)}; it needs a whole number "id" and a "name"'
            )
    return categories


def _is_name(name) -> bool:
    """Whether it is text, or a number, without halves of characters, which no file can hold."""
    return isinstance(name, (int, float)) or isinstance(name, str) and not re.search('[\\ud800-\\udfff]', name)


def clean(files: list[CocoFile], root: Path) -> CocoSet:
    """Merge annotation files into one clean dict for each split ('train', 'val', 'test'; '' for files of no split).

    Ids count from 1 without gaps, boxes lie inside their images, areas and sizes are there, file names are relative to
    ``root``; annotations that training can't use are left out and counted.

    Raises:
        FileNotFoundError: If images are missing.
        ValueError: If a file has no categories or an image can't be read.
    """
    classes, mapping, notes = categories_of(files)
    categories = [{'id': i, 'name': name} for i, name in enumerate(classes, 1)]
    splits: dict[str, dict] = {}
    left_out, orientations = Counter(), {'upright': [], 'stored': []}
    for item in files:
        target = splits.setdefault(item.split or '', {'images': [], 'annotations': [], 'categories': categories})
        known = _add_images(item, target, root, orientations)
        ids = {category['id'] for category in _categories(item)}
        for annotation in item.content['annotations']:
            image = known.get(annotation.get('image_id'))
            reason = problem(annotation, image, ids)
            if reason is None and (item.path, annotation['category_id']) not in mapping:
                reason = 'unknown category id'
            if reason:
                left_out[reason] += 1
                continue
            number = mapping[item.path, annotation['category_id']] + 1
            target['annotations'].append(_clean(annotation, image, number, len(target['annotations']) + 1))
    if all(orientations.values()):
        raise ValueError(
            f'{orientations["stored"][0]} is labelled as it is stored, {orientations["upright"][0]} turned as its EXIF data '
            f'say; write a corrected copy: tools/check_dataset.py {quote(str(root))} --fix NEW_DIR'
        )
    return CocoSet(classes, splits, notes, left_out, bool(orientations['stored']))


def _add_images(item: CocoFile, target: dict, root: Path, orientations: dict) -> dict:
    """Append the images of a file to a split; return the clean entry of each old id."""
    if item.outside:
        raise ValueError(
            f'{item.path} names {len(item.outside)} of {len(item.content["images"])} images that lead out of {root}, such as '
            f'{printable(min(item.outside))[:200]}; {STAY_INSIDE}'
        )
    missing = [
        str(image.get('file_name')) for image in item.content['images'] if image.get('file_name') not in item.images
    ]
    if missing:
        first = ', '.join(printable(name)[:200] for name in missing[:3]) + (', ...' if len(missing) > 3 else '')
        raise FileNotFoundError(
            f'{item.path} names {len(missing)} of {len(item.content["images"])} images that are not below {root}: '
            f'{first}; add them or see tools/check_dataset.py --fix'
        )
    known: dict = {}
    for image in item.content['images']:
        path = item.images[image['file_name']]
        header = read_header(path)
        as_stored = labelled_as_stored(image, header)
        if header.stored != header.upright:
            orientations['stored' if as_stored else 'upright'].append(path.name)
        width, height = header.stored if as_stored else header.upright
        entry = {'id': len(target['images']) + 1, 'file_name': _relative(path, root), 'width': width, 'height': height}
        target['images'].append(entry)
        known.setdefault(image.get('id'), entry)
    return known


def labelled_as_stored(image: dict, header: Header) -> bool:
    """Whether the labels of a photo that EXIF data turn count pixels as stored, as its size in the file says."""
    return (image.get('width'), image.get('height')) == header.stored != header.upright


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _clean(annotation: dict, image: dict, category: int, number: int) -> dict:
    x, y, width, height = box_of(annotation)
    left, top = max(x, 0.0), max(y, 0.0)
    box = [left, top, min(x + width, image['width']) - left, min(y + height, image['height']) - top]
    out = {'id': number, 'image_id': image['id'], 'category_id': category, 'bbox': box}
    out['iscrowd'] = int(bool(annotation.get('iscrowd')) or bool(annotation.get('ignore')))
    mask = mask_of(annotation)
    if mask is not None:
        out['segmentation'] = mask
    out['area'] = area_of(annotation, box)
    return out


def has_masks(dataset: dict) -> int:
    """The number of annotations that have a mask."""
    return sum('segmentation' in annotation for annotation in dataset['annotations'])


def ignore_boxes_without_mask(dataset: dict) -> int:
    """Make the annotations without a mask, among others with one, regions that neither training nor evaluation counts.

    Returns:
        How many there were.
    """
    sizes = {image['id']: (image['height'], image['width']) for image in dataset['images']}
    bare = [annotation for annotation in dataset['annotations'] if 'segmentation' not in annotation]
    for annotation in bare:
        height, width = sizes[annotation['image_id']]
        x, y, w, h = annotation['bbox']
        annotation['segmentation'] = [[x, y, min(x + w, width), y, min(x + w, width), min(y + h, height), x, y + h]]
        annotation['iscrowd'] = 1
    return len(bare)


def take_images(dataset: dict, indices: Iterable[int]) -> dict:
    """The part of a clean dict with some of its images, by their place, and their annotations."""
    images = [dataset['images'][i] for i in sorted(indices)]
    ids = {image['id'] for image in images}
    annotations = [annotation for annotation in dataset['annotations'] if annotation['image_id'] in ids]
    return {**dataset, 'images': images, 'annotations': annotations}


def classes_by_image(dataset: dict) -> list[set[int]]:
    """The category ids in each image."""
    found: dict[int, set[int]] = {image['id']: set() for image in dataset['images']}
    for annotation in dataset['annotations']:
        found[annotation['image_id']].add(annotation['category_id'])
    return list(found.values())
