"""Find the COCO files and images in a folder as people have them, and turn them into clean ones for training."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from shlex import quote

import numpy as np

from ..files import is_inside
from ..images import MAX_PIXELS, Header, is_image, read_header
from .layout import STAY_INSIDE, is_file, printable, shown, spelling, split_of, walk

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
        ValueError: If a json file is broken, or an image or annotation in it is no object or has an impossible id.
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

    Raises:
        ValueError: If not; the message names the file and the entry.
    """
    for key, example in (('images', '"file_name": "a.jpg"'), ('annotations', '"image_id": 1')):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise ValueError(f'{path} has no list "{key}"; write it as a COCO file has it')
        for place, entry in enumerate(entries):
            fault = _entry_fault(entry, _KEYS[key], example)
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


WRONG_MASK_SIZE = 'mask size unlike the image'
BAD_BOX = 'box of impossible numbers'
BAD_POLYGON = 'mask of impossible numbers'
BAD_RUNS = 'mask of broken run lengths'
# Labels this many times the longer side of the image away from its corner are none of that image.
_FAR = 5
# pycocotools counts in 32 bits, five steps to a pixel, and stores each step of an outline.
_FARTHEST, _LONGEST_OUTLINE = 10_000_000, 4_000_000


def problem(annotation: dict, image: dict | None, category_ids: set) -> str | None:
    """Say why training has to do without an annotation; None where it can use it.

    What :func:`box_of` and :func:`mask_of` return is sound only where this is None.

    Args:
        annotation: As in a COCO file that went through :func:`check_entries`.
        image: Its image, with the true ``width`` and ``height``.
        category_ids: Those that there are.

    Example:
        >>> problem({'category_id': 1, 'bbox': [90, 0, 20, 9]}, {'width': 80, 'height': 60}, {1})
        'box outside the image'
        >>> problem({'category_id': 1, 'bbox': [1e300, 0, 20, 9]}, {'width': 80, 'height': 60}, {1})
        'box of impossible numbers'
    """
    if image is None:
        return 'unknown image id'
    if annotation.get('category_id') not in category_ids:
        return 'unknown category id'
    mask = mask_of(annotation)
    fault = mask_fault(mask, image['width'], image['height']) if mask else None
    if fault:
        return fault
    if _has_box(annotation) and not _are_numbers(annotation['bbox'], _reach(image['width'], image['height'])):
        return BAD_BOX
    box = box_of(annotation)
    if box is None:
        return BAD_BOX if annotation.get('bbox') else 'no box'
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return 'box of zero area'
    if x >= image['width'] or y >= image['height'] or x + width <= 0 or y + height <= 0:
        return 'box outside the image'
    if width < 1 or height < 1:  # mmdet skips these
        return 'box thinner than a pixel'
    return None


def has_size(image: dict) -> bool:
    """Whether an entry says a size that an image can have."""
    size = image.get('width'), image.get('height')
    return _are_numbers(size, MAX_PIXELS) and min(size) > 0 and size[0] * size[1] <= MAX_PIXELS


def refuse_deadly_mask(segmentation, image: dict) -> None:
    """Raise ValueError for a mask at which pycocotools would end the process, or take more memory than any image has.

    Args:
        segmentation: As in a COCO file, which is trained on or compared with as it is.
        image: Its ``width`` and ``height`` as the file says.
    """
    if not segmentation:
        return
    if isinstance(segmentation, list):  # pycocotools reads polygons of two points too
        mask = [polygon for polygon in _polygons(segmentation) if polygon]
    else:
        mask = mask_of({'segmentation': segmentation})
    if not has_size(image):
        fault = 'mask in an image of impossible size'
    else:
        fault = BAD_RUNS if mask is None else mask_fault(mask, image['width'], image['height'])
    if fault:
        raise ValueError(
            f'{fault}: {shown(segmentation)}; tools/check_dataset.py lists such labels, --fix leaves them out'
        )


def mask_fault(mask: dict | list, width: int, height: int) -> str | None:
    """Say why pycocotools must not see a mask of an image of this size: it believes every number and ends the process at wrong ones.

    Args:
        mask: As :func:`mask_of` returns it.
        width, height: Size of the image.

    Example:
        >>> mask_fault([[0, 0, 1e9, 0, 5, 5]], 80, 60), mask_fault({'size': [60, 80], 'counts': [9, 9]}, 80, 60)
        ('mask of impossible numbers', 'mask of broken run lengths')
    """
    if isinstance(mask, dict):
        return _runs_fault(mask, width, height)
    reach = _reach(width, height)
    sound = all(
        isinstance(polygon, list) and _are_numbers(polygon, reach) and _outline(polygon) <= _LONGEST_OUTLINE
        for polygon in mask
    )
    return None if sound else BAD_POLYGON


def _runs_fault(mask: dict, width: int, height: int) -> str | None:
    size, counts = mask['size'], mask['counts']
    if set(map(type, size)) != {int}:
        return BAD_RUNS
    if list(size) != [height, width]:
        return WRONG_MASK_SIZE  # mmdet stops at it
    if isinstance(counts, str):
        runs = _run_lengths(counts)
        sound = runs is not None and runs.min() >= 0 and runs.sum() == width * height
    else:
        sound = set(map(type, counts)) == {int} and min(counts) >= 0 and sum(counts) == width * height
    return None if sound else BAD_RUNS


def _run_lengths(text: str) -> np.ndarray | None:
    """The numbers in COCO's compressed run lengths; None if the text is cut off or holds other letters.

    Each is written in groups of five bits, the lowest first, with a sixth bit if more follow and the last bit as sign; from the
    fourth on it is the difference from the last but one.
    """
    codes = np.frombuffer(text.encode('utf-8', 'surrogatepass'), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(codes < 32)
    if codes.min() < 0 or codes.max() > 63 or not len(ends) or ends[-1] != len(codes) - 1:
        return None
    starts = np.append(0, ends[:-1] + 1)
    groups = ends - starts + 1
    if groups.max() > 6:  # more than any image has pixels
        return None
    place = np.arange(len(codes)) - np.repeat(starts, groups)
    runs = np.add.reduceat((codes & 31) << 5 * place, starts) - ((codes[ends] & 16) >> 4 << 5 * groups)
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs


def _reach(width: int, height: int) -> int:
    return min(_FAR * max(width, height), _FARTHEST)


def _are_numbers(values: Sequence, reach: float) -> bool:
    """Whether all are numbers, finite ones, and no further from 0 than this; a bool is none."""
    # NaN passes no comparison if it comes first, and makes a sum NaN that is not made of huge integers.
    return (
        set(map(type, values)) <= {int, float}
        and -reach <= min(values)
        and max(values) <= reach
        and math.isfinite(sum(values))
    )


def _outline(polygon: list[float]) -> float:
    """The number of pixels along a polygon, or more."""
    most = len(polygon) / 2 * (max(polygon) - min(polygon))
    if most <= _LONGEST_OUTLINE:
        return most
    corners = np.reshape(polygon[: len(polygon) // 2 * 2], (-1, 2))
    return float(np.abs(corners - np.roll(corners, 1, 0)).max(1).sum())


def _has_box(annotation: dict) -> bool:
    box = annotation.get('bbox')
    return isinstance(box, (list, tuple)) and len(box) == 4 and set(map(type, box)) <= {int, float}


def box_of(annotation: dict) -> list[float] | None:
    """The box (x, y, width, height) of an annotation, from its polygons or runs where it has no ``bbox``."""
    if _has_box(annotation):
        return [float(v) for v in annotation['bbox']]
    mask = mask_of(annotation)
    if isinstance(mask, dict):
        from pycocotools import mask as coco_mask

        return [float(v) for v in coco_mask.toBbox(_encoded(mask))]
    if mask:
        x, y = ([v for polygon in mask for v in polygon[start::2]] for start in (0, 1))
        return [min(x), min(y), max(x) - min(x), max(y) - min(y)]
    return None


def mask_of(annotation: dict) -> dict | list | None:
    """The ``segmentation`` as a dict of runs or a list of polygons with three points or more; None where there is none."""
    mask = annotation.get('segmentation')
    if isinstance(mask, dict):
        size, counts = mask.get('size'), mask.get('counts')
        sound = isinstance(counts, (list, str)) and counts and isinstance(size, (list, tuple)) and len(size) == 2
        return {'size': size, 'counts': counts} if sound else None
    if not isinstance(mask, list) or not mask:
        return None
    return [p for p in _polygons(mask) if not isinstance(p, list) or (len(p) >= 6 and len(p) % 2 == 0)] or None


def _polygons(mask: list) -> list:
    """Each [x, y, ...], which is seen as [[x, y], ...] as well, and a single one without a list around it."""

    def flat(polygon):
        points = isinstance(polygon, list) and polygon and all(isinstance(point, list) for point in polygon)
        return [v for point in polygon for v in point] if points else polygon

    return [flat(polygon) for polygon in (mask if isinstance(mask[0], list) else [mask])]


def _encoded(mask: dict) -> dict:
    from pycocotools import mask as coco_mask

    return coco_mask.frPyObjects(mask, *mask['size']) if isinstance(mask['counts'], list) else mask


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
            f'say; mend a copy: tools/check_dataset.py {quote(str(root))} --fix NEW_DIR'
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
        if header.turned and header.stored != header.upright:
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
    area = annotation.get('area')
    given = _are_numbers([area], _FARTHEST**2) and area > 0
    out['area'] = area if given else _area(mask, box)
    return out


def _area(mask: dict | list | None, box: list[float]) -> float:
    if isinstance(mask, dict):
        from pycocotools import mask as coco_mask

        return float(coco_mask.area(_encoded(mask)))
    if mask:
        return max(sum(_polygon_area(polygon) for polygon in mask), 1.0)
    return box[2] * box[3]


def _polygon_area(polygon: list[float]) -> float:
    x, y = polygon[::2], polygon[1::2]
    return abs(sum(a * d - b * c for a, b, c, d in zip(x, y, x[1:] + x[:1], y[1:] + y[:1]))) / 2


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
